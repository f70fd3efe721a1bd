"""The programs that call the model: their flow, pace and parameters, from `training/text/clients.toml`.

One table and one law of weights for attack and honest automation: the same public tools serve both, so a tool's pace or
parameters never tell the sides apart. Left out: the text (campaigns, programs) and how pace becomes times (clocks).
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from training.world.flows import Flow

PACE = {
    "workers": "workers", "per_minute": "per_minute", "barrier": "barrier", "sleep": "sleep_s", "pause": "pause_s",
    "batch": "asynchronous",
}  # fmt: skip


@dataclass(frozen=True)
class Client:
    """One program; `recipe` holds stages with their repeats, temperatures and ceilings vary by call or stage.

    `system`, `reasoning` and `tools`: whether it sends a system prompt, asks for reasoning, offers tools.
    """

    name: str
    weight: float
    recipe: tuple[tuple[str, int], ...]
    order: str
    flow: Flow
    temperature: tuple[float, ...]
    max_tokens: tuple[int, ...]
    system: bool
    n: int
    models: int
    reasoning: bool
    tools: bool


@cache
def clients() -> dict[str, Client]:
    """Every client by name."""
    table = tomllib.loads((files("training") / "text" / "clients.toml").read_text("utf-8"))
    return {name: _client(name, dict(row)) for name, row in table.items()}


def _client(name: str, row: dict[str, Any]) -> Client:
    flow = {field: row.pop(name) for name, field in PACE.items() if name in row}
    stages = [str(stage).partition(" x") for stage in row.pop("recipe")]
    recipe = tuple((stage, int(times or 1)) for stage, _, times in stages)
    defaults: dict[str, Any] = {"system": False, "n": 1, "models": 1, "reasoning": False, "tools": False}
    lists = {key: tuple(row.pop(key)) for key in ("temperature", "max_tokens")}
    return Client(name=name, recipe=recipe, flow=Flow(**flow), **(defaults | lists | row))


def draw_client(rnd: Random, allowed: tuple[str, ...] = ()) -> Client:
    """A client by weight, of those `allowed` if any are named."""
    known = [c for c in clients().values() if not allowed or c.name in allowed]
    return rnd.choices(known, [c.weight for c in known])[0]
