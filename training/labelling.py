"""The verbs for analysts: take their verdicts, and say what to look at next. Thin functions over the library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fingerprint.commands import By
from training.console import Stages, app

__all__: list[str] = []


@app.command()
def feedback(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV or JSONL: account_id, decision, analyst, time.")
    ],
    store: Annotated[Path, typer.Option(dir_okay=False, help="File that keeps all verdicts; it only grows.")] = Path(
        "feedback.jsonl"
    ),
) -> None:
    """Store analysts' verdicts for `run --feedback`; exit status 1 if some rows were refused.

    A decision is distillation, benign or unsure. Other columns, notes among them, are never stored.

    Example: python -m training feedback verdicts.csv --store feedback.jsonl
    """
    from training.feedback import add

    found = add(file, store)
    print(json.dumps(found.as_dict()))
    for line in found.refused.summary():
        print(f"training: {line}", file=sys.stderr)
    if found.refused.total:
        raise typer.Exit(1)


@app.command()
def queue(
    traffic: Annotated[list[Path], typer.Argument(exists=True, help="Exchange records, a file or folder each.")],
    bundle: Annotated[Path | None, typer.Option(exists=True, help="Bundle (default: the shipped one).")] = None,
    labels: Annotated[Path | None, typer.Option(exists=True, help="CSV as for run; its accounts are left out.")] = None,
    feedback: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Verdicts; decided accounts are left out.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Accounts to list at most.")] = 100,
    by: Annotated[By, typer.Option(help="What a window is; an account stands by its foremost one.")] = By.account,
) -> None:
    """List the accounts that are most worth labelling, as CSV: uncertain, novel, and unlike each other.

    Example: python -m training queue july/ --bundle bundle --feedback feedback.jsonl > queue.csv
    """
    from fingerprint import Scorer
    from training.worth_labelling import already_labelled, foremost, judge

    done = already_labelled(labels, feedback)
    with Stages() as stages:
        scorer = Scorer.load(bundle)
        judged = judge(traffic, scorer, by.value, stages)
        found = foremost(judged, scorer, done, top)
    found.to_csv(sys.stdout, index=False, float_format="%.4f")
