"""The calibrated Booster as an ONNX graph, exact: every float32 row takes the branch that LightGBM takes.

onnxmltools lays out the trees; thresholds and missing-value tracks are then set here, because the converter
rounds float64 thresholds to the nearest float32 (rows on the edge change branch) and guesses where NaN goes.
float32 rows only ever meet float32 thresholds, so rounding *down* keeps every `x <= t` as it was.

Left out: the proof by measurement, and the bundle (`export`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from fingerprint.errors import FingerprintError
from training.fit import LEAF_STEP, Calibration, Model

OPSET = {"ai.onnx": 18, "ai.onnx.ml": 3}
ZERO = np.float32(1e-35)  # LightGBM's kZeroThreshold
INFINITE = 1e300  # what LightGBM prints for an infinite threshold

Split = dict[str, Any]
"""An inner node as `Booster.dump_model` gives it."""


class ExportError(FingerprintError, ValueError):
    """The model cannot be exported exactly, or its export differs from it; nothing was written."""


def to_onnx(model: Model) -> bytes:
    """A serialised graph: `features` float32[N, n] to `margin` and `probability`, both float32[N, 1].

    Raises ExportError for a Booster whose conversion would be silently wrong.
    """
    dump = model.booster.dump_model()
    _refuse(model.booster, dump)
    trees = _regressor(model.booster)
    _set_exactsplits(trees, dump["tree_info"])
    nodes, constants = _calibrator(model.calibration)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [trees, *nodes],
        "fingerprint",
        [value("features", TensorProto.FLOAT, [None, model.booster.num_feature()])],
        [value(name, TensorProto.FLOAT, [None, 1]) for name in ("margin", "probability")],
        constants,
    )
    opsets = [helper.make_opsetid("" if d == "ai.onnx" else d, v) for d, v in OPSET.items()]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="fingerprint")
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    return data


def _refuse(booster: lgb.Booster, dump: Mapping[str, Any]) -> None:
    """Raises ExportError unless the sum of leaves, exact in float32, is the raw margin of a binary gbdt."""
    text = booster.model_to_string()
    parameter = dict(re.findall(r"^\[(\w+): (.*)\]$", text, re.MULTILINE))
    inner = [split for tree in dump["tree_info"] for split in splits(tree["tree_structure"])]
    wrong = {
        f"objective {dump.get('objective')!r}, not binary with sigmoid 1": dump.get("objective") != "binary sigmoid:1",
        f"boosting {parameter.get('boosting')!r}, not gbdt": parameter.get("boosting", "gbdt") != "gbdt",
        "averaged trees (a random forest)": bool(dump.get("average_output")),
        "linear trees": "is_linear=1" in text,
        "zero taken as missing": parameter.get("zero_as_missing") == "1"
        or any(split["missing_type"] == "Zero" for split in inner),
        "categorical splits": any(split["decision_type"] != "<=" for split in inner),
        f"leaves that are not multiples of {LEAF_STEP}, or too large to add exactly": not _exact_leaves(dump),
    }
    found = [reason for reason, bad in wrong.items() if bad]
    if found:
        raise ExportError(f"cannot export exactly: the model has {'; '.join(found)}: train it with training.fit")


def splits(root: Split) -> Iterator[Split]:
    """All inner nodes of a dumped tree."""
    stack = [root]
    while stack:
        node = stack.pop()
        if "split_feature" in node:
            yield node
            stack += [node["left_child"], node["right_child"]]


def _exact_leaves(dump: Mapping[str, Any]) -> bool:
    """Whether float32 adds the leaves of any path through the forest without rounding."""
    total = 0.0
    for tree in dump["tree_info"]:
        root = tree["tree_structure"]
        children = [s[side] for s in splits(root) for side in ("left_child", "right_child")]
        leaves = [float(node["leaf_value"]) for node in [root, *children] if "leaf_value" in node]
        if any(leaf % LEAF_STEP for leaf in leaves):
            return False
        total += max(abs(leaf) for leaf in leaves)
    return total < 2**24 * LEAF_STEP


def _regressor(booster: lgb.Booster) -> onnx.NodeProto:
    """The TreeEnsembleRegressor that onnxmltools makes of the raw margin, from `features` to `margin`."""
    text = booster.model_to_string().replace("objective=binary sigmoid:1", "objective=regression")
    shape = [("features", FloatTensorType([None, booster.num_feature()]))]
    proto = convert_lightgbm(lgb.Booster(model_str=text), initial_types=shape, target_opset=15, zipmap=False)
    (node,) = (n for n in proto.graph.node if n.op_type == "TreeEnsembleRegressor")
    node.input[:], node.output[:], node.name = ["features"], ["margin"], "trees"
    return node


def _set_exactsplits(node: onnx.NodeProto, trees: Sequence[Mapping[str, Any]]) -> None:
    """Sets every threshold and missing track of `node` from the dumped trees, walking both side by side."""
    attribute = {a.name: a for a in node.attribute}
    ids = zip(attribute["nodes_treeids"].ints, attribute["nodes_nodeids"].ints, strict=True)
    position = {key: at for at, key in enumerate(ids)}
    values, missing = attribute["nodes_values"].floats, attribute["nodes_missing_value_tracks_true"].ints
    left, right = attribute["nodes_truenodeids"].ints, attribute["nodes_falsenodeids"].ints
    for tree, info in enumerate(trees):
        stack = [(info["tree_structure"], 0)]
        while stack:
            split, identity = stack.pop()
            if "split_feature" not in split:
                continue
            at = position[tree, identity]
            values[at] = float(float32_threshold(split["threshold"]))
            missing[at] = int(_nan_goes_left(split))
            stack += [(split["left_child"], left[at]), (split["right_child"], right[at])]


def float32_threshold(threshold: float) -> np.float32:
    """The float32 `t` for which `x <= t` decides, for every float32 `x`, as LightGBM does with `threshold`.

    That is the largest one not above it, with two exceptions. LightGBM reads values within ZERO of zero as 0,
    which moves the edge of thresholds in that range; and `dump_model` prints an infinite threshold as 1e300.
    """
    if abs(threshold) <= float(ZERO):
        return ZERO if threshold >= 0 else np.nextafter(-ZERO, np.float32(-1))
    with np.errstate(over="ignore"):  # float64 thresholds beyond the end of float32
        near = np.float32(threshold)
    beyond = float(near) > threshold and threshold < INFINITE
    return np.nextafter(near, np.float32(-np.inf)) if beyond else near


def _nan_goes_left(split: Split) -> bool:
    """LightGBM sends NaN to the default side, or reads it as 0 where training saw no missing value."""
    if split["missing_type"] == "NaN":
        return bool(split["default_left"])
    return bool(split["threshold"] >= 0)


def _calibrator(calibration: Calibration) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """`margin` to `probability`: sigmoid(slope * m + intercept); beta adds curve * softplus(m)."""
    constants = {"slope": [[calibration.slope]], "intercept": [calibration.intercept]}
    nodes = [helper.make_node("Gemm", ["margin", "slope", "intercept"], ["line"])]
    if calibration.curve:
        constants["curve"] = [[calibration.curve]]
        nodes.append(helper.make_node("Softplus", ["margin"], ["soft"]))
        nodes.append(helper.make_node("Gemm", ["soft", "curve", "line"], ["bent"]))
    nodes.append(helper.make_node("Sigmoid", [nodes[-1].output[0]], ["probability"]))
    return nodes, [numpy_helper.from_array(np.array(v, np.float32), name) for name, v in constants.items()]
