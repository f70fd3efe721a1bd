"""A bundle that is not exactly what was exported is refused, with what differs and what to do."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bundle import OPSET, toy_bundle, write_manifest

from fingerprint import FEATURES, BundleError, bundle
from fingerprint.kernels.layout import HEAD_OUTPUTS
from fingerprint.kernels.text import GRAM_BUCKETS

Manifest = dict[str, Any]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return toy_bundle(tmp_path / "toy")


def rewrite(path: Path, change: Callable[[Manifest], object]) -> None:
    """Change the manifest in place."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    write_manifest(path, manifest)


def replace(path: Path, name: str, content: bytes) -> None:
    """Change a file and its hash: what a wrong export would have written."""
    (path / name).write_bytes(content)
    rewrite(path, lambda m: m["files"].update({name: hashlib.sha256(content).hexdigest()}))


def head_file(array: np.ndarray) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_a_sound_bundle_is_read(toy: Path) -> None:
    found = bundle.load(toy)
    assert re.fullmatch("fp-[0-9a-f]{12}", found.bundle_id)
    assert found.baseline.shape == (3, len(FEATURES))
    assert found.baseline.dtype == np.float32
    assert found.head.weights.shape == (GRAM_BUCKETS, 16)
    assert bundle.load(str(toy)).model == found.model


@pytest.mark.parametrize("name", ["model.onnx", "head.npy", "card.md"])
def test_a_changed_file_is_named(toy: Path, name: str) -> None:
    content = bytearray((toy / name).read_bytes())
    content[-1] ^= 1
    (toy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was changed: expected sha256 [0-9a-f]{{12}}, got .* copy"):
        bundle.load(toy)


@pytest.mark.parametrize("name", ["model.onnx", "head.npy", "card.md", "manifest.json"])
def test_a_missing_file_is_named(toy: Path, name: str) -> None:
    (toy / name).unlink()
    with pytest.raises(BundleError, match=f"cannot read {name} .* copy the whole bundle"):
        bundle.load(toy)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle directory"):
        bundle.load(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="expected a bundle directory"):
        bundle.load(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"not json", b"[" * 200_000])
