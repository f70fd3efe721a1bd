"""Champion and challenger in tables: the figures are those of each alone, the differences those of both together."""

from dataclasses import replace

import numpy as np
import pytest
from compared import compared

from training import compare_tables
from training.bootstrap import Bootstrap
from training.compare import CHALLENGER, CHAMPION, Compared
from training.config import RunConfig, load

CONFIG: RunConfig = load(None, {"evaluation.bootstrap": 60})


@pytest.fixture(scope="module")
def found() -> Compared:
    return compared()


def test_the_headline_is_what_each_model_reaches_alone(found: Compared) -> None:
    table = compare_tables.headline(found, CONFIG).set_index("measure")
    row = table.loc["recall at 1.0% false positives, all families"]
    for side, value in ((CHALLENGER, row["value"]), (CHAMPION, row["champion"])):
        rates = Bootstrap(found.windows, fprs=(0.01,), resamples=20, confidence=0.9, seed=1, score=side)
        everything = np.zeros(len(rates.attack), np.int64)
        assert rates.recalls(everything, 1, 0.01)[0, 0] == value
    assert row["difference"] == pytest.approx(row["value"] - row["champion"])
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_a_paired_difference_is_surer_than_one_of_unrelated_models(found: Compared) -> None:
    """The models agree on most windows; independent errors would add up as squares."""
    row = compare_tables.headline(found, CONFIG).iloc[0]
    mine, theirs = row["high"] - row["low"], row["champion_high"] - row["champion_low"]
    assert row["difference_high"] - row["difference_low"] < 0.9 * np.hypot(mine, theirs)


def test_honest_accounts_count_once_at_each_models_own_thresholds(found: Compared) -> None:
    stricter = replace(found, thresholds={**found.thresholds, CHAMPION: {"review": 0.05, "act": 0.9}})
    table = compare_tables.headline(stricter, CONFIG).set_index("measure").loc["honest accounts that reach review"]
    honest = found.windows[found.windows["label"] == 0].groupby("account_id")[[CHALLENGER, CHAMPION]].max()
    assert table["value"] == pytest.approx((honest[CHALLENGER] >= 0.7).mean())
    assert table["champion"] == pytest.approx((honest[CHAMPION] >= 0.05).mean())
    assert table["difference"] < 0


def test_every_slice_has_both_models_side_by_side(found: Compared) -> None:
    tables = compare_tables.recalls(found, CONFIG)
    assert {"family", "attacker_share", "window_size", "window_size_and_share", "lang", "plan", "evasion"} <= set(
        tables
    )
    assert set(tables["attacker_share"]["slice"]) == {"25%", "100%"}
    assert "5" not in set(tables["window_size"]["slice"])
    assert "3-9 at 25%" in set(tables["window_size_and_share"]["slice"])
    assert dict(zip(tables["family"]["slice"], tables["family"]["seen_family"], strict=True))["rewrite"] == 0
    for table in tables.values():
        assert {"slice", "windows", "accounts", "recall_0.01", "low_0.003", "champion_high_0.01"} <= set(table)


def test_honest_slices_list_the_most_flagged_first(found: Compared) -> None:
    windows = found.windows.copy()
    windows.loc[(windows["family"] == "ci") & (windows["label"] == 0), CHALLENGER] = 0.95
    table = compare_tables.honest(replace(found, windows=windows), CONFIG)["workload"]
    assert table.loc[0, "slice"] == "ci"
    assert table.loc[0, "act"] == 1.0
    assert table.loc[0, "champion_act"] < 0.5
    assert set(table["slice"]) == {"chat", "ci", "labelling"}


def test_looks_at_growing_accounts_tell_when_each_is_found(found: Compared) -> None:
    early, survival = compare_tables.early(found)
    assert {"level", "slice", "accounts", "found", "median", "p90", "champion_median"} <= set(early)
    assert set(early["level"]) == {"review", "act"}
    assert ((early["found"] > 0) & (early["found"] <= 1)).all()
    left = survival[survival["level"] == "review"].groupby("slice")["left"]
    assert left.apply(lambda curve: curve.is_monotonic_decreasing).all()


def test_a_challenger_alone_has_no_columns_of_a_champion() -> None:
    alone = compared(alone=True)
    tables = [compare_tables.headline(alone, CONFIG), *compare_tables.recalls(alone, CONFIG).values()]
    tables += [*compare_tables.honest(alone, CONFIG).values(), *compare_tables.early(alone)]
    assert not [column for table in tables for column in table if "champion" in str(column) or column == "difference"]
    assert set(compare_tables.calibration(alone)["model"]) == {"challenger"}


def test_labels_without_shares_give_one_slice(found: Compared) -> None:
    """As real ones are."""
    bare = replace(found, looks=found.looks.assign(attacker_share=np.nan))
    bare = replace(bare, windows=found.windows.assign(attacker_share=np.nan, share=np.nan))
    early, survival = compare_tables.early(bare)
    assert set(early["slice"]) == set(survival["slice"]) == {"share unknown"}
    assert compare_tables.recalls(bare, CONFIG)["attacker_share"]["slice"].tolist() == ["share unknown"]
