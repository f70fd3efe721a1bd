"""From a model to what serving reads: the graph, the parity gate, and the bundle directory.

Left out: training (`fit`), the conversion itself (`graph`), and reading a bundle (`fingerprint.bundle`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from fingerprint.bundle import write
from training.fit import Model, Rows
from training.graph import OPSET, ZERO, ExportError, Split, float32_threshold, to_onnx

__all__ = ["ExportError", "ParityReport", "check_parity", "edge_rows", "to_onnx", "write_bundle"]

MAX_ERROR = 1e-6


@dataclass(frozen=True)
class ParityReport:
    """Largest differences between the graph (float32) and the oracle (float64) over `rows` rows."""

    rows: int
    edge_rows: int
    probability_error: float
    margin_error: float
    decision_differences: int


def check_parity(onnx_bytes: bytes, model: Model, X_heldout: Rows) -> ParityReport:
    """Compares graph and oracle over held-out rows, rows on every threshold, NaN and extremes.

    X_heldout: float32[k, n]. Raises ExportError on any different decision at either threshold, or a
    probability more than MAX_ERROR away.
    """
    edges = edge_rows(model.booster, X_heldout)
    rows = np.concatenate([X_heldout, edges])
    session = ort.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    margin, probability = (out[:, 0] for out in session.run(["margin", "probability"], {"features": rows}))
    oracle = model.probability(rows)
    cuts = model.thresholds.as_dict().values()
    report = ParityReport(
        rows=len(rows),
        edge_rows=len(edges),
        probability_error=float(np.abs(probability - oracle).max()),
        margin_error=float(np.abs(margin - model.margin(rows)).max()),
        decision_differences=sum(int(((probability >= cut) != (oracle >= cut)).sum()) for cut in cuts),
    )
    if report.decision_differences or not report.probability_error <= MAX_ERROR:
        raise ExportError(f"export differs from the model, expected an error of {MAX_ERROR} at most: {report}")
    return report


def edge_rows(booster: lgb.Booster, X: Rows) -> Rows:
    """float32[m, n] rows that reach every split, its feature on the threshold, beside it, missing, infinite.

    The other features come from rows of `X`; the last rows hold one extreme value throughout.
    """
    limit, inf = np.finfo(np.float32).max, np.float32(np.inf)
    extremes = [np.nan, 0.0, -0.0, inf, -inf, limit, -limit, ZERO, -ZERO, 1e-38, -1e-38]
    rows = [np.full(booster.num_feature(), value, np.float32) for value in extremes]
    for tree in booster.dump_model()["tree_info"]:
        stack: list[tuple[Split, dict[int, np.float32]]] = [(tree["tree_structure"], {})]
        while stack:
            split, path = stack.pop()
            if "split_feature" not in split:
                continue
            on, feature = float32_threshold(split["threshold"]), split["split_feature"]
            with np.errstate(all="ignore"):  # a threshold at the end of float32
                above, below = np.nextafter(on, inf), np.nextafter(on, -inf)
            for value in (on, above, below, np.nan, inf, -inf, 0.0):
                row = X[len(rows) % len(X)].copy()
                row[list(path)] = list(path.values())
                row[feature] = value
                rows.append(row)
            stack += [
                (split["left_child"], {**path, feature: on}),
                (split["right_child"], {**path, feature: above}),
            ]
    return np.array(rows, dtype=np.float32)


def write_bundle(
    directory: Path | str,
    *,
    model: Model,
    onnx_bytes: bytes,
    head: npt.NDArray[np.int8],
    head_info: Mapping[str, Any],
    feature_names: Sequence[str],
    feature_set: str,
    thresholds: Mapping[str, float],
    baseline: Mapping[str, Sequence[float]],
    training_data: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    metrics_of: str,
    metrics_thresholds: Mapping[str, float],
    card: str,
    package_version: str,
) -> Path:
    """Writes `model.onnx`, `head.npy`, `card.md` and `manifest.json`, all or nothing; returns the directory.

    baseline: feature to [p5, p50, p95] over benign windows; metrics_of: which model `metrics` are of ("this model",
    or the "forerunner" that was measured before all was trained on), and at which thresholds. A bundle already there
    is replaced.
    """
    array = io.BytesIO()
    np.save(array, head, allow_pickle=False)
    contents = {"model.onnx": onnx_bytes, "head.npy": array.getvalue(), "card.md": card.encode()}
    manifest = {
        "package_version": package_version,
        "feature_set": feature_set,
        "features": list(feature_names),
        "opset": OPSET,
        "thresholds": dict(thresholds),
        "calibration": asdict(model.calibration),
        "baseline": baseline,
        "head": head_info,
        "training_data": training_data,
        "metrics_of": metrics_of,
        "metrics_thresholds": dict(metrics_thresholds),
        "metrics": metrics,
    }
    return write(Path(directory), contents, manifest)
