"""What attack accounts send: a campaign's harvest, divided over its accounts, under cover traffic.

A campaign has a family (what it harvests), a client (the recipe each item goes through), templates with pinned
slots and a way to shard its list; its accounts draw their own part, and accounts of a shard take over where the
one before stopped. Families are the grammar's and, with a corpora directory, the harvest sources (bare, wrapped in
one of the grammar's templates, or behind a constant prefix). Evasions of text work here: cover, paraphrase, split,
relay. Left out: how the accounts look and when they send (metadata, clocks).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from random import Random
from typing import TYPE_CHECKING

from training.world.clients import clients
from training.world.corpora import Corpora, Unit, capability
from training.world.grammar import Batch, Grammar, Template, batch, holds, pinned, shuffled, slot_of
from training.world.people import Script, Texts, human_text, human_workload
from training.world.pool import Prompt
from training.world.scaffolds import HEADS, scaffold

if TYPE_CHECKING:
    from training.world.plan import Plan

WRAPPERS = {
    "gpteacher_codegen": ("oss_code", "evol_instruct", "two_sections", "spec_to_code"),
    "gpteacher_roleplay": ("chat_sim", "persona_tasks", "forced_start"),
    "gpteacher_toolformer": ("tool_synth", "rewrite_clean"),
    "seal_tools": ("tool_synth", "agent_traces", "api_pool", "react_steps"),
    "contest_reasoning": ("boxed_math", "cot_traces", "judge_pairs", "difficulty_ladder", "thinking_traces"),
    "metamath": ("boxed_math", "cot_traces", "rephrase_backward"),
    "biggen_rubrics": ("rubric_grading", "judge_pairs", "fixed_line_rubric"),
    "evolved": ("evol_instruct", "agent_traces"), "self_instruct_seeds": ("evol_instruct", "rewrite_clean"),
}  # fmt: skip
SUITS_ALL = ("evol_instruct", "rubric_grading", "cot_traces", "rewrite_clean", "thinking_traces")
JUDGES = ("rubric_grading", "judge_pairs", "aspect_scores", "fixed_line_rubric", "solution_choice", "reward_critique")
MAKERS = ("list_synth", "topic_tree", "json_pairs")
FIXERS = ("rewrite_clean", "trace_summary")
ANSWERED = {
    "evol_instruct": "{seed}", "list_synth": "{instr}", "topic_tree": "{question}", "persona_tasks": "{instr}",
    "oss_code": "{codetask}", "tool_synth": "{instr}", "json_pairs": "{question}", "forced_start": "{instr}",
}  # fmt: skip
PREFIXED = ("metamath", "contest_reasoning")
ORDERED = ("api_bank", "glaive", "swe_agent")
GOALS = {
    "reasoning": "reasoning", "cot_elicitation": "reasoning", "tool_use": "tools", "planning_agentic": "planning",
    "software_engineering": "software", "grading_judging": "grading", "rewriting_cleaning": "cleaning",
}  # fmt: skip
SEED, SOLVED = "seed", ("problem", "question")  # slots that an item may stand in, the latter in every language
BEFORE, AFTER = "\n\nQuestion: ", "\nAnswer:"  # what stands around an item behind a constant prefix
ALL_AT_ONCE = 50  # items that a client sends through one stage before the next
Ask = tuple[Prompt, str | None]
Item = list[Ask]  # one prompt, or the turns of a trajectory


def compile_campaigns(texts: Texts) -> None:
    """The literals that campaigns put around items, so that the pool is complete before it is sealed."""
    for literal in (BEFORE, AFTER):
        texts.pool.add(literal)


def families(texts: Texts) -> list[str]:
    """The harvest families of a corpora directory, or without one those of the grammar."""
    real = list(texts.corpora.harvest_families()) if texts.corpora else []
    if texts.corpora and "camel_slots" in texts.corpora.sources:
        real.append("camel")
    return real or list(texts.grammar.harvest)


@dataclass
class Harvest:
    """One account's view of its campaign: `shared` draws what the campaign shares, `own` what is the account's."""

    texts: Texts
    plan: "Plan"
    shared: Random
    own: Random
    lang: str = "en"

    @property
    def grammar(self) -> Grammar:
        return self.texts.grammar


def attack_text(
    texts: Texts, rnd: Random, plan: "Plan", seed: int, together: bool, software: float = 0.0
) -> tuple[Script, list[bool]]:
    """An account's turns, and which of them harvest; `together`: templates and list are the campaign's.

    A share `software` of campaigns stand behind an app, a framework or a firm: its text is around what they harvest.
    """
    wanted = plan.q if plan.share == 1 else max(1, round(plan.share * plan.q))
    campaign = Random(f"{seed}/campaign/{plan.group}/{plan.family}" if together else f"{seed}/alone/{plan.index}")
    h = Harvest(texts, plan, campaign, rnd)
    harvest = list(islice(_requests(h), wanted))
    if software and (behind := Random(f"{seed}/software/{plan.group}")).random() < software:
        around = scaffold(texts, behind, behind.choice(sorted(HEADS)))
        harvest = [around(prompt, cap, rnd) for prompt, cap in harvest]
    return _covered(h, harvest, plan.q)


def _covered(h: Harvest, harvest: list[Ask], q: int) -> tuple[Script, list[bool]]:
    """The harvest among other people's turns: spread over the account's life, or in one stretch."""
    rnd, script, rest = h.own, Script(lang=h.lang), q - len(harvest)
    workload = human_workload(rnd, h.texts.corpora)
    cover = human_text(h.texts, rnd, workload, rest, cover=True) if rest else Script()
    first = rnd.randint(0, rest)
    marks = [False] * first + [True] * len(harvest) + [False] * (rest - first)
    if rnd.random() < 0.7:
        rnd.shuffle(marks)
    turns, others = iter(harvest), iter(zip(cover.prompts, cover.caps, strict=True))
    for harvesting in marks:
        prompt, cap = next(turns) if harvesting else next(others)
        script.add([prompt], cap)
    return script, marks


def _requests(h: Harvest) -> Iterator[Ask]:
    """What the account sends while it harvests: its items through its client's recipe, relayed ones among them."""
    client, probe = clients()[h.plan.client], h.plan.phase == "probe"
    items = (_trajectories(h) if "turns" in dict(client.recipe) else None) or _items(h)
    items = chain([next(items)], items)  # the first item tells the language
    stages = _Stages(h)
    asks = _staged(stages, items, client.recipe, client.order)
    tries = _probing(h) if probe else iter(())
    relayed = _relayed(h, h.plan.strength("relay"))
    while True:
        if h.own.random() < 0.5 and (ask := next(tries, None)):
            yield ask
        elif relayed and h.own.random() < h.plan.strength("relay"):
            yield next(relayed)
        else:
            yield next(asks)


