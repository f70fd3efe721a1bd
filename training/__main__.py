"""The command line of training: one verb a stage, thin functions over the library.

python -m training --help

Here are the verbs that make traffic and models; those that measure are in `measuring`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fingerprint.errors import FingerprintError
from training.console import Corpora, Stages, app
from training.unlabelled import Unlabelled


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


@app.command()
def run(
    traffic: Annotated[list[Path], typer.Option(exists=True, help="File or folder of exchange records; repeatable.")],
    labels: Annotated[
        Path, typer.Option(exists=True, help="CSV: account_id,label[,weight,kind,family,campaign_id,share,lang,…].")
    ],
    bundle: Annotated[Path, typer.Option(help="Folder to write the bundle to.")],
    groups: Annotated[
        Path | None, typer.Option(exists=True, help="CSV: account_id,group; groups stay on one side of the split.")
    ] = None,
    unlabelled: Annotated[
        Unlabelled, typer.Option(help="Accounts without a label: left out, honest, or weighted (positive-unlabelled).")
    ] = Unlabelled.drop,
    feedback: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Analysts' verdicts that `feedback` stored.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(exists=True, help="TOML file of settings, or the config.json of an earlier run.")
    ] = None,
    benign: Annotated[
        list[Path] | None, typer.Option(exists=True, help="Your own ordinary traffic, without labels; repeatable.")
    ] = None,
    corpora: Corpora = None,
    trials: Annotated[int | None, typer.Option(min=0, help="Optuna trials (overrides the settings).")] = None,
    study: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to keep trials in; the same command goes on from it.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials side by side (overrides the settings).")] = None,
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

    places = [place for path in traffic for place in (path.parent, *([] if path.is_dir() else [path.parent.parent]))]
    origin = [row for place in dict.fromkeys(places) for row in describe(place)]
    given = {"tune.trials": trials, "tune.study": study and str(study), "tune.workers": workers, "seed": seed}
    given["evaluation.positives"] = None if origin else LABELLED
    settings = load(config, {key: value for key, value in given.items() if value is not None})
    with Stages() as stages:
        result = run_pipeline(
            traffic, labels, bundle, settings,
            groups=groups, unlabelled=unlabelled, feedback=feedback, benign=benign or (), corpora=corpora,
            origin=origin, progress=stages,
        )  # fmt: skip
    for sentence in result.labelled:
        print(f"training: {sentence}", file=sys.stderr)
    summary(result, Console())


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


import training.labelling  # noqa: E402 (its verbs come after those above)
import training.measuring  # noqa: E402
import training.reviewing  # noqa: E402, F401 (as these do)


def main() -> None:
    """Run the command; known errors are one line on stderr and exit status 2."""
    try:
        app()
    except (FingerprintError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
