"""A measured model as it is kept for later comparisons: its bundle, its native Booster, and what it was fitted on.

With `refit` the bundle that serves has seen every account, so that nothing is left to measure it on: what is kept, and
compared with the next model, is the forerunner that was measured. Accounts, groups and families that it was
fitted on are kept as hashes, so that no later comparison is made on them. Left out: where it is kept (`tracking`) and
the comparison (`compare`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import pandas as pd

from fingerprint import Scorer
from fingerprint.errors import FingerprintError
from training.bench import booster_beside

__all__ = ["BUNDLE", "Candidate", "CandidateError", "hashes", "keep"]

BUNDLE, FITTED = "bundle", "fitted.json"
_KINDS = ("account_id", "group", "text_group")


class CandidateError(FingerprintError, ValueError):
    """What was kept of a model cannot be used; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """A model that can be measured: scorer and Booster of the same trees, and hashes of what it was fitted on.

    `fitted` has sets of `hashes` under account_id, group and text_group (see `split.text_group`).
    """

    scorer: Scorer
    booster: lgb.Booster
    fitted: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, folder: Path) -> Candidate:
        """What `keep` wrote. Raises CandidateError, and BundleError where the bundle is of another feature set."""
        scorer = Scorer.load(folder / BUNDLE)
        try:
            fitted = json.loads((folder / FITTED).read_text(encoding="utf-8"))
            booster = lgb.Booster(model_file=booster_beside(folder / BUNDLE))
            return cls(scorer, booster, {kind: frozenset(fitted[kind]) for kind in _KINDS})
        except (OSError, ValueError, KeyError, lgb.basic.LightGBMError) as error:
            raise CandidateError(
                f"expected {FITTED} and a Booster beside the bundle of a measured model: {error}"
            ) from error

    @property
    def thresholds(self) -> dict[str, float]:
        """Scores from which its levels are reached."""
        return {"review": float(self.scorer.review), "act": float(self.scorer.act)}

    def unknown(self, accounts: pd.DataFrame) -> pd.Series[bool]:
        """Which accounts (rows with account_id and group) it was not fitted on, nor on any account of their group."""
        met = hashes(accounts["account_id"]).isin(self.fitted["account_id"])
        met |= hashes(accounts["group"]).isin(self.fitted["group"])
        return ~met.groupby(accounts["group"].to_numpy()).transform("any")

    def seen_family(self, accounts: pd.DataFrame) -> pd.Series[bool]:
        """Which accounts (rows with text_group) are of a family, or an honest source, that it was fitted on."""
        return hashes(accounts["text_group"]).isin(self.fitted["text_group"])


def keep(folder: Path, accounts: pd.DataFrame) -> Candidate:
    """Write beside the measured model's bundle and Booster in `folder` what it was fitted on, and load all of it.

    accounts: as `split.split_accounts` gives them; those of test were not fitted on.
    """
    fitted = accounts[accounts["split"] != "test"]
    told: dict[str, Any] = {kind: sorted(set(hashes(fitted[kind]))) for kind in _KINDS}
    (folder / FITTED).write_text(json.dumps(told), encoding="utf-8")
    return Candidate.load(folder)


def hashes(names: Iterable[str]) -> pd.Series[str]:
    """Twelve hexadecimal digits of BLAKE2b for each name; a Series keeps its index."""
    index = names.index if isinstance(names, pd.Series) else None
    digests = [hashlib.blake2b(str(name).encode(), digest_size=6).hexdigest() for name in names]
    return pd.Series(digests, index, dtype=object)
