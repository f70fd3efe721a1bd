"""The operator's own ordinary traffic in training: honest accounts, and copies of them into which harvesting is mixed.

Own accounts are honest accounts of the family ``own``, which is never held out. A copy of one is an attack in the
operator's own style: times, parameters and all but some of the text are the account's; the text of a share of its
exchanges (5 % to 100 %) is that of an account labelled as harvesting throughout. Copies are made of contributions, so
that no text is kept. Both accounts of a pair are of one split, and outside of test of one fold: a family left out, in
test or in cross-fitting, is never mixed into what is trained on. Left out: reading (``dataset``) and ``split``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fingerprint.assemble import Ordered
from fingerprint.calibrate import LEAST
from fingerprint.contribution import Contributions
from fingerprint.exchange import Names
from fingerprint.kernels.layout import MISSING, M, W
from fingerprint.readers import Rejects, read
from training.dataset import Sample
from training.split import LabelError, with_accounts

__all__ = ["FAMILY", "SHARES", "Own", "read_own"]

FAMILY = "own"
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
_HOUR_US = 3_600_000_000
_WEEK_US = 7 * 24 * _HOUR_US
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Own:
    """The operator's own ordinary traffic: its files, its accounts, and how far it is moved in time (microseconds)."""

    traffic: Sequence[Path]
    accounts: frozenset[str]
    shift_us: int = 0

    def labelled(self, labels: pd.DataFrame) -> pd.DataFrame:
        """The labels (as ``split.read_labels`` gives them) and a row for every own account."""
        if both := len(self.accounts & set(labels["account_id"])):
            raise LabelError(f"expected ordinary traffic of accounts without a label, {both} have one: give each once")
        return with_accounts(labels, sorted(self.accounts), 0, kind=FAMILY, family=FAMILY)

    def beside(self, sample: Sample) -> tuple[Own, Sample]:
        """Own traffic moved by whole weeks to where the labelled traffic is, so that one cut in time parts both."""
        medians: dict[bool, list[int]] = {True: [], False: []}
        for name, moment in sample.median_us.items():
            medians[name in self.accounts].append(moment)
        if not all(medians.values()):
            raise LabelError("expected labelled traffic and ordinary traffic, one of them has no exchange")
        apart = np.median(medians[False]) - np.median(medians[True])
        moved = replace(self, shift_us=round(apart / _WEEK_US) * _WEEK_US)
        own = np.array([name in self.accounts for name in sample.accounts.items])[sample.account]
        median_us = {n: at + moved.shift_us * (n in self.accounts) for n, at in sample.median_us.items()}
        return moved, replace(sample, time_us=sample.time_us + moved.shift_us * own, median_us=median_us)

    def joined(self, ordered: Ordered, names: Names, accounts: pd.DataFrame, seed: int) -> tuple[Ordered, pd.DataFrame]:
        """Contributions and accounts (as ``split_accounts`` gives them) with own ones moved and copies added.

        ``names`` gets the copies' names too.
        """
        own = np.array([name in self.accounts for name in names.items])[ordered.account]
        ordered.rows.when[own, W["time_us"]] += self.shift_us
        created = ordered.rows.meta[:, M["created_hour"]]
        created[own & (created != MISSING)] += self.shift_us // _HOUR_US
        return _with_copies(ordered, names, accounts, seed)


def read_own(traffic: Sequence[Path]) -> Own:
    """The accounts of ordinary traffic."""
    names = Names()
    for path in traffic:
        for _ in read(path, accounts=names, sessions=Names(), rejects=Rejects()):
            pass
    return Own(traffic, frozenset(names.items))


def _with_copies(ordered: Ordered, names: Names, accounts: pd.DataFrame, seed: int) -> tuple[Ordered, pd.DataFrame]:
    """One copy of every own account for which there is a harvesting account of its split and fold."""
    code = {name: at for at, name in enumerate(names.items)}
    starts = np.searchsorted(ordered.account, np.arange(len(names.items) + 1))
    time, cut, rng = ordered.rows.when[:, W["time_us"]], accounts.attrs["cut_us"], np.random.default_rng(seed)

    def rows_of(account: pd.Series) -> Rows:
        """The account's exchanges on its split's side of the cut."""
        start, stop = starts[code[account["account_id"]]], starts[code[account["account_id"]] + 1]
        middle = start + np.searchsorted(time[start:stop], cut)
        return np.arange(middle, stop) if account["split"] == "test" else np.arange(start, middle)

    known = accounts.assign(part=accounts["fold"].where(accounts["split"] != "test", -1))
    harvesting = known[(known["label"] == 1) & ~(known["share"] < 1)]
    donors = dict(iter(harvesting.groupby(["split", "part"])))
    parts, facts = [ordered], [accounts]
    for number, (_, account) in enumerate(known[known["family"] == FAMILY].iterrows()):
        if (account["split"], account["part"]) not in donors:
            continue
        choice = donors[account["split"], account["part"]]
        choice = choice[choice["family"] == rng.choice(choice["family"].unique())]
        donor = choice.iloc[rng.integers(len(choice))]
        share, own, theirs = _pairing(SHARES[number % len(SHARES)], rows_of(account), rows_of(donor), rng)
        if len(own) < LEAST:
            continue
        name = f"{account['account_id']} with harvesting"
        parts.append(_copy(ordered, own, theirs, names.code(name)))
        facts.append(accounts.loc[[donor.name]].assign(account_id=name, kind="injected", share=share))
    whole = Ordered(
        np.concatenate([part.account for part in parts]),
        np.concatenate([part.session for part in parts]),
        np.concatenate([part.identity for part in parts]),
        Contributions.concat([part.rows for part in parts]),
    )
    table = pd.concat(facts, ignore_index=True)
    table.attrs = accounts.attrs
    return whole, table


def _pairing(share: float, own: Rows, theirs: Rows, rng: np.random.Generator) -> tuple[float, Rows, Rows]:
    """The share (raised where it is less than one exchange), the own rows that are copied, and for each the row whose
    text it gets: its own, or one of a run of ``theirs`` in order. A short donor shortens the copy."""
    share = next((s for s in SHARES if s >= share and s * len(own) >= 1), 1.0)
    own = own[: int(len(theirs) / share)]
    count = round(share * len(own))
    first = rng.integers(len(theirs) - count + 1)
    texts = own.copy()
    texts[np.sort(rng.choice(len(own), count, replace=False))] = theirs[first : first + count]
    return share, own, texts


def _copy(ordered: Ordered, own: Rows, texts: Rows, code: int) -> Ordered:
    """Exchanges of ``own`` under another account, with the text of ``texts``."""
    copy, text = ordered.take(own), ordered.rows.take(texts)
    copy.rows.when[:, W["prompt"] :] = text.when[:, W["prompt"] :]
    rows = Contributions(copy.rows.when, text.text, text.sketch, text.word_min, copy.rows.meta)
    return Ordered(np.full(len(own), code, np.int32), copy.session, copy.identity, rows)
