"""The plan of a world: which account is whose, before any text or time is drawn.

Cheap and deterministic by seed. Attack accounts come in campaigns; honest accounts of every kind come in groups of
the same law of sizes (departments, resellers, households), so that accounts which look alike are no signature.
Left out: everything an account does (world builds it from its line of the plan and the seed alone).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np

from training.campaigns import SHARES, families
from training.clocks import API_CLASSES, CLASSES
from training.corpora import Corpora
from training.populations import MIXED, automation_names, automation_workload, human_workload

KINDS = {"human": 0.36, "automation": 0.24, "mixed": 0.10, "attack": 0.30}
SMALLEST, LARGEST = 10, 800
GROUPED = 40
NIGHTLY_WORK = ("nightly_eval", "cot_eval", "model_comparison")


@dataclass(frozen=True)
class Plan:
    """One account: `number`-th of `of` accounts of its group; `share` is 0 for honest accounts."""

    index: int
    kind: str
    family: str
    group: int
    number: int
    of: int
    clock: str
    q: int
    share: float


def make_plan(accounts: int, seed: int, corpora: Corpora | None) -> list[Plan]:
    """Every account of the world, by index."""
    rnd, rng = Random(seed), np.random.default_rng(np.random.SeedSequence([seed, 1 << 40]))
    order = [int(i) for i in rng.permutation(accounts)]
    edges = np.round(np.cumsum([0.0, *KINDS.values()]) * accounts).astype(int)
    plans: list[Plan] = []
    group = 0
    for kind, low, high in zip(KINDS, edges[:-1], edges[1:], strict=True):
        members = order[low:high]
        for size, family in _groups(rnd, kind, len(members), corpora):
            taken, members = members[:size], members[size:]
            clock = _clock(rnd, kind, family)
            for number, index in enumerate(taken):
                own = clock if rnd.random() < 0.75 else _clock(rnd, kind, family)
                q = volume(rng)
                share = _share(rnd, q) if kind == "attack" else 0.0
                plans.append(Plan(index, kind, family, group, number, size, own, q, share))
            group += 1
    return sorted(plans, key=lambda p: p.index)


def volume(rng: np.random.Generator) -> int:
    """Exchanges of an account: one continuous, heavy-tailed law for everybody."""
    while True:
        q = float(rng.lognormal(np.log(78), 0.95))
        if SMALLEST <= q <= LARGEST:
            return int(q)


def _groups(rnd: Random, kind: str, accounts: int, corpora: Corpora | None) -> Iterator[tuple[int, str]]:
    """Sizes and families that fill a kind's accounts; no group takes more than a twentieth of them."""
    largest = max(1, min(GROUPED, accounts // 20))
    names = _families(rnd, kind, corpora)
    while accounts:
        size = min(int(rnd.paretovariate(1.1)), largest, accounts)
        yield size, next(names)
        accounts -= size


def _families(rnd: Random, kind: str, corpora: Corpora | None) -> Iterator[str]:
    """Families and workloads in shuffled rounds, so that small worlds hold many; a quarter from the grammar."""
    built_in, real = _shuffled(rnd, _choices(kind, None)), _shuffled(rnd, _choices(kind, corpora))
    while True:
        if kind == "human":
            yield human_workload(rnd, corpora)
        else:
            use_real = corpora is not None and rnd.random() < 0.75
            name = next(real) if use_real else next(built_in)
            yield (automation_workload(rnd, name, corpora if use_real else None) if kind == "automation" else name)


def _choices(kind: str, corpora: Corpora | None) -> list[str]:
    if kind == "attack":
        return families(corpora)
    return list(MIXED) if kind == "mixed" else automation_names(corpora)


def _shuffled(rnd: Random, values: list[str]) -> Iterator[str]:
    while True:
        yield from rnd.sample(values, len(values))


def _clock(rnd: Random, kind: str, family: str) -> str:
    """The one law of clock classes; evaluations take more of the nights, other programs fewer."""
    if kind == "human":
        return "people"
    nightly = CLASSES["nightly"]
    if kind == "automation":
        nightly = 0.35 if family.split(":")[0] in NIGHTLY_WORK else 0.05
    if rnd.random() < nightly:
        return "nightly"
    rest = [c for c in CLASSES if c != "nightly"]
    return rnd.choices(rest, [CLASSES[c] for c in rest])[0]


def _share(rnd: Random, q: int) -> float:
    """An attacker's share that leaves at least two harvesting exchanges."""
    possible = [s for s in SHARES if s * q >= 2]
    return rnd.choices(possible, [0.14, 0.16, 0.2, 0.2, 0.3][-len(possible) :])[0]


def style(rng: np.random.Generator, plan: Plan) -> str:
    """Which client law an account follows: a person's or a program's, by its clock class."""
    app = 0.88 if plan.kind == "human" else 0.06 if plan.clock in API_CLASSES else 0.55
    return "app" if rng.random() < app else "api"
