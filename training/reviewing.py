"""The verbs of a reviewer: compare, promote, demote. Thin functions over the library."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from training.console import Stages, app
from training.review import Decision

__all__: list[str] = []

Version = Annotated[str, typer.Option(help="Registered version (default: the one with alias challenger).")]
Config = Annotated[Path | None, typer.Option(exists=True, help="TOML file of settings; here [gate] counts.")]
_REFUSED = 3
_SHOWN = 5  # slices that failed


@app.command()
def compare(
    traffic: Annotated[list[Path], typer.Option(exists=True, help="File or folder of exchange records; repeatable.")],
    labels: Annotated[Path, typer.Option(exists=True, help="CSV as for run.")],
    groups: Annotated[Path | None, typer.Option(exists=True, help="CSV: account_id,group.")] = None,
    version: Version = "",
    config: Config = None,
) -> None:
    """Compare a candidate with the present champion anew, on accounts that neither was trained on.

    Example: python -m training compare --traffic july --labels july/labels.csv
    """
    from training.config import load
    from training.standing import again

    with Stages() as stages, TemporaryDirectory() as folder:
        new, review = again(
            traffic, labels, load(config), Path(folder), version=version, groups=groups, progress=stages
        )
    if review.decision is None:
        print(f"version {new.version} cannot be compared with the champion: {review.not_compared}")
        sys.exit(_REFUSED)
    _show(review.decision)
    against = f"version {review.against.version}" if review.against else "no champion"
    print(f"version {new.version} beside {against}: {review.decision.reason}")


@app.command()
def promote(
    version: Version = "",
    override: Annotated[str, typer.Option(help="Promote although refused, for this reason, which is recorded.")] = "",
    config: Config = None,
) -> None:
    """Make a candidate the champion if it is no worse than the present one; exit status 3 if it is refused.

    Example: python -m training promote
    """
    from training import registry
    from training.config import load

    with TemporaryDirectory() as folder:
        found = registry.promote(load(config), Path(folder), version=version, override=override)
    _show(found.decision)
    print(found.decision.reason)
    if not found.moved:
        print(f"refused: version {found.candidate.version} is not the champion")
        sys.exit(_REFUSED)
    instead = f" in place of version {found.replaced}" if found.replaced else ""
    why = f", overridden: {override}" if not found.decision.passed else ""
    print(f"version {found.candidate.version} (bundle {found.candidate.bundle_id}) is the champion{instead}{why}")


@app.command()
def demote(
    reason: Annotated[str, typer.Argument(help="Why; it is recorded on the version.")],
    config: Config = None,
) -> None:
    """Give alias champion back to the version that the present champion replaced.

    Example: python -m training demote "flags translation agencies"
    """
    from training import registry
    from training.config import load

    back, demoted = registry.demote(load(config).tracking, reason)
    print(f"version {back.version} (bundle {back.bundle_id}) is the champion again, version {demoted.version} is not")


def _show(decision: Decision) -> None:
    """The checks of all accounts, and of the slices that failed those that fell most."""
    rows, console = decision.rows, Console()
    if not console.is_terminal:
        console = Console(width=150)
    sliced, passed = rows["slice"] != "", rows["passed"].astype(bool)
    failed = rows[sliced & ~passed].sort_values("difference", key=lambda difference: -difference.abs())
    table = Table("check", "champion", "challenger", "difference", "limit", "", box=None, header_style="bold")
    for row in pd.concat([rows[~sliced], failed.head(_SHOWN)]).to_dict("records"):
        figures = [_number(row[name]) for name in ("champion", "challenger", "difference")]
        name = f"{row['check']}, {row['slice']}" if row["slice"] else str(row["check"])
        table.add_row(name, *figures, str(row["limit"]), "" if row["passed"] else "[red]fails[/red]")
    console.print(table)
    more = f", {len(failed)} fail" if len(failed) else ""
    console.print(f"{int((sliced & passed).sum())} checks of slices pass{more}", highlight=False)


def _number(value: object) -> str:
    if not isinstance(value, int | float) or pd.isna(value):
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"
