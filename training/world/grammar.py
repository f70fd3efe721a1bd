"""The built-in text: templates with slots from `training/text`, as pieces of a pool.

Harvest families and honest workloads share their slots, and every harvest template has an honest twin on the same
topic in the same language, so a topic never tells the sides apart: the purpose does. A *batch* is what one client
sends: a few templates of one family, some slots pinned (a constant rubric or few-shot prefix), the others drawn
anew for every prompt. Left out on purpose: who sends a batch, when and how often (plan, clocks).

    >>> from training.world.grammar import labelled_prompts
    >>> prompt, capability, harvest = labelled_prompts(seed=7, n=1)[0]
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, NamedTuple, TypeVar

from training.world.pool import NUMBERS, VOWELS, Pool, Prompt

T = TypeVar("T")
CAPABILITIES = (
    "reasoning", "cot_elicitation", "tool_use", "planning_agentic", "software_engineering", "grading_judging",
    "data_synthesis", "rewriting_cleaning", "chat", "extraction_labelling", "translation", "support",
)  # fmt: skip
LANGUAGES = ("en", "zh", "ja", "es", "de", "fr", "ru", "ar", "hi")
MORE = ("en_more", "en_wide")  # more pairs in English
SLOT = re.compile(r"\{(@?[a-z_]+|#\d+-\d+)\}")
ARTICLES = (" a ", "a ", "\na ")
DRAWS = 300  # values drawn ahead of a slot whose values hold slots themselves


class Template(NamedTuple):
    family: str
    capability: str
    lang: str
    text: str


Given = Mapping[str, Sequence[int | Prompt]]  # slot -> pieces or whole prompts
Part = int | tuple[str, Any]  # a literal piece, or ("#", (low, high)), ("@", slot), ("", slot)


@dataclass
class Grammar:
    """Templates by harvest family and honest workload, follow-ups by workload and language, slots as pieces."""

    pool: Pool
    harvest: dict[str, list[Template]]
    honest: dict[str, list[Template]]
    follow: dict[tuple[str, str], list[str]]
    values: dict[str, list[str]]
    slots: dict[str, range] = field(default_factory=dict)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    articles: dict[int, int] = field(default_factory=dict)
    spoken: dict[tuple[str, str], list[Template]] = field(default_factory=dict)

    def openings(self, workload: str, lang: str) -> list[Template]:
        """How people begin, in a language or, where there is nothing in it, in any."""
        if (workload, lang) not in self.spoken:
            known = self.honest[workload]
            self.spoken[workload, lang] = [t for t in known if t.lang == lang] or known
        return self.spoken[workload, lang]

    def compile(self, text: str) -> list[Part]:
        """`text` as parts; its slots are drawn ahead and its literals go into the pool."""
        parts = self.parts.get(text)
        if parts is None:
            parts = self.parts[text] = [self._part(i, p) for i, p in enumerate(SLOT.split(text)) if i % 2 or p]
        return parts

    def _part(self, i: int, text: str) -> Part:
        if i % 2 == 0:
            piece = self.pool.add(text)
            if text.endswith(ARTICLES[0]) or text in ARTICLES or text.endswith(ARTICLES[2]):
                self.articles[piece] = self.pool.add(text[:-1] + "n ")
            return piece
        if text[0] == "#":
            low, high = (min(int(v), NUMBERS - 1) for v in text[1:].split("-"))
            return "#", (low, high)
        name = text.removeprefix("@")
        if name not in self.slots:
            self.slots[name] = self.pool.extend(self._drawn(name))
        return ("@" if text[0] == "@" else ""), name

    def _drawn(self, name: str) -> list[str]:
        """The values of a slot; where they hold slots themselves, `DRAWS` of them filled."""
        values = self.values[name]
        if not any(SLOT.search(v) for v in values):
            return values
        rnd = Random(f"slot {name}")
        return [self._spelled(values[i % len(values)], rnd) for i in range(DRAWS)]

    def _spelled(self, text: str, rnd: Random) -> str:
        """`text` with its slots filled as a string."""
        out: list[str] = [""]
        for i, part in enumerate(SLOT.split(text)):
            value = self._value(part.removeprefix("@"), rnd) if i % 2 else part
            if i % 2 and english(part.removeprefix("@")) and out[-1][-3:] in ARTICLES and value[:1] in VOWELS:
                out[-1] = out[-1][:-1] + "n "
            out += [value] if value else []
        return "".join(out)

    def _value(self, name: str, rnd: Random) -> str:
        if name[0] == "#":
            low, high = name[1:].split("-")
            return str(rnd.randint(int(low), int(high)))
        return self._spelled(rnd.choice(self.values[name]), rnd)

    def fill(
        self,
        text: str,
        rnd: Random,
        pinned: dict[str, int] | None = None,
        given: Given | None = None,
    ) -> Prompt:
        """`text` with every slot drawn; `pinned` keeps what `{@name}` drew, `given` is what some slots may hold."""
        random, out = rnd.random, []
        for part in self.compile(text):
            if isinstance(part, int):
                out.append(part)
                continue
            kind, what = part
            if kind == "#":
                out.append(what[0] + int(random() * (what[1] - what[0] + 1)))
                continue
            piece = -1 if pinned is None or kind != "@" else pinned.get(what, -1)
            if piece < 0:
                choice = given[what] if given and what in given else self.slots[what]
                value = choice[int(random() * len(choice))]
                if not isinstance(value, int):
                    out += value
                    continue
                piece = value
                if kind == "@" and pinned is not None:
                    pinned[what] = piece
            if out and out[-1] in self.articles and english(what) and self.pool.begins_with_vowel(piece):
                out[-1] = self.articles[out[-1]]
            out.append(piece)
        return out


@dataclass
class Batch:
    """What one client sends: templates of one family with the pinned slots of this client."""

    grammar: Grammar
    templates: list[Template]
    pinned: dict[str, int] = field(default_factory=dict)

    def prompt(self, rnd: Random, given: Given | None = None) -> tuple[Prompt, str]:
        """One prompt and its capability."""
        template = pick(rnd, self.templates)
        return self.grammar.fill(template.text, rnd, self.pinned, given), template.capability


def english(slot: str) -> bool:
    """Whether a slot's values are English: those of other languages begin with the language."""
    return slot[2:3] != "_" or slot[:2] not in LANGUAGES


