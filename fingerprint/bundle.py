"""The bundle: a directory with the exported model and everything that serving needs, verified before use.

``model.onnx`` (features in; margin and calibrated probability out), ``head.npy`` (the prompt head),
``manifest.json`` (feature names, hashes, thresholds, baseline, origin) and ``card.md``. The bundle's id is a hash
of the manifest, which holds the hashes of the files. What goes into them is made by ``training.export`` and, for the
operator's own thresholds, by ``fingerprint.calibrate``.
"""

import hashlib
import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fingerprint.errors import BundleError
from fingerprint.features import FEATURE_SET, FEATURES
from fingerprint.head import Head

__all__ = [
    "FILES", "FORMAT", "SIGNATURE", "Bundle", "bundle_id", "check_place", "default_path", "load", "stated_id", "write",
]  # fmt: skip

FORMAT = 1
FILES = ("model.onnx", "head.npy", "card.md")
SIGNATURE = "model.sig"  # beside them where ``fingerprint.signing`` has signed
OPSETS = {"ai.onnx": (13, 24), "ai.onnx.ml": (3, 5)}  # the versions onnxruntime 1.22 and later run
_NEEDED = ("bundle_id", "feature_set", "features", "files", "opset", "thresholds", "baseline", "head")
_UNHASHED = ("bundle_id", "created")  # the same content made again has the same id
_TABLES = ("files", "opset", "thresholds", "baseline", "head")
HEAD_BYTES = 1_000_000


