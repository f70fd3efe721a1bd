"""Champion and challenger on the same windows: who finds more, who wrongs more honest accounts, and by how much.

Each reads the traffic with its own prompt head; the windows hold the same exchanges. Only accounts that neither was
fitted on are compared, nor any account of their group. Left out: tables of it (`compare_tables`), what follows from it
(`gate`) and how it is shown (`review_page`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.candidate import Candidate, CandidateError, hashes
from training.config import RunConfig
from training.dataset import Progress, WindowTable, contributions, prefix_table, window_table
from training.early import PREFIXES
from training.evaluate import scored_rows
from training.own import Own

__all__ = ["CHALLENGER", "CHAMPION", "Compared", "beside"]

CHALLENGER, CHAMPION = "score", "champion_score"  # columns of the scores
_WINDOWS, _FACTS = "windows.parquet", "compared.json"


@dataclass(frozen=True)
class Compared:
    """Windows and looks with the score of the challenger and, where there is one, of the champion (`CHAMPION`).

    `windows`: rows of `evaluate.scored_rows`; `looks`: account_id, label, attacker_share, n_exchanges, fold;
    `thresholds` by column of the score; `accounts` of `of_accounts` could be compared; `X` float32[k, n]: the
    challenger's features.
    """

    windows: pd.DataFrame
    looks: pd.DataFrame
    thresholds: Mapping[str, Mapping[str, float]]
    accounts: int
    of_accounts: int
    X: npt.NDArray[np.float32]

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Keep in `folder` what the gate decides on, accounts and groups as hashes, with further facts (JSON)."""
        private = {name: hashes(self.windows[name]) for name in ("account_id", "group")}
        self.windows.assign(**private).to_parquet(folder / _WINDOWS)
        counts = {"accounts": self.accounts, "of_accounts": self.of_accounts, "thresholds": self.thresholds}
        (folder / _FACTS).write_text(json.dumps({**facts, **counts}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> tuple[Compared, dict[str, Any]]:
        """What `save` kept, without looks and features, and the facts. Raises CandidateError."""
        try:
            facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            windows = pd.read_parquet(folder / _WINDOWS)
            kept = (facts["thresholds"], facts["accounts"], facts["of_accounts"])
        except (OSError, ValueError, KeyError) as error:
            raise CandidateError(f"expected {_FACTS} and {_WINDOWS} of a comparison: {error}") from error
        return cls(windows, pd.DataFrame(), *kept, np.empty((0, 0), np.float32)), facts

    @property
    def sides(self) -> tuple[str, ...]:
        """The columns of scores there are."""
        return tuple(self.thresholds)


def beside(
    challenger: Candidate,
    champion: Candidate | None,
    traffic: Sequence[Path],
    accounts: pd.DataFrame,
    config: RunConfig,
    own: Own | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Compared:
    """Both models on the test accounts of `accounts` (as `split.split_accounts` gives them) that neither knows.

    Raises ValueError when the two do not see the same windows.
    """
    test = accounts["split"] == "test"
    new = test & challenger.unknown(accounts) & (champion.unknown(accounts) if champion else True)
    ids = frozenset(accounts.loc[new, "account_id"])
    windows, looks, X = _measured(challenger, traffic, accounts, ids, config, own, progress)
    thresholds = {CHALLENGER: challenger.thresholds}
    if champion:
        theirs, their_looks, _ = _measured(champion, traffic, accounts, ids, config, own, progress)
        same = ["account_id", "scope", "n_exchanges"]
        if not theirs[same].equals(windows[same]):
            raise ValueError("champion and challenger were given different windows")
        windows[CHAMPION], looks[CHAMPION] = theirs["score"], their_looks["score"]
        thresholds[CHAMPION] = champion.thresholds
    return Compared(windows, looks, thresholds, len(ids), int(test.sum()), X)


def _measured(
    model: Candidate,
    traffic: Sequence[Path],
    accounts: pd.DataFrame,
    ids: frozenset[str],
    config: RunConfig,
    own: Own | None,
    progress: Progress,
) -> tuple[pd.DataFrame, pd.DataFrame, npt.NDArray[np.float32]]:
    """Windows and looks of some accounts as one model scores them, and the windows' features."""
    read = accounts["account_id"] if own else ids  # copies of own accounts take text of others
    ordered, names = contributions(traffic, [model.scorer.head], dict.fromkeys(read, 0), progress)
    if own:
        ordered, accounts = own.joined(ordered, names, accounts, config.seed)
    known = accounts.assign(seen_family=model.seen_family(accounts))
    cuts = (config.windows.sizes, config.windows.per_account, config.seed)
    table = _of(window_table(ordered, names, known, *cuts), ids)
    first = _of(prefix_table(ordered, names, known, PREFIXES), ids)
    looks = first.meta[["account_id", "label", "n_exchanges"]].assign(fold=0, score=model.scorer.score(first.X))
    looks["attacker_share"] = first.meta["share"].round(2)
    return scored_rows(model.scorer.score(table.X).astype(np.float64), table.meta), looks, table.X


def _of(table: WindowTable, ids: frozenset[str]) -> WindowTable:
    """The rows of some accounts."""
    rows = table.meta["account_id"].isin(ids).to_numpy()
    return WindowTable(table.X[rows], table.meta[rows].reset_index(drop=True))
