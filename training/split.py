"""Split accounts before anything is fitted: by campaign, by account, by family and by time.

Test gets every account of the families held out, and the accounts that came last; its windows hold only
exchanges after the cut, those of training and calibration only exchanges before it. Accounts of a campaign
stay together. Training and calibration accounts also get a fold, so that each is read by a prompt head that
was trained without it: by family (for honest accounts: by the source of their text) for a share of the
families, by group for the rest, in the proportion in which test holds families out. What a provider meets
is partly like what was trained on and partly new, and the classifier must learn how far to trust the head in
both cases (docs/decisions/0004). Accounts whose text may only be measured with (`use` is `validate`) are in test,
whatever else is held out, and in no final model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fingerprint.errors import FingerprintError
from training.config import Split as SplitConfig

__all__ = [
    "LABEL_COLUMNS", "SLICES", "LabelError", "check_folds", "nothing_held_out", "read_groups", "read_labels",
    "split_accounts", "with_accounts", "workload",
]  # fmt: skip

LABEL_COLUMNS = ("account_id", "label")
SLICES = ("lang", "goal", "client", "clock", "phase", "evasions", "plan", "tenure")  # for evaluation alone
USES = ("train", "validate")
MOST_ABSENT = 0.9  # of the labelled accounts may have no traffic; beyond it labels and traffic are of different times
FOREVER_US = 2**62


class LabelError(FingerprintError, ValueError):
    """The table of labels cannot be used."""


def read_labels(path: Path, groups: Path | None = None, *, both: bool = True) -> pd.DataFrame:
    """Read ``account_id,label[,weight,kind,family,campaign_id,share,use]`` and ``SLICES``; one row an account.

    Absent values are filled: weight 1, kind ``attack`` or ``human`` by the label, family from the kind, no campaign,
    use ``train``. Other columns are left out. ``groups`` names a table ``account_id,group`` of accounts that are
    operated together, honest organisations too; without it accounts belong together when they share a campaign. Column
    ``group`` says so. Rows that repeat an account and its label are dropped; attribute ``repeated`` counts them.
    Raises LabelError, also for labels of one class unless ``both`` is false.
    """
    labels = _table(path, LABEL_COLUMNS)
    labels["label"] = _numbers(path, labels["label"], "labels 0 (honest) and 1 (distillation)", (0, 1)).astype(int)
    labels = _once(path, labels)
    if both and labels["label"].nunique() < 2:
        raise LabelError(f"{path}: expected honest and distilling accounts, all labels are {labels['label'].iloc[0]}")
    for name in ("kind", "family", "campaign_id", "share", "use", "weight"):
        if name not in labels:
            labels[name] = ""
    labels["weight"] = _weights(path, labels["weight"].replace("", "1"))
    share = labels["share"].replace("", "nan")
    labels["share"] = _numbers(path, share, "shares from 0 to 1, or none", None)
    labels["kind"] = _filled(labels["kind"], labels["label"].map({0: "human", 1: "attack"}))
    labels["family"] = _filled(labels["family"], labels["kind"])
    labels["use"] = labels["use"].replace("", "train")
    if not (known := labels["use"].isin(USES)).all():
        raise LabelError(f"{path}: expected a use of {' or '.join(USES)}, got {labels.loc[~known, 'use'].iloc[0]!r}")
    labels["group"] = _filled(labels["campaign_id"], labels["account_id"])
    if groups is not None:
        labels["group"] = _filled(labels["account_id"].map(read_groups(groups)).fillna(""), labels["group"])
    sliced = [name for name in SLICES if name in labels]
    return labels[[*LABEL_COLUMNS, "weight", "kind", "family", "campaign_id", "share", "use", "group", *sliced]]


def read_groups(path: Path) -> dict[str, str]:
    """The group of each account in a table ``account_id,group``; raises LabelError."""
    table = _table(path, ("account_id", "group"))
    if count := int(table["account_id"].duplicated().sum()):
        raise LabelError(f"{path}: expected one row an account, {count} rows repeat one")
    return dict(zip(table["account_id"], table["group"], strict=True))


def with_accounts(
    labels: pd.DataFrame,
    names: Sequence[str],
    label: int,
    *,
    kind: str,
    family: str,
    groups: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The labels (as ``read_labels`` gives them) and a row of weight 1 for each of ``names``, which have none yet."""
    rows = pd.DataFrame({"account_id": list(names), "label": label, "weight": 1.0, "kind": kind, "family": family})
    rows["share"], rows["use"] = np.nan, "train"
    rows["group"] = [(groups or {}).get(name) or name for name in names]
    for name in labels.columns.difference(rows.columns):
        rows[name] = ""
    return pd.concat([labels, rows[labels.columns]], ignore_index=True) if len(rows) else labels


