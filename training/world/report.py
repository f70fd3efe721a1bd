"""The world's report: what it must prove about itself, as one Markdown page with a few plots.

Clocks beside real traces, text beside real prompts, the built-in text reviewed for sameness, the leakage audit, who
is in the world with an example account of each, size and speed, and determinism. The page holds counts, figures and
request parameters; never the text of a prompt. Left out: measuring (clock_report, sameness, audit, examples), drawing
(figures) and the page itself (page).

    python -m training world --preset demo --out world
    python -m training world-report world --corpora CORPORA --out docs/world.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq

from fingerprint.bundle import load as load_bundle
from training.config import settings as settings_from
from training.world import audit as auditing
from training.world import figures, sameness
from training.world.account import account_id, in_order, one_account
from training.world.corpora import PARTS, Corpora, part_of
from training.world.examples import Example, census, examples, members
from training.world.settings import WorldSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report", "measure", "rebuilt", "render", "write_report"]

CLOCK_TARGET = 2.0  # times the distance between two halves of the real trace
REBUILT = 5
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. `clocks` and `real` are None without corpora."""

    described: dict[str, Any]
    clocks: pd.DataFrame | None
    world_text: pd.DataFrame
    real: pd.DataFrame | None
    built_in: pd.DataFrame
    pairs: pd.DataFrame
    audit: auditing.Audit
    census: dict[str, pd.DataFrame]
    examples: list[Example]
    parts: pd.DataFrame
    rebuilt: tuple[int, int] | None
    size: int
    measured: list[dict[str, Any]]
    figures: dict[str, Figure] = field(default_factory=dict)


