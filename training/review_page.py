"""The review page: what a reviewer sees of a candidate model, to say yes or no in five minutes.

`html` is one file that fetches nothing, for MLflow's artifact viewer, a browser or paper, light and dark;
`markdown` is the short form for the description of a registered version. The same review gives the same text. Account
ids stand in the HTML's table of examples and nowhere else. Left out: measuring, and the verdict (that is the gate's).
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from training import review_tables as tables
from training.card import markdown as as_markdown
from training.config import SIMULATED
from training.review import Review
from training.review_parts import Drawing, parts
from training.review_plots import figures
from training.review_tables import Table
from training.review_worst import worst

__all__ = ["ARTIFACT", "html", "markdown"]

ARTIFACT = "review/review.html"  # where a run keeps the page
_TILES = 4
_COLOURS = {
    "#000000": "currentColor", "#333333": "currentColor", "#ffffff": "var(--paper)", "#2a6f97": "var(--blue)",
    "#c8553d": "var(--red)", "#e9a23b": "var(--amber)", "#8d8d8d": "var(--grey)", "#5b8c5a": "var(--leaf)",
    "#8a6bbe": "var(--violet)", "#b0b0b0": "var(--grey)",
}  # fmt: skip
LIMITS = (
    "False-positive rates hold for workloads like those measured; scores are calibrated for the share of attack in "
    "the training data."
)

# Browsers follow no link inside a page in the sandboxed frame of MLflow's viewer; without scripts only that is lost.
SCRIPT = Markup(
    'document.querySelector("nav").addEventListener("click", (event) => {'
    "if (!event.target.hash) return; event.preventDefault();"
    "document.getElementById(event.target.hash.slice(1)).scrollIntoView();});"
)


@dataclass(frozen=True)
class Verdict:
    """What stands at the top: `tone` (passes, refused, first, open) colours it, `measured` says on what."""

    tone: str
    title: str
    reason: str
    measured: str


@dataclass(frozen=True)
class Tile:
    """A figure that decides: the measure, its value, and beside it the interval, the champion's and the difference."""

    measure: str
    value: str
    beside: Sequence[str]


def html(review: Review) -> str:
    """The whole page, self-contained; everything that comes from data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["look"] = _look
    drawn = {name: _drawing(name, figure) for name, figure in figures(review).items()}
    return environment.get_template("review.html.j2").render(
        review=review,
        verdict=_verdict(review),
        tiles=_tiles(review),
        parts=list(parts(review, drawn)),
        script=SCRIPT,
        digest=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
    )


def _look(cell: str) -> str:
    """The class of a table's cell by what it says."""
    marks = {tables.BETTER: "better", tables.WORSE: "worse"}
    if cell in ("passes", "fails"):
        return cell
    return marks.get(cell[:1], "long" if len(cell) > 80 else "figure" if re.match(r"[-+]?\d|n/a", cell) else "name")


def _drawing(name: str, figure: Figure) -> Drawing:
    """Inline SVG with text as text, colours that follow the page, and neither date nor random ids."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, dpi=160, metadata={"Date": None})
    svg = file.getvalue()[file.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", svg)  # of groups, the same in every figure
    svg = re.sub("|".join(_COLOURS), lambda found: _COLOURS[found[0]], svg)
    titles = [figure.get_suptitle(), *(axes.get_title(loc="left") for axes in figure.axes)]
    alt = next(title for title in titles if title)
    return Drawing(Markup(svg.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(alt), 1)), alt)


def _verdict(review: Review) -> Verdict:
    against, decision = review.against, review.decision
    cuts = ", ".join(f"{level} from {cut:.4f}" for level, cut in review.thresholds.items())
    measured = f"Detection figures are measured on {review.positives}, of {review.metrics_of}. Thresholds: {cuts}."
    if against:
        measured += (
            f" The champion is version {against.version} ({against.bundle_id}); both were measured on the same "
            f"windows, of the {against.accounts:,} of {against.of_accounts:,} test accounts that neither was fitted to."
        )
    if review.not_compared:
        return Verdict("refused", "Not compared with the champion", review.not_compared, measured)
    if decision is None:
        title = "Not put before the gate" if against else "First model: there is no champion"
        return Verdict("open" if against else "first", title, "", measured)
    title = "Passes the gate" if decision.passed else "Refused by the gate"
    title += "" if against else ", first model: there is no champion"
    return Verdict("passes" if decision.passed else "refused", title, decision.reason, measured)


def _tiles(review: Review) -> list[Tile]:
    """The first rows of the headline."""
    tiles = []
    for row in tables.headline(review).rows.head(_TILES).to_dict("records"):
        value, _, interval = row["challenger"].partition(" (")
        lines = [f"({interval}"] if interval else []
        if "champion" in row:
            lines += [f"champion {row['champion'].partition(' (')[0]}", f"difference {row['difference']}"]
        tiles.append(Tile(row["measure"], value, lines))
    return tiles


def markdown(review: Review, most: int = 5000) -> str:
    """The short form, at most `most` characters: whole paragraphs and tables, the most important first; one that does
    not fit is left out whole."""
    verdict = _verdict(review)
    ends = [f"Everything else, with plots: artifact `{ARTIFACT}` of the run."]
    room, kept = most - sum(len(block) + 2 for block in ends), []
    for block in _blocks(review, verdict):
        if block and len(block) + 2 <= room:
            kept.append(block)
            room -= len(block) + 2
    return "\n\n".join([*kept, *ends])


def _blocks(review: Review, verdict: Verdict) -> Iterator[str]:
    yield _first_line(review, verdict)
    yield _escaped(verdict.reason)
    yield _escaped(verdict.measured)
    if review.positives == SIMULATED:
        yield "No public log of a real campaign exists: expect other figures on real ones."
    for table, rows in ((tables.headline(review), 9), (worst(review), 10), (tables.changed(review), 10)):
        yield _block(table, rows)
    yield _block(tables.speed(review), 6)
    yield _block(tables.parity(review), 6)
    yield LIMITS


def _first_line(review: Review, verdict: Verdict) -> str:
    """All that lists of versions show: no heading, what the gate says, the first figure of the headline."""
    rows = tables.headline(review).rows
    told = f": {rows.iloc[0]['measure']} {rows.iloc[0]['challenger']}, {review.positives}" if len(rows) else ""
    return f"{_escaped(verdict.title)}{_escaped(told)}."


def _block(table: Table, most: int) -> str:
    """The first rows of a table under its caption, and how many more there are; empty without rows."""
    if table.rows.empty:
        return ""
    shown = table.rows.head(most).map(_escaped)
    more = f"\n\nRows left out here: {len(table.rows) - most}." if len(table.rows) > most else ""
    return f"**{_escaped(table.caption)}**\n\n{as_markdown(shown)}{more}"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>])", r"\\\1", text).replace("\n", " ")
