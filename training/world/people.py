"""What people ask for themselves, from the grammar or from real prompts, as pieces of a pool.

An occupation (`human_code`, `human_study`, ...) with a corpora directory also has a source, and its name becomes
`occupation:source`. Left out: when turns are sent (clocks), request parameters (metadata), programs and shared
keys (programs), harvesting (campaigns).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from training.world.corpora import Corpora, Unit, capability
from training.world.grammar import LANGUAGES, Grammar, conversation
from training.world.pool import Pool, Prompt

NAN = float("nan")
HUMAN = {
    "human_chat": 3.0, "human_code": 2.0, "human_study": 1.5, "human_write": 1.5, "human_plan": 1.0,
    "human_translate": 1.0, "human_help": 0.8, "human_roleplay": 0.7,
}  # fmt: skip
HUMAN_SOURCES = {
    "realhumaneval": "human_code", "arena_v01": "human_chat", "persona_prompts": "human_roleplay",
    "mt_bench": "human_chat", "assistant_volunteers": "human_chat", "irc": "human_help", "dolly": "human_chat",
    "crosswoz_zh": "human_plan", "hotel_ja": "human_plan", "tutoring": "human_study",
    "questions_ru": "human_chat", "home_queries": "human_home", "home_commands": "human_home",
}  # fmt: skip


class Texts(NamedTuple):
    """Where text comes from: the pool, the grammar over it, and the real sources if there are any."""

    pool: Pool
    grammar: Grammar
    corpora: Corpora | None


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
    own, spoken = _own_units(rnd, source, corpora, cover, q) if corpora and source else (iter(()), "")
    lang = spoken or ("en" if rnd.random() < 0.5 else rnd.choice(LANGUAGES))
    second = rnd.choice(LANGUAGES) if rnd.random() < 0.15 else lang
    sloppy, script = rnd.random(), Script(lang=lang)
    while len(script) < q:
        unit = next(own, None) if rnd.random() < 0.85 else None
        if unit:
            turns = unit.pieces[:60]
            script.add([[piece] for piece in turns], capability(unit), unit.gaps[:60] if unit.gaps else None)
            continue
        main = name if name in texts.grammar.honest and rnd.random() < 0.75 else weighted(rnd, HUMAN)
        turns = min(1 + int(rnd.expovariate(1 / 3.0)), 30)
        tongue = lang if rnd.random() < 0.7 else second
        script.add(*conversation(texts.grammar, rnd, main, tongue, turns, sloppy))
    return script.cut(q)


def _own_units(rnd: Random, source: str, corpora: Corpora, cover: bool, q: int) -> tuple[Iterator[Unit], str]:
    """A person's share of a source, in random order, each unit once; of many-language sources one or two languages."""
    groups = corpora.by_language(source, cover)
    langs = sorted(groups)
    kept = rnd.sample(langs, min(len(langs), rnd.choice([1, 1, 2])))
    units = groups[kept[0]] if len(kept) == 1 else [u for lang in kept for u in groups[lang]]
    return iter(rnd.sample(units, min(len(units), q))), kept[0] if kept else ""


def human_workload(rnd: Random, corpora: Corpora | None) -> str:
    """A person's occupation: with corpora mostly one of the real sources."""
    sources = [s for s in corpora.names("human") if s in HUMAN_SOURCES] if corpora else []
    if sources and rnd.random() < 0.8:
        source = rnd.choice(sources)
        return f"{HUMAN_SOURCES[source]}:{source}"
    return weighted(rnd, HUMAN)


def weighted(rnd: Random, weights: dict[str, float]) -> str:
    return rnd.choices(list(weights), list(weights.values()))[0]