def slot_of(name: str, lang: str) -> str:
    """The slot that holds a language's values: `topic` in English, `zh_topic` in Chinese."""
    return name if lang == "en" else f"{lang}_{name}"


def holds(template: Template, slots: Collection[str]) -> bool:
    """Whether a template has one of the slots, not pinned."""
    return any("{" + slot + "}" in template.text for slot in slots)


def pick(rnd: Random, values: Sequence[T]) -> T:
    return values[int(rnd.random() * len(values))]


def shuffled(rnd: Random, values: Sequence[T], most: int) -> list[T]:
    """Up to `most` of the values in random order."""
    return rnd.sample(values, min(len(values), most))


@cache
def tables() -> tuple[dict[str, list[Template]], dict[str, list[Template]], dict[tuple[str, str], list[str]]]:
    """Harvest templates by family, honest ones by workload, follow-ups by workload and language."""
    honest = _read("honest")
    honest.pop("slots")
    follow = {
        (workload, key.split("/")[1]): texts
        for workload, groups in honest.items()
        for key, texts in groups.items()
        if key.startswith("follow/")
    }
    pairs = [(lang, pair) for lang in LANGUAGES for pair in _read(f"pairs/{lang}")["pair"]]
    pairs += [("en", pair) for name in MORE for pair in _read(f"pairs/{name}")["pair"]]
    harvest: dict[str, list[Template]] = {}
    programs = _templates(honest)
    for lang, p in pairs:
        harvest.setdefault(p["family"], []).append(Template(p["family"], p["capability"], lang, p["harvest"]))
        asked = p.get("honest_capability", p["capability"])
        programs.setdefault(p["workload"], []).append(Template(p["workload"], asked, lang, p["honest"]))
    return harvest, programs, follow


def load_grammar(pool: Pool | None = None) -> Grammar:
    """The grammar of the package's data files over `pool`, every template compiled."""
    harvest, honest, follow = tables()
    values = _read("slots") | _read("slots_more") | _read("slots_world") | _read("honest")["slots"]
    g = Grammar(pool or Pool(), harvest, honest, follow, values)
    for text in [t.text for side in (harvest, honest) for group in side.values() for t in group]:
        g.compile(text)
    for text in [t for group in follow.values() for t in group] + ["{" + name + "}" for name in values]:
        g.compile(text)
    return g


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((files("training") / "text" / f"{name}.toml").read_text("utf-8"))


def _templates(table: dict[str, dict[str, list[str]]]) -> dict[str, list[Template]]:
    return {
        family: [
            Template(family, key.split("/")[0], key.split("/")[1], text)
            for key, texts in groups.items()
            if not key.startswith("follow/")
            for text in texts
        ]
        for family, groups in table.items()
    }


