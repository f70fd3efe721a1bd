"""A small true bundle for tests: the score follows ``logprobs_share`` (0 allow, a half review, 1 act)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from builders import random_head
from onnx import TensorProto, helper, numpy_helper

from fingerprint.bundle import bundle_id
from fingerprint.features import FEATURE_SET, FEATURES

FOLLOWED = "logprobs_share"
OPSET = {"ai.onnx": 17, "ai.onnx.ml": 3}
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


def toy_model() -> bytes:
    """sigmoid(8 x - 4) of one feature, a missing one taken as 0."""
    names = [feature.name for feature in FEATURES]
    weights = np.zeros((len(names), 1), np.float32)
    weights[names.index(FOLLOWED)] = 8
    constants = {"zero": np.zeros(1, np.float32), "weights": weights, "bias": np.array([-4], np.float32)}
    nodes = [
        helper.make_node("IsNaN", ["features"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "features"], ["known"]),
        helper.make_node("MatMul", ["known", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["margin"]),
    ]
    return graph_of(nodes, constants)


def graph_of(nodes: list[Any], constants: dict[str, Any]) -> bytes:
    """A model of these nodes, from ``features`` to ``margin``, and the sigmoid of it."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*nodes, helper.make_node("Sigmoid", ["margin"], ["probability"])],
        "toy",
        [value("features", TensorProto.FLOAT, [None, len(FEATURES)])],
        [value(name, TensorProto.FLOAT, [None, 1]) for name in ("margin", "probability")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def toy_bundle(
    directory: Path, model: bytes | None = None, typical: dict[str, list[float | None]] | None = None
) -> Path:
    """Write the bundle, with another model or another baseline of some features; returns its directory."""
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_bytes(model or toy_model())
    compact, info = random_head().compact()
    np.save(directory / "head.npy", compact)
    (directory / "card.md").write_text("# A toy\n")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}
    manifest = {
        "format": 1,
        "package_version": "0",
        "feature_set": FEATURE_SET,
        "features": [feature.name for feature in FEATURES],
        "files": files,
        "opset": OPSET,
        "thresholds": {"review": 0.4, "act": 0.9},
        "baseline": {feature.name: [0.0, 0.0, 1.0] for feature in FEATURES} | (typical or {}),
        "head": info,
    }
    write_manifest(directory, manifest)
    return directory


def write_manifest(directory: Path, manifest: dict[str, Any]) -> None:
    """With the id that follows from the rest: what an export would have written."""
    stamped = manifest | {"bundle_id": bundle_id(manifest)}
    (directory / "manifest.json").write_text(json.dumps(stamped))
