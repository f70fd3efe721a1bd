"""What honest accounts send: people, programs and shared keys, from the grammar or from real prompts.

A workload is a way of asking (`labelling`, `nightly_eval`, `gateway`, ...); with a corpora directory it also has a
source, and its name becomes `workload:source`. The text of an account is a list of turns that knows where
conversations begin and, for people, the real gaps. Left out: when turns are sent (clocks), request parameters
(metadata), and harvesting (campaigns).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from random import Random

from training.corpora import Corpora, Unit, capability, fill_slots
from training.grammar import LANGUAGES, Batch, batch, conversation, load_grammar

NAN = float("nan")
HUMAN = {
    "human_chat": 3.0, "human_code": 2.0, "human_study": 1.5, "human_write": 1.5, "human_plan": 1.0,
    "human_translate": 1.0, "human_help": 0.8,
}  # fmt: skip
HUMAN_SOURCES = {
    "realhumaneval": "human_code", "arena_v01": "human_chat", "persona_prompts": "human_roleplay",
    "mt_bench": "human_chat", "assistant_volunteers": "human_chat", "irc": "human_help", "dolly": "human_chat",
    "crosswoz_zh": "human_plan", "hotel_ja": "human_plan", "tutoring": "human_study",
    "questions_ru": "human_chat", "home_queries": "human_home", "home_commands": "human_home",
}  # fmt: skip
AUTOMATION: dict[str, tuple[str, ...]] = {
    "nightly_eval": ("gsm8k", "bbh", "arena_v01", "mt_bench", "open_questions", "template_batches"),
    "cot_eval": ("gsm8k",),
    "labelling": ("banking_intents", "home_queries", "irc", "questions_ru", "crosswoz_zh", "hotel_ja"),
    "extraction": ("irc", "crosswoz_zh", "assistant_volunteers", "hotel_ja"),
    "judging": ("arena_v01", "assistant_volunteers", "mt_bench", "open_questions", "gsm8k"),
    "rag_backfill": ("open_questions", "banking_intents", "irc"),
    "model_comparison": ("model_comparison", "mt_bench", "arena_v01"),
    "localisation": ("crosswoz_zh", "hotel_ja", "questions_ru", "home_commands", "assistant_volunteers"),
    "support_bot": ("banking_intents", "crosswoz_zh", "hotel_ja"),
    "text_cleanup": ("irc", "assistant_volunteers", "questions_ru"),
    "batch_tasks": ("template_batches", "eval_templates", "long_documents", "bbh"),
    "agent_ci": ("swe_agent",),
    "tool_router": ("home_queries", "home_commands"),
    "own_synthesis": ("banking_intents", "home_queries"),
}
MIXED = ("gateway", "gateway_jobs", "team_key", "classroom")
REPEATED = {"nightly_eval": 1.0, "cot_eval": 0.9, "model_comparison": 1.0, "judging": 0.4, "agent_ci": 0.3}
QUESTIONS = ("gsm8k", "bbh", "open_questions", "arena_v01")
BARE = ("batch_tasks", "nightly_eval", "model_comparison", "tool_router")


@dataclass
class Text:
    """The turns of an account in order."""

    prompts: list[str] = field(default_factory=list)
    caps: list[str | None] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prompts)

    def add(self, prompts: Sequence[str], cap: str | None, gaps: Sequence[float] | None = None) -> None:
        """One conversation; the gap before its first turn is never known."""
        self.prompts += prompts
        self.caps += [cap] * len(prompts)
        self.fresh += [True] + [False] * (len(prompts) - 1)
        self.gaps += [NAN, *(gaps[1:] if gaps else [NAN] * (len(prompts) - 1))]

    def cut(self, q: int) -> "Text":
        return Text(self.prompts[:q], self.caps[:q], self.fresh[:q], self.gaps[:q])


def human_text(rnd: Random, workload: str, q: int, corpora: Corpora | None, cover: bool = False) -> Text:
    """A person's turns: mostly one occupation and language, a little of everything else."""
    name, _, source = workload.partition(":")
    lang = "en" if rnd.random() < 0.55 else rnd.choice(LANGUAGES)
    second = rnd.choice(LANGUAGES) if rnd.random() < 0.15 else lang
    sloppy, text = rnd.random(), Text()
    own = _own_units(rnd, source, corpora, cover) if corpora and source else iter(())
    while len(text) < q:
        unit = next(own, None) if rnd.random() < 0.85 else None
        if unit:
            text.add(unit.prompts[:60], capability(unit), unit.gaps)
            continue
        main = name if name in HUMAN and rnd.random() < 0.75 else _weighted(rnd, HUMAN)
        turns = min(1 + int(rnd.expovariate(1 / 3.0)), 30)
        text.add(*conversation(rnd, main, lang if rnd.random() < 0.7 else second, turns, sloppy))
    return text.cut(q)