def batch(g: Grammar, templates: list[Template], rnd: Random, *, lang: str | None = None, most: int = 3) -> Batch:
    """A client's batch from a family's templates: one language, one to `most` templates."""
    langs = sorted({t.lang for t in templates})
    if lang not in langs:
        lang = "en" if "en" in langs and rnd.random() < 0.6 else pick(rnd, langs)
    pool = [t for t in templates if t.lang == lang]
    return pinned(g, rnd, rnd.sample(pool, min(len(pool), rnd.randint(1, most))))


def pinned(g: Grammar, rnd: Random, templates: list[Template]) -> Batch:
    """A batch of these templates with its pinned slots drawn."""
    parts = [part for t in templates for part in g.compile(t.text) if not isinstance(part, int) and part[0] == "@"]
    return Batch(g, templates, {slot: pick(rnd, g.slots[slot]) for _, slot in parts})


def conversation(
    g: Grammar, rnd: Random, workload: str, lang: str, turns: int, sloppy: float,
    given: Given | None = None,
) -> tuple[list[Prompt], str]:  # fmt: skip
    """A person's conversation: an opening in their own words, then follow-ups.

    `sloppy` is a typo rate, `given` has the pieces of slots that are the person's own.
    """
    opening = pick(rnd, g.openings(workload, lang))
    text = opening.text
    if opening.lang == "en" and rnd.random() < 0.35:
        text = "{lead}" + text if rnd.random() < 0.5 else text + "{tail}"
    more = g.follow.get((workload, opening.lang)) or g.follow[("human_chat", opening.lang)]
    asked = [text, *(pick(rnd, more) for _ in range(turns - 1))]
    return [g.fill(typed(rnd, text, sloppy), rnd, None, given) for text in asked], opening.capability


STYLES = 6


def typed(rnd: Random, text: str, sloppy: float) -> str:
    """How a hurried person types a template: one of its `STYLES` hurried versions."""
    return text if "\n" in text or rnd.random() > sloppy else hurried(text, int(rnd.random() * STYLES))


@cache
def hurried(text: str, style: int) -> str:
    """Lower case, no full stop, a word with a slip: the same version of a template each time."""
    rnd = Random(f"{style} {text}")
    if style % 2 == 0:
        text = text[:1].lower() + text[1:]
    if style % 3 == 0:
        text = text.rstrip(".!?")
    if style >= 3:
        words = text.split(" ")
        i = int(rnd.random() * len(words))
        words[i] = _slip(rnd, words[i])
        text = " ".join(words)
    return text


def _slip(rnd: Random, word: str) -> str:
    """Two letters swapped, one left out or one doubled."""
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    i = 1 + int(rnd.random() * (len(word) - 2))
    return word[:i] + rnd.choice([word[i + 1] + word[i] + word[i + 2 :], word[i + 1 :], word[i] + word[i:]])


def compile_speech(g: Grammar) -> None:
    """Every way a person may type every template, so that the pool is complete before it is sealed."""
    openings = [t for name, group in g.honest.items() if name.startswith("human_") for t in group]
    texts = [o.text for o in openings] + [t for group in g.follow.values() for t in group]
    texts += [f for o in openings if o.lang == "en" for f in ("{lead}" + o.text, o.text + "{tail}")]
    for text in texts:
        g.compile(text)
        if "\n" not in text:
            for style in range(STYLES):
                g.compile(hurried(text, style))


def labelled_prompts(
    seed: int, n: int, *, exclude: Collection[str] = (), g: Grammar | None = None
) -> list[tuple[str, str, int]]:
    """`n` prompts (prompt, capability, harvest 0/1), half of each side, spread over families not in `exclude`."""
    rnd, g = Random(seed), g or load_grammar()
    out = []
    sides = [[name for name in side if name not in exclude] for side in (g.honest, g.harvest)]
    for i in range(n):
        harvest = i % 2
        family = pick(rnd, sides[harvest])
        if family.startswith("human_"):
            lang = "en" if rnd.random() < 0.6 else pick(rnd, LANGUAGES)
            prompts, capability = conversation(g, rnd, family, lang, rnd.randint(1, 3), 0.5)
            prompt = pick(rnd, prompts)
        else:
            template = pick(rnd, (g.harvest if harvest else g.honest)[family])
            prompt, capability = g.fill(template.text, rnd), template.capability
        out.append((g.pool.text(prompt), capability, harvest))
    return out
