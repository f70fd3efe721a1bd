"""The bake-off end to end on a small world: who learns from whom, that all are judged on the same; scores by size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from training import bakeoff as module
from training.__main__ import app
from training.bakeoff import BY_SIZE, LEAST, Bout, Clock, by_size
from training.config import load
from training.leaveout import SIZES, VARIANTS, judged, variant_model
from training.leaveout_tables import FPRS
from training.rivals import DETECTORS, RIVALS
from training.rivals_features import outlying
from training.world import make_world
from training.world.settings import load as load_world


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bout, list[Any], list[Any]]:
    """The verb on a small world: its folder, the scores, each fold's windows, and what the first rivals learnt from."""
    out = tmp_path_factory.mktemp("bakeoff")
    make_world(out, load_world("tiny", None, {"accounts": 500, "volume.median": 30.0, "volume.largest": 60}))
    (out / "settings.toml").write_text(
        "[lightgbm]\ntrees = 10\nnum_threads = 1\n[tune]\nfolds = 2\n[evaluation]\nbootstrap = 20\n"
    )
    bouts, drawn, learnt = [], [], []
    real_bake, real_draw, real_outlying = module.bake_off, module._drawn, outlying

    def bake(*rest: Any, **named: Any) -> Bout:
        bouts.append(real_bake(*rest, **named))
        return bouts[-1]

    def draw(*rest: Any) -> Any:
        found = real_draw(*rest)
        drawn.append(found[1])
        return found

    def outlies(fit: Any, train: Any, calib: Any, rows: Any, seed: int) -> Any:
        learnt.append((train, calib, rows))
        return real_outlying(fit, train, calib, rows, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.head.LABELLED", 1200)
        patch.setattr(module, "bake_off", bake)
        patch.setattr(module, "_drawn", draw)
        patch.setattr(module, "outlying", outlies)
        patch.setattr("training.pooled.NULL", 50)
        arguments = ["--traffic", "traffic", "--labels", "labels.csv", "--groups", "groups.csv", "--out", "page.md"]
        paths = [argument if argument.startswith("--") else str(out / argument) for argument in arguments]
        result = CliRunner().invoke(
            app, ["bakeoff", *paths, "--config", str(out / "settings.toml"), "--folds", "2"], catch_exceptions=False
        )
    assert set(json.loads(result.stdout)) == set(DETECTORS)
    return out, bouts[0], drawn, learnt


def test_rivals_learn_from_honest_accounts_of_the_training_split_alone(run: Any) -> None:
    _, _, drawn, learnt = run
    assert len(drawn) == 2
    for fold, (train, calib, rows) in zip(drawn, learnt[:: len(learnt) // 2], strict=True):
        meta = fold.table.meta
        for part, split in ((fold.train, "train"), (fold.calib, "calib")):
            assert len(part)
            assert set(meta["label"].iloc[part]) == {0}
            assert set(meta["split"].iloc[part]) == {split}
            assert meta["seen_family"].iloc[part].all()
        np.testing.assert_array_equal(train, fold.table.X[fold.train])
        np.testing.assert_array_equal(calib, fold.table.X[fold.calib])
        assert len(rows) == len(fold.calib) + len(fold.rows)
        test = set(meta["account_id"].iloc[fold.rows])
        assert not test & set(meta["account_id"].iloc[np.r_[fold.train, fold.calib]])


def test_everyone_is_judged_on_the_windows_that_judge_the_product(run: Any) -> None:
    """Windows are those of `leaveout.judged`, the product's margins those of its models; rivals score all of them."""
    out, bout, drawn, _ = run
    for number, fold in enumerate(drawn):
        rows, expected = judged(fold.table.meta, number)
        counts = ((expected["label"] == 0) | ~expected["seen_family"]).to_numpy()
        expected = expected[counts].reset_index(drop=True)
        own = bout.windows[bout.windows["fold"] == number].reset_index(drop=True)
        pd.testing.assert_frame_equal(own[expected.columns], expected)
        for variant in VARIANTS:
            model = variant_model(variant, fold.table, load(out / "settings.toml"))
            np.testing.assert_array_equal(own[variant], model.margin(fold.table.X[rows[counts]]))
    columns = [column for column in bout.windows if ": " in column]
    assert {column.partition(": ")[0] for column in columns} == set(RIVALS)
    assert np.isfinite(bout.windows[columns].to_numpy(float)).all()
    assert {column + BY_SIZE for column in columns if not column.endswith(BY_SIZE)} < set(columns)
    assert set(bout.seconds) == {*DETECTORS, "embedding"} - {"compression"}


def test_mmd_is_judged_on_one_pool_too(run: Any) -> None:
    """Families left out that some account does nothing else with; an honest window needs half of the pool at most."""
    _, bout, _, _ = run
    pure = bout.windows[(bout.windows["label"] == 1) & (bout.windows["share"] == 1)]
    assert len(bout.pooled) > 0
    assert set(bout.pooled["family"]) <= set(pure["family"])
    assert (bout.pooled["found"] <= bout.pooled["windows"]).all()


def test_the_page_tells_every_detector_and_holds_no_prompt(run: Any) -> None:
    out, _, _, _ = run
    page = (out / "page.md").read_text()
    for part in ("**Simulated positives.**", "World: 500 accounts", "![recall of each detector](page/recall.png)"):
        assert part in page
    assert all(detector.title in page and detector.source in page for detector in DETECTORS.values())
    assert (out / "page" / "recall.png").stat().st_size > 1000
    headline = pd.read_csv(out / "page" / "headline.csv")
    assert len(headline) == len(DETECTORS) * len(FPRS)
    assert (headline["realised"] <= headline["fpr"]).all()
    cells = pd.read_csv(out / "page" / "by_share_and_size.csv")
    assert set(cells["n_exchanges"]) <= set(SIZES)
    assert set(cells["detector"]) == set(DETECTORS)
    (file,) = (out / "traffic").glob("*.parquet")
    prompts = {text[:60] for text in pq.read_table(file)["prompt"].to_pylist() if len(text) > 60}
    written = page + "".join(path.read_text() for path in (out / "page").glob("*.csv"))
    assert len(prompts) > 1000
    assert not any(prompt in written for prompt in prompts)


def test_scores_by_size_are_told_from_honest_windows_of_the_size() -> None:
    """Sizes 10 and 100 whose honest scores have other middles and spreads; of size 30 there are too few."""
    rng = np.random.default_rng(1)
    honest = [rng.normal(5, 1, 400), rng.normal(50, 10, 400), rng.normal(50, 10, LEAST - 1)]
    size = np.repeat([10, 100, 30], [len(part) for part in honest])
    judged, sizes = np.array([6.0, 60.0, np.nan, 30.0]), np.array([10, 100, 10, 30])
    calib = len(size)
    scaled, plain = by_size(np.r_[np.concatenate(honest), judged], np.r_[size, sizes], calib)
    for at, known in enumerate([honest[0], honest[1], None, np.concatenate(honest)]):
        if known is not None:
            low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
            assert scaled[calib + at] == pytest.approx((judged[at] - middle) / (high - low))
    assert scaled[calib + 2] == 0, "what cannot be scored is typical"
    assert plain[calib + 2] == np.median(honest[0])


def test_a_score_of_one_value_has_no_span_to_divide_by() -> None:
    scaled, plain = by_size(np.ones(2 * LEAST), np.full(2 * LEAST, 10), LEAST)
    assert not scaled.any()
    assert (plain == 1).all()


def test_the_clock_adds_up_by_name() -> None:
    clock = Clock()
    for name in ("a", "b", "a"):
        with clock(name):
            pass
    assert set(clock.seconds) == {"a", "b"}
    before = clock.seconds["a"]
    with clock("a"):
        sum(range(10_000))
    assert clock.seconds["a"] > before > 0


def test_variants_of_the_product_come_first() -> None:
    assert list(DETECTORS)[: len(VARIANTS)] == list(VARIANTS)
    assert set(DETECTORS) == {*VARIANTS, *RIVALS}