def _staged(stages: "_Stages", items: Iterator[Item], recipe: Sequence[tuple[str, int]], order: str) -> Iterator[Ask]:
    """Items through the stages: all stages of one item, or a block of items through one stage after the other."""
    while True:
        block = list(islice(items, ALL_AT_ONCE if order == "pass" else 1))
        for stage, times in recipe:
            for item in block * times:
                yield from stages.of(stage, item)


class _Stages:
    """The prompts that a campaign's client makes of one item, by stage; templates and prefixes are the campaign's."""

    def __init__(self, h: Harvest) -> None:
        self.h, g, shared = h, h.grammar, h.shared
        lang = h.lang
        paraphrase = h.plan.strength("paraphrase")
        rnd = h.own if paraphrase else shared
        wide = 1 + round(5 * paraphrase)
        names = WRAPPERS.get(h.plan.family, SUITS_ALL)
        self.wrap = _client(g, rnd, _holding(g, names, lang), wide)
        self.judge = _client(g, rnd, _holding(g, JUDGES, lang), wide)
        self.maker = _client(g, rnd, [t for n in MAKERS for t in g.harvest[n] if t.lang == lang], wide)
        self.fixer = _client(g, rnd, _holding(g, FIXERS, lang), 1)
        self.prefix = _prefix(h)
        made = {"ask", "make"} & {stage for stage, _ in clients()[h.plan.client].recipe}
        self.made = ANSWERED.get(h.plan.family) if made and lang == "en" else None
        self.before, self.after = (h.texts.pool.add(literal) for literal in (BEFORE, AFTER))

    def of(self, stage: str, item: Item) -> Iterator[Ask]:
        """A stage's requests for one item: the item as it is, what was made of it, or a template around it."""
        client = {"judge": self.judge, "make": self.maker, "fix": self.fixer}.get(stage)
        if stage in ("bare", "answer") and self.made:
            yield self.h.grammar.fill(self.made, self.h.own), None
        elif stage == "prefix" and self.prefix:
            yield self.prefixed(item[0][0]), "reasoning"
        elif client:
            yield self.around(client, item[0][0])
        else:
            yield from item

    def prefixed(self, prompt: Prompt) -> Prompt:
        return [*self.prefix, self.before, *prompt, self.after]

    def around(self, client: Batch, prompt: Prompt) -> Ask:
        return client.prompt(self.h.own, {slot: [prompt] for slot in _item_slots(self.h.lang)})


