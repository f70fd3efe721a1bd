"""The plan of a world: which account is whose, when it lives, what it evades, before any text or time is drawn.

Cheap and deterministic by seed. Attack accounts come in campaigns; honest accounts of every kind come in groups of
the same law of sizes (departments, resellers, households) that also start together, are slow, share little, vary their
parameters or are replaced (rotated keys) at times, so that accounts which look alike are no signature. Left out:
everything an account does (the world builds it from its line of the plan and the seed alone).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from training.world.campaigns import families
from training.world.clients import draw_client
from training.world.clocks import API_CLASSES, CLASSES
from training.world.corpora import built_in_part
from training.world.lookalikes import lookalike, member_family
from training.world.people import Texts, human_workload
from training.world.programs import MIXED, automation_names, automation_workload
from training.world.settings import WorldSettings

NIGHTLY_WORK = ("nightly_eval", "cot_eval", "model_comparison")
SYNCHRONISED = 0.7  # campaigns whose accounts start together
TOGETHER = 0.4  # honest groups whose accounts start together
ROTATED = 0.1  # honest groups whose accounts replace each other
HABITS = ("low_slow", "identity", "parameters")  # what honest groups do as well, for reasons of their own
SHORTEST = 0.15  # days that an account lives at least


@dataclass(frozen=True, slots=True)
class Plan:
    """One account: works on shard `number` of `of` of its group; `share` is 0 for honest accounts.

    `start` and `span` are days; `before` is how many harvesting requests earlier accounts of its shard have sent;
    `phase` is probe, scale, standby or steady; `evasions` are (name, strength) pairs, of honest groups their `HABITS`;
    `lookalike` is what an honest group shares its text as, and `before` then counts a vendor's requests.
    """

    index: int
    kind: str
    family: str
    group: int
    number: int
    of: int
    clock: str
    client: str
    q: int
    share: float
    start: float
    span: float
    before: int
    phase: str
    evasions: tuple[tuple[str, float], ...]
    lookalike: str = ""

    def strength(self, name: str) -> float:
        return next((s for n, s in self.evasions if n == name), 0.0)


def make_plan(texts: Texts, settings: WorldSettings) -> list[Plan]:
    """Every account of the world, by index."""
    rnd = Random(settings.seed)
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, 1 << 40]))
    order = [int(i) for i in rng.permutation(settings.accounts)]
    shares = {k: getattr(settings.kinds, k) for k in ("human", "automation", "mixed", "attack")}
    edges = np.round(np.cumsum([0.0, *shares.values()]) * settings.accounts).astype(int)
    fewest = settings.campaigns.fewest
    largest = max(1, min(settings.campaigns.largest, *(int(n) // fewest for n in np.diff(edges, prepend=0) if n)))
    plans: list[Plan] = []
    group = 0
    for kind, low, high in zip(shares, edges[:-1], edges[1:], strict=True):
        members = order[low:high]
        volumes = volume(rng, len(members), settings, kind)
        at = 0
        for size, family in _groups(rnd, kind, len(members), largest, texts, settings):
            own = Random(f"{settings.seed}/group/{group}")
            indices, q = members[at : at + size], volumes[at : at + size]
            plans += _group(own, kind, family, group, indices, [int(v) for v in q], texts, settings)
            at, group = at + size, group + 1
    return sorted(plans, key=lambda p: p.index)


def volume(rng: np.random.Generator, n: int, settings: WorldSettings, kind: str) -> NDArray[np.int64]:
    """Exchanges of `n` accounts: one continuous, heavy-tailed law for everybody."""
    law, drawn = settings.volume, np.zeros(0)
    while len(drawn) < n:
        more = rng.lognormal(np.log(law.median), law.sigma, 2 * n + 8)
        drawn = np.concatenate([drawn, more[(more >= law.smallest) & (more <= law.largest)]])
    if law.busy:
        many = np.exp(rng.uniform(np.log(law.busy_least), np.log(law.largest), n))
        drawn[:n] = np.where(rng.random(n) < law.busy, many, drawn[:n])
    q = drawn[:n].astype(np.int64)
    if kind == "attack" and law.attack_mean and n:
        edges = np.round(np.cumsum(q) * (law.attack_mean * n / q.sum()))
        q = np.maximum(np.diff(edges, prepend=0.0).astype(np.int64), 1)
    return q


def _groups(
    rnd: Random, kind: str, accounts: int, largest: int, texts: Texts, settings: WorldSettings
) -> Iterator[tuple[int, str]]:
    """Sizes, of one law for all kinds up to `largest`, and families that fill a kind's accounts."""
    names = _families(rnd, kind, texts, settings)
    if kind == "attack" and settings.campaigns.single:
        yield from [(accounts, next(names))] if accounts else []
        return
    while accounts:
        size = min(int(settings.campaigns.smallest * rnd.paretovariate(1.1)), largest, accounts)
        yield size, next(names)
        accounts -= size


