"""Prompts from a corpora directory (`sources.csv`, `prompts/NAME.jsonl.gz`) and those of `training/text/own`, as data.

A source has a role (harvest, human, automation) and a use (train, validate); only the uses asked for are opened, so
that the shipped model stays clean. Text of a source that may only be measured with (`validate`) goes into the accounts
that are named for it and into nothing else: no cover traffic, no shared key. Prompts keep their unit (a user, a
session, a task) and its order; lone surrogates and NULs are removed and very long prompts cut. Sources used on both
sides (`SHARED`) are divided by unit, as are human sources between honest accounts and the cover traffic of attacks.
Left out: what accounts do with the text (populations) and the clocks (clocks).
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from training.world.grammar import load_grammar
from training.world.pool import Pool

LONGEST = 24_000
OWN = Path(str(files("training") / "text" / "own"))  # whole prompts that were written for this project
MULTI_TURN = (
    "api_bank", "glaive_en", "glaive_zh", "swe_agent", "realhumaneval", "mt_bench", "crosswoz_zh", "hotel_ja",
    "tutoring", "irc",
)  # fmt: skip
SHARED = ("gsm8k", "swe_agent")
RENUMBERED = ("swe_agent", "own_agent_runs")  # agents' runs: the same task again with other numbers
MATERIAL = ("metamath_prefixes", "cot_fewshot", "camel_slots", "eval_cot_prefixes", "judge_templates")
FAMILY = {
    "glaive_en": "glaive", "glaive_zh": "glaive", "seal_tools_full": "seal_tools",
    "metamath_backward": "metamath", "gsm8k": "metamath",
}  # fmt: skip
CAPABILITY = {
    "gpteacher_codegen": "software_engineering", "gpteacher_roleplay": "chat", "gpteacher_toolformer": "tool_use",
    "seal_tools": "tool_use", "seal_tools_full": "tool_use", "api_bank": "tool_use", "glaive_en": "tool_use",
    "glaive_zh": "tool_use", "contest_reasoning": "reasoning", "metamath_backward": "reasoning",
    "metamath_prefixes": "cot_elicitation", "cot_fewshot": "cot_elicitation", "ultrachat_eval": "chat",
    "swe_agent": "planning_agentic", "realhumaneval": "software_engineering", "assistant_volunteers": "chat",
    "irc": "support", "crosswoz_zh": "support", "hotel_ja": "support", "tutoring": "reasoning",
    "questions_ru": "chat", "gsm8k": "reasoning", "bbh": "reasoning", "banking_intents": "support",
    "template_batches": "extraction_labelling", "eval_cot_prefixes": "cot_elicitation",
    "long_documents": "extraction_labelling", "model_comparison": "chat", "judge_templates": "grading_judging",
}  # fmt: skip
RUBRIC_UNIT = {"planning": "planning_agentic", "reasoning": "reasoning", "tool_usage": "tool_use"}
LANGUAGE = {
    "questions_ru": "ru",
    "crosswoz_zh": "zh",
    "constraints_zh": "zh",
    "glaive_zh": "zh",
    "hotel_ja": "ja",
}


class Source(NamedTuple):
    """One row of `sources.csv`; what asks for it (`workload`) and for what is known of prompts of our own alone."""

    name: str
    role: str
    use: str
    licence: str
    origin: str
    capability: str = ""
    workload: str = ""


class Unit(NamedTuple):
    """Prompts that belong together, in order; `gaps[i]` seconds before prompt i where a clock is known."""

    source: str
    key: str
    prompts: tuple[str, ...]
    gaps: tuple[float, ...] | None
    lang: str
    pieces: Sequence[int] = ()


PARTS = ("train", "train", "validation", "test")


def part_of(name: str) -> str:
    """Which world may use a source (all of its family): by its name alone."""
    return PARTS[zlib.crc32(f"1/{FAMILY.get(name, name)}".encode()) % len(PARTS)]


def built_in_part(names: Sequence[str], part: str) -> list[str]:
    """The built-in families or workloads of a part: a share of them, in an order that depends on the names alone."""
    order = sorted(names, key=lambda name: zlib.crc32(name.encode()))
    return [name for i, name in enumerate(order) if PARTS[i % len(PARTS)] == part]


class Corpora:
    """The sources of a directory whose use is allowed; units are read on first need and kept.

    With a `pool` the prompts of every source become pieces of it at once. `part` keeps the source families of one
    of `PARTS`, `exclude` leaves sources and families out by name; `own` adds the prompts written for this project.
    """

    def __init__(
        self,
        directory: Path,
        uses: Sequence[str] = ("train",),
        *,
        pool: Pool | None = None,
        part: str = "all",
        exclude: Sequence[str] = (),
        own: bool = False,
    ) -> None:
        self.directory, self.uses, self.part, self.pool = Path(directory), tuple(uses), part, pool
        rows = [*listed_in(self.directory), *(own_sources().values() if own else ())]
        self.sources = {s.name: s for s in rows if s.use in self.uses and self._wanted(s.name, exclude)}
        self._units: dict[str, list[Unit]] = {}
        self._honest: dict[str, list[Unit]] = {}
        self._harvest: dict[str, list[Unit]] = {}
        self._by_language: dict[tuple[str, bool], dict[str, list[Unit]]] = {}
        self.renumbered: dict[int, range] = {}
        self.extracts: list[int] = []
        if pool is not None:
            for name in self.sources:
                self.units(name)
            self.extracts = list(pool.extend(t[:1200] for t in self._extracts()))

    def _wanted(self, name: str, exclude: Sequence[str]) -> bool:
        if {name, FAMILY.get(name, name)} & set(exclude):
            return False
        return self.part == "all" or name in MATERIAL or part_of(name) == self.part

    def _extracts(self) -> list[str]:
        """A few hundred real texts to fill the slots of harness and judge templates with."""
        known = [
            n for n in ("open_questions", "assistant_volunteers", "irc", *self.names("human")) if n in self.sources
        ]
        if not known:
            g = load_grammar()
            return [g.pool.text(g.fill("{passage}", Random(i))) for i in range(200)]
        return [p for n in known[:3] for u in self.honest_units(n)[:300] for p in u.prompts[:3]]

    def names(self, role: str, measured: bool = False) -> list[str]:
        """The sources of a role that hold whole prompts; `measured` adds those that may only be measured with."""
        found = [s for s in self.sources.values() if s.role == role and s.name not in MATERIAL]
        return [s.name for s in found if measured or s.use == "train"]

    def only_measured(self, family: str) -> bool:
        """Whether text of this family or workload may be measured with and never trained on."""
        name = family.rpartition(":")[2]
        return any(s.use != "train" and name in (s.name, FAMILY.get(s.name)) for s in self.sources.values())

    def units(self, name: str) -> list[Unit]:
        if name not in self._units:
            own = OWN / f"{name}.jsonl" if name in own_sources() else None
            records = _records(own or self.directory / "prompts" / f"{name}.jsonl.gz")
            self._units[name] = [self._numbered(u) for u in _grouped(name, records)]
        return self._units[name]

    def _numbered(self, unit: Unit) -> Unit:
        if self.pool is None:
            return unit
        pieces = self.pool.extend(unit.prompts)
        if unit.source in RENUMBERED:
            for piece, prompt in zip(pieces, unit.prompts, strict=True):
                self.renumbered[piece] = self.pool.extend(renumbered(prompt, salt) for salt in range(1, 10))
        return unit._replace(pieces=pieces)

    def harvest_units(self, name: str) -> list[Unit]:
        """What attack accounts may send of a source: all of it, or of a shared one what no honest account has."""
        if name not in SHARED:
            return self.units(name)
        if name not in self._harvest:
            theirs = {p for u in self.honest_units(name) for p in u.prompts}
            units = [u for u in self.units(name) if side(u) == "harvest"]
            kept = [[i for i, p in enumerate(u.prompts) if p not in theirs] for u in units]
            self._harvest[name] = [_only(u, indices) for u, indices in zip(units, kept, strict=True) if indices]
        return self._harvest[name]

    def honest_units(self, name: str) -> list[Unit]:
        """What honest accounts may send of a source."""
        if name not in self._honest:
            human = self.sources[name].role == "human"
            kept = [
                u for u in self.units(name) if (side(u) != "cover" if human else name not in SHARED or side(u) == "own")
            ]
            self._honest[name] = kept
        return self._honest[name]

    def by_language(self, name: str, cover: bool = False) -> dict[str, list[Unit]]:
        """A human source's units by language: the honest accounts' part, or that of the cover traffic of attacks."""
        if (name, cover) not in self._by_language:
            groups: dict[str, list[Unit]] = {}
            for u in [u for u in self.units(name) if side(u) == "cover"] if cover else self.honest_units(name):
                groups.setdefault(u.lang, []).append(u)
            self._by_language[name, cover] = groups
        return self._by_language[name, cover]

    def material(self, name: str) -> list[Unit]:
        """Prefixes, templates and slot values to build prompts with; each belongs to one part."""
        if name not in self.sources:
            return []
        return [u for u in self.units(name) if self.part == "all" or part_of(f"{name}/{u.key}") == self.part]

    def harvest_families(self) -> dict[str, list[str]]:
        """Harvest family -> its sources."""
        families: dict[str, list[str]] = {}
        for name in [*self.names("harvest", measured=True), *(s for s in ("gsm8k",) if s in self.sources)]:
            families.setdefault(FAMILY.get(name, name), []).append(name)
        return families


def listed_in(directory: Path) -> list[Source]:
    """The rows of a directory's `sources.csv`."""
    with (directory / "sources.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    return [
        Source(
            r["name"], r["role"], r["use"], r["licence"], r["source"], r.get("capability", ""), r.get("workload", "")
        )
        for r in rows
    ]


