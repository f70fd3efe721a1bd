"""The whole prompts of `training/text/own`: all listed, each once, on one side, used only where asked for."""

import json
from collections import Counter

import pytest

from training.config import ConfigError
from training.world import open_world
from training.world.corpora import OWN, own_sources
from training.world.people import HUMAN
from training.world.programs import AUTOMATION
from training.world.settings import WorldSettings


def prompts() -> dict[str, list[str]]:
    found = {}
    for path in OWN.glob("*.jsonl"):
        found[path.stem] = [json.loads(line)["prompt"] for line in path.read_text("utf-8").splitlines()]
    return found


def test_every_file_is_listed_and_every_source_has_prompts_of_its_own() -> None:
    known = prompts()
    assert set(known) == set(own_sources())
    assert min(len(texts) for texts in known.values()) >= 90
    counts = Counter(text for texts in known.values() for text in texts)
    assert [text for text, count in counts.items() if count > 1] == []
    assert all(text.strip() for text in counts)


def test_each_role_has_who_sends_it() -> None:
    for name, source in own_sources().items():
        assert source.role in ("harvest", "human", "automation")
        if source.role == "human":
            assert source.workload in HUMAN, name
        if source.role == "automation":
            assert name in AUTOMATION[source.workload], name


def test_words_that_give_harvesting_away_are_rare() -> None:
    telling = ("dataset", "training data", "student model", "distil")
    for name, texts in prompts().items():
        if own_sources()[name].role == "harvest":
            told = sum(any(word in text.lower() for word in telling) for text in texts)
            assert told <= 0.05 * len(texts), name


def test_own_text_without_corpora_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="own_text: expected a corpora directory"):
        open_world(WorldSettings(own_text=True))
