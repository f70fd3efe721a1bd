"""Exchanges until the first flag, where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from training.early import LEVELS, first_alarms, survival, told

LOOKS = (5, 10, 25)


def looks(account: str, label: int, margins: list[float], share: float = 1.0, fold: int = 0) -> pd.DataFrame:
    return pd.DataFrame({
        "account_id": account, "label": label, "share": share, "fold": fold, "n_exchanges": LOOKS[: len(margins)],
        "all": margins,
    })  # fmt: skip


def honest(fold: int = 0, offset: float = 0.0) -> list[pd.DataFrame]:
    """A hundred accounts whose highest margin, at any look, is 0.00 to 0.99: the cut of 1 % is 0.98."""
    margins = [[-5.0, i / 100, -5.0] for i in range(100)]
    return [looks(f"h{i}", 0, [v + offset for v in m], np.nan, fold) for i, m in enumerate(margins)]


def test_repeated_looks_are_paid_for() -> None:
    """Each look flags one honest account of another: 1 % of accounts at any look is a third of that at each."""
    many = [looks(f"h{i}", 0, [float(9 * (i == k)) for k in range(3)]) for i in range(100)]
    one = first_alarms(pd.concat([*many, looks("a", 1, [8.0, 8.0, 8.0])]), "all")
    assert np.isnan(one["review"].iloc[0]), "three of a hundred honest accounts reach 9 at one look or another"


def test_the_first_look_above_the_cut_counts_in_each_fold_by_its_own() -> None:
    attack = [looks("a", 1, [0.5, 2.0, 3.0]), looks("b", 1, [0.5, 0.97]), looks("c", 1, [10.5, 10.5, 12.0], fold=1)]
    found = first_alarms(pd.concat([*honest(), *honest(1, 10.0), *attack]), "all").set_index("account_id")
    assert found["review"].to_dict() == {"a": 10.0, "b": pytest.approx(np.nan, nan_ok=True), "c": 25.0}
    assert found["looked"].to_dict() == {"a": 25, "b": 10, "c": 25}
    assert (found["act"].dropna() >= found["review"][found["act"].notna()]).all()


def test_accounts_that_end_leave_the_estimate_without_being_missed() -> None:
    """Of four accounts one is found at 5; one ends there; of the two that go on, one is found at 10."""
    alarms = pd.DataFrame({"looked": [25, 5, 10, 25], "review": [5, np.nan, 10, np.nan], "share": 1.0})
    assert survival(alarms, "review", LOOKS).to_dict() == pytest.approx({5: 0.75, 10: 0.375, 25: 0.375})
    row = told(alarms.assign(act=np.nan), "review", LOOKS, ["share"]).iloc[0]
    assert row[["accounts", "median", "soon", "never"]].tolist() == [4, 10, pytest.approx(0.625), 0.5]
    assert np.isnan(row["p90"]), "more than a tenth is never found"
    assert set(LEVELS) == {"review", "act"}
