"""The scorer: one row and many, threads, levels at their thresholds, and reasons that say what they claim."""

import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import exchange, exchanges, window_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from toy_bundle import FOLLOWED, OPSETS, toy_bundle, write_manifest

from fingerprint import FEATURES, BundleError, ExchangeError, FingerprintError, Scorer, Window, features
from fingerprint.scorer import verify

PLACE = [feature.name for feature in FEATURES].index(FOLLOWED)
Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("scorer") / "toy")


@pytest.fixture(scope="module")
def scorer(path: Path) -> Scorer:
    return Scorer.load(path)


def rows(*followed: float) -> Rows:
    out = np.zeros((len(followed), len(FEATURES)), np.float32)
    out[:, PLACE] = followed
    return out


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def test_the_score_is_the_models_probability(scorer: Scorer) -> None:
    values = np.array([0, 0.25, 0.5, 1, np.nan])
    expected = sigmoid(8 * np.nan_to_num(values) - 4)
    found = scorer.score(rows(*values))
    assert found.dtype == np.float32
    assert found.shape == (5,)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40))
def test_one_row_is_scored_as_in_a_batch_to_the_bit(scorer: Scorer, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(count, len(FEATURES))) * 10 ** rng.uniform(-3, 6)).astype(np.float32)
    X[rng.random(X.shape) < 0.2] = np.nan
    together = scorer.score(X)
    alone = [scorer.score(row[None]) for row in X]
    assert all(one.shape == (1,) and one.dtype == np.float32 for one in alone)
    assert np.array_equal(together, np.concatenate([*alone, np.empty(0, np.float32)]), equal_nan=True)


def test_an_earlier_result_is_not_overwritten(scorer: Scorer) -> None:
    first = scorer.score(rows(0))
    kept = first.copy()
    scorer.score(rows(1))
    assert np.array_equal(first, kept)


def test_rows_that_do_not_lie_in_one_piece(scorer: Scorer) -> None:
    wide = np.zeros((3, 2 * len(FEATURES)), np.float32)
    wide[:, 2 * PLACE] = [0, 0.5, 1]
    for X in (wide[:, ::2], np.asfortranarray(rows(0, 0.5, 1)), rows(1, 0.5, 0)[::-1]):
        assert scorer.score(X) == pytest.approx(sigmoid([-4, 0, 4]), abs=1e-6)
        assert scorer.score(X[2:]) == pytest.approx(sigmoid([4]), abs=1e-6)


def test_no_rows(scorer: Scorer) -> None:
    assert scorer.score(rows()).shape == (0,)
    assert scorer.level(scorer.score(rows())) == []
    assert scorer.reasons(rows()) == []


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((1, len(FEATURES)), np.float64),
        np.zeros((4, len(FEATURES)), np.int32),
        np.zeros(len(FEATURES), np.float32),
        np.zeros((1, len(FEATURES) - 1), np.float32),
        np.zeros((2, len(FEATURES) + 1), np.float32),
        np.zeros((1, 1, len(FEATURES)), np.float32),
    ],
)
def test_features_of_another_type_or_shape_are_refused(scorer: Scorer, given: NDArray[Any]) -> None:
    with pytest.raises(FingerprintError, match=rf"expected float32\[k, {len(FEATURES)}\] .* got {given.dtype}"):
        scorer.score(given)


