"""The scorer: a verified bundle in onnxruntime. Features in, calibrated probability out, level and reasons.

What it leaves out: state (``Window``), traffic files (``readers``), policy over time.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it at import; set it to 0 to allow it

import onnxruntime

from fingerprint import bundle as bundles
from fingerprint.contribution import Contributions, read_exchange
from fingerprint.errors import BundleError, FingerprintError
from fingerprint.features import FEATURES, Feature
from fingerprint.kernels.layout import MISSING
from fingerprint.window import Window

__all__ = ["FAMILIES", "Falls", "Scorer", "verify"]

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(feature.family for feature in FEATURES))
_OUTPUTS = ["probability"]
_BOTH = ["margin", "probability"]
_EXPECTED = f"expected float32[k, {len(FEATURES)}] from fingerprint.features"
_MAX_REASONS = 5
_LEAST_FALL = 1e-3  # in log odds; less than a thousandth of the odds is no reason
_FAMILY_OF = [FAMILIES.index(feature.family) for feature in FEATURES]
_MEMBERS = np.array(_FAMILY_OF) == np.arange(len(FAMILIES))[:, None]
_REPLACED = np.concatenate([_MEMBERS, np.eye(len(FEATURES), dtype=bool)])  # in a row each: families, then features
FEW = 4  # rows that are scored through bound buffers


def _session(bundle: bundles.Bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own kinds, none of them public
        raise BundleError(f"bundle {bundle.path}: onnxruntime refuses model.onnx ({type(error).__name__})") from None
    found = [(i.name, i.type, i.shape[-1]) for i in session.get_inputs()]
    made = [output.name for output in session.get_outputs()]
    if found != [("features", "tensor(float)", len(FEATURES))] or not set(_BOTH) <= set(made):
        expected = f"expected input features[{len(FEATURES)}] and outputs {', '.join(_BOTH)}"
        raise BundleError(f"bundle {bundle.path}: {expected}, got {found} and {', '.join(made)}")
    return session


class _Bound:
    """Buffers of ``count`` rows bound to the session: scoring a few windows without building their feed each time."""

    def __init__(self, session: onnxruntime.InferenceSession, count: int) -> None:
        self.features = np.zeros((count, len(FEATURES)), np.float32)
        self.probability = np.zeros((count, 1), np.float32)
        self.binding = session.io_binding()
        for bind, name, part in (
            (self.binding.bind_input, "features", self.features),
            (self.binding.bind_output, _OUTPUTS[0], self.probability),
        ):
            bind(name, "cpu", 0, np.float32, part.shape, part.ctypes.data)


class _Few(threading.local):
    """Bound buffers for 1 to ``FEW`` rows, one set a thread."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.of = [_Bound(session, count) for count in range(1, FEW + 1)]


