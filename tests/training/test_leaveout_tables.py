"""Headline, false alarms and evasions of made scores where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from training.early import PREFIXES
from training.evaluate import LEAST_ACCOUNTS
from training.leaveout import Scores
from training.leaveout_tables import LEAST_WINDOWS, Measured, measure, strengths

HONEST = 200


def frame(rows: list[tuple[str, int, str, float, int, float, str, int]], **more: object) -> pd.DataFrame:
    names = ["account_id", "label", "family", "share", "n_exchanges", "score", "evasions", "fold"]
    made = pd.DataFrame(rows, columns=names)
    made["account_weight"] = 1 / made.groupby(["account_id", "fold"])["label"].transform("size")
    made = made.assign(group=made["account_id"], seen_family=False, lang="en", plan="pro", **more)
    return made.assign(content=made["score"], all=made["score"]).drop(columns="score")


def scores(attack: pd.DataFrame, honest: pd.DataFrame) -> Scores:
    windows = pd.concat([attack, honest], ignore_index=True)
    at = windows.index[windows["label"] == 1]
    added = pd.DataFrame({"words": windows.loc[at, "all"], "pace": -1.0}, index=at)
    return Scores(windows, windows.assign(n_exchanges=PREFIXES[0], life=100), added)


def attacks(share: float, found: int, count: int, evasions: str = "", windows: int = 2) -> pd.DataFrame:
    """`count` accounts of which `found` are found with every window."""
    name = f"{share}{evasions}"
    return frame([
        (f"{name}{i}", 1, "boxed_math", share, 100, 9.0 if i < found else -9.0, evasions, 0)
        for i in range(count) for _ in range(windows)
    ])  # fmt: skip


def honest(*families: str) -> pd.DataFrame:
    return frame([
        (f"h{i}", 0, families[i % len(families)], np.nan, 100, i / HONEST, "", 0) for i in range(HONEST)
    ])  # fmt: skip


def measured(attack: pd.DataFrame, other: pd.DataFrame) -> Measured:
    return measure(scores(attack, other), resamples=20, seed=1)


def test_the_headline_is_the_mean_over_cells_that_have_enough() -> None:
    """Three cells: 1/2 and 1/4 of the accounts found, and one with too few that finds everything."""
    attack = pd.concat([attacks(1.0, 10, 20), attacks(0.5, 5, 20), attacks(0.1, 2, 2)], ignore_index=True)
    headline = measured(attack, honest("labelling:irc")).headline.query("variant == 'all' and fpr == 0.01").iloc[0]
    assert headline["recall"] == pytest.approx((0.5 + 0.25) / 2)
    assert (headline["cells"], headline["too_few"]) == (2, 1)
    assert headline["low"] <= headline["recall"] <= headline["high"]
    assert headline["realised"] == pytest.approx(0.01)


def test_many_windows_of_few_accounts_are_too_few() -> None:
    attack = pd.concat([attacks(1.0, 10, 20), attacks(0.5, 1, 2, windows=LEAST_WINDOWS)], ignore_index=True)
    cells = measured(attack, honest("labelling:irc")).tables["all_by_share_and_size"].set_index("share")
    assert cells["enough"].to_dict() == {0.5: False, 1.0: True}
    assert cells.loc[0.5, "accounts"] < LEAST_ACCOUNTS


def test_families_that_were_trained_on_do_not_count() -> None:
    attack = pd.concat([attacks(1.0, 20, 20), attacks(0.5, 0, 20).assign(seen_family=True)], ignore_index=True)
    table = measured(attack, honest("labelling:irc")).tables["all_by_share"]
    assert table["share"].tolist() == [1.0]


def test_false_alarms_are_counted_by_account_where_one_in_a_hundred_is_above() -> None:
    """Two of 200 accounts are above; both are of the workload that has the highest scores."""
    rest = honest("labelling:irc", "labelling:gsm8k")
    top = rest["account_id"].isin(["h197", "h198", "h199"])
    tables = measured(attacks(1.0, 1, 2), rest.assign(family=rest["family"].where(~top, "judging:irc"))).tables
    table = tables["all_honest_by_workload"].set_index("workload")
    assert table.loc["judging", ["accounts", "0.01_accounts"]].tolist() == [3, 2]
    assert table.loc["labelling", ["accounts", "0.01_accounts"]].tolist() == [197, 0]
    assert tables["all_honest_by_source"].set_index("source").loc["irc", "accounts"] == 102
    assert tables["all_honest_by_everything"]["0.01_fpr"].tolist() == [pytest.approx(0.01)]
    assert tables["all_honest_by_plan"]["plan"].tolist() == ["pro"]


def test_an_account_counts_once_as_left_out_and_once_as_known() -> None:
    left = honest("labelling:irc")
    again = left.assign(fold=1)
    known = left.assign(fold=2, seen_family=True)
    both = pd.concat([left, again, known], ignore_index=True)
    attack = pd.concat([attacks(1.0, 1, 2).assign(fold=fold) for fold in range(3)], ignore_index=True)
    table = measured(attack, both).tables["all_honest_by_everything"].set_index("known")
    assert table["accounts"].to_dict() == {False: HONEST, True: HONEST}


def test_evasions_are_told_by_strength() -> None:
    marks = strengths(pd.Series(["low_slow=0.2 identity=0.9", "identity=0.4", "", "low_slow=1"]))
    assert {name: mark.tolist() for name, mark in marks.items() if mark.any()} == {
        "none": [False, False, True, False], "low_slow, weak": [True, False, False, False],
        "low_slow, strong": [False, False, False, True], "identity, strong": [True, False, False, False],
        "identity, medium": [False, True, False, False],
    }  # fmt: skip


def test_what_carries_an_evasion_is_read_from_the_windows_still_found() -> None:
    attack = pd.concat([attacks(1.0, 5, 10, "identity=0.9"), attacks(0.5, 0, 10, "low_slow=0.1")], ignore_index=True)
    tables = measured(attack, honest("labelling:irc")).tables
    recall = tables["all_by_evasion"].set_index("evasion")["recall_at_fpr_0.01"]
    assert recall.to_dict() == {"identity, strong": 0.5, "low_slow, weak": 0.0}
    carried = tables["all_features"].to_dict("records")
    assert carried == [{"evasion": "identity, strong", "found": 10, "feature": "words", "log_odds": 9.0}]
