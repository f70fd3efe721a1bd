from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.bundle import bundle_id
from training import export
from training.export import ExportError, check_parity, edge_rows, to_onnx, write_bundle
from training.fit import Calibration, Levels, Model, round_leaves
from training.graph import ZERO, float32_threshold

if TYPE_CHECKING:
    from conftest import Matrix

BETA = Calibration("beta", 0.7, 0.6, -0.4, {})


def run(data: bytes, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    margin, probability = ort.InferenceSession(data).run(["margin", "probability"], {"features": X})
    return margin, probability


def test_the_graph_takes_any_number_of_rows_and_gives_columns(model: Model, matrix: Matrix) -> None:
    data = to_onnx(model)
    proto = onnx.load_from_string(data)
    assert {o.domain or "ai.onnx": o.version for o in proto.opset_import} == export.OPSET
    for k in (1, 2, 700):
        assert [out.shape for out in run(data, matrix.X[:k])] == [(k, 1), (k, 1)]
        assert [out.dtype for out in run(data, matrix.X[:k])] == [np.float32, np.float32]


@pytest.mark.parametrize("calibration", [None, BETA])
def test_the_export_equals_the_model(model: Model, matrix: Matrix, calibration: Calibration | None) -> None:
    model = model if calibration is None else replace(model, calibration=calibration)
    report = check_parity(to_onnx(model), model, matrix.X)
    assert report.margin_error == 0
    assert report.probability_error <= 3e-7
    assert report.edge_rows > 25 * 7 * 6


def test_it_exports_to_the_same_bytes_each_time(model: Model) -> None:
    assert to_onnx(model) == to_onnx(model)


def test_a_forest_of_single_leaves_exports(model: Model, matrix: Matrix) -> None:
    label = np.arange(len(matrix.X)) % 2
    booster = lgb.train(
        {"objective": "binary", "min_data_in_leaf": 4000, "verbosity": -1}, lgb.Dataset(matrix.X, label), 3
    )
    stump = replace(model, booster=round_leaves(booster))
    assert check_parity(to_onnx(stump), stump, matrix.X[:100]).margin_error == 0


finite = st.floats(-1e299, 1e299, width=64)


@given(threshold=finite, near=st.integers(-3, 3), x=st.floats(width=32, allow_nan=False))
@settings(max_examples=300, deadline=None)
def test_a_float32_threshold_decides_as_the_float64_one_does(threshold: float, near: int, x: float) -> None:
    """LightGBM reads |x| <= 1e-35 as zero, then compares in float64."""
    found = float32_threshold(threshold)
    values = [np.float32(x), np.float32(0), ZERO, -ZERO, found]
    with np.errstate(all="ignore"):
        for _ in range(abs(near)):
            values.append(np.nextafter(values[-1], np.float32(np.inf if near > 0 else -np.inf)))
    for value in values:
        read = 0.0 if abs(float(value)) <= float(ZERO) else float(value)
        assert (value <= found) == (read <= threshold)


@given(
    edges=st.lists(st.floats(-1e30, 1e30, width=64), min_size=1, max_size=6, unique=True),
    missing=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_rows_on_learned_thresholds_take_the_same_branch(edges: list[float], missing: bool, seed: int) -> None:
    """Trees learned on awkward values: huge, tiny and neighbouring ones, with and without missing values."""
    rng = np.random.default_rng(seed)
    values = np.array([v for e in edges for v in (e, np.nextafter(np.float32(e), np.float32(np.inf)))], np.float32)
    X = rng.choice(values, size=(200, 2))
    if missing:
        X[rng.random(X.shape) < 0.2] = np.nan
    label = rng.integers(0, 2, 200)
    settings_ = {
        "objective": "binary",
        "min_data_in_leaf": 5,
        "min_data_in_bin": 1,
        "verbosity": -1,
        "num_threads": 1,
    }
    booster = round_leaves(lgb.train(settings_, lgb.Dataset(X, label, params={"verbosity": -1}), 5))
    model = Model(booster, Calibration("platt", 1.0, 0.0, 0.0, {}), Levels(0.9, 0.95, 1), ("a", "b"), None)  # type: ignore[arg-type]
    assert check_parity(to_onnx(model), model, X).margin_error == 0


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"objective": "regression"}, "objective 'regression'"),
        ({"sigmoid": 2.0}, "objective 'binary sigmoid:2'"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "boosting 'rf'"),
        ({"boosting": "dart"}, "boosting 'dart'"),
        ({"linear_tree": True}, "linear trees"),
        ({"zero_as_missing": True}, "zero taken as missing"),
        ({"categorical": [11]}, "categorical splits"),
        ({}, "leaves that are not multiples"),
    ],
)
def test_what_would_convert_wrongly_is_refused(
    model: Model, matrix: Matrix, params: dict[str, Any], reason: str
) -> None:
    X = np.nan_to_num(matrix.X)
    label = matrix.meta["label"].to_numpy() ^ (X[:, 11] == 2)
    both = {"objective": "binary", "verbosity": -1, "num_threads": 1, **params}
    categorical = both.pop("categorical", "auto")
    booster = lgb.train(both, lgb.Dataset(X, label, params=both, categorical_feature=categorical), 3)
    with pytest.raises(ExportError, match=reason):
        to_onnx(replace(model, booster=booster))


