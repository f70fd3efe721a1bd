"""What honest programs and shared keys send, as pieces of a pool.

A workload is a way of asking (`labelling`, `nightly_eval`, `gateway`, ...); with a corpora directory it also has a
source, and its name becomes `workload:source`. Left out: when requests are sent (clocks), request parameters
(metadata), and harvesting (campaigns).
"""

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random

from training.world.corpora import Corpora, Unit, capability, slotted
from training.world.grammar import LANGUAGES, Template, batch, conversation, holds, pick, pinned, shuffled, slot_of
from training.world.people import Script, Texts, human_text, human_workload
from training.world.pool import Prompt

AUTOMATION: dict[str, tuple[str, ...]] = {
    "nightly_eval": ("gsm8k", "bbh", "arena_v01", "mt_bench", "open_questions", "template_batches", "own_eval_items"),
    "cot_eval": ("gsm8k",),
    "labelling": ("banking_intents", "home_queries", "irc", "questions_ru", "crosswoz_zh", "hotel_ja"),
    "extraction": ("irc", "crosswoz_zh", "assistant_volunteers", "hotel_ja"),
    "judging": ("arena_v01", "assistant_volunteers", "mt_bench", "open_questions", "gsm8k"),
    "rag_backfill": ("open_questions", "banking_intents", "irc"),
    "model_comparison": ("model_comparison", "mt_bench", "arena_v01", "own_quiz_lists"),
    "localisation": ("crosswoz_zh", "hotel_ja", "questions_ru", "home_commands", "assistant_volunteers"),
    "support_bot": ("banking_intents", "crosswoz_zh", "hotel_ja"),
    "text_cleanup": ("irc", "assistant_volunteers", "questions_ru"),
    "batch_tasks": ("template_batches", "eval_templates", "long_documents", "bbh", "own_task_batches"),
    "agent_ci": ("swe_agent", "own_agent_runs"),
    "tool_router": ("home_queries", "home_commands", "own_assistant_calls"),
    "own_synthesis": ("banking_intents", "home_queries"),
    "label_jobs": ("own_label_jobs", "own_zh_jobs", "own_many_jobs"),
    "document_jobs": ("own_doc_jobs", "own_ja_jobs", "own_long_jobs"),
    "copy_jobs": ("own_copy_jobs",),
    "judge_jobs": ("own_judgements",),
    "code_bots": ("own_code_bots",),
}
BUILT_IN = ("red_team", "audit")  # programs that only the grammar has text for
MIXED = ("gateway", "gateway_jobs", "team_key", "classroom", "router")
KEY_PROGRAMS = {"gateway_jobs": 0.15, "team_key": 0.3, "router": 0.5}  # how often a program uses the key
REPEATED = {
    "nightly_eval": 1.0, "cot_eval": 0.9, "model_comparison": 1.0, "judging": 0.4, "agent_ci": 0.3, "red_team": 0.5,
}  # fmt: skip
QUESTIONS = ("gsm8k", "bbh", "open_questions", "arena_v01")
BARE = (
    "batch_tasks", "nightly_eval", "model_comparison", "tool_router", "label_jobs", "document_jobs", "copy_jobs",
    "judge_jobs", "code_bots",
)  # fmt: skip
LEADS = ("", "", "Q: ", "Question:\n")  # what a program puts before a list of questions
BEFORE, AFTER = "\n\nQ: ", "\nA: Let's think step by step."  # what it puts around a question to be reasoned about
Prompts = Iterator[tuple[Prompt, str | None]]