def _families(rnd: Random, kind: str, texts: Texts, settings: WorldSettings) -> Iterator[str]:
    """Families and workloads in shuffled rounds, so that small worlds hold many; some from the grammar."""
    bare = texts._replace(corpora=None)
    built_in, real = _shuffled(rnd, _choices(kind, bare, settings)), _shuffled(rnd, _choices(kind, texts, settings))
    while True:
        if kind == "human":
            yield human_workload(rnd, texts.corpora if rnd.random() >= settings.built_in / 2 else None, measured=True)
        else:
            source = texts if texts.corpora is not None and rnd.random() >= settings.built_in else bare
            name = next(real if source is texts else built_in)
            yield automation_workload(rnd, name, source.corpora) if kind == "automation" else name


def _choices(kind: str, texts: Texts, settings: WorldSettings) -> list[str]:
    """The families of a kind that this world may use; of the grammar's, those of the world's part."""
    if kind in ("mixed", "human"):
        return list(MIXED)
    names = families(texts) if kind == "attack" else automation_names(texts)
    wanted = settings.campaigns.families if kind == "attack" else ()
    kept = [n for n in names if n not in settings.exclude and (not wanted or n in wanted)]
    if settings.part != "all" and (texts.corpora is None or kind == "automation"):
        kept = [n for n in kept if n in built_in_part(names, settings.part)]
    return kept or names


def _shuffled(rnd: Random, values: list[str]) -> Iterator[str]:
    while True:
        yield from rnd.sample(values, len(values))


def _group(
    rnd: Random, kind: str, family: str, group: int, indices: list[int], q: list[int], texts: Texts, s: WorldSettings
) -> list[Plan]:
    """The accounts of one campaign or honest group."""
    evasions = _evasions(rnd, kind, s)
    allowed = s.campaigns.clients if kind == "attack" else ()
    clock, client = _clock(rnd, kind, family, evasions, s), draw_client(rnd, allowed).name
    shards, generations = _rotation(rnd, kind, len(indices), s)
    lives = _lives(rnd, kind, family, q, shards, generations, evasions, s)
    alike = lookalike(texts, s.seed, group, kind, family, q, s.lookalikes.share)
    if alike == "release":
        lives = _released(group, lives, s)
    several = families(texts) if s.campaigns.single and kind == "attack" and not s.campaigns.families else []
    before, plans = [0] * shards, []
    named = tuple(evasions.items())
    for i, (index, size, (start, span, phase)) in enumerate(zip(indices, q, lives, strict=True)):
        own = clock if rnd.random() < 0.75 else _clock(rnd, kind, family, evasions, s)
        share, at = (_share(rnd, size, s) if kind == "attack" else 0.0), i % shards
        name = several[at % len(several)] if several else family
        if alike == "framework":
            name = member_family(texts, s.seed, index, family)
        who = (index, kind, name, group, at, shards, own, client, size, share)
        plans.append(Plan(*who, start, span, before[at], phase, named, alike))
        before[at] += size if alike == "vendor" else round(share * size)
    return plans


def _evasions(rnd: Random, kind: str, s: WorldSettings) -> dict[str, float]:
    """What a campaign does to hide; the `HABITS` of honest groups follow the same law."""
    drawn = {}
    for name, evasion in s.evasions.named().items():
        used, strength = rnd.random() < evasion.probability, rnd.uniform(evasion.low, evasion.high)
        if used and (kind == "attack" or name in HABITS):
            drawn[name] = round(strength, 3)
    return drawn