def _table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV with one row an account, all text as it is written; raises LabelError."""
    expected = f"{path}: expected a CSV with columns {','.join(needed)}"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig").fillna("")
    except OSError as error:
        raise LabelError(f"{expected}: {error.strerror or error}") from None
    except ValueError as error:  # those of pandas, and bytes that are not UTF-8
        raise LabelError(f"{expected}: {str(error).strip().splitlines()[0]}") from None
    absent = [name for name in needed if name not in table]
    if absent:
        raise LabelError(f"{expected}, lacks {', '.join(absent)}")
    if table.empty:
        raise LabelError(f"{expected}, it has no rows")
    return table


def _once(path: Path, labels: pd.DataFrame) -> pd.DataFrame:
    """One row an account, the first; raises LabelError where an account has both labels."""
    both = labels.groupby("account_id")["label"].nunique() > 1
    if count := int(both.sum()):
        raise LabelError(
            f"{path}: expected one label an account, {count} accounts have both: keep the one that is true"
        )
    kept = labels.drop_duplicates("account_id", ignore_index=True)
    kept.attrs["repeated"] = len(labels) - len(kept)
    return kept


def _weights(path: Path, text: pd.Series[str]) -> pd.Series[float]:
    found = pd.to_numeric(text, errors="coerce")
    fine = (found > 0) & np.isfinite(found)
    if not fine.all():
        told = f"got {text[~fine].iloc[0]!r} for {int((~fine).sum())} accounts"
        raise LabelError(f"{path}: expected weights above 0, or none, {told}")
    return found.astype(float)


def _numbers(path: Path, text: pd.Series[str], expected: str, allowed: tuple[int, ...] | None) -> pd.Series[float]:
    """The column as numbers: those allowed, or from 0 to 1 and NaN."""
    found = pd.to_numeric(text, errors="coerce")
    fine = found.isin(allowed) if allowed else found.between(0, 1) | (text == "nan")
    if not fine.all():
        raise LabelError(f"{path}: expected {expected}, got {text[~fine].iloc[0]!r} for {int((~fine).sum())} accounts")
    return found


def _filled(text: pd.Series[str], default: pd.Series[str]) -> pd.Series[str]:
    return text.where(text != "", default)


def _draw(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on the name and the seed alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()) / 2**64


def text_group(label: int, family: str) -> str:
    """What must not be on both sides: the harvest family, or the source of an honest workload's text."""
    return f"{label}:{family.rsplit(':', 1)[-1]}"


def workload(label: int, family: str) -> str:
    """What an honest account does, whatever its text is from ("judging" of "judging:gsm8k"); of an attack nothing."""
    return "" if label else family.partition(":")[0]


def _held_out(labels: pd.DataFrame, config: SplitConfig, seed: int) -> pd.Series[bool]:
    """Accounts for test alone: those that may only be measured with; and by text group (or honest workload) those
    named, or about the asked share of each label's text groups, at least one attack group."""
    measured = labels["use"] == "validate"
    if config.hold_out:
        works = pd.Series([workload(*row) for row in zip(labels["label"], labels["family"], strict=True)], labels.index)
        names = labels["text_group"].str.partition(":")[2]
        return measured | names.isin(config.hold_out) | works.isin(config.hold_out)
    chosen: set[str] = set()
    for label in (0, 1):
        free = labels.loc[(labels["label"] == label) & ~measured, "text_group"]
        groups = sorted(free.unique(), key=lambda g: _draw(g, seed))
        count = min(round(config.unseen_families * len(groups)), len(groups) - 1)
        drawn = [group for group in groups if group.partition(":")[2] not in config.keep]
        chosen |= set(drawn[: max(count, label if len(groups) > 2 else 0)])
    return measured | labels["text_group"].isin(chosen)


