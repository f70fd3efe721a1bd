"""Presets, TOML overrides and their checks."""

from dataclasses import fields
from pathlib import Path

import pytest

from training.config import ConfigError
from training.world.settings import PRESETS, Evasion, WorldSettings, load, with_benign


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_is_valid(preset: str) -> None:
    settings = load(preset)
    assert isinstance(settings, WorldSettings)
    assert settings.accounts == PRESETS[preset].get("accounts", 400)


def test_the_reported_campaign_is_the_one_that_was_reported() -> None:
    settings = load("reported-campaign")
    assert (settings.accounts, settings.days) == (25_000, 45)
    assert settings.accounts * settings.volume.attack_mean == 28_800_000
    assert settings.campaigns.single
    assert settings.kinds.attack == 1.0


def test_file_overrides_preset_and_arguments_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "world.toml"
    file.write_text("accounts = 50\n[volume]\nlargest = 900\n[evasions.relay]\nprobability = 1.0\n")
    settings = load("tiny", file, {"accounts": 60})
    assert settings.accounts == 60
    assert settings.days == 10, "from the preset"
    assert settings.volume.largest == 900
    assert settings.evasions.relay == Evasion(1.0, 0.1, 0.5) or settings.evasions.relay.probability == 1.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"acounts": 9}, "unknown setting acounts"),
        ({"evasions.cloak": {}}, "unknown setting evasions.cloak"),
        ({"accounts": 3}, "at least 8 accounts"),
        ({"days": "ten"}, "days: expected a value of type int"),
        ({"kinds.human": 0.9}, "add up to 1"),
        ({"part": "half"}, "part: expected one of"),
        ({"evasions.split.low": 0.9, "evasions.split.high": 0.1}, "low <= high"),
        ({"events.releases": [1.5]}, "between 0 and 1"),
        ({"volume.median": 5000.0}, "smallest <= median <= largest"),
        ({"campaigns.share_payment": 1.5}, "campaigns.share_payment: expected 0 to 1"),
        ({"campaigns.share_network": "no"}, "campaigns.share_network: expected a value of type bool | float"),
    ],
)
def test_what_is_unknown_or_out_of_range_is_an_error(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(None, None, values)


@pytest.mark.parametrize(("given", "kept"), [(True, True), (False, False), (0.25, 0.25), (1, 1.0)])
def test_what_is_shared_may_be_a_probability(given: float, kept: float) -> None:
    settings = load("groups", None, {"campaigns.share_payment": given})
    assert settings.campaigns.share_payment == kept
    assert load(None, None, settings.as_dict()) == settings
    assert load("groups").campaigns.share_payment is True


def test_unknown_presets_are_listed() -> None:
    with pytest.raises(ConfigError, match="demo"):
        load("huge")


def test_benign_multiples_keep_the_campaign_and_the_mix_of_honest_kinds() -> None:
    settings = load("reported-campaign", None, with_benign(3.0, 25_000))
    assert settings.accounts == 100_000
    assert round(settings.kinds.attack * settings.accounts) == 25_000
    assert settings.kinds.human / settings.kinds.automation == pytest.approx(1.5)
    assert with_benign(0.0, 25_000)["accounts"] == 25_000


def test_settings_as_plain_values_make_the_same_settings() -> None:
    settings = load("train")
    assert load(None, None, settings.as_dict()) == settings
    assert set(settings.as_dict()) == {f.name for f in fields(WorldSettings)}
