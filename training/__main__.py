"""The command line of training: one verb a stage, thin functions over the library.

python -m training --help
"""

from __future__ import annotations

import json
import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fingerprint.errors import FingerprintError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make labelled traffic, train and track a model, measure it. `fingerprint` is what serves it.",
)
STAGES = {
    "world": "making the world",
    "write": "writing it in order of time",
    "clocks": "measuring clocks beside real traces",
    "text": "measuring text",
    "audit": "auditing for leaks",
    "examples": "picking example accounts",
    "read": "reading traffic",
    "head": "training prompt heads",
    "contribute": "reading prompts with the heads",
    "windows": "cutting windows, computing features",
    "tune": "tuning (Optuna)",
    "fit": "training LightGBM, calibrating",
    "rivals": "fitting rivals on honest windows",
    "embed": "reading and embedding prompts",
    "judge": "scoring windows by rivals",
    "export": "exporting to ONNX, proving parity",
    "evaluate": "evaluating on held-out accounts",
    "reasons": "comparing reasons with contributions",
    "refit": "training the final model on everything",
    "drift": "comparing with the reference",
    "track": "tracking in MLflow",
}
Corpora = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of public prompts and clocks.")
]


class Stages:
    """Progress on stderr: a bar a stage on a terminal, a line a stage elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description:38}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.stage, self.started = "", time.perf_counter()
        self.task: TaskID | None = None

    def __enter__(self) -> Stages:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self.bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self._finish()
            self.stage, self.started = stage, time.perf_counter()
            self.task = self.bars.add_task(STAGES.get(stage, stage), total=total or None)
        assert self.task is not None
        self.bars.update(self.task, completed=done, total=total or None)

    def _finish(self) -> None:
        if self.stage and self.task is not None:
            task = self.bars.tasks[self.bars.task_ids.index(self.task)]
            total = task.total or task.completed or 1
            self.bars.update(self.task, completed=total, total=total)
            if not self.console.is_terminal:
                took = time.perf_counter() - self.started
                self.console.print(f"{STAGES.get(self.stage, self.stage):38} {took:6.1f} s", highlight=False)
        self.stage = ""


@app.command()
def world(
    out: Annotated[Path, typer.Option(help="Folder to write: traffic/*.parquet, labels.csv, groups.csv, world.json.")],
    preset: Annotated[str | None, typer.Option(help="tiny, demo, train, evaluate, groups, reported-campaign.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, help="TOML file of world settings.")] = None,
    corpora: Corpora = None,
    accounts: Annotated[int | None, typer.Option(min=8, help="Accounts of all kinds.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed and settings give the same bytes.")] = None,
    days: Annotated[int | None, typer.Option(help="Length of the traffic.")] = None,
    part: Annotated[str | None, typer.Option(help="Source families of text: all, train, validation or test.")] = None,
    benign: Annotated[float | None, typer.Option(min=0, help="Honest accounts for each account of a campaign.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the files do not depend on it.")] = os.cpu_count()
    or 1,
) -> None:
    """Make labelled traffic: people, honest automation, shared keys and campaigns.

    Example: python -m training world --preset demo --out /tmp/world
    """
    from training.world import make_world
    from training.world.settings import load, with_benign

    given = {"accounts": accounts, "seed": seed, "days": days, "part": part}
    asked: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    settings = load(preset, config, asked)
    if benign is not None:
        settings = load(preset, config, asked | with_benign(benign, settings.accounts))
    with Stages() as stages:
        made = make_world(out, settings, corpora=corpora, workers=workers, progress=stages)
    print(json.dumps({"accounts": made.accounts, "exchanges": made.exchanges, "by_kind": made.by_kind}))


@app.command("fit-clocks")
def fit_clocks(
    corpora: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder of public prompts and clocks.")],
    out: Annotated[Path | None, typer.Option(help="File to write (default: the laws that the world uses).")] = None,
) -> None:
    """Fit the laws of the world's clocks to real traces anew (about ten seconds).

    Example: python -m training fit-clocks --corpora corpora
    """
    from training.world.laws import FILE, fit_laws, save

    save(fit_laws(corpora), out or FILE)


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
def run(
    traffic: Annotated[list[Path], typer.Option(exists=True, help="File or folder of exchange records; repeatable.")],
    labels: Annotated[
        Path, typer.Option(exists=True, help="CSV: account_id,label[,kind,family,campaign_id,share,lang,evasions,…].")
    ],
    bundle: Annotated[Path, typer.Option(help="Folder to write the bundle to.")],
    groups: Annotated[
        Path | None, typer.Option(exists=True, help="CSV: account_id,group; groups stay on one side of the split.")
    ] = None,
    config: Annotated[Path | None, typer.Option(exists=True, help="TOML file of settings.")] = None,
    benign: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Your own ordinary traffic, without labels; repeatable.")
    ] = None,
    corpora: Corpora = None,
    trials: Annotated[int | None, typer.Option(min=0, help="Optuna trials (overrides the settings).")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="What is held out follows from it (overrides the settings).")
    ] = None,
) -> None:
    """Train, calibrate, evaluate, track, export, and write a bundle.

    Example: python -m training run --traffic world/traffic --labels world/labels.csv --bundle bundle
    """
    from training.config import LABELLED, load
    from training.demo import summary
    from training.pipeline import run as run_pipeline
    from training.world import origin as describe

    origin = [row for path in traffic for row in describe(path.parent)]
    given = {"tune.trials": trials, "seed": seed, "evaluation.positives": None if origin else LABELLED}
    settings = load(config, {key: value for key, value in given.items() if value is not None})
    with Stages() as stages:
        result = run_pipeline(
            traffic, labels, bundle, settings,
            groups=groups, benign=benign or (), corpora=corpora, origin=origin, progress=stages,
        )  # fmt: skip
    summary(result, Console())


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


class By(StrEnum):
    """What a window is."""

    account = "account"
    session = "session"


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


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("demo"),
    accounts: Annotated[int, typer.Option(min=200, help="Accounts in the small world.")] = 3000,
) -> None:
    """The main job on small built-in worlds, from nothing to a tracked model and a found campaign (about a minute)."""
    from training.demo import demo as run_demo
    from training.demo import find_campaigns, score_new, summary

    with Stages() as stages:
        result = run_demo(out, accounts, stages)
    summary(result, Console())
    score_new(result, out, 400, Console())
    find_campaigns(result, out, 1200, Console())


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


def main() -> None:
    """Run the command; known errors are one line on stderr and exit status 2."""
    try:
        app()
    except (FingerprintError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
