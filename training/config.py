"""The settings of a run: frozen sections with defaults, checked, and overridden by one TOML file.

Sections state *what* is asked of a run. Paths, file names and the world's own settings are arguments of the
commands and stay out; nothing is read from the environment.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from fingerprint.errors import FingerprintError

T = TypeVar("T")
SIMULATED = "simulated positives"
LABELLED = "positives as labelled"


class ConfigError(FingerprintError, ValueError):
    """A setting is unknown, of the wrong type or out of range; the message says what is allowed."""


def check(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise ConfigError(f"{name}: expected {expected}, got {got!r}")


@dataclass(frozen=True)
class Split:
    """Shares of accounts and campaigns in each split; `unseen_families` of the families go to test alone.

    `keep` names families and sources that are never held out, such as the only honest text of a language;
    `hold_out` names those that are, in place of the share drawn.
    """

    train: float = 0.5
    calib: float = 0.2
    test: float = 0.3
    unseen_families: float = 0.25
    keep: tuple[str, ...] = ()
    hold_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = (self.train, self.calib, self.test)
        check(all(0 < p < 1 for p in parts), "split", "shares between 0 and 1", parts)
        check(abs(sum(parts) - 1) < 1e-9, "split", "train + calib + test = 1", sum(parts))
        check(0 <= self.unseen_families < 1, "split.unseen_families", "0 to below 1", self.unseen_families)


@dataclass(frozen=True)
class Windows:
    """Window sizes cut from each account, in exchanges, and how many of each size an account may give."""

    sizes: tuple[int, ...] = (3, 10, 30, 100, 300, 1000)
    per_account: int = 2

    def __post_init__(self) -> None:
        check(bool(self.sizes) and min(self.sizes) >= 3, "windows.sizes", "sizes of 3 or more", self.sizes)
        check(self.sizes == tuple(sorted(set(self.sizes))), "windows.sizes", "rising sizes", self.sizes)
        check(self.per_account >= 1, "windows.per_account", "1 or more", self.per_account)


@dataclass(frozen=True)
class Tune:
    """The Optuna study: trials, seconds at most, the folds (see `tune_folds`), how many trials run side by side, the
    recall given for a microsecond less of scoring a window, and the study's own file.

    Results depend on `workers`, not on how many cores there are. `study` is empty for memory, or an sqlite file that
    a killed run goes on from; it is never the file MLflow uses.
    """

    trials: int = 8
    timeout_s: float = 60.0
    folds: int = 4
    workers: int = 2
    recall_per_us: float = 0.002
    study: str = ""

    def __post_init__(self) -> None:
        check(self.trials >= 0, "tune.trials", "0 or more", self.trials)
        check(self.timeout_s > 0, "tune.timeout_s", "seconds above 0", self.timeout_s)
        check(self.folds >= 2, "tune.folds", "2 or more", self.folds)
        check(self.workers >= 1, "tune.workers", "1 or more", self.workers)
        check(0 <= self.recall_per_us < 1, "tune.recall_per_us", "0 to below 1", self.recall_per_us)


@dataclass(frozen=True)
class LightGBM:
    """Parameters that tuning starts from; `max_trees` and `max_leaves` bound size, and with it latency.

    80 trees is also where onnxruntime starts to spread the trees of one row over threads, which only costs.
    """

    max_trees: int = 80
    max_leaves: int = 24
    trees: int = 80
    num_leaves: int = 16
    learning_rate: float = 0.1
    min_data_in_leaf: int = 40
    feature_fraction: float = 0.7
    bagging_fraction: float = 0.8
    lambda_l2: float = 5.0
    path_smooth: float = 1.0
    num_threads: int = 2

    def __post_init__(self) -> None:
        check(1 <= self.trees <= self.max_trees, "lightgbm.trees", f"1 to {self.max_trees}", self.trees)
        check(
            2 <= self.num_leaves <= self.max_leaves,
            "lightgbm.num_leaves",
            f"2 to {self.max_leaves}",
            self.num_leaves,
        )
        check(0 < self.learning_rate <= 1, "lightgbm.learning_rate", "above 0, at most 1", self.learning_rate)
        check(self.min_data_in_leaf >= 1, "lightgbm.min_data_in_leaf", "1 or more", self.min_data_in_leaf)
        for name in ("feature_fraction", "bagging_fraction"):
            check(0 < getattr(self, name) <= 1, f"lightgbm.{name}", "above 0, at most 1", getattr(self, name))
        check(min(self.lambda_l2, self.path_smooth) >= 0, "lightgbm", "penalties of 0 or more", self)
        check(self.num_threads >= 1, "lightgbm.num_threads", "1 or more", self.num_threads)


@dataclass(frozen=True)
class Calibration:
    """Calibrators that compete by held-out log loss on the calibration split; folds keep groups whole."""

    methods: tuple[str, ...] = ("platt", "beta")
    folds: int = 5

    def __post_init__(self) -> None:
        known = {"platt", "beta"}
        check(
            bool(self.methods) and set(self.methods) <= known,
            "calibration.methods",
            f"some of {sorted(known)}",
            self.methods,
        )
        check(self.folds >= 2, "calibration.folds", "2 or more", self.folds)


@dataclass(frozen=True)
class Thresholds:
    """Shares of benign accounts that may reach each level, promised with `confidence`, on the calibration split."""

    review: float = 0.01
    act: float = 0.003
    confidence: float = 0.95

    def __post_init__(self) -> None:
        check(0 < self.act < self.review < 1, "thresholds", "0 < act < review < 1", (self.review, self.act))
        check(0.5 <= self.confidence < 1, "thresholds.confidence", "0.5 to below 1", self.confidence)

    @property
    def shares(self) -> dict[str, float]:
        """The two shares by level."""
        return {"review": self.review, "act": self.act}


@dataclass(frozen=True)
class Evaluation:
    """False-positive rates to report at, how many bootstrap resamples the intervals rest on, and what the
    positives are: `SIMULATED` unless the labels come from real cases."""

    positives: str = SIMULATED
    fprs: tuple[float, ...] = (0.01, 0.003)
    bootstrap: int = 300
    confidence: float = 0.95

    def __post_init__(self) -> None:
        check(
            bool(self.fprs) and all(0 < f < 1 for f in self.fprs),
            "evaluation.fprs",
            "shares between 0 and 1",
            self.fprs,
        )
        check(self.bootstrap >= 20, "evaluation.bootstrap", "20 or more", self.bootstrap)
        check(0.5 <= self.confidence < 1, "evaluation.confidence", "0.5 to below 1", self.confidence)


@dataclass(frozen=True)
class Gate:
    """What a candidate must keep to replace the champion (see `gate`).

    `fall`: of recall over all families, and of ROC AUC, refused even where chance could make it. `confidence`: of
    "worse than the champion", shared by all slices. `slice_accounts`: that a slice needs to be judged.
    `slice_fpr`: honest accounts of a slice that may reach `review`, refused where the exact interval lies above it.
    `honest` and `attack`: accounts that a comparison needs.
    """

    fall: float = 0.05
    confidence: float = 0.95
    slice_accounts: int = 30
    slice_fpr: float = 0.05
    honest: int = 100
    attack: int = 30
    score_us: float = 30.0
    onnx_bytes: int = 2_000_000

    def __post_init__(self) -> None:
        check(0 < self.fall < 1, "gate.fall", "above 0, below 1", self.fall)
        check(0.5 <= self.confidence < 1, "gate.confidence", "0.5 to below 1", self.confidence)
        check(0 < self.slice_fpr < 1, "gate.slice_fpr", "above 0, below 1", self.slice_fpr)
        for name in ("slice_accounts", "honest", "attack", "score_us", "onnx_bytes"):
            check(getattr(self, name) > 0, f"gate.{name}", "above 0", getattr(self, name))


@dataclass(frozen=True)
class Tracking:
    """Names in MLflow. The tracking URI is MLFLOW_TRACKING_URI or `sqlite:///mlflow.db`, not a setting."""

    experiment: str = "fingerprint"
    registered_model: str = "fingerprint"
    alias: str = "challenger"

    def __post_init__(self) -> None:
        for item in fields(self):
            check(bool(getattr(self, item.name)), f"tracking.{item.name}", "a name", getattr(self, item.name))


@dataclass(frozen=True)
class RunConfig:
    """All settings of one training run.

    With `refit` the measured model is followed by a final one, trained with the same parameters on all accounts,
    families and times; the bundle then holds the final one and the card says so.
    """

    seed: int = 20260701
    refit: bool = False
    split: Split = field(default_factory=Split)
    windows: Windows = field(default_factory=Windows)
    tune: Tune = field(default_factory=Tune)
    lightgbm: LightGBM = field(default_factory=LightGBM)
    calibration: Calibration = field(default_factory=Calibration)
    thresholds: Thresholds = field(default_factory=Thresholds)
    evaluation: Evaluation = field(default_factory=Evaluation)
    gate: Gate = field(default_factory=Gate)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**31, "seed", "0 to 2^31 - 1", self.seed)

    @property
    def metrics_of(self) -> str:
        """Which model the metrics of a bundle were measured on: its own, or the one before the refit."""
        return "forerunner" if self.refit else "this model"

    def as_dict(self) -> dict[str, Any]:
        """The resolved settings as nested plain values (tuples as lists), for logging and for TOML."""
        return {key: plain(value) for key, value in asdict(self).items()}


def load(path: Path | str | None = None, overrides: Mapping[str, object] | None = None) -> RunConfig:
    """The settings of file `path` (TOML, or the `config.json` that a run logs), defaults for what it leaves out, then
    `overrides` by dotted key.

    `overrides` looks like `{"tune.trials": 3}`. Raises ConfigError for an unreadable file, an unknown key
    (the known ones are listed), a wrong type or a value out of range.
    """
    return settings(RunConfig, path, overrides)


def settings(
    cls: type[T],
    path: Path | str | None,
    overrides: Mapping[str, object] | None = None,
    base: Mapping[str, object] | None = None,
) -> T:
    """An instance of the frozen dataclass `cls` as `load` makes one of RunConfig; `base` comes before the file."""
    values: dict[str, Any] = {}
    for key, value in {**(base or {}), **(_flat(_read(Path(path))) if path is not None else {})}.items():
        _put(values, key, value)
    for key, value in (overrides or {}).items():
        _put(values, key, value)
    made: T = _build(cls, values, "")
    return made


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys, so that a file overrides single settings of a preset's section."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return flat


def _read(path: Path) -> dict[str, Any]:
    """A TOML file, or the JSON that a run logs."""
    kind, parse = ("JSON", json.loads) if path.suffix == ".json" else ("TOML", tomllib.loads)
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: expected a {kind} file of settings: {error}") from error
    check(isinstance(found, dict), str(path), "an object of settings", type(found).__name__)
    return dict(found)


def _put(values: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        check(isinstance(values, dict), key, f"{section!r} to be a section", values)
    values[last] = dict(value) if isinstance(value, Mapping) else value


def _build(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    """An instance of dataclass `cls` from plain `values`; nested sections recurse."""
    types = get_type_hints(cls)
    unknown = sorted(set(values) - set(types))
    if unknown:
        where = f"section [{prefix[:-1]}]" if prefix else "the top level"
        raise ConfigError(f"unknown setting {prefix}{unknown[0]}: {where} knows {', '.join(types)}")
    return cls(**{key: _coerce(types[key], value, prefix + key) for key, value in values.items()})


def _coerce(kind: Any, value: object, name: str) -> Any:
    if is_dataclass(kind):
        check(isinstance(value, Mapping), name, "a section", value)
        return _build(kind, value, f"{name}.")  # type: ignore[arg-type]  # a Mapping by the line above
    if kind in (tuple[int, ...], tuple[float, ...], tuple[str, ...]):
        check(isinstance(value, list | tuple), name, "a list", value)
        return tuple(_coerce(kind.__args__[0], item, name) for item in value)  # type: ignore[attr-defined]  # as above
    if kind in (float, bool | float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == bool | float and isinstance(value, bool | float):
        return value
    check(type(value) is kind, name, f"a value of type {getattr(kind, '__name__', kind)}", value)
    return value


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