def test_eight_threads_get_their_own_answers(scorer: Scorer) -> None:
    """The one-row path has buffers of its own in each thread."""
    values = np.linspace(0, 1, 64)
    expected = [float(scorer.score(rows(value))[0]) for value in values]

    def work(start: int) -> bool:
        order = np.random.default_rng(start).permutation(64)
        return all(float(scorer.score(rows(values[i]))[0]) == expected[i] for _ in range(30) for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [True] * 8


def test_levels_begin_exactly_at_their_thresholds(scorer: Scorer) -> None:
    review, act = np.float32(0.4), np.float32(0.9)
    below = [np.nextafter(t, np.float32(0)) for t in (review, act)]
    scores = np.array([0, below[0], review, below[1], act, 1], np.float32)
    assert scorer.level(scores) == ["allow", "allow", "review", "review", "act", "act"]


def test_equal_thresholds_leave_no_review(tmp_path: Path) -> None:
    path = toy_bundle(tmp_path / "toy")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["thresholds"] = {"review": 0.5, "act": 0.5}
    write_manifest(path, manifest)
    assert Scorer.load(path).level(np.array([0.49, 0.5], np.float32)) == ["allow", "act"]


def two_feature_bundle(directory: Path) -> Path:
    """A model of three features: sigmoid(4 a + 2 b - c); typical values 0.25, 0.5 and 0."""
    path = toy_bundle(directory)
    weights = np.zeros((len(FEATURES), 1), np.float32)
    weights[:3, 0] = 4, 2, -1
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["margin"]),
            helper.make_node("Sigmoid", ["margin"], ["probability"]),
        ],
        "two",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(FEATURES)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("margin", "probability")],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    content = helper.make_model(graph, opset_imports=OPSETS, ir_version=9).SerializeToString()
    (path / "model.onnx").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(content).hexdigest()
    for j, typical in enumerate((0.25, 0.5, 0.0)):
        manifest["baseline"][FEATURES[j].name] = [0.0, typical, 1.0]
    write_manifest(path, manifest)
    return path


def test_reasons_are_strongest_first_and_without_is_the_score_at_the_typical_value(tmp_path: Path) -> None:
    """1, 1 and 1 against typical 0.25, 0.5 and 0: the first adds 3 to the margin, the second 1, the third takes 1."""
    scorer = Scorer.load(two_feature_bundle(tmp_path / "two"))
    X = rows(0)
    X[0, :3] = 1
    (found,) = scorer.reasons(X)
    assert [reason["feature"] for reason in found] == [FEATURES[0].name, FEATURES[1].name]
    assert [reason["without"] for reason in found] == pytest.approx([sigmoid(5 - 3), sigmoid(5 - 1)], abs=1e-6)
    assert [(reason["value"], reason["typical"]) for reason in found] == [(1, 0.25), (1, 0.5)]
    for reason, feature in zip(found, FEATURES, strict=False):
        at_typical = X.copy()
        at_typical[0, FEATURES.index(feature)] = reason["typical"]
        assert reason["without"] == pytest.approx(float(scorer.score(at_typical)[0]), abs=1e-7)
        assert reason["family"] == feature.family
        assert feature.name in reason["sentence"]
        assert feature.why in reason["sentence"]


def test_a_missing_value_can_be_a_reason_and_is_told_as_missing(path: Path, tmp_path: Path) -> None:
    other = toy_bundle(tmp_path / "toy")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["baseline"][FOLLOWED] = [-1.0, -1.0, -1.0]
    write_manifest(other, manifest)
    ((reason,),) = Scorer.load(other).reasons(rows(np.nan))
    assert reason["value"] is None
    assert f"{FOLLOWED} is missing" in reason["sentence"]


def test_there_are_few_reasons_and_none_where_nothing_raises_the_score(scorer: Scorer) -> None:
    assert scorer.reasons(rows(0)) == [[]]
    assert [len(found) for found in scorer.reasons(rows(1, 0, 0.5))] == [1, 0, 1]


def test_a_window_is_read_scored_and_judged(scorer: Scorer) -> None:
    """The README's example: exchanges one by one into a window, then its score."""
    window = Window.empty()
    records = [exchange(exchange_id=str(i), timestamp=1_772_366_400 + i, logprobs=True) for i in range(4)]
    for record in records:
        window.update(scorer.read(record, after=window))
    assert window == window_of(records, scorer.head)
    assert scorer.level(scorer.score(features(window))) == ["act"]


def test_reading_without_the_earlier_window_leaves_the_gap_open(scorer: Scorer) -> None:
    records = exchanges(2, 1)
    window = Window.empty().update(scorer.read(records[0]))
    with_gap, without = scorer.read(records[1], after=window), scorer.read(records[1])
    assert without.when[0, 1] == -1
    assert with_gap.when[0, 1] == with_gap.when[0, 0] - window.last_us


def test_a_record_that_breaks_the_contract_is_refused(scorer: Scorer) -> None:
    with pytest.raises(ExchangeError, match="missing:account id"):
        scorer.read(exchange(account_id=None))


