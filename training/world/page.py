"""The page of a world's report: Markdown from its tables, nothing measured here.

Long tables and the example accounts are folded (`<details>`), so that the page can be read from top to bottom.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import pandas as pd

from training.world import audit, sameness

if TYPE_CHECKING:
    from training.world.report import Report

__all__ = ["CLOCK_TARGET", "render", "table"]

CLOCK_TARGET = 2.0  # times the distance between two halves of the real trace
SIDES = {"attack": "attack", "honest": "automation"}  # built-in text -> the real sources it is judged by
Plots = dict[str, str]  # name of a figure -> where its file lies, seen from the page


def render(r: Report, plots: Plots) -> str:
    """The page as Markdown."""
    sections = (
        _head, _misses, _clocks, _text, _built_in, _audit, _census, _parts, _size, _determinism, _examples,
    )  # fmt: skip
    return "\n".join(line for section in sections for line in [*section(r, plots), ""])


def _plot(plots: Plots, name: str) -> Iterator[str]:
    if name in plots:
        yield from ("", f"![{name.replace('_', ' ')}]({plots[name]})")


def _head(r: Report, plots: Plots) -> Iterator[str]:
    d = r.described
    yield "# The simulated world, measured"
    yield ""
    yield "Written by `python -m training world-report`. Positives are simulated: no public log of a campaign exists."
    yield ""
    yield (
        f"{d['accounts']:,} accounts ({', '.join(f'{n:,} {k}' for k, n in d['by_kind'].items())}), {d['campaigns']:,} "
        f"campaigns, {d['exchanges']:,} exchanges over {d['days']} days; text from {d['text']}; seed {d['seed']}."
    )
    if share := d["settings"].get("lookalikes", {}).get("share", 0.0):
        yield ""
        yield (
            f"With `[lookalikes]` (a share of {share:g} here) honest groups share text for honest reasons: an app, a "
            "class, a release-day benchmark, an agent framework, a labelling vendor, a company; as many campaigns "
            "stand behind such software."
        )


def _misses(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## What misses its target", "")
    lines, (same, of) = r.audit.misses(), r.rebuilt or (0, 0)
    far = r.clocks[r.clocks["ratio"] > CLOCK_TARGET]
    lines += [f"clock of {row.role}, {row.statistic}: {row.ratio:.1f} times the yardstick" for row in far.itertuples()]
    lines += [f"{of - same} of {of} accounts rebuilt alone differ from the files"] if same < of else []
    yield from (f"- {line}" for line in lines) if lines else ["Nothing that was measured."]


def _clocks(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## Clocks beside real traces", "")
    yield (
        "Gaps in seconds inside sessions, turns and tokens; the yardstick is the same distance between two halves of "
        f"the real trace, and the target is at most {CLOCK_TARGET:g} times that."
    )
    misses = ["**missed**" if ratio > CLOCK_TARGET else "" for ratio in r.clocks["ratio"]]
    short = r.clocks[[c for c in r.clocks if " p" not in str(c) or str(c).endswith(" p50")]]
    yield from ("", *table(short.assign(target=misses)), "", *_folded("All quantiles", table(r.clocks)))
    for name in plots:
        if name.startswith("clocks_"):
            yield from _plot(plots, name)


def _text(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## Text beside real prompts", "")
    yield (
        "Windows of 100 prompts: lengths in characters, their coefficient of variation, zlib's compression ratio "
        "(lower is more repetitive), distinct n-grams of 20 words a prompt. Attack accounts are those without cover."
    )
    for title, rows in (("Simulated", r.world_text), ("Real", r.real)):
        if rows is not None:
            yield from ("", f"{title}, the middle family of each role:", "", *table(sameness.by_role(rows)))
    yield from _plot(plots, "text")
    for title, rows in (("Simulated families", r.world_text), ("Real sources", r.real)):
        if rows is not None:
            yield from ("", *_folded(title, table(rows)))


def _built_in(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## The built-in text, reviewed for sameness", "")
    yield from ("Pairs of a harvest template and its honest twin, by capability and language:", "", *table(r.pairs))
    for column, title in (("compression", "Compression ratio"), ("distinct_2", "Distinct-2")):
        for role, rows in r.built_in.groupby("role"):
            grid = rows.pivot(index="family", columns="lang", values=column).reset_index()
            low = _lowest(r.real, SIDES[str(role)], column)
            told = f"; **bold** is below nine tenths of the real {SIDES[str(role)]} sources ({low:.2f})" if low else ""
            yield from ("", f"{title} of filled templates, {role}{told}:", "", *table(grid, bold_below=low))


def _lowest(real: pd.DataFrame | None, role: str, column: str) -> float | None:
    """What nine tenths of a role's real sources exceed."""
    return None if real is None else float(real.loc[real["role"] == role, column].quantile(0.1))


