"""The built-in text: templates with slots from `training/text/*.toml`, filled by a seeded generator.

Harvest families and honest workloads share their slots, so a topic never tells the sides apart: the purpose
does. A *batch* is what one client sends: a few templates of one family, some slots pinned (a constant rubric or
few-shot prefix), the others drawn anew for every prompt. Left out on purpose: who sends a batch, when and how
often (populations, clocks), and the text of the corpora, which enters only through `{seed}` and `{text}`.

    >>> from training.grammar import labelled_prompts
    >>> prompt, capability, harvest = labelled_prompts(seed=7, n=1)[0]
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
CAPABILITIES = (
    "reasoning", "cot_elicitation", "tool_use", "planning_agentic", "software_engineering", "grading_judging",
    "data_synthesis", "rewriting_cleaning", "chat", "extraction_labelling", "translation", "support",
)  # fmt: skip
SLOT = re.compile(r"\{(@?[a-z_]+|#\d+-\d+)\}")
VOWELS, ARTICLES = tuple("aeioAEIO"), (" a ", "a ", "\na ")
LANGUAGES = ("en", "zh", "ja", "es", "de", "fr", "ru")


class Template(NamedTuple):
    family: str
    capability: str
    lang: str
    text: str


@dataclass(frozen=True)
class Grammar:
    """Templates by harvest family and honest workload, follow-ups by workload and language, slot values."""

    harvest: dict[str, list[Template]]
    honest: dict[str, list[Template]]
    follow: dict[tuple[str, str], list[str]]
    slots: dict[str, list[str]]
    parts: dict[str, tuple[str, ...]]

    def fill(
        self,
        text: str,
        rnd: Random,
        pinned: dict[str, str] | None = None,
        given: Mapping[str, Sequence[str]] | None = None,
    ) -> str:
        """`text` with every slot drawn; `pinned` keeps what `{@name}` drew, `given` replaces whole slots."""
        out: list[str] = []
        self._expand(text, rnd, {} if pinned is None else pinned, given or {}, out)
        return "".join(out)

    def _expand(
        self,
        text: str,
        rnd: Random,
        pinned: dict[str, str],
        given: Mapping[str, Sequence[str]],
        out: list[str],
    ) -> None:
        parts = self.parts.get(text)
        if parts is None:
            parts = self.parts[text] = tuple(SLOT.split(text))
        for i, part in enumerate(parts):
            if i % 2 == 0:
                if part[:1] in VOWELS and out and out[-1][-3:] in ARTICLES:
                    out[-1] = out[-1][:-1] + "n "
                out.append(part)
            elif part[0] == "#":
                low, high = part[1:].split("-")
                out.append(str(int(low) + int(rnd.random() * (int(high) - int(low) + 1))))
            elif part[0] == "@":
                if part not in pinned:
                    pinned[part] = self.fill("{" + part[1:] + "}", rnd, pinned)
                out.append(pinned[part])
            elif part in given:
                out.append(_pick(rnd, given[part]))
            else:
                self._expand(_pick(rnd, self.slots[part]), rnd, pinned, given, out)


@dataclass
class Batch:
    """What one client sends: templates of one family with the pinned slots of this client."""

    grammar: Grammar
    templates: list[Template]
    pinned: dict[str, str]

    def prompt(self, rnd: Random, given: Mapping[str, Sequence[str]] | None = None) -> tuple[str, str]:
        """One prompt and its capability."""
        template = _pick(rnd, self.templates)
        return self.grammar.fill(template.text, rnd, self.pinned, given), template.capability


def _pick(rnd: Random, values: Sequence[T]) -> T:
    return values[int(rnd.random() * len(values))]


@cache
def load_grammar() -> Grammar:
    """The grammar of the package's data files."""
    harvest, honest = _read("harvest"), _read("honest")
    slots = _read("slots") | _read("slots_world") | harvest.pop("slots") | honest.pop("slots")
    follow = {
        (workload, key.split("/")[1]): texts
        for workload, groups in honest.items()
        for key, texts in groups.items()
        if key.startswith("follow/")
    }
    return Grammar(_templates(harvest), _templates(honest), follow, slots, {})


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


def harvest_families() -> list[str]:
    return list(load_grammar().harvest)


def honest_workloads() -> list[str]:
    return list(load_grammar().honest)


def batch(templates: list[Template], rnd: Random, *, lang: str | None = None, most: int = 3) -> Batch:
    """A client's batch from a family's templates: one language, one to `most` templates."""
    langs = sorted({t.lang for t in templates})
    if lang not in langs:
        lang = "en" if "en" in langs and rnd.random() < 0.7 else _pick(rnd, langs)
    pool = [t for t in templates if t.lang == lang]
    return Batch(load_grammar(), rnd.sample(pool, min(len(pool), rnd.randint(1, most))), {})


def with_slot(templates: Sequence[Template], slot: str) -> list[Template]:
    """The templates that hold `{slot}`: those are wrappers for a text from elsewhere."""
    return [t for t in templates if "{" + slot + "}" in t.text]


def conversation(rnd: Random, workload: str, lang: str, turns: int, sloppy: float) -> tuple[list[str], str]:
    """A person's conversation: an opening in their own words, then follow-ups; `sloppy` is a typo rate."""
    g = load_grammar()
    pool = [t for t in g.honest[workload] if t.lang == lang] or g.honest[workload]
    opening = _pick(rnd, pool)
    text = g.fill(opening.text, rnd)
    if opening.lang == "en" and rnd.random() < 0.35:
        text = g.fill("{lead}", rnd) + text if rnd.random() < 0.5 else text + g.fill("{tail}", rnd)
    more = g.follow.get((workload, opening.lang)) or g.follow[("human_chat", opening.lang)]
    prompts = [text] + [g.fill(_pick(rnd, more), rnd) for _ in range(turns - 1)]
    return [_typed(rnd, p, sloppy) for p in prompts], opening.capability


def _typed(rnd: Random, text: str, sloppy: float) -> str:
    """How a hurried person types: lower case, no full stop, now and then a word with a slip."""
    if "\n" in text or rnd.random() > sloppy:
        return text
    if rnd.random() < 0.5:
        text = text[:1].lower() + text[1:]
    if rnd.random() < 0.4:
        text = text.rstrip(".!?")
    if rnd.random() < 0.3:
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


def labelled_prompts(seed: int, n: int, *, exclude: Collection[str] = ()) -> list[tuple[str, str, int]]:
    """`n` prompts (prompt, capability, harvest 0/1), half of each side, spread over families not in `exclude`."""
    rnd, g = Random(seed), load_grammar()
    out = []
    for i in range(n):
        harvest = i % 2
        side = g.harvest if harvest else g.honest
        family = _pick(rnd, [name for name in side if name not in exclude])
        if family.startswith("human_"):
            lang = "en" if rnd.random() < 0.6 else _pick(rnd, LANGUAGES)
            prompts, capability = conversation(rnd, family, lang, rnd.randint(1, 3), 0.5)
            out.append((_pick(rnd, prompts), capability, 0))
        else:
            template = _pick(rnd, side[family])
            out.append((g.fill(template.text, rnd), template.capability, harvest))
    return out