def bundle_id(manifest: Mapping[str, Any]) -> str:
    """The id that a manifest must state: ``fp-`` and 12 hex digits of the sha256 of all else but its date, as JSON."""
    hashed = {key: value for key, value in manifest.items() if key not in _UNHASHED}
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return "fp-" + hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: the manifest, the ONNX bytes, the prompt head and the benign baseline.

    ``baseline``: float32[3, n], the 5 %, 50 % and 95 % quantile of each feature over benign windows.
    """

    path: Path
    manifest: dict[str, Any]
    model: bytes
    head: Head
    baseline: NDArray[np.float32]

    @property
    def bundle_id(self) -> str:
        """The id that verdicts carry."""
        return str(self.manifest["bundle_id"])


def default_path() -> Path:
    """Where the shipped bundle lies: inside the installed package, or ``models/default`` of a checkout."""
    package = Path(__file__).parent
    installed = package / "default"
    return installed if installed.is_dir() else package.parent / "models" / "default"


def stated_id(path: Path) -> str:
    """The id of the bundle that lies there, by its manifest alone."""
    return str(_manifest(path)["bundle_id"])


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BundleError(f"bundle {path}: cannot read {name} ({error.strerror}); copy the whole bundle") from None


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise BundleError(f"expected a bundle directory, found none at {path}")
    try:
        manifest = json.loads(_read(path, "manifest.json"))
    except (ValueError, RecursionError):
        raise BundleError(f"bundle {path}: manifest.json is not JSON; copy the bundle again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise BundleError(f"bundle {path}: expected manifest format {FORMAT}, got {found}")
    absent = [key for key in _NEEDED if key not in manifest]
    if absent:
        raise BundleError(f"bundle {path}: manifest.json lacks {', '.join(absent)}; export it again")
    if manifest["bundle_id"] != bundle_id(manifest):
        stated = str(manifest["bundle_id"])[:20]
        raise BundleError(
            f"bundle {path}: manifest.json was changed: expected bundle_id {bundle_id(manifest)}, it states {stated}; "
            "copy the bundle again, or export it again"
        )
    odd = [key for key in _TABLES if not isinstance(manifest[key], dict)]
    if odd:
        raise BundleError(f"bundle {path}: expected a table for {', '.join(odd)} in manifest.json; export it again")
    return manifest


def _check_files(path: Path, manifest: dict[str, Any]) -> dict[str, bytes]:
    contents = {}
    for name in FILES:
        contents[name] = _read(path, name)
        expected, found = manifest["files"].get(name), hashlib.sha256(contents[name]).hexdigest()
        if expected != found:
            raise BundleError(
                f"bundle {path}: {name} was changed: expected sha256 {str(expected)[:12]}, got {found[:12]}; "
                "copy the bundle again, or export it again"
            )
    return contents


def _check_meaning(path: Path, manifest: dict[str, Any]) -> None:
    names = [feature.name for feature in FEATURES]
    if manifest["feature_set"] != FEATURE_SET or manifest["features"] != names:
        raise BundleError(
            f"bundle {path}: expected feature set {FEATURE_SET}, it was exported with "
            f"{manifest['feature_set']} (fingerprint {manifest.get('package_version')}): "
            "export it again with this version, or install that one"
        )
    review, act = manifest["thresholds"].get("review"), manifest["thresholds"].get("act")
    if not (isinstance(review, float) and isinstance(act, float) and 0 <= review <= act <= 1):
        raise BundleError(f"bundle {path}: expected thresholds 0 <= review <= act <= 1, got {review} and {act}")


def _check_opset(path: Path, stated: dict[str, Any], model: bytes) -> None:
    for domain, (low, high) in OPSETS.items():
        version = stated.get(domain)
        if not (isinstance(version, int) and low <= version <= high):
            raise BundleError(f"bundle {path}: expected opset {domain} {low} to {high}, got {version}; export it again")
    if (found := _opsets(model)) != stated:
        raise BundleError(
            f"bundle {path}: manifest.json states opset {stated}, model.onnx has {found}; export it again"
        )


def _opsets(model: bytes) -> dict[str, int]:
    """Domains and versions that an ONNX file imports (field 8 of its protobuf); none if it is not one."""
    try:
        imports = [dict(_fields(part)) for number, part in _fields(model) if number == 8 and isinstance(part, bytes)]
        return {bytes(part.get(1, b"")).decode() or "ai.onnx": int(part.get(2, 0)) for part in imports}
    except (LookupError, ValueError, TypeError):
        return {}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def _head(path: Path, content: bytes, info: dict[str, Any]) -> Head:
    if len(content) > HEAD_BYTES:
        raise BundleError(f"bundle {path}: expected a prompt head of at most {HEAD_BYTES} bytes, got {len(content)}")
    try:
        return Head.of(np.load(io.BytesIO(content), allow_pickle=False), info)
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise BundleError(f"bundle {path}: head.npy cannot be read ({type(error).__name__}); export it again") from None


def load(path: str | Path | None = None) -> Bundle:
    """Read and check a bundle (default: the shipped one). Raises ``BundleError`` saying what differs.

    One that was replaced by another directory while it was read is read again.
    """
    path = Path(path) if path is not None else default_path()
    before = _inode(path)
    try:
        return _load(path)
    except BundleError:
        if _inode(path) == before:
            raise
        return _load(path)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _load(path: Path) -> Bundle:
    manifest = _manifest(path)
    contents = _check_files(path, manifest)
    _check_meaning(path, manifest)
    _check_opset(path, manifest["opset"], contents["model.onnx"])
    head = _head(path, contents["head.npy"], manifest["head"])
    return Bundle(path, manifest, contents["model.onnx"], head, _baseline(path, manifest["baseline"]))


def _baseline(path: Path, quantiles: dict[str, Any]) -> NDArray[np.float32]:
    try:
        rows = np.array([quantiles[feature.name] for feature in FEATURES], np.float32)
    except (KeyError, ValueError, TypeError):
        rows = np.empty(0, np.float32)
    if rows.shape != (len(FEATURES), 3):
        raise BundleError(f"bundle {path}: the baseline does not cover every feature; export it again")
    return np.ascontiguousarray(rows.T)


def check_place(directory: Path) -> None:
    """Raise ``BundleError`` unless a bundle can be written there: nothing is there, or a bundle that it replaces."""
    held = {entry.name for entry in directory.iterdir()} if directory.is_dir() else set()
    if held - {*FILES, "manifest.json", SIGNATURE} or (directory.exists() and not directory.is_dir()):
        raise BundleError(f"{directory}: expected a new directory or a bundle to replace, this holds something else")


def write(directory: Path, contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Path:
    """Write a bundle, all or nothing; one that is there is replaced. Returns the directory.

    ``contents``: the bytes of each of ``FILES``; ``manifest``: all of it but the format, the date, the hashes of the
    files and the id, which are stated anew. Numbers that JSON lacks become null.
    """
    check_place(directory)
    stated = {
        "format": FORMAT,
        "bundle_id": "",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: hashlib.sha256(contents[name]).hexdigest() for name in sorted(contents)},
    }
    whole = _json({**stated, **manifest, **stated})
    whole["bundle_id"] = bundle_id(whole)
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, content in {**contents, "manifest.json": text.encode()}.items():
            (draft / name).write_bytes(content)
        _replace(draft, directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory


def _replace(draft: Path, target: Path) -> None:
    """Moves ``draft`` to ``target``; what was there is kept until the move has succeeded."""
    draft.chmod(0o755)  # mkdtemp makes it private
    old = draft.with_name(draft.name + ".old")
    if target.exists():
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _json(value: Any) -> Any:
    """Plain JSON values: numpy scalars unwrapped, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
