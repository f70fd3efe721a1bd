"""Which files of a directory are traffic: those in it and below it whose names end as traffic does.

What ``date=.../part.parquet`` layouts keep beside the data (names that begin with ``.`` or ``_``) is passed over, and
links to directories are not followed. Nothing else is left out without a word. Left out: reading them.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Final

__all__ = ["SUFFIXES", "search"]

LINES: Final = (".jsonl", ".ndjson", ".json")
SUFFIXES: Final = (*LINES, *(line + packed for line in LINES for packed in (".gz", ".zst")), ".parquet")


def _beside(name: str) -> bool:
    return name.startswith((".", "_"))


def _ignored(path: Path) -> str:
    """Why a file is no traffic; empty if it is."""
    if not path.name.lower().endswith(SUFFIXES):
        return path.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,12}", path.suffix) else "other names"
    if _beside(path.name):
        return "names that begin with . or _"
    return "" if path.is_file() or not path.exists() else "not a file"


def search(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The traffic in order, with what may turn out unreadable, and how many files were ignored for which reason."""
    files: list[Path] = []
    ignored: Counter[str] = Counter()
    for place, folders, names in os.walk(folder, onerror=lambda error: files.append(Path(error.filename))):
        linked = [name for name in folders if not _beside(name) and Path(place, name).is_symlink()]
        ignored.update(["linked directory"] * len(linked))
        folders[:] = [name for name in folders if not _beside(name)]
        for path in (Path(place, name) for name in names):
            why = _ignored(path)
            if not why:
                files.append(path)
            elif path.name.lower().endswith(SUFFIXES) or not _beside(path.name):
                ignored[why] += 1
    return sorted(files), ignored
