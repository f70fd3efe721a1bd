"""Leaving families out: how they are dealt, and that no model has seen what it is judged on; the verb, end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from training import leaveout as module
from training.__main__ import app
from training.config import Split
from training.early import PREFIXES
from training.leaveout import SIZES, VARIANTS, fold_families
from training.leaveout_tables import FPRS
from training.split import read_labels, split_accounts, workload
from training.world import make_world
from training.world.settings import load as load_world


def labelled(families: list[str], label: int, kind: str) -> pd.DataFrame:
    return pd.DataFrame({"family": families, "label": label, "kind": kind})


def test_every_family_source_and_workload_is_left_out_once() -> None:
    programs = [f"{work}:s{i}" for work in ("labelling", "judging") for i in range(3)]
    labels = pd.concat([
        labelled([f"f{i}" for i in range(9)] + ["s1"], 1, "attack"), labelled(programs, 0, "automation"),
        labelled(["human_chat:dolly"], 0, "human"),
    ])  # fmt: skip
    dealt = fold_families(labels, 3, 1)
    names = sorted(name for fold in dealt for name in fold)
    expected = [*(f"f{i}" for i in range(9)), "s0", "s1", "s2", "labelling", "judging", "dolly"]
    assert names == sorted(expected), "s1 is text of both sides and left out of both at once; people have no workload"
    assert dealt == fold_families(labels, 3, 1) != fold_families(labels, 3, 2)


def table(families: list[str], uses: list[str]) -> pd.DataFrame:
    count = len(families)
    labels = [int(family.startswith("f")) for family in families]
    return pd.DataFrame({
        "account_id": [f"a{i}" for i in range(count)], "label": labels, "family": families, "campaign_id": "",
        "group": [f"g{i}" for i in range(count)], "use": uses,
    })  # fmt: skip


def test_named_families_sources_and_workloads_are_held_out_and_no_others() -> None:
    labels = table(["f1", "f2", "f3", "judging:s1", "judging:s2", "labelling:s1", "labelling:s3"] * 40, ["train"] * 280)
    times = {f"a{i}": i for i in range(280)}
    split = split_accounts(labels, times, Split(hold_out=("f1", "judging", "s3")), 2, 3)
    held = split[~split["seen_family"]]
    assert set(held["family"]) == {"f1", "judging:s1", "judging:s2", "labelling:s3"}
    assert set(held["split"]) == {"test"}


def test_text_that_may_only_be_measured_with_is_always_in_test() -> None:
    families = ["f1", "f2", "f3", "f4", "h1", "h2", "h3", "h4"] * 40
    labels = table(families, ["validate" if family in ("f4", "h4") else "train" for family in families])
    times = {f"a{i}": i for i in range(320)}
    for config in (Split(), Split(hold_out=("f1",)), Split(keep=("f4", "h4"), unseen_families=0.0)):
        split = split_accounts(labels, times, config, 2, 3)
        measured = split[split["use"] == "validate"]
        assert len(measured) == 80
        assert set(measured["split"]) == {"test"}
        assert not measured["seen_family"].any()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[pd.DataFrame]]:
    """The verb on a small world: its folder, and what reached each fit."""
    out = tmp_path_factory.mktemp("leaveout")
    make_world(out, load_world("tiny", None, {"accounts": 500, "volume.median": 30.0, "volume.largest": 60}))
    labels = pd.read_csv(out / "labels.csv", dtype=str, keep_default_na=False)
    some = labels.loc[labels["label"] == "1", "family"].iloc[0]
    labels.loc[labels["family"] == some, "use"] = "validate"
    labels.to_csv(out / "labels.csv", index=False)
    (out / "settings.toml").write_text("[lightgbm]\ntrees = 10\n[tune]\nfolds = 2\n[evaluation]\nbootstrap = 20\n")
    fitted: list[pd.DataFrame] = []
    real = module.fit

    def fit(X: Any, meta: pd.DataFrame, *rest: Any, **named: Any) -> Any:
        fitted.append(meta)
        return real(X, meta, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.head.LABELLED", 1200)
        patch.setattr(module, "fit", fit)
        arguments = ["--traffic", "traffic", "--labels", "labels.csv", "--groups", "groups.csv", "--out", "page.md"]
        paths = [argument if argument.startswith("--") else str(out / argument) for argument in arguments]
        result = CliRunner().invoke(
            app, ["evaluate", *paths, "--config", str(out / "settings.toml"), "--folds", "2"], catch_exceptions=False
        )
    assert set(json.loads(result.stdout)) == set(VARIANTS)
    return out, fitted


def test_no_model_has_seen_what_it_is_judged_on(run: tuple[Path, list[pd.DataFrame]]) -> None:
    """What reaches a fit of a fold has none of the fold's families and workloads, and no text for measuring alone."""
    out, fitted = run
    labels = read_labels(out / "labels.csv")
    dealt = fold_families(labels, 2, 20260701)
    assert len(fitted) == 2 * len(VARIANTS)
    judged = []
    for i, meta in enumerate(fitted):
        names = set(dealt[i // len(VARIANTS)])
        learnt, test = meta[meta["split"] != "test"], meta[meta["split"] == "test"]
        assert not set(learnt["family"].str.rpartition(":")[2]) & names
        assert not {workload(*row) for row in zip(learnt["label"], learnt["family"], strict=True)} & names
        assert set(learnt["use"]) == {"train"}
        assert not set(learnt["account_id"]) & set(test["account_id"])
        judged.append(set(test.loc[test["use"] == "validate", "family"]))
    assert sorted(map(len, judged)) == [0, 0, 1, 1], "a family for measuring alone is judged in one fold"


def test_the_page_and_its_tables_say_what_was_measured(run: tuple[Path, list[pd.DataFrame]]) -> None:
    out, _ = run
    page = (out / "page.md").read_text()
    for part in ("**Simulated positives.**", "World: 500 accounts", "aim", "worst honest workload", "Early detection"):
        assert part in page
    assert all((out / "page" / f"{name}.png").stat().st_size > 1000 for name in ("recall", "survival", "workloads"))
    headline = pd.read_csv(out / "page" / "headline.csv")
    assert headline[["variant", "fpr"]].to_records(index=False).tolist() == [(v, f) for v in VARIANTS for f in FPRS]
    assert (headline["realised"] <= headline["fpr"]).all()
    cells = pd.read_csv(out / "page" / "all_by_share_and_size.csv")
    assert set(cells["n_exchanges"]) <= set(SIZES)
    for name in ("plan", "tenure", "lang", "workload"):
        honest = pd.read_csv(out / "page" / f"all_honest_by_{name}.csv")
        assert (honest["0.001_accounts"] <= honest["0.01_accounts"]).all()
        assert set(honest["known"]) <= {True, False}
    curve = pd.read_csv(out / "page" / "all_survival.csv")
    assert set(curve["exchanges"]) <= set(PREFIXES)
    assert curve["left"].between(0, 1).all()
    assert np.isfinite(curve["left"]).all()


def test_the_verb_needs_its_inputs() -> None:
    assert CliRunner().invoke(app, ["evaluate", "--traffic", "none", "--labels", "none", "--out", "x"]).exit_code == 2