def _audit(r: Report, plots: Plots) -> Iterator[str]:
    a = r.audit
    yield from ("## Leakage audit", "")
    yield (
        f"{a.attack:,} attack accounts against {a.honest:,} accounts of honest automation and shared keys, in "
        f"{a.groups:,} groups. Models are gradient boosting, cross-validated by group; intervals (95 %) resample "
        f"groups. The prompt head is that {a.head}. It was trained on families of these texts, so that its features "
        "(likeness, capability) tell an upper limit; the last row is a likeness that never read the family it judges."
    )
    yield from ("", *table(a.models), *_plot(plots, "leaks"), "", "The twenty most telling single features:")
    yield from ("", *table(a.features.head(20)), "", "What a model on metadata uses most, by share of its gain:")
    yield from ("", *table(a.used))
    yield from ("", *_folded("All features", table(a.features)), "", "The raw values that tell most by being shown:")
    yield from ("", *table(a.values.head(10)), "")
    yield from (f"- `{name}`: {reason}" for name, reason in audit.REASONS.items())


def _census(r: Report, plots: Plots) -> Iterator[str]:
    yield "## Who is in it"
    for what, rows in r.census.items():
        yield from ("", f"By {what}:", "", *table(rows))


def _parts(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## Text of the training, validation and test worlds", "")
    yield "A source family belongs to one part by its name alone, so that worlds of different parts share none."
    yield from ("", *table(r.parts))


def _size(r: Report, plots: Plots) -> Iterator[str]:
    d = r.described
    yield from ("## Size and speed", "")
    yield f"This world: {d['exchanges']:,} exchanges in {d['files']:,} files, {r.size / 1e6:,.1f} MB of Parquet."
    if seconds := d.get("seconds"):
        yield f"Made in {seconds:,.1f} s, {d['exchanges'] / seconds:,.0f} exchanges/s."
    yield from (
        ("", *table(pd.DataFrame(r.measured))) if r.measured else ("", "No further runs (`--measured`) were given.")
    )


def _determinism(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## Determinism", "")
    yield f"The same settings, seed and corpora give the same bytes; this traffic's digest: `{r.described['digest']}`."
    if r.rebuilt is None:
        yield "Accounts were not rebuilt: that needs the corpora that the world was made from."
    else:
        same, of = r.rebuilt
        yield f"{same} of {of} accounts, each built again alone from the seed, equal their rows in the files."


def _examples(r: Report, plots: Plots) -> Iterator[str]:
    yield from ("## Examples", "")
    yield "First requests of one account each: identifiers and parameters, no text."
    for what, some in groupby(r.examples, key=lambda example: example.what):
        yield from ("", f"### By {what}")
        for e in some:
            yield from ("", *_folded(f"<b>{e.name}</b>: {e.about}", ["```text", *e.lines, "```"]))


def _folded(title: str, lines: list[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def table(rows: pd.DataFrame, bold_below: float | None = None) -> list[str]:
    """A Markdown table; fractions with three digits, large figures whole, missing ones as a dash."""
    numeric = [pd.api.types.is_numeric_dtype(rows[c]) and not pd.api.types.is_bool_dtype(rows[c]) for c in rows]
    head = [str(c).replace("_", " ") for c in rows]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---:" if n else "---" for n in numeric) + "|"]
    told = ([_cell(value, bold_below) for value in row] for row in rows.itertuples(index=False, name=None))
    return [*lines, *("| " + " | ".join(cells) + " |" for cells in told)]


def _cell(value: object, bold_below: float | None) -> str:
    if isinstance(value, float):
        told = _figure(value)
        return f"**{told}**" if bold_below is not None and value < bold_below else told
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "\\|")


def _figure(value: float) -> str:
    if value != value:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