def _item_slots(lang: str) -> set[str]:
    """The slots of templates that an item may stand in."""
    return {SEED, *SOLVED, *(slot_of(name, lang) for name in SOLVED)}


def _client(g: Grammar, rnd: Random, templates: list[Template], most: int) -> Batch | None:
    return pinned(g, rnd, shuffled(rnd, templates, max(most, rnd.randint(1, 2)))) if templates else None


def _holding(g: Grammar, names: Sequence[str], lang: str) -> list[Template]:
    """Templates of these families that can hold an item: in its language, else in English."""
    pool = [t for n in names for t in g.harvest.get(n, []) if holds(t, _item_slots(lang))]
    return [t for t in pool if t.lang == lang] or [t for t in pool if t.lang == "en" and holds(t, [SEED])]


def _prefix(h: Harvest) -> Prompt:
    """A constant few-shot prefix: a real one where there is one, else three of the grammar's examples."""
    corpora = h.texts.corpora
    known = [*corpora.material("metamath_prefixes"), *corpora.material("cot_fewshot")] if corpora else []
    if known:
        return [h.shared.choice(known).pieces[0]]
    return h.grammar.fill("{fewshot}", h.shared)


def _items(h: Harvest) -> Iterator[Item]:
    """The account's part of the campaign's list, from where its shard stands."""
    family, corpora = h.plan.family, h.texts.corpora
    if corpora and family == "camel":
        return _camel(h, corpora)
    if corpora and family in corpora.harvest_families():
        return _sourced(h, corpora)
    return _templates(h)


def _templates(h: Harvest) -> Iterator[Item]:
    """A grammar family: the campaign's templates, or the account's own where it paraphrases."""
    templates, paraphrase = h.grammar.harvest[h.plan.family], h.plan.strength("paraphrase")
    client = batch(h.grammar, templates, h.shared, most=h.shared.choice([2, 3, 6, 15]))
    h.lang = client.templates[0].lang
    if paraphrase:
        client = batch(h.grammar, templates, h.own, lang=h.lang, most=1 + round(6 * paraphrase))
    while True:
        yield [client.prompt(h.own)]


def _camel(h: Harvest, corpora: Corpora) -> Iterator[Item]:
    """Role-playing pairs with the corpora's roles in the grammar's templates."""
    roles = [u.pieces[0] for u in corpora.material("camel_slots") if u.key.partition("#")[0].endswith("role")]
    pool = [t for f in ("chat_sim", "persona_tasks") for t in h.grammar.harvest[f] if holds(t, ["role"])]
    client = pinned(h.grammar, h.shared, shuffled(h.shared, pool, h.shared.randint(1, 3)))
    while True:
        yield [client.prompt(h.own, {"role": roles} if roles else None)]


