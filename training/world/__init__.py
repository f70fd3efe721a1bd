"""A labelled world: exchange records of people, programs, shared keys and campaigns, as time-ordered Parquet.

`make_world(out, settings)` plans the accounts, builds each from the seed and its line of the plan alone, and writes
`traffic/part-*.parquet`, `labels.csv`, `groups.csv` and `world.json`. The text comes from the built-in grammar or, with
`corpora`, mostly from real prompts; the clocks are fitted to real traces. Memory holds the plan and a bounded number
of exchanges, whatever the size of the world. Left out: what is measured about a world (report).

    python -m training world --preset demo --out /tmp/world
"""

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.config import check
from training.world.account import EPOCH, Facts, World, account_id, told
from training.world.campaigns import compile_campaigns
from training.world.corpora import Corpora, Source
from training.world.events import calendar
from training.world.grammar import compile_speech, load_grammar
from training.world.people import Texts
from training.world.plan import Plan, make_plan
from training.world.pool import Pool
from training.world.programs import compile_programs
from training.world.scaffolds import compile_scaffolds
from training.world.settings import WorldSettings
from training.world.write import write_traffic

__all__ = ["LABELS", "WorldSummary", "make_world", "open_world", "origin"]

LABELS = (
    "account_id", "label", "kind", "family", "campaign_id", "share", "goal", "client", "clock", "lang", "phase",
    "evasions", "plan", "tenure", "use",
)  # fmt: skip


@dataclass(frozen=True)
class WorldSummary:
    """What was written; `digest` is the same for the same settings and corpora."""

    accounts: int
    exchanges: int
    by_kind: dict[str, int]
    by_family: dict[str, int]
    campaigns: int
    files: int
    digest: str


def make_world(
    out: Path,
    settings: WorldSettings,
    *,
    corpora: Path | None = None,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> WorldSummary:
    """Write a world to `out` with `workers` processes; `progress` gets a stage, what is done and what there is.

    The files do not depend on `workers`. Raises ConfigError for settings out of range.
    """
    world, plans = open_world(settings, corpora)
    (out / "traffic").mkdir(parents=True, exist_ok=True)
    written = write_traffic(out / "traffic", world, plans, workers, progress or (lambda stage, done, total: None))
    _write_labels(out, world, plans, written.facts)
    summary = WorldSummary(
        accounts=len(plans),
        exchanges=written.exchanges,
        by_kind=dict(sorted(Counter(p.kind for p in plans).items())),
        by_family=dict(sorted(Counter(p.family for p in plans).items())),
        campaigns=len({p.group for p in plans if p.kind == "attack"}),
        files=written.files,
        digest=written.digest,
    )
    _write_description(out, world, summary)
    return summary


def open_world(settings: WorldSettings, corpora: Path | None = None) -> tuple[World, list[Plan]]:
    """Everything that accounts are built from, and the plan of all accounts."""
    check(corpora is not None or not settings.own_text, "own_text", "a corpora directory beside it", None)
    pool = Pool()
    grammar = load_grammar(pool)
    compile_speech(grammar)
    real = None
    if corpora:
        real = Corpora(
            corpora, settings.uses, pool=pool, part=settings.part, exclude=settings.exclude, own=settings.own_text
        )
    texts = Texts(pool, grammar, real, settings.part)
    compile_programs(texts)
    compile_campaigns(texts)
    compile_scaffolds(texts)
    pool.seal()
    return World(settings, texts, calendar(settings)), make_plan(texts, settings)


def _write_labels(out: Path, world: World, plans: list[Plan], facts: dict[int, Facts]) -> None:
    """`labels.csv` by the contract, and `groups.csv`: which accounts are operated together, honest ones too.

    With look-alikes among them `groups.csv` says which ones they are.
    """
    seed = world.settings.seed
    real = world.texts.corpora
    uses = ["validate" if real and real.only_measured(p.family) else "train" for p in plans]
    rows = [[account_id(seed, p.index), *told(p, facts[p.index]), use] for p, use in zip(plans, uses, strict=True)]
    groups = [[row[0], f"group_{p.group:05d}"] for row, p in zip(rows, plans, strict=True)]
    columns: tuple[str, ...] = ("account_id", "group")
    if world.settings.lookalikes.share:
        groups = [[*row, p.lookalike] for row, p in zip(groups, plans, strict=True)]
        columns = (*columns, "lookalike")
    for name, header, lines in (("labels.csv", LABELS, rows), ("groups.csv", columns, groups)):
        with (out / name).open("w", encoding="utf-8", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows([header, *lines])


def _write_description(out: Path, world: World, summary: WorldSummary) -> None:
    corpora = world.texts.corpora
    described = {
        "settings": world.settings.as_dict(), "epoch": EPOCH.isoformat(), "calendar": asdict(world.calendar),
        "seed": world.settings.seed, "days": world.settings.days,
        "text": "corpora and grammar" if corpora else "grammar", "uses": corpora.uses if corpora else [],
        "sources": [s._asdict() for s in corpora.sources.values()] if corpora else [],
        "versions": {"fingerprint": version("fingerprint"), "numpy": np.__version__, "pyarrow": pa.__version__},
        **asdict(summary),
    }  # fmt: skip
    (out / "world.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")


def origin(world: Path) -> list[dict[str, object]]:
    """What a world was made of, a row a source, for manifest and card; empty where `world` has no description."""
    if not (world / "world.json").is_file():
        return []
    described = json.loads((world / "world.json").read_text("utf-8"))
    made = f"{described['accounts']} accounts, {described['days']} days, seed {described['seed']}"
    own = Source("simulated world, text of our own", "all", "train", "of this project", made)
    return [own._asdict(), *described["sources"]]