class Scorer:
    """Scores windows with one bundle. Thread-safe: onnxruntime sessions may be run from several threads."""

    def __init__(self, bundle: bundles.Bundle) -> None:
        self.bundle = bundle
        self.bundle_id, self.head = bundle.bundle_id, bundle.head
        thresholds = bundle.manifest["thresholds"]
        self.review, self.act = np.float32(thresholds["review"]), np.float32(thresholds["act"])
        self._session = _session(bundle)
        self._few = _Few(self._session)
        self._honest: list[list[float]] = bundle.baseline.T.tolist()

    @classmethod
    def load(cls, path: str | Path | None = None) -> Self:
        """The scorer of a bundle directory; without a path, of the bundle that ships with the package.

        Raises ``BundleError`` when a file was changed, the feature set is another, or the opset is unknown.
        """
        return cls(bundles.load(path))

    def reload(self, path: str | Path | None = None) -> Self:
        """The scorer of what is in its directory, or another, now: this one where that is the same bundle.

        A scorer itself never changes: verdicts and scores of one keep to its bundle. Raises ``BundleError`` as ``load``
        does, and where the model does not run.
        """
        place = self.bundle.path if path is None else Path(path)
        if place == self.bundle.path and bundles.stated_id(place) == self.bundle_id:
            return self
        return type(self).load(place)._tried()

    def _tried(self) -> Self:
        """Itself, its model run once."""
        try:
            self.score(self.bundle.baseline)
        except Exception as error:  # onnxruntime's own
            raise BundleError(
                f"bundle {self.bundle.path}: model.onnx does not run ({type(error).__name__}); export it again"
            ) from None
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the directory of its bundle, which is read and checked again."""
        return type(self).load, (self.bundle.path.resolve(),)

    def read(self, exchange: Mapping[str, Any], after: Window | int | None = None) -> Contributions:
        """The contribution of one exchange record, to be given to ``Window.update``.

        ``after`` tells the gap to the account's previous exchange: the window that holds the account's earlier
        exchanges, or when the newest of them arrived in microseconds UTC (``last_us`` of what this returned for it).
        Where an account's exchanges go to several windows that are merged later, give that time: with the time of
        one part only, the gaps are longer than they were, and the merged window differs from that of one stream.

        Duplicates are not dropped here: give each ``exchange_id`` once. Raises ``ExchangeError`` with the reason
        when the record does not keep the contract.
        """
        if isinstance(after, Window):
            return read_exchange(exchange, self.head, after.last_us)
        if after is not None and (isinstance(after, bool) or not isinstance(after, int | np.integer)):
            raise FingerprintError(f"after: expected a Window or microseconds UTC, got {type(after).__name__}")
        return read_exchange(exchange, self.head, MISSING if after is None else int(after))

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated probability of distillation: ``float32[k, n] -> float32[k]``.

        A row without any evidence, that of the empty window, gets a number too; it means nothing: do not ask.
        """
        if not isinstance(features, np.ndarray):
            raise FingerprintError(f"{_EXPECTED}, got {type(features).__name__}")
        if features.ndim != 2 or features.shape[1] != len(FEATURES) or features.dtype != np.float32:
            raise FingerprintError(f"{_EXPECTED}, got {features.dtype}{list(features.shape)}")
        if 0 < len(features) <= FEW:
            bound = self._few.of[len(features) - 1]
            bound.features[:] = features
            self._session.run_with_iobinding(bound.binding)
            return bound.probability[:, 0].copy()
        scores: NDArray[np.float32] = self._session.run(_OUTPUTS, {"features": features})[0]
        return scores.reshape(-1)

    def level(self, scores: NDArray[np.float32]) -> list[str]:
        """``allow``, ``review`` or ``act`` for each score, by the bundle's two thresholds."""
        return [("allow", "review", "act")[int(s >= self.review) + int(s >= self.act)] for s in scores]

    def falls(self, row: NDArray[np.float32]) -> "Falls":
        """How far one row's score falls without each family and each feature, in one run of the model.

        Without means: set to the benign typical value, that of the 50 % quantile of each feature (occlusion).
        """
        replaced = np.where(_REPLACED, self.bundle.baseline[1], row)
        margin, probability = self._session.run(_BOTH, {"features": np.concatenate([row[None], replaced])})
        fall, without = (margin[0] - margin[1:])[:, 0], probability[1:, 0]
        k = len(FAMILIES)
        return Falls(fall[:k], fall[k:], without[:k], without[k:])

    def reasons(self, features: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """For each row, what drives its score: at most five features, those of the strongest family first.

        Families are ordered by how far the score falls in log odds without them, the features of one by how far it
        falls without each (see ``falls``); families share the five places in proportion to their falls. A family
        without which the score does not fall gives no reason. One that lowers it only as a whole, because its
        features say the same, gives the feature that raises the score most by itself.
        """
        return [self._reasons(row) for row in features]

    def _reasons(self, row: NDArray[np.float32]) -> list[dict[str, Any]]:
        falls = self.falls(row)
        family, feature = falls.family.tolist(), falls.feature.tolist()
        ranked: dict[int, list[int]] = {k: [] for k in _falling(falls.family, family)}
        for j in _falling(falls.feature, feature):
            if (k := _FAMILY_OF[j]) in ranked:
                ranked[k].append(j)
        ranked = {k: members or [self._alone(row, k)] for k, members in ranked.items()}
        places = _shares({k: (family[k], len(members)) for k, members in ranked.items()})
        return [self._reason(j, row[j], falls) for k, members in ranked.items() for j in members[: places[k]]]

    def _alone(self, row: NDArray[np.float32], family: int) -> int:
        """The feature of a family without which, all others of the family being typical, the score falls most."""
        typical = self.bundle.baseline[1]
        own = np.flatnonzero(_MEMBERS[family])
        rows = np.where(_MEMBERS[family] & ~np.eye(len(FEATURES), dtype=bool)[own], typical, row)
        margin = self._session.run(_BOTH[:1], {"features": rows})[0][:, 0]
        usual = (row == typical) | (np.isnan(row) & np.isnan(typical))
        return int(own[np.argmax(np.where(usual[own], -np.inf, margin))])

    def _reason(self, j: int, value: np.float32, falls: "Falls") -> dict[str, Any]:
        feature = FEATURES[j]
        told, *honest = [None if number != number else number for number in (float(value), *self._honest[j])]
        low, typical, high = honest
        return {
            "family": feature.family,
            "feature": feature.name,
            "value": told,
            "typical": typical,
            "low": low,
            "high": high,
            "without": float(falls.without_feature[j]),
            "family_without": float(falls.without_family[_FAMILY_OF[j]]),
            "sentence": _sentence(feature, told, honest, falls.feature[j] <= _LEAST_FALL),
        }


class Falls(NamedTuple):
    """What a row's score would be without each of ``FAMILIES`` and ``FEATURES``.

    ``family`` and ``feature``: how far its log odds fall, before calibration: there a score of 0.999 is not at its
    end, and the order is the same. ``without_family`` and ``without_feature``: the calibrated probability then.
    """

    family: NDArray[np.float32]
    feature: NDArray[np.float32]
    without_family: NDArray[np.float32]
    without_feature: NDArray[np.float32]


def _falling(fall: NDArray[np.float32], values: list[float]) -> list[int]:
    """Places of those that are reasons, strongest first."""
    return [i for i in np.argsort(-fall, kind="stable").tolist() if values[i] > _LEAST_FALL]


def _shares(families: Mapping[int, tuple[float, int]]) -> dict[int, int]:
    """How many reasons each family gives: in proportion to its fall (Webster's rule), at most as many as it has."""
    places = dict.fromkeys(families, 0)
    for _ in range(_MAX_REASONS):
        bids = [(fall / (2 * places[k] + 1), -k) for k, (fall, most) in families.items() if places[k] < most]
        if not bids:
            break
        places[-max(bids)[1]] += 1
    return places


def _sentence(feature: Feature, value: float | None, honest: Sequence[float | None], shared: bool) -> str:
    """What a reviewer is told: the value, what honest traffic has, why it counts."""
    low, typical, high = honest
    if value is None:
        found = f"{feature.name} is missing" + (f" ({feature.missing})" if feature.missing != "never" else "")
    else:
        found = f"{feature.name} is {value:.3g} ({feature.unit})"
    if low is None or typical is None or high is None:
        usual = "it is missing in honest traffic"
    elif low == high:
        usual = f"honest traffic has {typical:.3g} at least nine times in ten"
    else:
        inside = value is not None and low <= value <= high
        usual = (
            f"honest traffic usually has {typical:.3g}, nine times in ten {low:.3g} to {high:.3g}"
            f"{', so by itself this is not unusual' if inside else ''}"
        )
    same = f" Other figures of {feature.family} say the same: the score falls only without all of them."
    return f"{found}; {usual}. {feature.why}{same if shared else ''}"


def verify(path: str | Path | None = None) -> bundles.Bundle:
    """Check a bundle as ``Scorer.load`` does and run its model once; what ``fingerprint verify`` calls."""
    return Scorer.load(path)._tried().bundle
