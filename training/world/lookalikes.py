"""Honest groups that share text for honest reasons, as campaigns do for theirs: what a grouper must not fall for.

    app        one client's text around each person's own request
    classroom  one sheet of tasks that every member asks, in an own order and at times in own words
    release    one list of a benchmark, in one order, from the day of a model release on
    framework  one scaffold around tasks of each member's own source
    vendor     one template over one list that is divided over the members
    company    one text around a part of each member's requests
    gateway    the same people dealt over the keys

A group is one by `lookalikes.share` and its own Random, and what it shares is drawn from another, so a world without
look-alikes is as it was. Labels do not tell. Left out: how the accounts look and when they send (metadata, clocks).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import gcd, prod
from random import Random
from typing import TYPE_CHECKING

from training.world.corpora import RENUMBERED, Corpora, capability
from training.world.grammar import LANGUAGES, Grammar, Template, batch, pinned, shuffled
from training.world.people import Person, Script, Texts, human_text, human_workload, own_units
from training.world.pool import Prompt
from training.world.programs import (
    KEY_PROGRAMS,
    automation_names,
    automation_text,
    automation_workload,
    exercises,
    mixed_text,
    requests,
)
from training.world.scaffolds import Around, Ask, scaffold, template

if TYPE_CHECKING:
    from training.world.plan import Plan

LEAST = 3  # accounts of a group that may be one
EVALUATIONS = ("nightly_eval", "cot_eval", "model_comparison")
AGENTS = ("agent_ci", "tool_router", "code_bots")
PEOPLE = {"app": 0.45, "classroom": 0.35, "company": 0.2}
DEVELOPERS = {"framework": 0.6, "company": 0.4}
SHARED_KEYS = {"gateway": 0.6, "app": 0.2, "company": 0.2}
RELEASES = {"release": 0.8, "company": 0.2}
AGENT_WORK = {"framework": 0.8, "company": 0.2}
JOBS = {"vendor": 0.65, "company": 0.35}
RETRIEVAL = {"vendor": 0.4, "framework": 0.4, "company": 0.2}
PASSES = 3  # times that a vendor's list may be gone through, each time with another template
APPS = ("text_cleanup", "localisation", "support_bot", "extraction")  # honest templates that apps are made of


@dataclass(frozen=True)
class View:
    """One member's view of its group: `shared` draws what all share, `own` what is the member's."""

    texts: Texts
    plan: "Plan"
    name: str
    own: Random

    @property
    def shared(self) -> Random:
        """The same draws from the beginning, for every member."""
        return Random(f"{self.name}/text")


def lookalike(texts: Texts, seed: int, group: int, kind: str, family: str, q: Sequence[int], share: float) -> str:
    """What kind of look-alike an honest group of accounts with `q` exchanges is, if it is one."""
    if not share or kind == "attack" or len(q) < LEAST:
        return ""
    rnd = Random(f"{seed}/honest/{group}")
    if rnd.random() >= share:
        return ""
    law = dict(_suiting(kind, family))
    if "vendor" in law and not _lasts(texts.corpora, family, sum(q)):
        del law["vendor"]
    return rnd.choices(list(law), list(law.values()))[0]


def _suiting(kind: str, family: str) -> dict[str, float]:
    """The look-alikes that suit an honest kind of work, with their weights."""
    name = family.partition(":")[0]
    if kind == "human":
        return DEVELOPERS if name == "human_agent" else PEOPLE
    if kind == "mixed":
        return {"classroom": 1.0} if name == "classroom" else SHARED_KEYS
    if name in EVALUATIONS:
        return RELEASES
    return AGENT_WORK if name in AGENTS else RETRIEVAL if name == "rag_backfill" else JOBS


def _lasts(corpora: Corpora | None, family: str, wanted: int) -> bool:
    """Whether a source's list is long enough to be divided; harness templates and agents' runs are no list."""
    source = family.partition(":")[2]
    if not (corpora and source):
        return True
    if source == "eval_templates" or source in RENUMBERED:
        return False
    return PASSES * len({prompt for u in corpora.honest_units(source) for prompt in u.prompts}) >= wanted


def member_family(texts: Texts, seed: int, index: int, family: str) -> str:
    """The work of one member of a framework: the same workload on a source of its own."""
    name, _, source = family.partition(":")
    corpora = texts.corpora
    if not (corpora and source) or name.startswith("human") or corpora.only_measured(family):
        return family
    known = [s for s in (*corpora.names("automation"), *corpora.names("human")) if s != "eval_templates"]
    return f"{name}:{Random(f'{seed}/framework/{index}').choice(known or [source])}"


def honest_text(texts: Texts, rnd: Random, plan: "Plan", seed: int) -> Script:
    """The turns of an honest account, alone or as a member of a look-alike."""
    if not plan.lookalike:
        return _ordinary(texts, rnd, plan, plan.q)
    return MAKERS[plan.lookalike](View(texts, plan, f"{seed}/honest/{plan.group}", rnd))


def _ordinary(texts: Texts, rnd: Random, plan: "Plan", q: int) -> Script:
    made = {"human": human_text, "automation": automation_text, "mixed": mixed_text}[plan.kind]
    return made(texts, rnd, plan.family, q)


def _wrapped(script: Script, around: Around, own: Random, share: float = 1.0) -> Script:
    """The script with `around` every conversation, or a share of them."""
    chosen = False
    for i, (prompt, cap) in enumerate(zip(script.prompts, script.caps, strict=True)):
        if script.fresh[i]:
            chosen = own.random() < share
        if chosen:
            script.prompts[i], script.caps[i] = around(prompt, cap, own)
    return script


def _app(v: View) -> Script:
    shared = v.shared
    made = template(v.texts, shared, APPS, "en") if shared.random() < 0.3 else None
    return _wrapped(_ordinary(v.texts, v.own, v.plan, v.plan.q), made or scaffold(v.texts, shared, "app"), v.own)


def _company(v: View) -> Script:
    shared = v.shared
    share, around = shared.uniform(0.3, 0.5), scaffold(v.texts, shared, "company")
    return _wrapped(_ordinary(v.texts, v.own, v.plan, v.plan.q), around, v.own, share)


def _classroom(v: View) -> Script:
    """The sheet among the member's own turns: in one sitting or over the weeks."""
    g, shared, own = v.texts.grammar, v.shared, v.own
    study = g.honest["human_study"]
    lang = shared.choice(["en", "en", *(tongue for tongue in LANGUAGES if exercises(study, tongue)[1])])
    slot, known = exercises(study, lang)
    words = shared.uniform(0.0, 0.4)  # how likely a member puts a task into own words
    problems = shared.sample(list(g.slots[slot]), min(len(g.slots[slot]), shared.randint(8, 25)))
    sheet = [(t, x, g.fill(t.text, shared, None, {slot: [x]})) for x in problems for t in [shared.choice(known)]]
    sheet = shuffled(own, sheet, v.plan.q)
    follow, room = g.follow.get(("human_study", lang)) or g.follow["human_chat", lang], v.plan.q - len(sheet)
    asked: list[tuple[list[Prompt], str]] = []
    for t, problem, prompt in sheet:
        said = g.fill(own.choice(known).text, own, None, {slot: [problem]}) if own.random() < words else prompt
        more = min(room, own.choice([0, 0, 1, 2]))
        asked.append(
            ([said, *(g.fill(own.choice(follow), own, None, {slot: [problem]}) for _ in range(more))], t.capability)
        )
        room -= more
    return _among(own, asked, _ordinary(v.texts, own, v.plan, room) if room else Script(lang=lang))