@pytest.mark.parametrize("kind", ["rubbish", "shape", "name", "type", "output"])
def test_a_model_that_is_not_of_this_shape_is_refused(tmp_path: Path, kind: str) -> None:
    """The hash is right, the graph is not."""
    path = toy_bundle(tmp_path / "toy")
    width = len(FEATURES) + (kind == "shape")
    number = TensorProto.DOUBLE if kind == "type" else TensorProto.FLOAT
    given, made = "rows" if kind == "name" else "features", "score" if kind == "output" else "probability"
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", [given], [made], keepdims=1, axes=[1])],
        "odd",
        [helper.make_tensor_value_info(given, number, [None, width])],
        [helper.make_tensor_value_info(made, number, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=9).SerializeToString()
    content = b"rubbish" if kind == "rubbish" else model
    (path / "model.onnx").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(content).hexdigest()
    write_manifest(path, manifest)
    with pytest.raises(
        BundleError, match=r"onnxruntime refuses model\.onnx|expected input features|model\.onnx has \{\}"
    ):
        verify(path)


def test_verify_loads_and_runs(path: Path) -> None:
    assert verify(path).bundle_id == Scorer.load(path).bundle_id


def test_parts_read_with_the_true_previous_time_merge_to_the_same_bits(scorer: Scorer) -> None:
    """Exchanges of one account dealt out to three windows, the time of the newest kept where all find it."""
    records = exchanges(60, 4)
    whole, parts, blind = Window.empty(), [Window.empty() for _ in range(3)], [Window.empty() for _ in range(3)]
    last_us = None
    for i, record in enumerate(records):
        whole.update(scorer.read(record, after=whole))
        rows = scorer.read(record, after=last_us)
        parts[i % 3].update(rows)
        last_us = rows.last_us
        blind[i % 3].update(scorer.read(record, after=blind[i % 3]))
    assert parts[2].merge(parts[0]).merge(parts[1]) == whole
    assert blind[2].merge(blind[0]).merge(blind[1]) != whole, "the condition that the README states"
    assert last_us == whole.last_us


@pytest.mark.parametrize("after", ["2026-03-01T10:00:00Z", 1.5, True, {}])
def test_the_previous_time_is_a_window_or_microseconds(scorer: Scorer, after: Any) -> None:
    with pytest.raises(FingerprintError, match="after: expected a Window or microseconds UTC, got"):
        scorer.read(exchange(), after=after)
    assert scorer.read(exchange(), after=np.int64(1_772_000_000_000_000)).when[0, 1] > 0  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [[[0.0] * len(FEATURES)], None, Window.empty()])
def test_what_are_no_features_are_refused(scorer: Scorer, given: Any) -> None:
    with pytest.raises(FingerprintError, match=r"expected float32\[k, \d+\] .* got (list|NoneType|Window)"):
        scorer.score(given)


@pytest.mark.parametrize("given", [np.zeros((1, 9)), [np.zeros(9)], 7, None, [Window.empty(), {}], "w"])
def test_what_are_no_windows_are_refused(given: Any) -> None:
    with pytest.raises(FingerprintError, match="expected a Window or a sequence of them, got"):
        features(given)
    for act in (Window.empty().update, Window.empty().merge):
        with pytest.raises(FingerprintError, match="expected"):
            act(given)


def test_windows_may_come_one_by_one() -> None:
    assert features(Window.empty() for _ in range(2)).shape == (2, len(FEATURES))  # type: ignore[arg-type]
    assert features([]).shape == (0, len(FEATURES))


def test_a_scorer_is_pickled_as_its_bundle(scorer: Scorer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that worker processes can be given one; the bundle is checked again."""
    near = toy_bundle(tmp_path / "near")
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Scorer.load("near"))
    monkeypatch.chdir("/")
    assert len(content) < 1000
    again = pickle.loads(content)
    assert np.array_equal(again.score(rows(0, 0.5, 1)), scorer.score(rows(0, 0.5, 1)))
    (near / "card.md").write_text("changed")
    with pytest.raises(BundleError):
        pickle.loads(content)
