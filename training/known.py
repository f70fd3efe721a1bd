"""Who is known to be what in a run: labels, what analysts decided, and accounts that have traffic and neither.

Reading happens before any traffic is read, so that tables which cannot be used are told at once. Left out: the split
(``split``), and how unlabelled windows are weighed (``unlabelled``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from training.feedback import agreed, read_store
from training.own import FAMILY as OWN
from training.own import Own
from training.split import LabelError, read_groups, read_labels, with_accounts
from training.unlabelled import FAMILY as UNLABELLED
from training.unlabelled import Unlabelled, with_unlabelled

__all__ = ["VERDICT", "Known", "apply_verdicts", "read_known"]

VERDICT = "feedback"
"""The family of accounts that have a label from analysts alone."""


@dataclass(frozen=True)
class Known:
    """Accounts with a label (as ``split.read_labels`` gives them) and how many came by it in which way."""

    accounts: pd.DataFrame
    unlabelled: Unlabelled
    groups: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def with_own(self, own: Own) -> Known:
        """With the operator's own ordinary accounts."""
        return replace(self, accounts=own.labelled(self.accounts))

    def never_held_out(self) -> tuple[str, ...]:
        """Families that are no kind of work or harvesting, so that holding them out for test would mean nothing."""
        families = set(self.accounts["family"])
        return tuple(name for name in (OWN, VERDICT, UNLABELLED) if name in families)

    def met(self, names: Collection[str]) -> Known:
        """With what the traffic's accounts add: those without a label, by the mode; and counted."""
        labelled = set(self.accounts["account_id"])
        counts = {"without_traffic": len(labelled - set(names)), "without_label": len(set(names) - labelled)}
        accounts = self.accounts
        if self.unlabelled is not Unlabelled.drop:
            accounts = with_unlabelled(accounts, names, self.groups)
        return replace(self, accounts=accounts, counts=self.counts | counts)

    def sentences(self) -> list[str]:
        """What a user should be told of the counts."""
        fate = {"drop": "left out", "benign": "taken as honest", "weighted": "weighted in training, honest elsewhere"}
        told = {
            "repeated": "rows of labels repeat an account and its label: dropped",
            "without_traffic": "labelled accounts have no exchange in the traffic: left out",
            "without_label": f"accounts of the traffic have no label: {fate[self.unlabelled]}",
            "decided": "accounts have a label by analysts",
            "overruled": "of them had the other label: analysts' decision counts",
            "tied": "accounts on which analysts are divided: their decisions change nothing",
        }
        return [f"{self.counts[key]:,} {text}" for key, text in told.items() if self.counts.get(key)]


def read_known(labels: Path, groups: Path | None, feedback: Path | None, unlabelled: Unlabelled) -> Known:
    """Labels and analysts' decisions, which come before labels.

    Raises LabelError, also where all are of one class, unless unlabelled accounts are to be the honest ones.
    """
    table, together = read_labels(labels, groups, both=False), read_groups(groups) if groups else {}
    counts = {"labels": len(table), "repeated": int(table.attrs["repeated"])}
    if feedback is not None:
        table, more = apply_verdicts(table, agreed(read_store(feedback)), together)
        counts |= more
    if not (classes := set(table["label"])) >= ({1} if unlabelled is not Unlabelled.drop else {0, 1}):
        wanted = "distilling accounts" if unlabelled is not Unlabelled.drop else "honest and distilling accounts"
        hint = "" if classes == {0} else ", or say --unlabelled benign to take accounts without a label as honest"
        raise LabelError(f"{labels}: expected {wanted}, all labels are {min(classes)}: label some of the others{hint}")
    return Known(table, unlabelled, together, counts)


def apply_verdicts(
    labels: pd.DataFrame, decided: pd.DataFrame, groups: dict[str, str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The labels with what analysts decided (as ``feedback.agreed`` gives it), and counts of what that changed.

    A decision sets label and weight. An account that had the other label, or none, gets kind ``attack`` or ``human``
    and family ``feedback``, and is of no campaign; its group stays.
    """
    sides = decided[decided["label"] >= 0].set_index("account_id")
    new = sides.loc[~sides.index.isin(labels["account_id"].tolist()), "label"]
    for side, kind in ((0, "human"), (1, "attack")):
        names = new.index[new == side].tolist()
        labels = with_accounts(labels, names, side, kind=kind, family=VERDICT, groups=groups)
    label = labels["account_id"].map(sides["label"]).fillna(labels["label"]).to_numpy(np.int64)
    turned = label != labels["label"].to_numpy(np.int64)
    labels = labels.assign(label=label, weight=labels["account_id"].map(sides["weight"]).fillna(labels["weight"]))
    labels["kind"] = np.where(turned, np.where(label == 1, "attack", "human"), labels["kind"])
    labels["family"] = np.where(turned, VERDICT, labels["family"])
    labels["campaign_id"] = np.where(turned, "", labels["campaign_id"])
    labels["share"] = labels["share"].mask(turned)
    tied = int((decided["label"] < 0).sum())
    return labels, {"decided": len(sides), "overruled": int(turned.sum()), "tied": tied}
