"""What ``fingerprint campaigns`` found, for those who serve: accounts, their campaigns, and the level that follows.

    monitor.convict(levels_of("campaigns.csv"))

Left out: finding campaigns (``fingerprint.campaigns``), what a monitor makes of the level (``fingerprint.monitor``).
"""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fingerprint.errors import FingerprintError

__all__ = ["ACT", "REVIEW", "levels_of"]

REVIEW, ACT = 0.5, 0.9  # group scores of the two levels (docs/campaigns.md)
_FIELDS: Final = ("account_id", "campaign_id", "score")


def levels_of(path: str | Path) -> list[tuple[str, str, str]]:
    """Account, campaign and level (``allow`` below a score of ``REVIEW``) of each row of a .csv or .jsonl file of
    ``fingerprint campaigns``; of an account in several campaigns its strongest row, as a monitor keeps one.

    Raises FingerprintError for what is no such file, OSError where it cannot be read.
    """
    path, strongest = Path(path), dict[str, tuple[float, str]]()
    for where, row in _rows(path):
        account, campaign, score = _checked(row, where)
        if account not in strongest or score > strongest[account][0]:
            strongest[account] = score, campaign
    return [(account, campaign, _level(score)) for account, (score, campaign) in strongest.items()]


def _level(score: float) -> str:
    return "act" if score >= ACT else "review" if score >= REVIEW else "allow"


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows with the places that errors name."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise FingerprintError(f"{path.name}: expected a .csv or .jsonl file of fingerprint campaigns")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            if suffix == ".jsonl":
                for number, line in enumerate(stream, 1):
                    if not line.isspace():
                        yield f"{path.name}:{number}", json.loads(line)
                return
            table = csv.DictReader(stream)
            if not set(_FIELDS) <= set(table.fieldnames or ()):
                raise FingerprintError(f"{path.name}: expected columns {', '.join(_FIELDS)}")
            for row in table:
                yield f"{path.name}:{table.line_num}", row
        except (ValueError, RecursionError, csv.Error):
            raise FingerprintError(f"{path.name}: expected {suffix[1:].upper()} in UTF-8, it is damaged") from None


def _checked(row: Any, where: str) -> tuple[str, str, float]:
    values = [row.get(field) for field in _FIELDS] if isinstance(row, dict) else [None] * len(_FIELDS)
    account, campaign, given = values
    try:
        score = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else math.nan
    except (ValueError, OverflowError):
        score = math.nan
    if not (isinstance(account, str) and account and isinstance(campaign, str) and campaign and 0 <= score <= 1):
        raise FingerprintError(f"{where}: expected {', '.join(_FIELDS)}, the score from 0 to 1")
    return account, campaign, score
