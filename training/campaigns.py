"""What attack accounts send: a campaign's harvest, divided over its accounts, under cover traffic.

A campaign has a family, one to three templates with pinned slots, a way to shard its list and a number of samples
for each prompt; its accounts draw their own part. Families are the grammar's and, with a corpora directory, the
harvest sources (bare, wrapped in one of the grammar's templates, or behind a constant few-shot prefix). Left out:
how the accounts look and when they send (metadata, clocks); bans, standby pools and paraphrase (issue 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from training.corpora import Corpora, Unit, capability
from training.grammar import Batch, Template, batch, load_grammar
from training.populations import Text, human_text, human_workload, renumbered

SHARES = (0.05, 0.10, 0.25, 0.50, 1.0)
WRAPPERS = {
    "gpteacher_codegen": ("oss_code", "evol_instruct"), "gpteacher_roleplay": ("chat_sim", "persona_tasks"),
    "gpteacher_toolformer": ("tool_synth", "rewrite_clean"), "seal_tools": ("tool_synth", "agent_traces"),
    "contest_reasoning": ("boxed_math", "cot_traces", "judge_pairs"), "metamath": ("boxed_math", "cot_traces"),
    "biggen_rubrics": ("rubric_grading", "judge_pairs"), "evolved": ("evol_instruct", "agent_traces"),
    "self_instruct_seeds": ("evol_instruct", "rewrite_clean"),
}  # fmt: skip
ANSWERED = {
    "evol_instruct": "{seed}", "list_synth": "{instr}", "topic_tree": "{question}", "persona_tasks": "{instr}",
    "oss_code": "{codetask}", "tool_synth": "{instr}", "instruction_pool": "{instr}",
}  # fmt: skip
PREFIXED = ("metamath", "contest_reasoning")
ORDERED = ("api_bank", "glaive", "swe_agent")
Prompts = Iterator[tuple[str, str | None]]


@dataclass(frozen=True)
class Shard:
    """An account's place in its campaign: its number among `of` accounts, and the campaign's own seed."""

    number: int
    of: int
    seed: int


def families(corpora: Corpora | None) -> list[str]:
    """The harvest families of a corpora directory, or without one those of the grammar."""
    real = list(corpora.harvest_families()) if corpora else []
    if corpora and "camel_slots" in corpora.sources:
        real.append("camel")
    return real or list(load_grammar().harvest)


def attack_text(
    rnd: Random, family: str, shard: Shard, q: int, share: float, corpora: Corpora | None
) -> tuple[Text, list[bool]]:
    """An account's turns, and which of them harvest."""
    wanted = q if share == 1 else max(1, round(share * q))
    campaign = Random(shard.seed)
    items = _source(campaign, rnd, family, shard, corpora)
    samples = campaign.choice([1, 1, 1, 1, 2, 4, 8])
    rounds = campaign.random() < 0.5
    harvest: list[tuple[str, str | None]] = []
    for item in items:
        harvest += [item] * (1 if rounds else samples)
        if len(harvest) >= (-(-wanted // samples) if rounds else wanted):
            break
    harvest = (harvest * (samples if rounds else 1))[:wanted]
    return _covered(rnd, harvest, q, corpora)


def _covered(
    rnd: Random, harvest: list[tuple[str, str | None]], q: int, corpora: Corpora | None
) -> tuple[Text, list[bool]]:
    """The harvest among other people's turns: spread over the account's life, or in one stretch."""
    text, marks = Text(), []
    rest = q - len(harvest)
    cover = human_text(rnd, human_workload(rnd, corpora), rest, corpora, cover=True) if rest else Text()
    if rnd.random() < 0.7:
        slots = [True] * len(harvest) + [False] * rest
        rnd.shuffle(slots)
    else:
        first = rnd.randint(0, rest)
        slots = [False] * first + [True] * len(harvest) + [False] * (rest - first)
    turns, at = iter(harvest), 0
    for harvesting in slots:
        if harvesting:
            prompt, cap = next(turns)
        else:
            prompt, cap, at = cover.prompts[at], cover.caps[at], at + 1
        text.add([prompt], cap)
        marks.append(harvesting)
    return text, marks


def _source(campaign: Random, rnd: Random, family: str, shard: Shard, corpora: Corpora | None) -> Prompts:
    if family in load_grammar().harvest:
        return _templates(campaign, rnd, family)
    if corpora is None:
        raise ValueError(f"expected one of the grammar's families, got {family!r}: give a corpora directory")
    if family == "camel":
        return _camel(campaign, rnd, corpora)
    return _corpus(campaign, rnd, family, shard, corpora)


def _templates(campaign: Random, rnd: Random, family: str) -> Prompts:
    """A grammar family: some campaigns probe other templates first, some send what they made to be answered."""
    g, templates = load_grammar(), load_grammar().harvest[family]
    client = batch(templates, campaign, most=campaign.choice([2, 3, 6, 15]))
    if campaign.random() < 0.5 and rnd.random() < 0.3:
        probe = batch(templates, rnd, most=6)
        for _ in range(rnd.randint(2, 12)):
            yield probe.prompt(rnd)
    stage = ANSWERED.get(family) if client.templates[0].lang == "en" else None
    answers = campaign.choice([0, 1, 3, 8]) if stage else 0
    while True:
        yield client.prompt(rnd)
        for _ in range(rnd.randint(0, 2 * answers)):
            yield g.fill(stage or "{instr}", rnd), None


def _camel(campaign: Random, rnd: Random, corpora: Corpora) -> Prompts:
    """Role-playing pairs with the corpora's roles in the grammar's templates."""
    roles = [u.prompts[0] for u in corpora.units("camel_slots") if u.key.partition("#")[0].endswith("role")]
    pool = [t for f in ("chat_sim", "persona_tasks") for t in load_grammar().harvest[f] if "{role}" in t.text]
    client = Batch(load_grammar(), campaign.sample(pool, campaign.randint(1, 3)), {})
    while True:
        yield client.prompt(rnd, {"role": roles})


def _corpus(campaign: Random, rnd: Random, family: str, shard: Shard, corpora: Corpora) -> Prompts:
    """A harvest source in this campaign's style: bare, wrapped or prefixed."""
    source = campaign.choice(corpora.harvest_families()[family])
    units = _share_of(campaign, rnd, corpora.harvest_units(source), shard, family in ORDERED)
    style = campaign.random()
    prefixes = corpora.material("metamath_prefixes") + corpora.material("cot_fewshot")
    if family in PREFIXED and prefixes and (style < (0.7 if source == "gsm8k" else 0.4)):
        yield from _prefixed(units, campaign.choice(prefixes))
    elif (style > 0.6 or source == "gsm8k") and family not in ORDERED:
        yield from _wrapped(campaign, rnd, family, units)
    else:
        yield from _bare(rnd, units)


def _share_of(campaign: Random, rnd: Random, units: list[Unit], shard: Shard, ordered: bool) -> list[Unit]:
    """The account's part of the list: every n-th, a chunk, or at random; in list order or shuffled."""
    mode = campaign.choice(["modulo", "chunk", "random"])
    if len(units) < 8 * shard.of or ordered or mode == "random":
        return rnd.sample(units, len(units))
    if mode == "modulo":
        return units[shard.number :: shard.of]
    size = len(units) // shard.of
    start = shard.number * size if shard.of > 1 else rnd.randrange(len(units))
    return [*units[start:], *units[:start]]


def _bare(rnd: Random, units: list[Unit]) -> Prompts:
    salt = 0
    while True:
        for unit in units:
            for p in unit.prompts:
                yield renumbered(p, salt) if salt else p, capability(unit)
        salt = salt + 1 if units[0].source == "swe_agent" else 0


def _prefixed(units: list[Unit], prefix: str) -> Prompts:
    while True:
        for unit in units:
            for p in unit.prompts:
                yield f"{prefix}\n\nQuestion: {p}\nAnswer:", "reasoning"


def _wrapped(campaign: Random, rnd: Random, family: str, units: list[Unit]) -> Prompts:
    lang = units[0].lang
    templates = _wrappers(family, lang)
    client = Batch(load_grammar(), campaign.sample(templates, min(len(templates), campaign.randint(1, 2))), {})
    while True:
        for unit in units:
            for p in unit.prompts:
                yield client.prompt(rnd, {"seed": [p], "problem": [p], f"{lang}_question": [p], f"{lang}_problem": [p]})


def _wrappers(family: str, lang: str) -> list[Template]:
    """Templates that can hold a source's prompts: of families that suit it, in its language or in English."""
    names = WRAPPERS.get(family, ("evol_instruct", "rubric_grading", "cot_traces", "rewrite_clean"))
    pool = [t for n in names for t in load_grammar().harvest[n]]
    holes = ["{seed}", "{problem}"] if "boxed_math" in names and lang == "en" else ["{seed}"]
    holes += [] if lang == "en" else ["{" + lang + "_question}", "{" + lang + "_problem}"]
    return [t for t in pool if any(h in t.text for h in holes)]
