"""The verbs that measure: worlds, detectors, groups, reasons, drift, speed. Thin functions over the library."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fingerprint.commands import By
from training.console import Corpora, Stages, app

__all__: list[str] = []


@app.command("world-report")
def world_report(
    world: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that `world` wrote.")],
    corpora: Corpora = None,
    out: Annotated[Path, typer.Option(help="Page to write, its plots in a folder beside it.")] = Path("docs/world.md"),
    measured: Annotated[
        Path | None, typer.Option(exists=True, help="JSON list of runs: seconds, sizes, peak memory, to be shown.")
    ] = None,
) -> None:
    """Measure a world: clocks and text beside real ones, leakage audit, who is in it, as a page with plots.

    Example: python -m training world-report /tmp/world --corpora CORPORA --out docs/world.md
    """
    from training.world.report import write_report

    with Stages() as stages:
        found = write_report(world, out, corpora=corpora, measured=measured, progress=stages)
    figures = found.audit.models.set_index("model")["auc"].round(4).to_dict()
    print(json.dumps({"report": str(out), "auc": figures, "leaks": len(found.audit.misses())}))


@app.command()
def evaluate(
    traffic: Annotated[list[Path], typer.Option(exists=True, help="File or folder of exchange records; repeatable.")],
    labels: Annotated[Path, typer.Option(exists=True, help="CSV as for run, with family and share.")],
    out: Annotated[Path, typer.Option(help="Markdown page to write; tables and plot go to a folder of its name.")],
    groups: Annotated[Path | None, typer.Option(exists=True, help="CSV: account_id,group.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, help="TOML file of settings.")] = None,
    corpora: Corpora = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts that families and sources are dealt to.")] = 4,
) -> None:
    """Leave every harvest family, honest source and workload out in turn and measure what is found of it.

    Example: python -m training evaluate --traffic world/traffic --labels world/labels.csv --out detection.md
    """
    from training.config import load
    from training.leaveout import leave_out
    from training.leaveout_page import write
    from training.leaveout_tables import measure
    from training.world import origin

    settings = load(config)
    with Stages() as stages:
        scores = leave_out(traffic, labels, settings, groups=groups, corpora=corpora, folds=folds, progress=stages)
        stages("evaluate", 0, 1)
        measured = measure(scores, resamples=settings.evaluation.bootstrap, seed=settings.seed)
    made = " ".join(str(rows[0]["origin"]) for path in traffic if (rows := origin(path.parent)))
    print(json.dumps(write(scores, measured, out, f"World: {made}." if made else "")))


@app.command()
def bakeoff(
    traffic: Annotated[list[Path], typer.Option(exists=True, help="File or folder of exchange records; repeatable.")],
    labels: Annotated[Path, typer.Option(exists=True, help="CSV as for run, with family and share.")],
    out: Annotated[Path, typer.Option(help="Markdown page to write; tables and plot go to a folder of its name.")],
    groups: Annotated[Path | None, typer.Option(exists=True, help="CSV: account_id,group.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, help="TOML file of settings.")] = None,
    corpora: Corpora = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts that families and sources are dealt to.")] = 4,
) -> None:
    """Judge published detectors and simple rules beside the product, on the windows that evaluate judges.

    Example: python -m training bakeoff --traffic world/traffic --labels world/labels.csv --out bakeoff.md
    """
    from training.bakeoff import bake_off
    from training.bakeoff_page import write
    from training.bakeoff_tables import compare
    from training.config import load
    from training.world import origin

    settings = load(config)
    with Stages() as stages:
        bout = bake_off(traffic, labels, settings, groups=groups, corpora=corpora, folds=folds, progress=stages)
        stages("evaluate", 0, 1)
        tables = compare(bout, resamples=settings.evaluation.bootstrap, seed=settings.seed)
    made = " ".join(str(rows[0]["origin"]) for path in traffic if (rows := origin(path.parent)))
    print(json.dumps(write(bout, tables, out, f"World: {made}." if made else "")))


@app.command()
def grouping(
    traffic: Annotated[
        list[Path], typer.Option(exists=True, help="File or folder of exchange records, in order of time.")
    ],
    labels: Annotated[Path, typer.Option(exists=True, help="CSV as `world` writes it.")],
    groups: Annotated[Path, typer.Option(exists=True, help="CSV: account_id,group, of honest accounts too.")],
    out: Annotated[Path, typer.Option(help="Markdown page to write.")],
    bundle: Annotated[
        Path | None, typer.Option(exists=True, help="Bundle to judge (default: the shipped one).")
    ] = None,
    days: Annotated[
        str, typer.Option(help="Days after which accounts are grouped, besides at the end.")
    ] = "1,2,3,5,7,10",
) -> None:
    """Judge how accounts are grouped into campaigns, beside simpler ways, as a page.

    Example: python -m training grouping --traffic W/traffic --labels W/labels.csv --groups W/groups.csv --out page.md
    """
    from training.grouping_report import report

    with Stages() as stages:
        print(json.dumps(report(traffic, labels, groups, out, bundle, [int(day) for day in days.split(",")], stages)))


@app.command()
def reasons(
    traffic: Annotated[
        list[Path], typer.Option(exists=True, help="Exchange records that the bundle was not trained on; repeatable.")
    ],
    labels: Annotated[Path, typer.Option(exists=True, help="CSV as for run.")],
    out: Annotated[Path, typer.Option(help="Markdown page to write.")],
    groups: Annotated[Path | None, typer.Option(exists=True, help="CSV: account_id,group.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(exists=True, help="Bundle, its native Booster beside it (default: the shipped one).")
    ] = None,
    config: Annotated[Path | None, typer.Option(exists=True, help="TOML file of settings.")] = None,
) -> None:
    """Compare the reasons of flagged windows with LightGBM's exact contributions, as a page.

    Example: python -m training reasons --traffic W/traffic --labels W/labels.csv --groups W/groups.csv --out page.md
    """
    from training.config import load
    from training.reasons import report

    with Stages() as stages:
        text = report(traffic, labels, groups, bundle, load(config), stages)
    print(text)
    out.write_text(text, encoding="utf-8")


@app.command()
def drift(
    traffic: Annotated[list[Path], typer.Argument(exists=True, help="Latest exchange records, a file or folder each.")],
    bundle: Annotated[Path | None, typer.Option(exists=True, help="Bundle (default: the shipped one).")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Earlier traffic to compare with; repeatable.")
    ] = None,
    by: Annotated[By, typer.Option(help="What a window is.")] = By.account,
    out: Annotated[Path | None, typer.Option(help="Markdown page to write, a PNG of its name beside it.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Keep figures, page and plot as a run in MLflow.")] = False,
    most_psi: Annotated[float, typer.Option(min=0, help="PSI of the score that is drift.")] = 0.25,
    most_features: Annotated[
        float, typer.Option(min=0, max=1, help="More than this share of features with a PSI of 0.25 is drift.")
    ] = 0.1,
    config: Annotated[Path | None, typer.Option(exists=True, help="TOML file of settings.")] = None,
) -> None:
    """Say whether traffic still looks like what a bundle was made for; exit status 3 if it does not.

    Example: python -m training drift --bundle bundle july/ --reference june/ --out drift.md
    """
    from fingerprint import Scorer
    from training import drift_page
    from training.config import load
    from training.drift import alarms, compare, see

    settings, scorer = load(config), Scorer.load(bundle)
    with Stages() as stages:
        latest = see(traffic, scorer, by.value, stages)
        earlier = see(reference, scorer, by.value, stages) if reference else None
        stages("drift", 0, 1)
        found = compare(scorer, by.value, latest, earlier)
        told = alarms(found, most_psi, most_features)
        if out is not None:
            drift_page.write(found, told, out)
        if track:
            stages("track", 0, 1)
            drift_page.track(found, told, settings.tracking.experiment)
    drift_page.show(found, told, Console(width=None if sys.stdout.isatty() else 140))
    if told:
        raise typer.Exit(3)


class Part(StrEnum):
    """What `bench` measures."""

    batch = "batch"
    serving = "serving"


@app.command()
def bench(
    part: Annotated[Part, typer.Argument(help="batch: reading traffic and one window; serving: Monitor.")] = Part.batch,
    bundle: Annotated[
        Path | None, typer.Option(exists=True, help="Bundle to measure (default: the shipped one).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the report here.")] = None,
    rows: Annotated[int, typer.Option(min=10_000, help="Exchanges in the batch benchmark.")] = 400_000,
    accounts: Annotated[int, typer.Option(min=0, help="Serving: accounts to track (0: leave it out).")] = 1_000_000,
    soak: Annotated[int, typer.Option(min=0, help="Serving: exchanges of the soak (0: leave it out).")] = 10_000_000,
) -> None:
    """Measure speed side by side with the peers, in one run."""
    from fingerprint.bundle import load as load_bundle
    from training.bench import bench as measure
    from training.bench import report

    if part is Part.serving:
        from training.bench_serving import bench_serving

        told = f"bench serving --accounts {accounts} --soak {soak} --out docs/benchmarks-serving.md"
        text = report(bench_serving(bundle, accounts, soak), load_bundle(bundle).bundle_id, told)
    else:
        text = report(measure(bundle, rows), load_bundle(bundle).bundle_id)
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


@app.command("bench-groups")
def bench_groups(
    traffic: Annotated[list[Path], typer.Option(exists=True, help="File or folder of exchange records.")],
    accounts: Annotated[str, typer.Option(help="Sizes to measure.")] = "25000,50000,100000,250000",
    bundle: Annotated[Path | None, typer.Option(exists=True, help="Bundle (default: the shipped one).")] = None,
) -> None:
    """Measure how time and memory of grouping grow with accounts, on copies of one world.

    Example: python -m training bench-groups --traffic world/traffic
    """
    from training.bench_groups import bench_groups as measure

    print(measure(traffic, [int(size) for size in accounts.split(",")], bundle))


@app.command("features-doc")
def features_doc(out: Annotated[Path, typer.Option(help="File to write.")] = Path("docs/features.md")) -> None:
    """Write docs/features.md from the feature table."""
    from training.features_doc import render

    out.write_text(render(), encoding="utf-8")
