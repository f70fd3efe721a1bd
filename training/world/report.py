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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq

from fingerprint.bundle import load as load_bundle
from training.config import settings as settings_from
from training.world import audit as auditing
from training.world import clock_report, figures, sameness
from training.world.account import account_id, in_order, one_account
from training.world.corpora import PARTS, Corpora, built_in_part, part_of
from training.world.examples import Example, census, examples, members
from training.world.grammar import load_grammar
from training.world.page import render
from training.world.people import Texts
from training.world.programs import automation_names
from training.world.settings import WorldSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report", "measure", "rebuilt", "write_report"]

REBUILT = 5  # accounts that are built again alone
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. `real` is None without corpora."""

    described: dict[str, Any]
    clocks: pd.DataFrame
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
    out.write_text(render(found, {p.stem: p.relative_to(out.parent).as_posix() for p in plots}), encoding="utf-8")
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


def _clocks(world: Path, corpora: Path | None, progress: Progress) -> tuple[pd.DataFrame, dict[str, Figure]]:
    """Distances between the world's clocks and the real traces (or the laws fitted to them), and their figures."""
    progress("clocks", 0, 1)
    traffic = clock_traffic(world)
    compared = clock_report.compare(corpora, traffic)
    drawn = {f"clocks_{role}": figure for role, figure in clock_report.plots(corpora, traffic).items()}
    progress("clocks", 1, 1)
    return compared, drawn


def clock_traffic(world: Path) -> pd.DataFrame:
    """Account, session, time, tokens and clock class of every exchange; with people's clock, those of people only."""
    columns = ["account_id", "session_id", "timestamp", "input_tokens", "output_tokens"]
    rows = pq.read_table(world / "traffic", columns=columns).to_pandas()
    labels = pd.read_csv(world / "labels.csv", dtype=str)
    own = labels[(labels["clock"] != "people") | (labels["kind"] == "human")]
    rows["clock"] = rows["account_id"].map(own.set_index("account_id")["clock"])
    return pd.DataFrame(rows.dropna(subset="clock"))


def _bytes(world: Path) -> int:
    return sum(file.stat().st_size for file in (world / "traffic").glob("*.parquet"))


def parts(described: dict[str, Any], corpora: Path | None) -> pd.DataFrame:
    """Which source families each world part may use: built-in families and, with corpora, sources by role."""
    grammar = load_grammar()
    programs = automation_names(Texts(grammar.pool, grammar, None))
    rows = [
        (text, name, part)
        for text, names in (("built-in harvest", list(grammar.harvest)), ("built-in programs", programs))
        for part in dict.fromkeys(PARTS)
        for name in built_in_part(names, part)
    ]
    if corpora:
        used = Corpora(corpora, described["settings"]["uses"])
        rows += [
            (f"real {r}", n, part_of(n))
            for r in ("harvest", "human", "automation")
            for n in used.names(r, measured=True)
        ]
    told = pd.DataFrame(rows, columns=["text", "name", "part"]).groupby(["text", "part"])["name"]
    joined = told.agg(lambda v: ", ".join(sorted(v))).unstack(fill_value="-")
    return joined.reindex(columns=list(dict.fromkeys(PARTS)), fill_value="-").reset_index()


def rebuilt(world: Path, described: dict[str, Any], corpora: Path | None) -> tuple[int, int] | None:
    """How many of how many accounts, built alone from the seed, equal their rows in the files; None without text."""
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
