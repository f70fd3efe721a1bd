"""Which files are traffic: of a directory those in it and below it whose names end as traffic does.

What ``date=.../part.parquet`` layouts keep beside the data (names that begin with ``.`` or ``_``) is passed over, and
links to directories are not followed. Nothing else is left out without a word. Left out: reading them.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Final

from fingerprint.errors import TrafficError

__all__ = ["SUFFIXES", "search", "told"]

LINES: Final = (".jsonl", ".ndjson", ".json")
SUFFIXES: Final = (*LINES, *(line + packed for line in LINES for packed in (".gz", ".zst")), ".parquet")
NAMED: Final = 20  # kinds of ignored files that are named


def _beside(name: str) -> bool:
    return name.startswith((".", "_"))


def _ignored(path: Path) -> str:
    """Why a file is no traffic; empty if it is."""
    if not path.name.lower().endswith(SUFFIXES):
        return path.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,12}", path.suffix) else "other names"
    if _beside(path.name):
        return "names that begin with . or _"
    return "" if path.is_file() or not path.exists() else "not a file"


def told(ignored: Counter[str]) -> str:
    """One line on the files that were ignored, by reason."""
    count = ignored.total()
    return f"ignored {count:,} file{'s' * (count > 1)}: {', '.join(sorted(ignored)[:NAMED])}"


def search(source: Path) -> tuple[list[Path], Counter[str]]:
    """The traffic in order, with what may turn out unreadable, and how many files were ignored for which reason.

    What is no directory is its own traffic. Raises ``TrafficError`` for a directory without any.
    """
    if not source.is_dir():
        return [source], Counter()
    files: list[Path] = []
    ignored: Counter[str] = Counter()
    for place, folders, names in os.walk(source, onerror=lambda error: files.append(Path(error.filename))):
        linked = [name for name in folders if not _beside(name) and Path(place, name).is_symlink()]
        ignored.update(["linked directory"] * len(linked))
        folders[:] = [name for name in folders if not _beside(name)]
        for path in (Path(place, name) for name in names):
            why = _ignored(path)
            if not why:
                files.append(path)
            elif path.name.lower().endswith(SUFFIXES) or not _beside(path.name):
                ignored[why] += 1
    if not files:
        why = f"; {told(ignored)}" if ignored else ""
        raise TrafficError(f"{source}: no traffic in this directory, expected {', '.join(SUFFIXES)}{why}")
    return sorted(files), ignored
