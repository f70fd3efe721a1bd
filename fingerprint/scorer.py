"""The scorer: a verified bundle in onnxruntime. Features in, calibrated probability out, level and reasons.

What it leaves out: state (``Window``), traffic files (``readers``), policy over time.
"""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it at import; set it to 0 to allow it

import onnxruntime

from fingerprint import bundle as bundles
from fingerprint.contribution import Contributions, read_exchange
from fingerprint.errors import BundleError, FingerprintError
from fingerprint.features import FEATURES
from fingerprint.kernels.layout import MISSING
from fingerprint.window import Window

__all__ = ["Scorer", "verify"]

_OUTPUTS = ["probability"]
_EXPECTED = f"expected float32[k, {len(FEATURES)}] from fingerprint.features"
_MAX_REASONS = 5
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
    if found != [("features", "tensor(float)", len(FEATURES))] or _OUTPUTS[0] not in [
        o.name for o in session.get_outputs()
    ]:
        raise BundleError(f"bundle {bundle.path}: expected input features[{len(FEATURES)}], got {found}")
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

    @classmethod
    def load(cls, path: str | Path | None = None) -> Self:
        """The scorer of a bundle directory; without a path, of the bundle that ships with the package.

        Raises ``BundleError`` when a file was changed, the feature set is another, or the opset is unknown.
        """
        return cls(bundles.load(path))

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

    def reasons(self, features: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """For each row, what drives its score, strongest first: the features whose replacement by the
        typical benign value lowers the score most (occlusion against a baseline)."""
        return [self._reasons(row) for row in features]

    def _reasons(self, row: NDArray[np.float32]) -> list[dict[str, Any]]:
        count, typical = len(FEATURES), self.bundle.baseline[1]
        rows = np.repeat(row[None], count + 1, axis=0)
        rows[np.arange(count), np.arange(count)] = typical
        scores = self.score(rows)
        drops = scores[-1] - scores[:-1]
        strongest = [int(j) for j in np.argsort(-drops, kind="stable")[:_MAX_REASONS] if drops[j] > 1e-6]
        return [self._reason(j, row[j], float(scores[j])) for j in strongest]

    def _reason(self, j: int, value: np.float32, without: float) -> dict[str, Any]:
        feature, (low, typical, high) = FEATURES[j], self.bundle.baseline[:, j]
        told = None if np.isnan(value) else float(value)
        where = "missing" if told is None else f"{told:.3g}"
        return {
            "family": feature.family,
            "feature": feature.name,
            "value": told,
            "typical": None if np.isnan(typical) else float(typical),
            "without": without,
            "sentence": f"{feature.name} is {where} ({feature.unit}); honest windows have {typical:.3g} "
            f"({low:.3g} to {high:.3g}). {feature.why}",
        }


def verify(path: str | Path | None = None) -> bundles.Bundle:
    """Check a bundle as ``Scorer.load`` does and run its model once; what ``fingerprint verify`` calls."""
    scorer = Scorer.load(path)
    scorer.score(scorer.bundle.baseline)
    return scorer.bundle
