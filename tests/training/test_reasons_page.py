"""Agreement of reasons with exact contributions: hand-made arrays, medians by account, the page of a trained run."""

import shutil
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from toy_run import Run
from typer.testing import CliRunner

from fingerprint import FEATURES, FingerprintError, Scorer
from fingerprint.scorer import FAMILIES
from training.__main__ import app
from training.bench import booster_beside, reasons_of_one_row
from training.dataset import WindowTable
from training.reasons import MEASURES, _weighted_median, agreement, judge, medians

N = len(FEATURES)
OF = [FAMILIES.index(feature.family) for feature in FEATURES]
ALL = np.ones(N, dtype=bool)


def by_family(values: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(OF, row, len(FAMILIES)) for row in values])


def made(seed: int = 0) -> np.ndarray:
    """Contributions of one window, no two alike."""
    return np.random.default_rng(seed).normal(size=(1, N))


def five(values: np.ndarray) -> list[list[int]]:
    return [np.argsort(-values[0])[:5].tolist()]


def test_falls_in_the_order_of_contributions_agree_wholly() -> None:
    exact = made()
    falls = 2 * exact
    (found,) = agreement(by_family(falls), falls, five(exact), exact, ALL).to_dict("records")
    assert list(found) == list(MEASURES)
    assert all(value == pytest.approx(1) for value in found.values())


def test_falls_in_the_opposite_order_do_not_agree_at_all() -> None:
    exact = made()
    falls = -exact
    (found,) = agreement(by_family(falls), falls, five(falls), exact, ALL).to_dict("records")
    assert all(found[name] == pytest.approx(-1) for name in ("spearman", "kendall", "spearman_used", "families"))
    assert found["top"] == found["told"] == found["sign"] == found["family"] == 0
    assert found["weight"] < 0


def test_each_measure_by_hand() -> None:
    """Contributions 5, 4, 3, 2, 1 of five features; of these the falls find three, the reasons two and a wrong one."""
    exact, falls = np.zeros((1, N)), np.zeros((1, N))
    exact[0, :5] = 5, 4, 3, 2, 1
    exact[0, 50] = -2
    falls[0, [0, 1, 2, 50, 51]] = 3, 2, 1, 0.5, 0.4
    used = np.zeros(N, dtype=bool)
    used[:3] = True
    (found,) = agreement(by_family(falls), falls, [[1, 0, 50]], exact, used).to_dict("records")
    assert found["top"] == pytest.approx(3 / 5)
    assert found["told"] == pytest.approx(2 / 5)
    assert found["weight"] == pytest.approx((4 + 5 - 2) / (5 + 4 + 3))
    assert found["sign"] == pytest.approx(2 / 3)
    assert found["spearman_used"] == pytest.approx(1)
    assert found["family"] == 1


def test_nothing_told_and_nothing_to_rank_is_missing_not_wrong() -> None:
    none = np.zeros((1, N))
    (found,) = agreement(by_family(none), none, [[]], made(), ALL).to_dict("records")
    assert all(np.isnan(found[name]) for name in ("spearman", "kendall", "weight", "sign", "families"))


def test_weighted_medians_are_those_of_repeated_values() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 6, 9).astype(float)
    values[4] = np.nan
    weight = rng.integers(0, 4, (50, 9)).astype(float)
    expected = [np.nanmedian(np.repeat(values, row.astype(int))) for row in weight]
    assert _weighted_median(values, weight) == pytest.approx(expected)
    assert np.isnan(_weighted_median(np.full(3, np.nan), np.ones((2, 3)))).all()


def test_an_account_counts_once_and_what_is_operated_together_is_drawn_together() -> None:
    """Ten windows of one account at 0, one each of two others at 1."""
    windows = pd.DataFrame({"account_id": ["a"] * 10 + ["b", "c"], "group": ["a"] * 10 + ["g", "g"]})
    windows = windows.assign(**dict.fromkeys(MEASURES, [0.0] * 10 + [1.0, 1.0]))
    found = medians(windows, 200, 1).set_index("measure").loc["spearman"]
    assert found["median"] == 1
    assert found["mean"] == pytest.approx(2 / 3)
    assert (found["mean_low"], found["mean_high"]) == (0, 1), "both, or one, or the other"
    assert found["median_low"] <= found["median"] <= found["median_high"]