def test_a_manifest_that_is_not_json(toy: Path, content: bytes) -> None:
    (toy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json is not JSON"):
        bundle.load(toy)


@pytest.mark.parametrize("content", [b"[]", b"null", b'"text"', b"{}", b'{"format": 2}'])
def test_a_manifest_of_another_format(toy: Path, content: bytes) -> None:
    (toy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="expected manifest format 1"):
        bundle.load(toy)


@pytest.mark.parametrize("key", ["feature_set", "features", "files", "thresholds", "baseline", "head"])
def test_a_manifest_that_lacks_a_key(toy: Path, key: str) -> None:
    rewrite(toy, lambda m: m.pop(key))
    with pytest.raises(BundleError, match=f"lacks {key}; export it again"):
        bundle.load(toy)


def test_another_feature_set_names_both_and_says_what_to_do(toy: Path) -> None:
    rewrite(toy, lambda m: m.update(feature_set="0123456789ab", package_version="0.0.7"))
    with pytest.raises(
        BundleError, match=r"expected feature set \w{12}, .*0123456789ab \(fingerprint 0\.0\.7\): export"
    ):
        bundle.load(toy)


@pytest.mark.parametrize("change", [lambda f: f[::-1], lambda f: f[:-1], lambda f: [*f, "new"]])
def test_other_features_under_the_same_name_of_the_set(toy: Path, change: Callable[[list[str]], list[str]]) -> None:
    rewrite(toy, lambda m: m.update(features=change(m["features"])))
    with pytest.raises(BundleError, match="expected feature set"):
        bundle.load(toy)


@pytest.mark.parametrize(
    ("domain", "version"), [("ai.onnx", 12), ("ai.onnx", 99), ("ai.onnx.ml", 1), ("ai.onnx", None), ("ai.onnx.ml", "3")]
)
def test_an_opset_that_is_not_known_to_run(toy: Path, domain: str, version: Any) -> None:
    rewrite(toy, lambda m: m.update(opset=OPSET | {domain: version}))
    with pytest.raises(BundleError, match=f"expected opset {domain} "):
        bundle.load(toy)
    rewrite(toy, lambda m: m["opset"].pop(domain))
    with pytest.raises(BundleError, match=f"expected opset {domain} .* got None"):
        bundle.load(toy)


@pytest.mark.parametrize("stated", [{"ai.onnx": 18}, {"ai.onnx.ml": 4}, {"com.vendor": 1}])
def test_an_opset_that_is_not_that_of_the_model(toy: Path, stated: dict[str, int]) -> None:
    rewrite(toy, lambda m: m["opset"].update(stated))
    with pytest.raises(BundleError, match=r"states opset .*model\.onnx has \{'ai\.onnx': 17, 'ai\.onnx\.ml': 3\}"):
        bundle.load(toy)


@pytest.mark.parametrize("rubbish", [b"", b"\x0a\xff", b"\x80" * 99, b"\x42\x02\x10", b"\x42\x03\x0a\x01\xff", b"\x07"])
def test_a_model_that_imports_nothing(toy: Path, rubbish: bytes) -> None:
    replace(toy, "model.onnx", rubbish)
    with pytest.raises(BundleError, match=r"model\.onnx has \{"):
        bundle.load(toy)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["thresholds"].update(review=0.39),
        lambda m: m["baseline"].update({FEATURES[0].name: [0.0, 0.5, 1.0]}),
        lambda m: m["head"]["bias"].reverse(),
        lambda m: m.update(bundle_id="fp-000000000000"),
        lambda m: m.update(package_version="1"),
        lambda m: m.update(more=1),
    ],
)
def test_a_changed_manifest_is_noticed(toy: Path, change: Callable[[Manifest], object]) -> None:
    manifest = json.loads((toy / "manifest.json").read_text())
    change(manifest)
    (toy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json was changed: expected bundle_id fp-\w{12}, it states fp-"):
        bundle.load(toy)


def test_the_id_is_of_the_content_whatever_its_date_and_spelling(toy: Path) -> None:
    manifest = json.loads((toy / "manifest.json").read_text())
    turned = dict(reversed((manifest | {"created": "today"}).items()))
    (toy / "manifest.json").write_text(json.dumps(turned, indent=7))
    assert bundle.load(toy).bundle_id == manifest["bundle_id"]


@pytest.mark.parametrize(
    "thresholds",
    [
        {"review": 0.9, "act": 0.4},
        {"review": -0.1, "act": 0.4},
        {"review": 0.4, "act": 1.1},
        {"review": 0.4},
        {"review": "0.4", "act": "0.9"},
        {"review": None, "act": 0.9},
        {"review": float("nan"), "act": 0.9},
        {},
    ],
)
def test_thresholds_that_are_off(toy: Path, thresholds: Manifest) -> None:
    rewrite(toy, lambda m: m.update(thresholds=thresholds))
    with pytest.raises(BundleError, match="expected thresholds 0 <= review <= act <= 1"):
        bundle.load(toy)


@pytest.mark.parametrize("key", ["thresholds", "opset", "files", "head", "baseline", "features"])
@pytest.mark.parametrize("value", [None, [], "text", 7, {"review": []}])
def test_manifest_parts_of_a_wrong_type(toy: Path, key: str, value: Any) -> None:
    """Whatever stands in a part of the manifest, the answer is a BundleError or a sound bundle."""
    rewrite(toy, lambda m: m.update({key: value}))
    with pytest.raises(BundleError):
        bundle.load(toy)


def test_a_prompt_head_of_more_than_a_megabyte(toy: Path) -> None:
    replace(toy, "head.npy", b"x" * 1_000_001)
    with pytest.raises(BundleError, match="at most 1000000 bytes, got 1000001"):
        bundle.load(toy)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not numpy",
        head_file(np.zeros((8, HEAD_OUTPUTS), np.int8)),
        head_file(np.zeros((GRAM_BUCKETS, 9), np.int8)),
        head_file(np.zeros((GRAM_BUCKETS // 2, HEAD_OUTPUTS), np.int16)),
        head_file(np.array([{"a": 1}], object)),
    ],
)
def test_a_prompt_head_that_is_not_one(toy: Path, content: bytes) -> None:
    """Nothing is unpickled, and another shape is refused."""
    replace(toy, "head.npy", content)
    with pytest.raises(BundleError, match=r"head"):
        bundle.load(toy)


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.update(outputs=head["outputs"][::-1]),
        lambda head: head.pop("outputs"),
        lambda head: head.update(scale=head["scale"][:-1]),
        lambda head: head.update(bias=[]),
        lambda head: head.update(bias=[*head["bias"], 0.0]),
        lambda head: head.update(scale=None),
        lambda head: head.update(scale=[float("nan")] * HEAD_OUTPUTS),
        lambda head: head.update(bias=["a"] * HEAD_OUTPUTS),
    ],
)
def test_scales_and_biases_that_do_not_fit_the_prompt_head(toy: Path, change: Callable[[Manifest], object]) -> None:
    """The kernel reads thirteen of each without looking: fewer must never reach it."""
    rewrite(toy, lambda m: change(m["head"]))
    with pytest.raises(BundleError, match="head"):
        bundle.load(toy)


@pytest.mark.parametrize("value", [None, [], [0.0], [0.0, 1.0], [0.0, 1.0, 2.0, 3.0], "abc", {}])
def test_a_baseline_that_does_not_cover_a_feature(toy: Path, value: Any) -> None:
    def change(manifest: Manifest) -> None:
        manifest["baseline"][FEATURES[3].name] = value

    rewrite(toy, change)
    with pytest.raises(BundleError, match="baseline"):
        bundle.load(toy)
    rewrite(toy, lambda m: m["baseline"].pop(FEATURES[3].name))
    with pytest.raises(BundleError, match="baseline"):
        bundle.load(toy)


def test_a_baseline_of_two_values_each(toy: Path) -> None:
    rewrite(toy, lambda m: m.update(baseline={feature.name: [0.0, 1.0] for feature in FEATURES}))
    with pytest.raises(BundleError, match="baseline"):
        bundle.load(toy)


def test_a_feature_that_honest_windows_never_have_is_missing_in_the_baseline(toy: Path) -> None:
    rewrite(toy, lambda m: m["baseline"].update({FEATURES[3].name: [None, None, None]}))
    assert np.isnan(bundle.load(toy).baseline[:, 3]).all()


def test_the_default_is_the_installed_bundle_or_that_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout" / "fingerprint"
    checkout.mkdir(parents=True)
    monkeypatch.setattr(bundle, "__file__", str(checkout / "bundle.py"))
    assert bundle.default_path() == tmp_path / "checkout" / "models" / "default"
    (checkout / "default").mkdir()
    assert bundle.default_path() == checkout / "default"