def _rotation(rnd: Random, kind: str, size: int, s: WorldSettings) -> tuple[int, int]:
    """Shards that are worked on at the same time, and how many accounts take over one after another."""
    replaced = rnd.random() < (s.campaigns.standby if kind == "attack" else ROTATED)
    generations = rnd.choice([2, 2, 3]) if replaced and size >= 4 else 1
    return -(-size // generations), generations


def _lives(
    rnd: Random, kind: str, family: str, q: list[int], shards: int, generations: int,
    evasions: Mapping[str, float], s: WorldSettings,
) -> list[tuple[float, float, str]]:  # fmt: skip
    """Start, span (days) and phase of each account of a group."""
    shared = rnd.random() < (SYNCHRONISED * s.campaigns.share_start if kind == "attack" else TOGETHER)
    begin, lead, ramp = rnd.uniform(0, 0.5 * s.days), rnd.uniform(0.3, 2.0), rnd.expovariate(1.0)
    if family.startswith("model_comparison") and s.events.releases and rnd.random() < 0.5:
        shared, begin = True, s.events.releases[0] * s.days
    slower = 1 + 9 * evasions.get("low_slow", 0.0)
    probes = max(1, round(s.campaigns.probe * len(q))) if kind == "attack" and len(q) >= 5 and shared else 0
    ends, lives = [0.0] * shards, []
    for i, size in enumerate(q):
        daily = rnd.lognormvariate(np.log(s.volume.daily), 0.9) / slower
        span = min(max(size / daily, SHORTEST), float(s.days) / generations)
        if i >= shards:
            start, phase = ends[i % shards] + rnd.expovariate(12.0), "standby"
        elif shared:
            start = begin if i < probes else begin + (lead if probes else 0.0) + ramp * rnd.random()
            phase = ("probe" if i < probes else "scale") if kind == "attack" else "steady"
        else:
            start, phase = rnd.uniform(0, max(s.days - span * generations, 0.0)), "steady"
        start = min(start, max(s.days - span * (generations - i // shards), 0.0))
        ends[i % shards] = start + span
        lives.append((round(start, 5), round(span, 5), phase if kind == "attack" else "steady"))
    return lives


def _released(group: int, lives: list[tuple[float, float, str]], s: WorldSettings) -> list[tuple[float, float, str]]:
    """The lives of a group that measures a new model: within two days of its release, or of any day without one."""
    rnd = Random(f"{s.seed}/release/{group}")
    day = rnd.choice(s.events.releases or (rnd.uniform(0.0, 0.8),)) * s.days
    starts = [round(min(day + 2 * rnd.random() ** 2, s.days - SHORTEST), 5) for _ in lives]
    return [(start, min(span, s.days - start), phase) for start, (_, span, phase) in zip(starts, lives, strict=True)]


def _clock(rnd: Random, kind: str, family: str, evasions: Mapping[str, float], s: WorldSettings) -> str:
    """The one law of clock classes; evaluations take more of the nights, other programs fewer.

    Campaigns that evade with a person's clock take their part of the people's class, the rest keep what is left.
    """
    if kind == "human":
        return "coding" if family.startswith("human_agent") else "people"
    if kind == "attack" and rnd.random() < evasions.get("human_clock", 0.0):
        return "people"
    law = dict(CLASSES)
    if kind == "automation":
        law["nightly"] = 0.35 if family.split(":")[0] in NIGHTLY_WORK else 0.05
    if kind == "attack":
        hide = s.evasions.human_clock
        evading = hide.probability * (hide.low + hide.high) / 2
        law["people"] = max(0.0, (CLASSES["people"] - evading) / (1 - evading)) if evading < 1 else 0.0
    rest = (1 - law["nightly"]) / (1 - CLASSES["nightly"])
    weights = [law[c] if c in ("nightly", "people") and kind == "attack" else law[c] * rest for c in law]
    weights[list(law).index("nightly")] = law["nightly"]
    return rnd.choices(list(law), weights)[0]


def _share(rnd: Random, q: int, s: WorldSettings) -> float:
    """An attacker's share that leaves at least two harvesting exchanges."""
    pairs = [(share, w) for share, w in zip(s.evasions.shares, s.evasions.weights, strict=True) if share * q >= 2]
    pairs = pairs or [(max(s.evasions.shares), 1.0)]
    return rnd.choices([p[0] for p in pairs], [p[1] for p in pairs])[0]


def style(rng: np.random.Generator, plan: Plan) -> str:
    """Which client law an account follows: a person's or a program's, by its clock class."""
    app = 0.88 if plan.kind == "human" else 0.06 if plan.clock in API_CLASSES else 0.55
    return "app" if rng.random() < app else "api"