def _among(own: Random, asked: list[tuple[list[Prompt], str]], rest: Script) -> Script:
    """Conversations put between those of the rest, together or spread."""
    begins = [i for i, first in enumerate(rest.fresh) if first] + [len(rest)]
    together = own.random() < 0.5
    places = [own.choice(begins)] * len(asked) if together else sorted(own.choice(begins) for _ in asked)
    out, waiting = Script(lang=rest.lang), iter(zip(places, asked, strict=True))
    place, turns = next(waiting)
    for begin, end in zip([*begins], [*begins[1:], begins[-1]], strict=True):
        while turns[0] and place == begin:
            out.add(*turns)
            place, turns = next(waiting, (-1, ([], "")))
        part = slice(begin, end)
        out.join(Script(rest.prompts[part], rest.caps[part], rest.fresh[part], rest.gaps[part]))
    return out


def _release(v: View) -> Script:
    shared = v.shared
    size = shared.randint(20, 150)
    listed, lang = requests(v.texts, shared, v.plan.family, size)
    return _script([listed[i % len(listed)] for i in range(v.plan.q)], lang)


def _framework(v: View) -> Script:
    around, own, q = scaffold(v.texts, v.shared, "framework"), v.own, v.plan.q
    if v.plan.kind != "automation":
        return _wrapped(_ordinary(v.texts, own, v.plan, q), around, own)
    source = v.plan.family.partition(":")[2]
    if v.texts.corpora and source:
        work = f"agent_ci:{source}" if source in RENUMBERED else f"batch_tasks:{source}"
    else:
        work = v.plan.family
    tasks, lang = requests(v.texts, own, work, q)
    return _script([around(prompt, cap, own) for prompt, cap in tasks], lang)


def _vendor(v: View) -> Script:
    source = v.plan.family.partition(":")[2]
    if v.texts.corpora and source:
        return _divided(v, v.texts.corpora, source)
    g, shared, name = v.texts.grammar, v.shared, v.plan.family
    lang = batch(g, g.honest[name], shared).templates[0].lang
    known = sorted((t for t in g.honest[name] if t.lang == lang), key=lambda t: -_inputs(g, t))
    client = pinned(g, shared, [shared.choice(known[:3])])
    asked = client.templates[0]
    parts = islice(_shard(v, _inputs(g, asked)), v.plan.q)
    return _script([client.prompt(v.own, _input(g, asked, k)) for _, k in parts], lang)


