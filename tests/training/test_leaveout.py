"""Leaving families out: how they are dealt, what counts, and that no model has seen what it is judged on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from training import leaveout as module
from training.__main__ import app
from training.config import Split, load
from training.leaveout import VARIANTS, cells, fold_families, headline, interval, leave_out, tables
from training.leaveout_page import write
from training.split import read_labels, split_accounts
from training.world import make_world
from training.world.settings import load as load_world


def frame(attack: list[float], honest: list[float], seen: bool = False) -> pd.DataFrame:
    """One fold of one-window accounts with these scores, the same for both variants."""
    rows = [("a", 1, "boxed_math", seen, 1.0, "en", v) for v in attack] + [
        ("h", 0, "labelling", False, np.nan, "en", v) for v in honest
    ]
    made = pd.DataFrame(rows, columns=["kind", "label", "family", "seen_family", "share", "lang", "score"])
    made["account_id"] = [f"{kind}{i}" for i, kind in enumerate(made["kind"])]
    return made.assign(
        group=made["account_id"], scope="slice", n_exchanges=10, fold=0, account_weight=1.0,
        content=made["score"], all=made["score"],
    )  # fmt: skip


def test_every_family_and_source_is_left_out_once() -> None:
    labels = pd.DataFrame({
        "label": [1] * 9 + [0] * 9,
        "family": [f"f{i}" for i in range(9)] + [f"labelling:s{i % 3}" for i in range(9)],
    })  # fmt: skip
    dealt = fold_families(labels, 3, 1)
    assert sorted(name for fold in dealt for name in fold) == sorted([f"f{i}" for i in range(9)] + ["s0", "s1", "s2"])
    assert all(len(fold) == 4 for fold in dealt)
    assert dealt == fold_families(labels, 3, 1) != fold_families(labels, 3, 2)


def test_named_families_are_held_out_and_no_others() -> None:
    labels = pd.DataFrame({
        "account_id": [f"a{i}" for i in range(240)], "label": [i % 2 for i in range(240)],
        "family": [f"f{i % 6}" for i in range(240)], "campaign_id": "", "group": [f"g{i}" for i in range(240)],
    })  # fmt: skip
    split = split_accounts(labels, {f"a{i}": i for i in range(240)}, Split(hold_out=("f1", "f2")), 2, 3)
    assert set(split.loc[~split["seen_family"], "family"]) == {"f1", "f2"}
    assert set(split.loc[~split["seen_family"], "split"]) == {"test"}


def test_recall_is_taken_where_one_honest_account_in_a_hundred_is_above() -> None:
    scored = frame(attack=[0.5, 1.5, 2.5, 3.5], honest=[*np.linspace(0, 1, 99), 3.0])
    assert headline(scored, "all", 0.01) == 0.75, "the cut is the second highest honest score: one of a hundred above"
    assert headline(scored, "all", 0.001) == 0.25, "none above"
    low, high = interval(scored, "all", 0.01, 50, 1)
    assert low <= 0.75 <= high


def test_families_that_were_trained_on_do_not_count() -> None:
    scored = pd.concat([frame([5.0], [0.0] * 50), frame([0.0] * 9, [], seen=True)], ignore_index=True)
    assert headline(scored, "all") == 1.0
    assert cells(scored, "all", 0.01)["windows"].sum() == 1


def test_tables_name_families_languages_and_honest_workloads() -> None:
    found = tables(frame([2.0, 0.0], [0.0] * 99 + [9.0]))
    assert found["all_by_family"].to_dict("records") == [{"family": "boxed_math", "mean": 0.5, "size": 2}]
    honest = found["content_honest_by_family"].iloc[0]
    assert (honest["family"], honest["accounts"]) == ("labelling", 100)
    assert {f"{v}_{f:g}_by_share_and_size" for v in VARIANTS for f in (0.01, 0.003, 0.001)} <= set(found)


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    told = write(frame([2.0, 0.0], [0.0] * 100), tmp_path / "detection.md", "World: toy.", 1)
    page = (tmp_path / "detection.md").read_text()
    assert told == {"content": 0.5, "all": 0.5}
    for part in ("Simulated positives", "World: toy.", "boxed_math", "labelling", "| 100% | 0.50 (2) |"):
        assert part in page
    assert (tmp_path / "detection" / "recall.png").stat().st_size > 1000
    assert (tmp_path / "detection" / "all_by_family.csv").is_file()


def test_no_model_has_seen_what_it_is_judged_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small world: what reaches a fit of a fold has none of the fold's families, and no window of test."""
    monkeypatch.setattr("training.head.LABELLED", 1200)
    make_world(tmp_path, load_world("tiny", None, {"accounts": 320, "volume.largest": 150}))
    fitted: list[pd.DataFrame] = []
    real = module.fit

    def fit(X: Any, meta: pd.DataFrame, *rest: Any, **named: Any) -> Any:
        fitted.append(meta[meta["split"] != "test"])
        return real(X, meta, *rest, **named)

    monkeypatch.setattr(module, "fit", fit)
    config = load(None, {"lightgbm.trees": 10, "tune.folds": 2})
    labels = tmp_path / "labels.csv"
    scored = leave_out([tmp_path / "traffic"], labels, config, groups=tmp_path / "groups.csv", folds=2)
    dealt = fold_families(read_labels(labels), 2, config.seed)
    assert len(fitted) == 2 * len(VARIANTS)
    for i, meta in enumerate(fitted):
        sources = meta["family"].str.rpartition(":")[2]
        assert not set(sources) & set(dealt[i // len(VARIANTS)])
        fold = scored[scored["fold"] == i // len(VARIANTS)]
        assert not set(meta["account_id"]) & set(fold["account_id"])
    left_out = scored[(scored["label"] == 1) & ~scored["seen_family"]]
    assert len(set(left_out["family"])) > 0.8 * len(set(scored.loc[scored["label"] == 1, "family"]))
    assert np.isfinite(scored[list(VARIANTS)].to_numpy()).all()
    assert not np.array_equal(scored["content"], scored["all"])


def test_the_verb_needs_its_inputs(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["evaluate", "--traffic", "none", "--labels", "none", "--out", "x"]).exit_code == 2