def _own_units(rnd: Random, source: str, corpora: Corpora, cover: bool) -> Iterator[Unit]:
    """A person's share of a source, in random order, each unit once; of many-language sources one or two languages."""
    units = [u for u in corpora.cover_units if u.source == source] if cover else corpora.honest_units(source)
    langs = sorted({u.lang for u in units})
    if len(langs) > 1:
        kept = rnd.sample(langs, min(len(langs), rnd.choice([1, 1, 2])))
        units = [u for u in units if u.lang in kept]
    return iter(rnd.sample(units, min(len(units), 900)))


def automation_text(rnd: Random, workload: str, q: int, corpora: Corpora | None) -> Text:
    """A program's prompts: one template over many inputs, or a list sent again and again."""
    name, _, source = workload.partition(":")
    items = _items(rnd, name, source, corpora)
    if rnd.random() < REPEATED.get(name, 0.0):
        size = max(5, min(q, q // rnd.randint(1, 6)))
        listed = [item for item, _ in zip(items, range(size), strict=False)]
        items = cycle(listed) if rnd.random() < 0.75 else _reshuffled(rnd, listed)
    text = Text()
    for prompt, cap in items:
        text.add([prompt], cap)
        if len(text) >= q:
            break
    return text


def _reshuffled(rnd: Random, listed: list[tuple[str, str | None]]) -> Iterator[tuple[str, str | None]]:
    while True:
        rnd.shuffle(listed)
        yield from listed


def _items(rnd: Random, name: str, source: str, corpora: Corpora | None) -> Iterator[tuple[str, str | None]]:
    """An endless stream of a workload's prompts."""
    if not (corpora and source):
        client = batch(load_grammar().honest[name], rnd, most=2)
        while True:
            yield client.prompt(rnd)
    units = corpora.honest_units(source)
    if name in BARE or (name == "support_bot" and rnd.random() < 0.5):
        yield from _listed(rnd, units, source, corpora)
    elif name == "agent_ci":
        yield from _agent(rnd, units)
    elif name == "cot_eval":
        yield from _cot(rnd, units, corpora)
    elif name == "judging" and rnd.random() < 0.5 and corpora.material("judge_templates"):
        yield from _judged(rnd, units, corpora)
    else:
        yield from _templated(rnd, name, units, corpora)


def _listed(rnd: Random, units: list[Unit], source: str, corpora: Corpora) -> Iterator[tuple[str, str | None]]:
    """A list as it is, from anywhere in it or one task of it; harness templates get their slots filled."""
    first = rnd.randrange(len(units))
    order = [*units[first:], *units[:first]] if rnd.random() < 0.6 else rnd.sample(units, len(units))
    texts = texts_of(corpora, "open_questions") if source == "eval_templates" else []
    some = rnd.sample(order, rnd.randint(1, 6)) if texts else []
    prefix = rnd.choice(["", "", "Q: ", "Question:\n"]) if source in QUESTIONS else ""
    while True:
        for unit in some or order:
            for p in unit.prompts:
                yield prefix + (fill_slots(p, rnd, texts) if texts else p), capability(unit)


def _agent(rnd: Random, units: list[Unit]) -> Iterator[tuple[str, str | None]]:
    """An agent's runs: the same tasks again, their numbers different each time."""
    while True:
        for unit in rnd.sample(units, len(units)):
            salt = rnd.randint(1, 9)
            for p in unit.prompts:
                yield renumbered(p, salt), "planning_agentic" if salt % 2 else "software_engineering"


def renumbered(text: str, salt: int) -> str:
    """The text with its digits turned by `salt`: another run of the same task."""
    return text.translate({ord("0") + i: ord("0") + (i + salt) % 10 for i in range(10)})


def _cot(rnd: Random, units: list[Unit], corpora: Corpora) -> Iterator[tuple[str, str | None]]:
    prefixes = corpora.material("eval_cot_prefixes") or ["Let's think step by step."]
    prefix = rnd.choice(prefixes)
    for unit in cycle(rnd.sample(units, len(units))):
        yield f"{prefix}\n\nQ: {unit.prompts[0]}\nA: Let's think step by step.", "cot_elicitation"


def _judged(rnd: Random, units: list[Unit], corpora: Corpora) -> Iterator[tuple[str, str | None]]:
    template, texts = (
        rnd.choice(corpora.material("judge_templates")),
        texts_of(corpora, "assistant_volunteers"),
    )
    for unit in cycle(rnd.sample(units, len(units))):
        yield (
            fill_slots(template, rnd, [unit.prompts[0], *rnd.sample(texts, min(3, len(texts)))]),
            "grading_judging",
        )


def _templated(rnd: Random, name: str, units: list[Unit], corpora: Corpora) -> Iterator[tuple[str, str | None]]:
    """One of the grammar's templates over real texts."""
    lang = rnd.choice(units).lang
    holes = ("{text}", "{question}", "{" + lang + "_text}")
    templates = [t for t in load_grammar().honest[name] if any(h in t.text for h in holes)]
    client = Batch(load_grammar(), [rnd.choice(templates)], {})
    texts = texts_of(corpora, "irc")
    for unit in cycle(rnd.sample(units, len(units))):
        for p in unit.prompts:
            given = {
                "text": [p],
                "question": [p],
                f"{lang}_text": [p],
                "passage": [" ".join(rnd.sample(texts, 4))],
            }
            yield client.prompt(rnd, given)


def texts_of(corpora: Corpora, source: str) -> list[str]:
    """A few hundred real texts to fill slots with; the grammar's if the source is not there."""
    if source not in corpora.sources:
        return [load_grammar().fill("{passage}", Random(i)) for i in range(200)]
    return [p for u in corpora.honest_units(source)[:400] for p in u.prompts[:4]]


def mixed_text(rnd: Random, workload: str, q: int, corpora: Corpora | None) -> Text:
    """Many people behind one key, perhaps with a program."""
    if workload == "classroom":
        return _classroom(rnd, q)
    programs = {"gateway_jobs": 0.15, "team_key": 0.3}.get(workload, 0.0)
    names = [rnd.choice(automation_names(corpora)) for _ in range(2)]
    jobs = [automation_workload(rnd, name, corpora) for name in names]
    text = Text()
    while len(text) < q:
        if rnd.random() < programs:
            _append(text, automation_text(rnd, rnd.choice(jobs), rnd.randint(3, 20), corpora))
        else:
            _append(text, human_text(rnd, human_workload(rnd, corpora), rnd.randint(2, 14), corpora))
    return text.cut(q)


def _append(text: Text, part: Text) -> None:
    text.prompts += part.prompts
    text.caps += part.caps
    text.fresh += part.fresh
    text.gaps += part.gaps


def _classroom(rnd: Random, q: int) -> Text:
    """Pupils with the same exercises, each in their own words, and a teacher who prepares."""
    g, text, lang = load_grammar(), Text(), rnd.choice(["en", "en", "zh", "ja", "es", "de", "fr", "ru"])
    slot = "problem" if lang == "en" else f"{lang}_problem"
    sheet = [g.fill("{" + slot + "}", rnd) for _ in range(rnd.randint(4, 15))]
    pool = [t for t in g.honest["human_study"] if t.lang == lang and "{" + slot + "}" in t.text]
    while len(text) < q:
        template = rnd.choice(pool)
        if rnd.random() < 0.1:
            text.add(*conversation(rnd, "human_write", lang, 1, 0.3))
        follow = g.follow.get(("human_study", lang)) or g.follow["human_chat", lang]
        more = [g.fill(rnd.choice(follow), rnd, None, {slot: sheet}) for _ in range(rnd.choice([0, 0, 1, 2, 4]))]
        text.add([g.fill(template.text, rnd, None, {slot: sheet}), *more], template.capability)
    return text.cut(q)


def human_workload(rnd: Random, corpora: Corpora | None) -> str:
    """A person's occupation: with corpora mostly one of the real sources."""
    sources = [s for s in corpora.names("human") if s in HUMAN_SOURCES] if corpora else []
    if sources and rnd.random() < 0.8:
        source = rnd.choice(sources)
        return f"{HUMAN_SOURCES[source]}:{source}"
    return _weighted(rnd, HUMAN)


def automation_names(corpora: Corpora | None) -> list[str]:
    """The kinds of automatic work: with corpora those that have a source, else those of the grammar."""
    real = [w for w, sources in AUTOMATION.items() if corpora and any(s in corpora.sources for s in sources)]
    return real or [w for w in AUTOMATION if w in load_grammar().honest]


def automation_workload(rnd: Random, name: str, corpora: Corpora | None) -> str:
    """A kind of work with one of its sources."""
    sources = [s for s in AUTOMATION[name] if corpora and s in corpora.sources]
    return f"{name}:{rnd.choice(sources)}" if sources else name


def _weighted(rnd: Random, weights: dict[str, float]) -> str:
    return rnd.choices(list(weights), list(weights.values()))[0]