def write_report(
    world: Path, out: Path, *, corpora: Path | None = None, measured: Path | None = None,
    progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Measure the world in a directory, write the page to `out` and its plots beside it."""
    found = measure(world, corpora, measured, progress or (lambda stage, done, total: None))
    out.parent.mkdir(parents=True, exist_ok=True)
    plots = figures.save(found.figures, out.with_suffix(""))
    out.write_text(render(found, [file.relative_to(out.parent).as_posix() for file in plots]), encoding="utf-8")
    return found


def measure(world: Path, corpora: Path | None, measured: Path | None, progress: Progress) -> Report:
    """All tables and figures of a report."""
    described = json.loads((world / "world.json").read_text("utf-8"))
    clocks, drawn = _clocks(world, corpora, progress)
    texts = sameness.text_of_world(world, progress)
    real = sameness.text_of_corpora(corpora, progress) if corpora else None
    progress("audit", 0, 1)
    found = auditing.audit(world)
    progress("audit", 1, 1)
    labels = members(world)
    shown = examples(world, labels, load_bundle().head, pd.Timestamp(described["epoch"]))
    progress("examples", 1, 1)
    drawn |= {
        "text": figures.text(texts, real), "leaks": figures.leaks(found.models, found.features, auditing.SUSPECT),
    }  # fmt: skip
    return Report(
        described, clocks, texts, real, sameness.built_in(progress), sameness.pairs(), found, census(labels), shown,
        parts(described, corpora), rebuilt(world, described, corpora), _bytes(world),
        json.loads(measured.read_text("utf-8")) if measured else described.get("measured", []), drawn,
    )  # fmt: skip


def _clocks(world: Path, corpora: Path | None, progress: Progress) -> tuple[pd.DataFrame | None, dict[str, Figure]]:
    """Distances between the world's clocks and the real traces, and their figures."""
    if corpora is None or find_spec("training.world.clock_report") is None:
        return None, {}
    progress("clocks", 0, 1)
    clock_report = import_module("training.world.clock_report")
    table = clock_report.compare(corpora, world / "traffic")
    drawn = clock_report.plots(corpora, world / "traffic")
    progress("clocks", 1, 1)
    return table, drawn


def _bytes(world: Path) -> int:
    return sum(file.stat().st_size for file in (world / "traffic").glob("*.parquet"))


def parts(described: dict[str, Any], corpora: Path | None) -> pd.DataFrame:
    """Which source families each world part may use: built-in families and, with corpora, sources by role."""
    grammar = sameness.load_grammar()
    names = [("built-in harvest", f"built-in/{n}", n) for n in grammar.harvest]
    names += [("built-in honest", f"built-in/{n}", n) for n in grammar.honest if not n.startswith("human_")]
    if corpora:
        used = Corpora(corpora, described["settings"]["uses"])
        names += [(f"real {role}", n, n) for role in ("harvest", "human", "automation") for n in used.names(role)]
    rows = [(kind, name, part_of(key)) for kind, key, name in names]
    told = pd.DataFrame(rows, columns=["text", "name", "part"]).groupby(["text", "part"])["name"]
    joined = told.agg(lambda v: ", ".join(sorted(v))).unstack(fill_value="-")
    return joined.reindex(columns=sorted(set(PARTS), key=PARTS.index), fill_value="-").reset_index()


def rebuilt(world: Path, described: dict[str, Any], corpora: Path | None) -> tuple[int, int] | None:
    """How many of how many accounts, built alone from the seed, equal their rows in the files; None without the text."""
    from training.world import open_world

    if described["sources"] and corpora is None:
        return None
    made, plans = open_world(settings_from(WorldSettings, None, base=described["settings"]), corpora)
    some = plans[:: max(1, len(plans) // REBUILT)][:REBUILT]
    same = 0
    for p in some:
        name = account_id(made.settings.seed, p.index)
        files = in_order(pq.read_table(world / "traffic", filters=[("account_id", "==", name)]))
        same += files.equals(one_account(made, p))
    return same, len(some)


def render(r: Report, plots: list[str]) -> str:
    """The page as Markdown."""
    sections = (_head, _misses, _clock_section, _text_section, _built_in_section, _audit_section, _census_section,
                _parts_section, _size_section, _determinism, _example_section)  # fmt: skip
    lines = [line for section in sections for line in [*section(r), ""]]
    shown = {Path(plot).stem: plot for plot in plots}
    text = "\n".join(lines)
    for stem, plot in shown.items():
        text = text.replace(f"<!-- plot {stem} -->", f"![{stem.replace('_', ' ')}]({plot})")
    clocks = [plot for stem, plot in shown.items() if stem not in ("text", "leaks")]
    return text.replace("<!-- clocks -->", "\n\n".join(f"![{Path(p).stem.replace('_', ' ')}]({p})" for p in clocks)) + "\n"


def _head(r: Report) -> Iterator[str]:
    d = r.described
    yield "# The simulated world, measured"
    yield ""
    yield "Written by `python -m training world-report`. Every positive here is simulated: no public log of a real campaign exists."
    yield ""
    yield (
        f"{d['accounts']:,} accounts ({', '.join(f'{n:,} {k}' for k, n in d['by_kind'].items())}), {d['campaigns']:,} "
        f"campaigns, {d['exchanges']:,} exchanges over {d['days']} days; text from {d['text']}; seed {d['seed']}."
    )


def _misses(r: Report) -> Iterator[str]:
    yield "## What misses its target"
    yield ""
    lines = r.audit.misses()
    if r.clocks is not None:
        far = r.clocks[r.clocks["ratio"] > CLOCK_TARGET]
        lines += [f"clock of {row.role}: {row.ratio:.1f} times the yardstick" for row in far.itertuples()]
    same, of = r.rebuilt or (0, 0)
    lines += [f"{of - same} of {of} accounts rebuilt alone differ from the files"] if same < of else []
    yield from (f"- {line}" for line in lines) if lines else ["Nothing that was measured."]


def _clock_section(r: Report) -> Iterator[str]:
    yield "## Clocks beside real traces"
    yield ""
    if r.clocks is None:
        yield "Not measured: the real traces are in a corpora folder (`--corpora`)."
        return
    yield "The yardstick is the distance between two halves of the real trace; the target is within 2 times that."
    yield ""
    yield from table(r.clocks.assign(target=[("" if v <= CLOCK_TARGET else "**missed**") for v in r.clocks["ratio"]]))
    yield ""
    yield "<!-- clocks -->"


def _text_section(r: Report) -> Iterator[str]:
    yield "## Text beside real prompts"
    yield ""
    yield (
        "Windows of 100 prompts: lengths in characters, their coefficient of variation, zlib's compression ratio (lower "
        "is more repetitive), distinct n-grams of a stretch of 20 words a prompt. Attack accounts are those without cover."
    )
    for title, rows in (("Simulated", r.world_text), ("Real", r.real)):
        if rows is not None:
            yield from ("", f"{title}, the middle family of each role:", "", *table(sameness.by_role(rows)))
    yield from ("", "<!-- plot text -->")
    for title, rows in (("Simulated families", r.world_text), ("Real sources", r.real)):
        if rows is not None:
            yield from ("", *_folded(title, table(rows)))


def _built_in_section(r: Report) -> Iterator[str]:
    yield "## The built-in text, reviewed for sameness"
    yield ""
    yield from ("Pairs of a harvest template and its honest twin, by capability and language:", "", *table(r.pairs))
    side = {"attack": "attack", "honest": "automation"}
    for column, title in (("compression", "Compression ratio"), ("distinct_2", "Distinct-2")):
        for role, rows in r.built_in.groupby("role"):
            grid = rows.pivot(index="family", columns="lang", values=column).reset_index()
            low = None if r.real is None else r.real.loc[r.real["role"] == side[str(role)], column].quantile(0.1)
            told = f"; **bold** is below nine tenths of the real {side[str(role)]} sources ({low:.2f})" if low else ""
            yield from ("", f"{title} of filled templates, {role}{told}:", "", *table(grid, bold_below=low))


def _audit_section(r: Report) -> Iterator[str]:
    a = r.audit
    yield "## Leakage audit"
    yield ""
    yield (
        f"{a.attack:,} attack accounts against {a.honest:,} accounts of honest automation and shared keys in {a.groups:,} groups. "
        "Models are gradient boosting, cross-validated by group; intervals (95 %) resample groups. The prompt head is that "
        f"{a.head}: it was trained to tell these texts apart, so that its features are an upper limit, no leak by themselves."
    )
    yield from ("", *table(a.models), "", "<!-- plot leaks -->", "", "The twenty most telling single features:")
    yield from ("", *table(a.features.head(20)))
    yield from ("", *_folded("All features", table(a.features)), "", "The raw values that tell most by being shown:")
    yield from ("", *table(a.values.head(10)), "")
    yield from (f"- `{name}`: {reason}" for name, reason in auditing.REASONS.items())


def _census_section(r: Report) -> Iterator[str]:
    yield "## Who is in it"
    for what, rows in r.census.items():
        yield from ("", f"By {what}:", "", *table(rows))


def _parts_section(r: Report) -> Iterator[str]:
    yield "## Text of the training, validation and test worlds"
    yield ""
    yield "A source family belongs to one part by its name alone, so that worlds of different parts share none."
    yield from ("", *table(r.parts))


def _size_section(r: Report) -> Iterator[str]:
    d = r.described
    yield "## Size and speed"
    yield ""
    yield f"This world: {d['exchanges']:,} exchanges in {d['files']:,} files, {r.size / 1e6:,.1f} MB of Parquet."
    if seconds := d.get("seconds"):
        yield f"Made in {seconds:,.1f} s, {d['exchanges'] / seconds:,.0f} exchanges/s."
    yield from ("", *table(pd.DataFrame(r.measured))) if r.measured else ("", "No further runs were given (`--measured`).")


def _determinism(r: Report) -> Iterator[str]:
    yield "## Determinism"
    yield ""
    yield f"The same settings, seed and corpora give the same bytes; the digest of this world's traffic is `{r.described['digest']}`."
    if r.rebuilt is None:
        yield "Accounts were not rebuilt: that needs the corpora that the world was made from."
    else:
        yield f"{r.rebuilt[0]} of {r.rebuilt[1]} accounts, each built again alone from the seed, equal their rows in the files."


def _example_section(r: Report) -> Iterator[str]:
    yield "## Examples"
    yield ""
    yield "First requests of one account each: identifiers and parameters, no text."
    for what, some in groupby(r.examples, key=lambda example: example.what):
        yield from ("", f"### By {what}")
        for e in some:
            yield from ("", *_folded(f"<b>{e.name}</b>: {e.about.replace('`', '')}", ["```text", *e.lines, "```"]))


def _folded(title: str, lines: list[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def table(rows: pd.DataFrame, bold_below: float | None = None) -> list[str]:
    """A Markdown table; fractions with three digits, large figures whole, missing ones as a dash."""
    numeric = [pd.api.types.is_numeric_dtype(rows[c]) and not pd.api.types.is_bool_dtype(rows[c]) for c in rows]
    head = [str(c).replace("_", " ") for c in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---:" if n else "---" for n in numeric) + "|"]
    for row in rows.itertuples(index=False, name=None):
        lines.append("| " + " | ".join(_cell(value, bold_below) for value in row) + " |")
    return lines


def _cell(value: object, bold_below: float | None) -> str:
    if isinstance(value, float):
        if value != value:
            return "-"
        told = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
        return f"**{told}**" if bold_below is not None and value < bold_below else told
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "\\|")