def _divided(v: View, corpora: Corpora, source: str) -> Script:
    """The member's part of a source's list, in the group's template; a next pass asks another thing."""
    units = corpora.honest_units(source)
    known = {prompt: (piece, u) for u in units for prompt, piece in zip(u.prompts, u.pieces, strict=True)}
    listed, lang = list(known.values()), units[0].lang
    passes: dict[int, Around] = {}
    script = Script(lang=lang)
    for turn, k in islice(_shard(v, len(listed)), v.plan.q):
        if turn not in passes:
            passes[turn] = _asked(v, lang, turn)
        piece, unit = listed[k]
        prompt, cap = passes[turn]([piece], capability(unit), v.own)
        script.add([prompt], cap)
    return script


def _asked(v: View, lang: str, turn: int) -> Around:
    """What a vendor puts around each item in a pass over its list: a template of the workload, else a scaffold."""
    rnd = Random(f"{v.name}/pass {turn}")
    return template(v.texts, rnd, (v.plan.family.partition(":")[0],), lang) or scaffold(v.texts, rnd, "vendor")


def _shard(v: View, n: int) -> Iterator[tuple[int, int]]:
    """(pass, item) of a list of `n` in the group's order: every so-many-th or a stretch, from `before` on."""
    p, shared = v.plan, Random(f"{v.name}/order")
    of, start = min(p.of, n), shared.randrange(n)
    step = next(s for s in iter(lambda: shared.randint(1, n), 0) if gcd(s, n) == 1)
    number, stretch = p.number % of, shared.random() < 0.5
    mine = range(number * n // of, (number + 1) * n // of) if stretch else range(number, n, of)
    for at in count(p.before):
        turn, k = divmod(at, len(mine))
        yield turn, (start + step * mine[k]) % n


def _open(g: Grammar, asked: Template) -> list[str]:
    """The slots of a template that differ from prompt to prompt, each once."""
    parts = [part for part in g.compile(asked.text) if not isinstance(part, int)]
    return sorted({name for kind, name in parts if kind == ""})


def _inputs(g: Grammar, asked: Template) -> int:
    """How many different prompts a template makes of the slots' values."""
    return prod(len(g.slots[name]) for name in _open(g, asked))


def _input(g: Grammar, asked: Template, k: int) -> dict[str, list[int]]:
    """The k-th of them: a value for each slot."""
    given = {}
    for name in _open(g, asked):
        k, at = divmod(k, len(g.slots[name]))
        given[name] = [g.slots[name][at]]
    return given


def _gateway(v: View) -> Script:
    """The group's people, each a little at every key, among the programs of such a key."""
    texts, own, shared = v.texts, v.own, v.shared
    programs, people = KEY_PROGRAMS.get(v.plan.family, 0.0), shared.randint(6, 20) + 2 * v.plan.of
    jobs = [automation_workload(shared, shared.choice(automation_names(texts)), texts.corpora) for _ in range(2)]
    script, known = Script(lang="many"), {}
    while len(script) < v.plan.q:
        if own.random() < programs:
            script.join(automation_text(texts, own, own.choice(jobs), own.randint(3, 20)))
            continue
        who = own.randrange(people)
        if who not in known:
            known[who] = _Somebody(v, who)
        for _ in range(own.randint(1, 3)):
            known[who].talk(script, own)
    return script.cut(v.plan.q)


class _Somebody:
    """One of a gateway's people as seen at one key: the same person at all, no conversation at two."""

    def __init__(self, v: View, number: int) -> None:
        rnd, corpora = Random(f"{v.name}/person {number}"), v.texts.corpora
        name, _, source = human_workload(rnd, corpora).partition(":")
        units, lang = own_units(rnd, source, corpora, False, 40 * v.plan.of) if corpora and source else (iter(()), "")
        lang = lang or ("en" if rnd.random() < 0.5 else rnd.choice(LANGUAGES))
        self.person = Person(v.texts.grammar, rnd, name, lang, lang)
        self.person.rnd = v.own
        self.units = islice(units, v.plan.number, None, v.plan.of)

    def talk(self, script: Script, own: Random) -> None:
        """A conversation: of the person's own, where there is one left, else of the grammar."""
        unit = next(self.units, None) if own.random() < 0.85 else None
        if unit:
            script.add([[piece] for piece in unit.pieces[:30]], capability(unit), unit.gaps[:30] if unit.gaps else None)
        else:
            script.add(*self.person.conversation())


def _script(asks: Sequence[Ask], lang: str) -> Script:
    script = Script(lang=lang)
    for prompt, cap in asks:
        script.add([prompt], cap)
    return script


MAKERS = {
    "app": _app, "classroom": _classroom, "release": _release, "framework": _framework, "vendor": _vendor,
    "company": _company, "gateway": _gateway,
}  # fmt: skip
