"""What people ask for themselves, from the grammar or from real prompts, as pieces of a pool.

An occupation (`human_code`, `human_study`, ...) with a corpora directory also has a source, and its name becomes
`occupation:source`. Left out: when turns are sent (clocks), request parameters (metadata), programs and shared
keys (programs), harvesting (campaigns).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from training.world.corpora import Corpora, Unit, capability, own_sources
from training.world.grammar import LANGUAGES, Grammar, batch, conversation, slot_of
from training.world.pool import Pool, Prompt

NAN = float("nan")
TALK = {
    "human_chat": 3.0, "human_code": 2.0, "human_study": 1.5, "human_write": 1.5, "human_plan": 1.0,
    "human_translate": 1.0, "human_help": 0.8, "human_roleplay": 0.7,
}  # fmt: skip
HUMAN = TALK | {"human_agent": 1.0}  # developers with a coding agent: their tools answer, too
HUMAN_SOURCES = {
    "realhumaneval": "human_code", "arena_v01": "human_chat", "persona_prompts": "human_roleplay",
    "mt_bench": "human_chat", "assistant_volunteers": "human_chat", "irc": "human_help", "dolly": "human_chat",
    "crosswoz_zh": "human_plan", "hotel_ja": "human_plan", "tutoring": "human_study",
    "questions_ru": "human_chat", "home_queries": "human_home", "home_commands": "human_home",
}  # fmt: skip


class Texts(NamedTuple):
    """Where text comes from: the pool, the grammar over it, the real sources if there are any, and the world's part."""

    pool: Pool
    grammar: Grammar
    corpora: Corpora | None
    part: str = "all"


@dataclass
class Script:
    """The turns of an account in order: pieces, capability, where conversations begin, known gaps, language."""

    prompts: list[Prompt] = field(default_factory=list)
    caps: list[str | None] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    lang: str = "en"

    def __len__(self) -> int:
        return len(self.prompts)

    def add(self, prompts: Sequence[Prompt], cap: str | None, gaps: Sequence[float] | None = None) -> None:
        """One conversation; the gap before its first turn is never known."""
        self.prompts += prompts
        self.caps += [cap] * len(prompts)
        self.fresh += [True] + [False] * (len(prompts) - 1)
        self.gaps += [NAN, *(gaps[1:] if gaps else [NAN] * (len(prompts) - 1))]

    def join(self, other: "Script") -> None:
        self.prompts += other.prompts
        self.caps += other.caps
        self.fresh += other.fresh
        self.gaps += other.gaps

    def cut(self, q: int) -> "Script":
        return Script(self.prompts[:q], self.caps[:q], self.fresh[:q], self.gaps[:q], self.lang)


def human_text(texts: Texts, rnd: Random, workload: str, q: int, cover: bool = False) -> Script:
    """A person's turns: mostly one occupation and language, a little of everything else."""
    name, _, source = workload.partition(":")
    corpora = texts.corpora
    own, spoken = own_units(rnd, source, corpora, cover, q) if corpora and source else (iter(()), "")
    lang = spoken or ("en" if rnd.random() < 0.5 else rnd.choice(LANGUAGES))
    person = Person(texts.grammar, rnd, name, lang, rnd.choice(LANGUAGES) if rnd.random() < 0.15 else lang)
    script = Script(lang=lang)
    while len(script) < q:
        unit = next(own, None) if rnd.random() < 0.85 else None
        if unit:
            asked = unit.pieces[:60]
            script.add([[piece] for piece in asked], capability(unit), unit.gaps[:60] if unit.gaps else None)
        else:
            script.add(*person.conversation())
    return script.cut(q)


class Person:
    """Somebody with an occupation, one or two languages, topics of their own and a way of typing."""

    def __init__(self, g: Grammar, rnd: Random, name: str, lang: str, second: str) -> None:
        self.g, self.rnd, self.name, self.lang, self.second = g, rnd, name, lang, second
        self.sloppy = rnd.random()
        slots = [slot for slot in (slot_of("topic", lang), slot_of("topic", second)) if slot in g.slots]
        self.topics = {slot: rnd.sample(g.slots[slot], min(12, len(g.slots[slot]))) for slot in slots}

    def conversation(self) -> tuple[list[Prompt], str]:
        """A few turns on one thing, mostly of the occupation, and the capability they ask for."""
        rnd, g = self.rnd, self.g
        lang = self.lang if rnd.random() < 0.7 else self.second
        usual = rnd.random() < 0.75
        if usual and self.name == "human_agent":
            return self._with_an_agent(lang), "planning_agentic"
        name = self.name if usual and self.name in g.honest else weighted(rnd, TALK)
        turns = min(1 + int(rnd.expovariate(1 / 3.0)), 30)
        return conversation(g, rnd, name, lang, turns, self.sloppy, self.topics)

    def _with_an_agent(self, lang: str) -> list[Prompt]:
        """A developer asks; a coding agent goes back and forth with its tools until it is done."""
        asked, _ = conversation(self.g, self.rnd, "human_code", lang, 1, self.sloppy)
        agent = batch(self.g, self.g.honest["agent_ci"], self.rnd, lang=lang, most=3)
        return asked + [agent.prompt(self.rnd)[0] for _ in range(min(40, 2 + int(self.rnd.expovariate(1 / 10))))]


def own_units(rnd: Random, source: str, corpora: Corpora, cover: bool, q: int) -> tuple[Iterator[Unit], str]:
    """A person's share of a source, in random order, each unit once; of many-language sources one or two languages."""
    groups = corpora.by_language(source, cover)
    langs = sorted(groups)
    kept = rnd.sample(langs, min(len(langs), rnd.choice([1, 1, 2])))
    units = groups[kept[0]] if len(kept) == 1 else [u for lang in kept for u in groups[lang]]
    return iter(rnd.sample(units, min(len(units), q))), kept[0] if kept else ""


def human_workload(rnd: Random, corpora: Corpora | None, measured: bool = False) -> str:
    """A person's occupation: with corpora mostly one of the real sources, those only `measured` with if asked."""
    own = own_sources()
    sources = [s for s in corpora.names("human", measured) if s in HUMAN_SOURCES or s in own] if corpora else []
    if sources and rnd.random() < 0.75:
        source = rnd.choice(sources)
        return f"{own[source].workload if source in own else HUMAN_SOURCES[source]}:{source}"
    return weighted(rnd, HUMAN)


def weighted(rnd: Random, weights: dict[str, float]) -> str:
    return rnd.choices(list(weights), list(weights.values()))[0]