@pytest.fixture(scope="module")
def rows(trained: Run) -> WindowTable:
    """Rows between the typical values and far beyond, so that scores are spread."""
    rng = np.random.default_rng(3)
    low, typical, high = np.nan_to_num(Scorer.load(trained.bundle).bundle.baseline)
    X = (typical + rng.normal(size=(3000, N)) * 3 * (high - low + 0.1)).astype(np.float32)
    names = [f"a{i // 3}" for i in range(len(X))]
    return WindowTable(X, pd.DataFrame({"account_id": names, "group": names, "label": np.arange(len(X)) // 3 % 2}))


def lenient(trained: Run, rows: WindowTable) -> Scorer:
    """The scorer with a threshold that a tenth of the rows reaches."""
    scorer = Scorer.load(trained.bundle)
    scorer.review = np.quantile(scorer.score(rows.X), 0.9).astype(np.float32)
    return scorer


def test_flagged_windows_are_judged(trained: Run, rows: WindowTable) -> None:
    scorer, booster = lenient(trained, rows), lgb.Booster(model_file=str(booster_beside(trained.bundle)))
    found = judge(scorer, booster, rows)
    assert len(found.windows) == int((scorer.score(rows.X) >= scorer.review).sum()) == len(found.fixed)
    assert found.looked_at == (3000, 1000)
    assert set(found.windows["level"]) <= {"review", "act"}
    assert set(found.windows["strongest"]) <= set(FAMILIES)
    shares = found.windows[["top", "told", "sign", "family"]].to_numpy(float)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert found.windows["spearman"].median() > 0.2, "the two are not strangers"
    ours, exact = reasons_of_one_row(scorer, booster, found.example)
    assert min(ours, exact) > 0


def test_another_booster_is_refused(trained: Run, rows: WindowTable) -> None:
    scorer = lenient(trained, rows)
    label = np.arange(len(rows.X)) % 2
    other = lgb.train({"verbosity": -1, "objective": "binary"}, lgb.Dataset(rows.X, label), num_boost_round=5)
    with pytest.raises(FingerprintError, match="is not its model"):
        judge(scorer, other, rows)


def test_traffic_without_a_flagged_window_is_refused(trained: Run, rows: WindowTable) -> None:
    scorer, booster = Scorer.load(trained.bundle), lgb.Booster(model_file=str(booster_beside(trained.bundle)))
    typical = np.repeat(scorer.bundle.baseline[1][None], 2, axis=0)
    with pytest.raises(FingerprintError, match="none of 2 windows"):
        judge(scorer, booster, WindowTable(typical, rows.meta.iloc[:2]))


@pytest.mark.filterwarnings("ignore")
def test_the_verb_writes_the_page(trained: Run, tmp_path: Path) -> None:
    world, out = trained.root / "world", tmp_path / "page.md"
    arguments = ["--traffic", world / "traffic", "--labels", world / "labels.csv", "--groups", world / "groups.csv"]
    arguments += ["--bundle", trained.bundle, "--config", trained.settings, "--out", out]
    done = CliRunner().invoke(app, ["reasons", *map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    page = out.read_text("utf-8")
    assert page.strip() in done.stdout
    for told in (*MEASURES.values(), "`review`", "honest (false alarms)", "pred_contrib", "300 accounts"):
        assert told in page
    assert str(trained.root) not in page


def test_a_bundle_without_its_booster_is_refused(trained: Run, tmp_path: Path) -> None:
    bundle, world = tmp_path / "bundle", trained.root / "world"
    shutil.copytree(trained.bundle, bundle)
    arguments = ["--traffic", world / "traffic", "--labels", world / "labels.csv", "--bundle", bundle]
    done = CliRunner().invoke(app, ["reasons", *map(str, arguments), "--out", str(tmp_path / "p.md")])
    assert isinstance(done.exception, FingerprintError)
    assert "native Booster" in str(done.exception)