def automation_text(texts: Texts, rnd: Random, workload: str, q: int) -> Script:
    """A program's prompts: one template over many inputs, or a list sent again and again."""
    name, _, source = workload.partition(":")
    script = Script()
    items = _items(texts, rnd, name, source, script, q)
    if rnd.random() < REPEATED.get(name, 0.0):
        size = max(5, min(q, q // rnd.randint(1, 6)))
        listed = [item for item, _ in zip(items, range(size), strict=False)]
        items = cycle(listed) if rnd.random() < 0.75 else _reshuffled(rnd, listed)
    for prompt, cap in items:
        script.add([prompt], cap)
        if len(script) >= q:
            break
    return script


def requests(texts: Texts, rnd: Random, workload: str, n: int) -> tuple[list[tuple[Prompt, str | None]], str]:
    """The first `n` prompts of a program's list, and their language."""
    name, _, source = workload.partition(":")
    script = Script()
    return list(islice(_items(texts, rnd, name, source, script, n), n)), script.lang


def _reshuffled(rnd: Random, listed: list[tuple[Prompt, str | None]]) -> Prompts:
    while True:
        rnd.shuffle(listed)
        yield from listed


def _items(texts: Texts, rnd: Random, name: str, source: str, script: Script, q: int) -> Prompts:
    """An endless stream of a workload's prompts; tells `script` their language."""
    corpora = texts.corpora
    if not (corpora and source):
        client = batch(texts.grammar, texts.grammar.honest[name], rnd, most=2)
        script.lang = client.templates[0].lang
        while True:
            yield client.prompt(rnd)
    units = corpora.honest_units(source)
    script.lang = units[0].lang
    if name in BARE or (name == "support_bot" and rnd.random() < 0.5):
        yield from _listed(texts, rnd, units, source, corpora, q)
    elif name == "agent_ci":
        yield from _agent(rnd, units, corpora, q)
    elif name == "cot_eval":
        yield from _cot(texts, rnd, units, corpora, q)
    elif name == "judging" and rnd.random() < 0.5 and corpora.material("judge_templates"):
        yield from _judged(texts, rnd, units, corpora, q)
    else:
        yield from _templated(texts, rnd, name, units, corpora, q)


def _listed(texts: Texts, rnd: Random, units: list[Unit], source: str, corpora: Corpora, q: int) -> Prompts:
    """A list as it is, from anywhere in it or one task of it; harness templates get their slots filled."""
    first = rnd.randrange(len(units))
    order = (
        [*units[first : first + q], *units[: max(0, first + q - len(units))]]
        if rnd.random() < 0.6
        else shuffled(rnd, units, q)
    )
    harness = source == "eval_templates"
    some = rnd.sample(order, min(len(order), rnd.randint(1, 6))) if harness else order
    ahead = [p for p in [texts.pool.add(rnd.choice(LEADS))] if source in QUESTIONS]
    while True:
        for unit in some:
            for prompt, piece in zip(unit.prompts, unit.pieces, strict=True):
                yield (slots_filled(texts, rnd, prompt, corpora) if harness else [*ahead, piece]), capability(unit)


def slots_filled(texts: Texts, rnd: Random, template: str, corpora: Corpora, first: int | None = None) -> Prompt:
    """A harness or judge template with every hole filled by a real text; the first by `first` if given."""
    out: Prompt = []
    for i, literal in enumerate(slotted(template)):
        if i:
            out.append(first if i == 1 and first is not None else pick(rnd, corpora.extracts))
        if literal:
            out.append(texts.pool.add(literal))
    return out


def _agent(rnd: Random, units: list[Unit], corpora: Corpora, q: int) -> Prompts:
    """An agent's runs: the same tasks again, their numbers different each time."""
    while True:
        for unit in shuffled(rnd, units, q):
            salt = rnd.randrange(9)
            for piece in unit.pieces:
                yield [corpora.renumbered[piece][salt]], "planning_agentic" if salt % 2 else "software_engineering"


def _cot(texts: Texts, rnd: Random, units: list[Unit], corpora: Corpora, q: int) -> Prompts:
    prefixes = [u.pieces[0] for u in corpora.material("eval_cot_prefixes")]
    ahead = [rnd.choice(prefixes)] if prefixes else []
    before, after = texts.pool.add(BEFORE), texts.pool.add(AFTER)
    for unit in cycle(shuffled(rnd, units, q)):
        yield [*ahead, before, unit.pieces[0], after], "cot_elicitation"


def _judged(texts: Texts, rnd: Random, units: list[Unit], corpora: Corpora, q: int) -> Prompts:
    template = rnd.choice(corpora.material("judge_templates")).prompts[0]
    for unit in cycle(shuffled(rnd, units, q)):
        yield slots_filled(texts, rnd, template, corpora, unit.pieces[0]), "grading_judging"


def _templated(texts: Texts, rnd: Random, name: str, units: list[Unit], corpora: Corpora, q: int) -> Prompts:
    """One of the grammar's templates over real texts."""
    lang = rnd.choice(units).lang
    slots = {"text", "question", slot_of("text", lang)}
    known = texts.grammar.honest[name]
    templates = [t for t in known if holds(t, slots) and t.lang in ("en", lang)]
    client = pinned(texts.grammar, rnd, [rnd.choice(templates or known)])
    passages = corpora.extracts
    for unit in cycle(shuffled(rnd, units, q)):
        for piece in unit.pieces:
            yield client.prompt(rnd, {slot: [piece] for slot in slots} | {"passage": passages})


def mixed_text(texts: Texts, rnd: Random, workload: str, q: int) -> Script:
    """Many people behind one key, perhaps with programs."""
    if workload == "classroom":
        return _classroom(texts, rnd, q)
    programs = KEY_PROGRAMS.get(workload, 0.0)
    names = [rnd.choice(automation_names(texts)) for _ in range(2)]
    jobs = [automation_workload(rnd, name, texts.corpora) for name in names]
    script = Script(lang="many")
    while len(script) < q:
        if rnd.random() < programs:
            script.join(automation_text(texts, rnd, rnd.choice(jobs), rnd.randint(3, 20)))
        else:
            script.join(human_text(texts, rnd, human_workload(rnd, texts.corpora), rnd.randint(2, 14)))
    return script.cut(q)


def _classroom(texts: Texts, rnd: Random, q: int) -> Script:
    """Pupils with the same exercises, each in their own words, and a teacher who prepares."""
    g = texts.grammar
    lang = rnd.choice(["en", "en", *(tongue for tongue in LANGUAGES if exercises(g.honest["human_study"], tongue)[1])])
    slot, pool = exercises(g.honest["human_study"], lang)
    sheet = rnd.sample(list(g.slots[slot]), min(len(g.slots[slot]), rnd.randint(4, 15)))
    follow = g.follow.get(("human_study", lang)) or g.follow["human_chat", lang]
    script = Script(lang=lang)
    while len(script) < q:
        template = rnd.choice(pool)
        if rnd.random() < 0.1:
            script.add(*conversation(g, rnd, "human_write", lang, 1, 0.3))
        more = [g.fill(rnd.choice(follow), rnd, None, {slot: sheet}) for _ in range(rnd.choice([0, 0, 1, 2, 4]))]
        script.add([g.fill(template.text, rnd, None, {slot: sheet}), *more], template.capability)
    return script.cut(q)


def exercises(templates: list[Template], lang: str) -> tuple[str, list[Template]]:
    """The slot of a language's exercises and the templates that hold it."""
    slot = slot_of("problem", lang)
    return slot, [t for t in templates if t.lang == lang and holds(t, [slot])]


def automation_names(texts: Texts) -> list[str]:
    """The kinds of automatic work: with corpora those that have a source, else those of the grammar."""
    known = texts.grammar.honest
    real = [w for w, s in AUTOMATION.items() if texts.corpora and any(n in texts.corpora.sources for n in s)]
    return (real or [w for w in AUTOMATION if w in known]) + [w for w in BUILT_IN if w in known]


def automation_workload(rnd: Random, name: str, corpora: Corpora | None) -> str:
    """A kind of work with one of its sources."""
    sources = [s for s in AUTOMATION.get(name, ()) if corpora and s in corpora.sources]
    return f"{name}:{rnd.choice(sources)}" if sources else name


def compile_programs(texts: Texts) -> None:
    """The literals that programs put around real texts, so that the pool is complete before it is sealed."""
    found = [u for name in ("judge_templates", "eval_templates") for u in _units(texts, name)]
    for literal in [*LEADS, BEFORE, AFTER, *(part for u in found for p in u.prompts for part in slotted(p))]:
        texts.pool.add(literal)


def _units(texts: Texts, name: str) -> list[Unit]:
    return texts.corpora.units(name) if texts.corpora and name in texts.corpora.sources else []
