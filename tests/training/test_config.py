import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from fingerprint.errors import FingerprintError
from training.config import ConfigError, RunConfig, load


def test_without_a_file_the_defaults_hold() -> None:
    assert load() == RunConfig()


def test_a_file_overrides_what_it_names_and_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("seed = 5\n[tune]\ntrials = 3\ntimeout_s = 9\n[windows]\nsizes = [3, 50]\n")
    config = load(path, {"tune.trials": 4})
    assert (config.seed, config.tune.trials, config.tune.timeout_s) == (5, 4, 9.0)
    assert config.windows.sizes == (3, 50)
    assert config.split == RunConfig().split


def test_what_a_run_logs_is_read_back(tmp_path: Path) -> None:
    """The JSON of the resolved settings, every section of it."""
    config = load(None, {"tune.trials": 4, "split.keep": ["irc"], "windows.sizes": [3, 50], "refit": True})
    (tmp_path / "config.json").write_text(json.dumps(config.as_dict()))
    assert load(tmp_path / "config.json") == config


@pytest.mark.parametrize("text", ["{", "[1]", "seed = 5"])
def test_json_that_holds_no_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json: expected a"):
        load(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tune.trails", 3, r"unknown setting tune\.trails: section \[tune\] knows trials, timeout_s"),
        ("sed", 3, "unknown setting sed: the top level knows seed, refit, split"),
        ("tune.trials", "3", r"tune\.trials: expected a value of type int, got '3'"),
        ("tune.trials", True, "expected a value of type int, got True"),
        ("tune", 3, "tune: expected a section"),
        ("windows.sizes", 3, "expected a list"),
        ("windows.sizes", [30, 3], "rising sizes"),
        ("split.train", 0.9, r"train \+ calib \+ test = 1"),
        ("thresholds.act", 0.5, "0 < act < review < 1"),
        ("lightgbm.trees", 500, "1 to 80"),
        ("calibration.methods", ["isotonic"], r"some of \['beta', 'platt'\]"),
        ("tracking.alias", "", "a name"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(None, {key: value})


def test_a_file_that_is_not_toml_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("seed = = 5")
    with pytest.raises(ConfigError, match=r"run\.toml: expected a TOML file"):
        load(path)
    with pytest.raises(FingerprintError, match="absent"):
        load(tmp_path / "absent.toml")


def test_as_dict_is_plain_and_loads_back() -> None:
    values = json.loads(json.dumps(RunConfig().as_dict()))
    flat = {f"{s}.{k}": v for s, part in values.items() if isinstance(part, dict) for k, v in part.items()}
    assert load(None, flat | {"seed": values["seed"]}) == RunConfig()


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RunConfig().seed = 1  # type: ignore[misc]  # the point of the test