def _sourced(h: Harvest, corpora: Corpora) -> Iterator[Item]:
    """A harvest source in this campaign's style: bare, or wrapped once for all stages."""
    source = h.shared.choice(corpora.harvest_families()[h.plan.family])
    units = corpora.harvest_units(source)
    h.lang = units[0].lang
    style, stages = h.shared.random(), None
    if (style > 0.75 or source == "gsm8k") and h.plan.family not in ORDERED:
        stages = _Stages(h)
    ahead = stages.prefix if stages and h.plan.family in PREFIXED and style < 0.8 else None
    for prompt, cap in _endless(h, _shard(h, units), corpora):
        if stages is None:
            yield [(prompt, cap)]
        elif ahead:
            yield [(stages.prefixed(prompt), "reasoning")]
        else:
            yield [stages.around(stages.wrap, prompt) if stages.wrap else (prompt, cap)]


def _shard(h: Harvest, units: list[Unit]) -> list[Unit]:
    """The account's part of the list: every n-th, a chunk, a category, or by a balancer at random; from `before` on."""
    p = h.plan
    mode = h.shared.choice(["modulo", "chunk", "category", "balancer"])
    if len(units) < 8 * p.of or p.family in ORDERED or mode == "balancer":
        return shuffled(h.own, units, h.plan.q)
    if mode == "modulo":
        part = units[p.number :: p.of]
    elif mode == "chunk":
        size = len(units) // p.of
        part = units[p.number * size : (p.number + 1) * size] if p.of > 1 else units
    else:
        keys = sorted({u.key.partition("#")[0] for u in units})
        mine = set(keys[p.number % len(keys) :: p.of]) if len(keys) > 1 else set(keys)
        part = [u for u in units if u.key.partition("#")[0] in mine]
    at = (p.before if p.of > 1 or p.before else h.own.randrange(len(part))) % len(part)
    return [*part[at : at + p.q], *part[: max(0, at + p.q - len(part))]]


def _endless(h: Harvest, units: list[Unit], corpora: Corpora) -> Iterator[Ask]:
    """The units' prompts again and again; agent runs come with other numbers each time."""
    for again in cycle(range(10)):
        for unit in units:
            for piece in unit.pieces:
                turned = corpora.renumbered.get(piece)
                yield [turned[again - 1] if turned and again else piece], capability(unit)


def _trajectories(h: Harvest) -> Iterator[Item] | None:
    """Whole multi-turn units where the family has them; split over accounts turn by turn if it evades so."""
    corpora = h.texts.corpora
    if not corpora or h.plan.family not in ORDERED:
        return None
    source = h.shared.choice(corpora.harvest_families()[h.plan.family])
    units = corpora.harvest_units(source)
    h.lang = units[0].lang
    return _turns(h, units)


def _turns(h: Harvest, units: list[Unit]) -> Iterator[Item]:
    p, split = h.plan, h.plan.strength("split")
    order = shuffled(Random(f"{p.group}") if split else h.own, units, p.q)
    for unit in cycle(order):
        asks: Item = [([piece], capability(unit)) for piece in unit.pieces]
        if h.own.random() < split:
            asks = asks[p.number % max(1, min(p.of, len(asks))) :: max(1, min(p.of, len(asks)))]
        if asks:
            yield asks


def _probing(h: Harvest) -> Iterator[Ask]:
    """A probe compares techniques: a few requests of several families before the campaign settles."""
    names = h.own.sample(sorted(h.grammar.harvest), min(6, len(h.grammar.harvest)))
    for name in names:
        client = batch(h.grammar, h.grammar.harvest[name], h.own, lang=h.lang, most=4)
        for _ in range(h.own.randint(1, 6)):
            yield client.prompt(h.own)


def _relayed(h: Harvest, strength: float) -> Iterator[Ask] | None:
    """Real users' prompts, passed on for their answers."""
    if not strength:
        return None
    script = human_text(h.texts, h.own, human_workload(h.own, h.texts.corpora), max(8, h.plan.q), cover=True)
    return cycle(zip(script.prompts, script.caps, strict=True))


def goal(script: Script, marks: Sequence[bool]) -> str:
    """What a campaign is after, by the capability most of its harvest asks for."""
    asked = [c for c, harvesting in zip(script.caps, marks, strict=True) if harvesting and c]
    return GOALS.get(max(sorted(set(asked)), key=asked.count), "chat") if asked else "chat"