@cache
def own_sources() -> dict[str, Source]:
    """The sources that were written for this project, by name."""
    return {source.name: source for source in listed_in(OWN)}


def _only(unit: Unit, indices: list[int]) -> Unit:
    pieces = [unit.pieces[i] for i in indices] if unit.pieces else ()
    return unit._replace(prompts=tuple(unit.prompts[i] for i in indices), pieces=pieces)


def renumbered(text: str, salt: int) -> str:
    """The text with its digits turned by `salt`: another run of the same task."""
    return text.translate({ord("0") + i: ord("0") + (i + salt) % 10 for i in range(10)})


def side(unit: Unit) -> str:
    """Which side of a divided source a unit is on: by a hash of its task, the same in every world."""
    task = unit.key.rpartition("/")[2]
    if "repo" in task or "simple" in task:  # the demonstrations of one small repository
        task = "demonstration"
    h = zlib.crc32(f"8/{unit.source}/{task}".encode()) % 100  # 8: the agent tasks fall evenly
    if unit.source in SHARED:
        return "harvest" if h < 50 else "own"
    return "cover" if h < 20 else "own"


def capability(unit: Unit) -> str | None:
    """The weak capability label of a unit: that of its source, where the source is about one thing."""
    if unit.source == "biggen_rubrics":
        return RUBRIC_UNIT.get(unit.key.split("#")[0])
    if unit.source in own_sources():
        return own_sources()[unit.source].capability or None
    return CAPABILITY.get(unit.source)


