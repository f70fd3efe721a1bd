"""Small worlds for tests: plans, opened worlds and scripts of the built-in text."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from training.world import World, open_world
from training.world.corpora import Corpora, Unit
from training.world.plan import Plan
from training.world.settings import load


def plans_of(values: Mapping[str, object], corpora: Path | None = None) -> list[Plan]:
    return open_world(load(None, None, values), corpora)[1]


def cover_units(corpora: Corpora) -> list[Unit]:
    """What the cover traffic of attacks may send of the human sources."""
    return [u for n in corpora.names("human") for units in corpora.by_language(n, cover=True).values() for u in units]


@cache
def opened(accounts: int = 400, seed: int = 7, corpora: Path | None = None) -> tuple[World, list[Plan]]:
    return open_world(load(None, None, {"accounts": accounts, "seed": seed}), corpora)
