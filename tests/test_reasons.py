"""Reasons: families first, features in them, in log odds, from one run of the model; and what people are told."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper
from toy_bundle import FOLLOWED, graph_of, toy_bundle

from fingerprint import FEATURES, BundleError, Scorer
from fingerprint.scorer import FAMILIES
from fingerprint.verdicts import verdict_kinds, writer

NAMES = [feature.name for feature in FEATURES]
OF = {family: [j for j, feature in enumerate(FEATURES) if feature.family == family] for family in FAMILIES}
FIELDS = ["family", "feature", "value", "typical", "low", "high", "without", "family_without", "sentence"]


def linear(weights: dict[int, float], bias: float = 0) -> bytes:
    """margin = sum of weights times features, missing ones taken as 0."""
    w = np.zeros((len(FEATURES), 1), np.float32)
    for j, weight in weights.items():
        w[j] = weight
    nodes = [
        helper.make_node("IsNaN", ["features"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "features"], ["known"]),
        helper.make_node("MatMul", ["known", "w"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["margin"]),
    ]
    return graph_of(nodes, {"w": w, "zero": np.zeros(1, np.float32), "bias": np.array([bias], np.float32)})


def largest_of(groups: list[tuple[list[int], float]]) -> bytes:
    """margin = for each group of features its weight times the largest of them: siblings that say the same."""
    nodes, terms, constants = [], [], {}
    for i, (members, weight) in enumerate(groups):
        constants |= {f"at{i}": np.array(members, np.int64), f"w{i}": np.array([weight], np.float32)}
        nodes += [
            helper.make_node("Gather", ["features", f"at{i}"], [f"some{i}"], axis=1),
            helper.make_node("ReduceMax", [f"some{i}"], [f"most{i}"], axes=[1], keepdims=1),
            helper.make_node("Mul", [f"most{i}", f"w{i}"], [f"term{i}"]),
        ]
        terms.append(f"term{i}")
    return graph_of([*nodes, helper.make_node("Sum", terms, ["margin"])], constants)


def scorer_of(path: Path, model: bytes | None = None, typical: Any = None) -> Scorer:
    return Scorer.load(toy_bundle(path / "toy", model, typical))


def row(values: dict[int, float]) -> NDArray[np.float32]:
    found = np.zeros((1, len(FEATURES)), np.float32)
    for j, value in values.items():
        found[0, j] = value
    return found


class Counted:
    """A session that counts its runs."""

    def __init__(self, session: Any) -> None:
        self.session, self.rows = session, list[int]()

    def run(self, outputs: list[str], feed: dict[str, NDArray[np.float32]]) -> Any:
        self.rows.append(len(feed["features"]))
        return self.session.run(outputs, feed)


def counting(scorer: Scorer) -> Counted:
    scorer._session = counted = Counted(scorer._session)
    return counted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_one_family_gives_reasons_of_that_family_only(tmp_path: Path, family: str) -> None:
    scorer = scorer_of(tmp_path, linear(dict.fromkeys(OF[family], 1.0)))
    (found,) = scorer.reasons(np.ones((1, len(FEATURES)), np.float32))
    assert {reason["family"] for reason in found} == {family}
    assert len(found) == min(5, len(OF[family]))


def test_one_run_of_the_model_a_row(tmp_path: Path) -> None:
    scorer = scorer_of(tmp_path, linear(dict.fromkeys(range(0, len(FEATURES), 7), 1.0)))
    session = counting(scorer)
    scorer.reasons(np.ones((3, len(FEATURES)), np.float32))
    assert session.rows == [1 + len(FAMILIES) + len(FEATURES)] * 3


def test_families_come_first_and_share_the_places_in_proportion(tmp_path: Path) -> None:
    """Capability falls by 6 in three steps, timing by 5 in one, client by 0.4."""
    a, b, c = OF["capability"], OF["timing"], OF["client"]
    weights = {a[0]: 1, a[1]: 3, a[2]: 2, b[3]: 5, c[0]: 0.2, c[1]: 0.2}
    scorer = scorer_of(tmp_path, linear(weights, -4))
    (found,) = scorer.reasons(row(dict.fromkeys(weights, 1.0)))
    assert [NAMES.index(reason["feature"]) for reason in found] == [a[1], a[2], a[0], b[3], c[0]]
    assert [reason["family_without"] for reason in found] == sorted(reason["family_without"] for reason in found)
    odds = {reason["feature"]: np.log(reason["without"] / (1 - reason["without"])) for reason in found}
    total = sum(weights.values()) - 4
    assert odds[NAMES[b[3]]] == pytest.approx(total - 5, abs=1e-4)
    assert odds[NAMES[a[1]]] == pytest.approx(total - 3, abs=1e-4)


def test_a_family_that_does_not_lower_the_score_gives_none(tmp_path: Path) -> None:
    """One of its features raises the score, another takes as much away."""
    a, b = OF["timing"], OF["request"]
    scorer = scorer_of(tmp_path, linear({a[0]: 3, a[1]: -3, b[0]: 1}))
    (found,) = scorer.reasons(row({a[0]: 1, a[1]: 1, b[0]: 1}))
    assert [NAMES.index(reason["feature"]) for reason in found] == [b[0]]


def test_siblings_that_say_the_same_are_caught_by_their_family(tmp_path: Path) -> None:
    """Without either alone nothing falls; the one told is used by the model and raises the score by itself."""
    a, b = OF["diversity"], OF["economics"]
    scorer = scorer_of(tmp_path, largest_of([([a[2], a[5]], 4.0), ([b[1]], 1.0)]))
    apart = Scorer.load(scorer.bundle.path)
    session = counting(scorer)
    (found,) = scorer.reasons(row({a[0]: 9, a[2]: 0.8, a[5]: 0.8, a[9]: 9, b[1]: 1}))
    assert [reason["family"] for reason in found] == ["diversity", "economics"]
    first = found[0]
    assert NAMES.index(first["feature"]) in (a[2], a[5])
    assert first["without"] == pytest.approx(float(apart.score(row({a[2]: 0.8, a[5]: 0.8, b[1]: 1}))[0]), abs=1e-6)
    assert first["family_without"] == pytest.approx(float(apart.score(row({b[1]: 1}))[0]), abs=1e-6)
    assert "Other figures of diversity say the same" in first["sentence"]
    assert "say the same" not in found[1]["sentence"]
    assert session.rows[:2] == [1 + len(FAMILIES) + len(FEATURES), len(a)]


def test_of_siblings_the_one_that_raises_the_score_most_by_itself_is_told(tmp_path: Path) -> None:
    """Two nearly equal ones, of which the second is a little larger, and a smaller one that says nothing more."""
    a = OF["timing"]
    scorer = scorer_of(tmp_path, largest_of([(a[3:6], 4.0)]))
    (found,) = scorer.reasons(row({a[3]: 0.8, a[4]: 0.8001, a[5]: 0.5}))
    assert [NAMES.index(reason["feature"]) for reason in found] == [a[4]]


def test_a_saturated_score_still_has_reasons_in_order(tmp_path: Path) -> None:
    """Probabilities are all one to seven digits; the odds are not."""
    a, b = OF["capability"], OF["conversation"]
    scorer = scorer_of(tmp_path, linear({a[0]: 3, b[0]: 6, b[1]: 2}, 30))
    given = row({a[0]: 1, b[0]: 1, b[1]: 1})
    assert scorer.score(given)[0] == 1
    (found,) = scorer.reasons(given)
    assert [NAMES.index(reason["feature"]) for reason in found] == [b[0], b[1], a[0]]
    assert all(reason["without"] == 1 for reason in found), "still told as a probability"


def test_a_missing_value_is_told_as_missing_with_why(tmp_path: Path) -> None:
    j = NAMES.index(FOLLOWED)
    scorer = scorer_of(tmp_path, typical={FOLLOWED: [-1.0, -1.0, -1.0]})
    ((reason,),) = scorer.reasons(row({j: np.nan}))
    assert reason["value"] is None
    assert f"{FOLLOWED} is missing ({FEATURES[j].missing})" in reason["sentence"]
    assert "honest traffic has -1 at least nine times in ten" in reason["sentence"]


def test_what_honest_traffic_lacks_is_told_as_missing_there(tmp_path: Path) -> None:
    j = NAMES.index(FOLLOWED)
    scorer = scorer_of(tmp_path, typical={FOLLOWED: [None, None, None]})
    ((reason,),) = scorer.reasons(row({j: 1}))
    assert [reason[name] for name in ("value", "typical", "low", "high")] == [1, None, None, None]
    assert "it is missing in honest traffic" in reason["sentence"]
    json.dumps(reason, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (2.0, "is 2 (share); honest traffic usually has 0.25, nine times in ten 0 to 0.5. Token"),
        (0.5, "is 0.5 (share); honest traffic usually has 0.25, nine times in ten 0 to 0.5, so by itself this is not"),
    ],
)
def test_the_sentence(tmp_path: Path, value: float, told: str) -> None:
    scorer = scorer_of(tmp_path, typical={FOLLOWED: [0.0, 0.25, 0.5]})
    ((reason,),) = scorer.reasons(row({NAMES.index(FOLLOWED): value}))
    assert list(reason) == FIELDS
    assert (reason["low"], reason["typical"], reason["high"]) == (0, 0.25, 0.5)
    assert reason["sentence"].startswith(f"{FOLLOWED} {told}")
    assert reason["sentence"].endswith(FEATURES[NAMES.index(FOLLOWED)].why)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_what_reasons_claim_holds_of_any_linear_model(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = dict(enumerate((rng.normal(size=len(FEATURES)) * (rng.random(len(FEATURES)) < 0.3)).tolist()))
    scorer = scorer_of(tmp_path_factory.mktemp("linear"), linear(weights, -2))
    X = rng.random((1, len(FEATURES))).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    (found,), score = scorer.reasons(X), float(scorer.score(X)[0])
    assert len(found) <= 5
    assert len({reason["feature"] for reason in found}) == len(found)
    order = [(reason["family_without"], reason["without"]) for reason in found]
    assert all(a <= b or a == pytest.approx(b, abs=1e-5) for a, b in pairwise(order))
    for reason in found:
        j, family = NAMES.index(reason["feature"]), OF[reason["family"]]
        alone, together = X.copy(), X.copy()
        alone[0, j], together[0, family] = 0, 0
        assert reason["without"] == pytest.approx(float(scorer.score(alone)[0]), abs=1e-6)
        assert reason["family_without"] == pytest.approx(float(scorer.score(together)[0]), abs=1e-6)
        assert reason["family_without"] < score
        assert reason["without"] < score
    sums = {family: np.nansum(X[0, OF[family]] * [weights[j] for j in OF[family]]) for family in FAMILIES}
    if max(sums.values()) > 1e-2:
        assert found[0]["family"] == max(sums, key=lambda family: sums[family])
    else:
        assert all(sums[reason["family"]] > 0 for reason in found)


def test_reasons_fit_the_files(tmp_path: Path) -> None:
    """The columns of Parquet are the fields of a reason."""
    import pyarrow.parquet as pq

    scorer = scorer_of(tmp_path)
    (reasons,) = scorer.reasons(row({NAMES.index(FOLLOWED): 1}))
    out = tmp_path / "v.parquet"
    columns = {name: ["x"] for name in ("entity_id", "account_id", "level", "bundle_id")}
    times = dict.fromkeys(("first_seen", "last_seen"), np.array([0]))
    with writer(str(out), verdict_kinds()) as write:
        write({**columns, **times, "n_exchanges": [1], "score": np.float32([1]), "reasons": [reasons]})
    assert pq.read_table(out)["reasons"].to_pylist() == [reasons]


def test_a_model_without_a_margin_is_refused(tmp_path: Path) -> None:
    model = graph_of([helper.make_node("ReduceMax", ["features"], ["margin"], axes=[1], keepdims=1)], {})
    with pytest.raises(BundleError, match="outputs margin, probability"):
        scorer_of(tmp_path, model.replace(b"margin", b"nigram"))