def clean(text: str) -> str:
    """Without lone surrogates and NULs, cut to the longest length that is kept."""
    return text[:LONGEST].encode("utf-8", "ignore").decode("utf-8").replace("\0", "")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="surrogatepass") as f:
        for line in f:
            record: dict[str, Any] = json.loads(line)
            record["prompt"] = clean(record["prompt"])
            if record["prompt"].strip():
                yield record


def _grouped(name: str, records: Iterator[dict[str, Any]]) -> Iterator[Unit]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for i, r in enumerate(records):
        if name in MULTI_TURN or (name in own_sources() and "seq" in r):
            groups.setdefault(str(r["unit"]), []).append(r)
            continue
        lang = r.get("lang") or LANGUAGE.get(name, "en")
        yield Unit(name, f"{r.get('unit', '')}#{i}", (r["prompt"],), None, lang)
    for key, rows in groups.items():
        rows.sort(key=lambda r: (r.get("t", 0.0), r.get("seq", 0)))
        yield Unit(name, key, tuple(r["prompt"] for r in rows), _gaps(rows), rows[0].get("lang") or "en")


def _gaps(rows: list[dict[str, Any]]) -> tuple[float, ...] | None:
    if any("t" not in r for r in rows):
        return None
    times = [float(r["t"]) for r in rows]
    return (0.0, *(b - a for a, b in pairwise(times)))


def slotted(template: str) -> list[str]:
    """The literal parts of an evaluation or judge template, between its {{ slot }} and {slot} holes."""
    return re.split(r"\{\{.*?\}\}|\{\w+\}", re.sub(r"\{%.*?%\}", "", template, flags=re.S), flags=re.S)


def labelled_prompts(
    directory: Path, *, uses: Sequence[str] = ("train",), per_source: int = 2000, seed: int = 7
) -> list[tuple[str, str | None, int, str]]:
    """(prompt, weak capability or None, harvest 0/1, source) for the prompt head, at most `per_source` of each.

    Bare questions of a shared source are not labelled as harvesting: behaviour tells those apart, not text.
    """
    corpora, rnd = Corpora(directory, uses), Random(seed)
    out: list[tuple[str, str | None, int, str]] = []
    for name, source in corpora.sources.items():
        if name in ("camel_slots", "eval_cot_prefixes", "judge_templates"):
            continue
        harvest = int(source.role == "harvest")
        units = corpora.units(name) if harvest else corpora.honest_units(name)
        if name == "swe_agent":
            harvest, units = 0, corpora.honest_units(name)
        rows = [(p, capability(u), harvest, name) for u in units for p in u.prompts]
        out += rows if len(rows) <= per_source else rnd.sample(rows, per_source)
    return out