def split_accounts(
    labels: pd.DataFrame, median_us: Mapping[str, int], config: SplitConfig, folds: int, seed: int
) -> pd.DataFrame:
    """Assign accounts: columns ``split`` (train, calib, test), ``seen_family`` and ``fold`` added.

    ``median_us`` is the median time of each account's exchanges; accounts without exchanges are left out.
    The attribute ``cut_us`` of the result is the time that parts test from the rest.
    """
    known = labels.assign(use=labels.get("use", "train"))[labels["account_id"].isin(set(median_us))]
    _need_traffic(len(labels), len(known))
    known["text_group"] = [text_group(*row) for row in zip(known["label"], known["family"], strict=True)]
    known["median_us"] = known["account_id"].map(median_us)
    group_time = known.groupby("group")["median_us"].transform("median")
    known["seen_family"] = ~_held_out(known, config, seed)
    cut = float(np.quantile(group_time[known["seen_family"]], 1 - config.test))
    known["split"] = np.where(known["seen_family"] & (group_time <= cut), _inner(known, config, seed), "test")
    order = {name: i for i, name in enumerate(sorted(known["text_group"].unique(), key=lambda g: _draw(g, seed + 1)))}
    known["fold"] = [order[name] % folds for name in known["text_group"]]
    kept = known["text_group"].map(lambda g: g.partition(":")[2]).isin(config.keep)
    by_group = kept | (known["text_group"].map(lambda g: _draw(g, seed + 2)) >= config.unseen_families)
    known["fold"] = np.where(by_group, [int(_draw(name, seed + 3) * folds) for name in known["group"]], known["fold"])
    known.attrs["cut_us"] = int(cut)
    _need(known)
    return known


def nothing_held_out(accounts: pd.DataFrame, config: SplitConfig, seed: int) -> pd.DataFrame:
    """The accounts of ``split_accounts`` with the test split dissolved, for a final model on all that may train it.

    Every account is in training or calibration, at all times, with the fold that it had.
    """
    accounts = accounts[accounts["use"] != "validate"]
    final = accounts.assign(split=_inner(accounts, config, seed), seen_family=True)
    final.attrs["cut_us"] = FOREVER_US
    return final


def _inner(accounts: pd.DataFrame, config: SplitConfig, seed: int) -> NDArray[np.str_]:
    """Training or calibration, whole groups at a time."""
    calib = config.calib / (config.train + config.calib)
    return np.where([_draw(group, seed) < calib for group in accounts["group"]], "calib", "train")


def _need_traffic(labelled: int, found: int) -> None:
    if labelled - found > MOST_ABSENT * labelled:
        some = f"only {found:,}" if found else "none"
        raise LabelError(
            f"{some} of the labelled accounts has an exchange in the traffic, of {labelled:,}: "
            "give the traffic of these accounts, and their ids as the traffic has them"
        )


def _need(known: pd.DataFrame) -> None:
    for split in ("train", "calib", "test"):
        counts = known.loc[known["split"] == split, "label"].value_counts()
        if counts.get(0, 0) < 3 or counts.get(1, 0) < 3:
            raise LabelError(
                f"the {split} split has {counts.get(0, 0)} honest and {counts.get(1, 0)} distilling accounts; "
                "at least 3 of each are needed: give more labelled accounts, or fewer families to test alone"
            )


def check_folds(accounts: pd.DataFrame) -> None:
    """Raises LabelError where the training accounts of a label (as ``split_accounts`` gives them) are in one fold:
    the prompt head that is trained without it would then know one label only."""
    for label, name in ((0, "honest"), (1, "distilling")):
        train = accounts[(accounts["split"] == "train") & (accounts["label"] == label)]
        if train["fold"].nunique() < 2:
            raise LabelError(
                f"the {len(train)} {name} accounts in training are too few for the folds, all are in one: give labels "
                "of more campaigns, organisations or families, or another seed"
            )