def test_the_gate_refuses_a_graph_of_thresholds_rounded_to_nearest(
    model: Model, matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.graph.float32_threshold", np.float32)
    with pytest.raises(ExportError, match="export differs from the model"):
        check_parity(to_onnx(model), model, matrix.X)


def test_the_gate_refuses_a_graph_with_another_calibrator(model: Model, matrix: Matrix) -> None:
    other = replace(model, calibration=replace(model.calibration, intercept=model.calibration.intercept + 1e-4))
    with pytest.raises(ExportError, match="probability_error"):
        check_parity(to_onnx(other), model, matrix.X)


def test_edge_rows_reach_every_split(model: Model, matrix: Matrix) -> None:
    leaves = model.booster.predict(edge_rows(model.booster, matrix.X), pred_leaf=True)
    dump = model.booster.dump_model()["tree_info"]
    assert all(len(np.unique(leaves[:, i])) == tree["num_leaves"] for i, tree in enumerate(dump))


def bundle(directory: Path, model: Model, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "model": model,
        "onnx_bytes": to_onnx(model),
        "head": np.arange(12, dtype=np.int8).reshape(3, 4),
        "head_info": {"buckets": 3},
        "feature_names": model.feature_names,
        "feature_set": "3f2a",
        "thresholds": model.thresholds.as_dict(),
        "baseline": {"feature_0": [np.float32(0.5), float("nan"), 2]},
        "training_data": [{"name": "toy", "rows": np.int64(3)}],
        "metrics": {"recall": np.float64(0.5)},
        "metrics_of": "forerunner",
        "metrics_thresholds": {"review": 0.5, "act": 0.75},
        "card": "# card\n",
        "package_version": "0.1.0",
    }
    return write_bundle(directory, **{**values, **changes})


def test_a_bundle_states_everything_and_the_hash_of_every_file(model: Model, tmp_path: Path) -> None:
    path = bundle(tmp_path / "new" / "bundle", model)
    assert sorted(f.name for f in path.iterdir()) == ["card.md", "head.npy", "manifest.json", "model.onnx"]
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["features"] == list(model.feature_names)
    assert manifest["baseline"] == {"feature_0": [0.5, None, 2]}
    assert manifest["metrics_of"] == "forerunner"
    assert manifest["metrics_thresholds"] == {"review": 0.5, "act": 0.75}
    assert manifest["thresholds"] == model.thresholds.as_dict()
    assert manifest["opset"] == {"ai.onnx": 18, "ai.onnx.ml": 3}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest
    assert manifest["bundle_id"] == bundle_id(manifest)
    assert np.load(path / "head.npy", allow_pickle=False).dtype == np.int8


def test_the_bundle_id_follows_the_content_alone(model: Model, tmp_path: Path) -> None:
    def identity(name: str, **changes: Any) -> str:
        text = (bundle(tmp_path / name, model, **changes) / "manifest.json").read_text()
        return str(json.loads(text)["bundle_id"])

    assert identity("a") == identity("b") != identity("c", card="# another\n")
    assert identity("d", thresholds={"review": 0.1, "act": 0.2}) != identity("a")


def test_a_bundle_that_fails_leaves_the_old_one_and_no_rubbish(model: Model, tmp_path: Path) -> None:
    path = bundle(tmp_path / "bundle", model)
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(TypeError):
        bundle(path, model, metrics={"recall": object()})
    assert (path / "manifest.json").read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]
    bundle(path, model, card="# new\n")
    assert (path / "card.md").read_text() == "# new\n"
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]
