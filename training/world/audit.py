"""The leakage audit of a world: what tells attack accounts from honest programs and shared keys, and should not.

`audit(world)` reads the product's account windows and what else the records say of an account (`looks`), then
asks of every feature alone, of every raw value, and of gradient boosting on metadata, on timing, on text and on all
of it, how well it separates attack accounts from automation and shared keys. A figure is the area under the ROC
curve (AUC: 0.5 tells nothing, 1 everything); models are cross-validated by group, intervals resample whole groups
(bootstrap), so that accounts operated together never vouch for each other. Left out: people
(who differ from programs by right), and rendering (report).

    found = audit(Path("world")); found.misses()
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fingerprint.assemble import Assembler
from fingerprint.bundle import load as load_bundle
from fingerprint.exchange import Names
from fingerprint.features import FEATURES, compute
from fingerprint.head import Head
from fingerprint.readers import Rejects, read
from training.bootstrap import resampled
from training.dataset import sample_prompts
from training.head import fit_likeness, gram_counts
from training.split import read_labels, text_group
from training.world.looks import looks, values

__all__ = ["METADATA_TARGET", "REASONS", "SUSPECT", "Audit", "account_features", "audit", "single_features"]

Floats = NDArray[np.float64]
METADATA_TARGET = 0.60  # AUC that a model on metadata alone may reach
SUSPECT = 0.90  # AUC above which a single feature needs a reason
LIKENESS = (
    "what the prompts want is the difference that is looked for; the head of this bundle was trained on these very "
    "sources, and heads that never read the family stand at the figure given above"
)
REASONS: dict[str, str] = {  # feature above SUSPECT -> why the real world has it too
    f"likeness_{part}": LIKENESS for part in ("mean", "p50", "p75", "p90", "share", "high_share")
}
AGE = ("account_age", "new_account_share")  # of the timing family, but facts about the account
PACE = ("output_per_hour", "small_plan_rate")  # of the economics family, but rates
FEWEST = 12  # groups with a raw value before its being on one side only means something
FOLDS = 5
READ = 8  # prompts an account that the cross-fitted likeness learns from and reads
UNREAD = "mean likeness, by heads that never read the family"
TREES = {
    "n_estimators": 120, "num_leaves": 7, "learning_rate": 0.06, "min_child_samples": 10, "subsample": 0.7,
    "subsample_freq": 1, "colsample_bytree": 0.4, "num_threads": 1, "deterministic": True, "verbosity": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """What was found. AUCs of `features` and `values` are folded to 0.5 and more, those of `models` are not.

    features: feature, family, auc, low, high, higher (the side with larger values), coverage, reason.
    models: model, columns, auc, low, high, target. used: column, share (of the gain of a model on metadata).
    values: column, value, attack, honest (accounts), groups, auc, one_sided.
    """

    features: pd.DataFrame
    models: pd.DataFrame
    used: pd.DataFrame
    values: pd.DataFrame
    attack: int
    honest: int
    groups: int
    head: str

    def misses(self) -> list[str]:
        """What exceeds its target without a reason, one line each."""
        far = self.models[self.models["auc"] > self.models["target"]].itertuples()
        lines = [f"{row.model} alone: AUC {row.auc:.3f} ({row.low:.3f} to {row.high:.3f})" for row in far]
        bare = self.features[(self.features["auc"] > SUSPECT) & (self.features["reason"] == "")]
        lines += [f"feature {row.feature}: AUC {row.auc:.3f} without a reason" for row in bare.itertuples()]
        sided = self.values[self.values["one_sided"]]
        lines += [f"{row.column} = {row.value}: {row.attack} attack, {row.honest} honest" for row in sided.itertuples()]
        return lines


def audit(world: Path, *, head: Head | None = None, resamples: int = 200, seeds: int = 3) -> Audit:
    """The audit of the world in a directory; the prompt head is the shipped bundle's unless one is given.

    `resamples` are those of the bootstrap, `seeds` the repetitions of the cross-validation.
    """
    told, bundle = "as given", None
    if head is None:
        bundle = load_bundle()
        head, told = bundle.head, f"of bundle {bundle.bundle_id}"
    labels = read_labels(world / "labels.csv", world / "groups.csv").set_index("account_id")
    known = labels[labels["kind"] != "human"]
    table = account_features(world / "traffic", head).reindex(known.index)
    raw, seen = looks(world / "traffic")
    raw = raw.reindex(known.index)
    attack, group = known["label"].to_numpy() == 1, known["group"].to_numpy()
    weights = resampled(attack, group, resamples, seed=7)
    unread = unread_likeness(world / "traffic", known)
    return Audit(
        single_features(table, attack, weights),
        models(table, raw, known, unread, weights, seeds),
        used(table, raw, attack),
        values(seen, known, FEWEST),
        int(attack.sum()), int((~attack).sum()), len(set(group)), told,
    )  # fmt: skip


def account_features(traffic: Path, head: Head) -> pd.DataFrame:
    """The features of every account's whole window, as the product computes them; one row an account."""
    accounts, sessions = Names(), Names()
    assembler = Assembler("account", head, accounts, sessions)
    for batch in read(traffic, accounts=accounts, sessions=sessions, rejects=Rejects()):
        assembler.add(batch)
    parts = list(assembler.finish())
    names = [name for part in parts for name in part.entity_id]
    rows = np.concatenate([compute(part.windows) for part in parts])
    return pd.DataFrame(rows, index=pd.Index(names, name="account_id"), columns=[f.name for f in FEATURES])


def single_features(table: pd.DataFrame, attack: NDArray[np.bool_], weights: Floats) -> pd.DataFrame:
    """AUC of each feature alone over the accounts that have it, with its 95 % interval."""
    rows = []
    for feature in FEATURES:
        value = table[feature.name].to_numpy(np.float64)
        seen = ~np.isnan(value)
        auc = weighted_auc(value[seen], attack[seen], weights[:, seen])
        way = 1 if auc[0] >= 0.5 else -1
        folded = auc if way > 0 else 1 - auc
        low, high = np.nanquantile(folded[1:], [0.025, 0.975]) if len(folded) > 1 else (np.nan, np.nan)
        side = "attack" if way > 0 else "honest"
        reason = REASONS.get(feature.name, "")
        rows.append((feature.name, feature.family, folded[0], low, high, side, seen.mean(), reason))
    columns = ["feature", "family", "auc", "low", "high", "higher", "coverage", "reason"]
    return pd.DataFrame(rows, columns=columns).sort_values("auc", ascending=False, ignore_index=True)


def weighted_auc(value: Floats, attack: NDArray[np.bool_], weights: Floats) -> Floats:
    """AUC of `value` [n] under each row of `weights` [k, n]; ties count half; NaN without both sides."""
    if not len(value):
        return np.full(len(weights), np.nan)
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(value[order]) > 0])
    hit = np.add.reduceat(weights[:, order] * attack[order], starts, axis=1)
    miss = np.add.reduceat(weights[:, order] * ~attack[order], starts, axis=1)
    below = np.cumsum(miss, axis=1) - miss / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((hit * below).sum(1) / (hit.sum(1) * miss.sum(1)), np.float64)


def columns_of() -> dict[str, list[str]]:
    """Which features are metadata, timing and text; the head's reading is the capability family."""
    family = {f.name: f.family for f in FEATURES}
    timing = [n for n in family if (family[n] == "timing" and n not in AGE) or n in PACE]
    text = [n for n in family if family[n] in ("diversity", "capability")]
    return {"metadata": [n for n in family if n not in timing and n not in text], "timing": timing, "text": text}


def models(
    table: pd.DataFrame, raw: pd.DataFrame, known: pd.DataFrame, unread: Floats, weights: Floats, seeds: int
) -> pd.DataFrame:
    """Cross-validated AUC of gradient boosting on each kind of evidence alone and on everything."""
    attack, family = known["label"].to_numpy() == 1, {f.name: f.family for f in FEATURES}
    whole, parts = pd.concat([table, raw.add_prefix("raw ")], axis=1), columns_of()
    columns = [str(c) for c in whole.columns]
    form = [name for name in parts["text"] if family[name] == "diversity"]
    groups = known["group"].to_numpy(), known["family"].to_numpy()
    sets: dict[str, tuple[list[str], NDArray[np.object_]]] = {
        "metadata": ([*parts["metadata"], *(c for c in columns if c.startswith("raw "))], groups[0]),
        "timing": (parts["timing"], groups[0]),
        "text": (parts["text"], groups[0]),
        "text without the head": (form, groups[0]),
        "text without the head, families left out": (form, groups[1]),
        "all": (columns, groups[0]),
    }
    scores = {n: out_of_fold(whole[c].to_numpy(np.float64), attack, group, seeds) for n, (c, group) in sets.items()}
    rows = []
    for name, score in (scores | {UNREAD: unread}).items():
        auc = weighted_auc(score, attack, weights)
        low, high = np.nanquantile(auc[1:], [0.025, 0.975]) if len(auc) > 1 else (np.nan, np.nan)
        count = len(sets[name][0]) if name in sets else 1
        rows.append((name, count, auc[0], low, high, METADATA_TARGET if name == "metadata" else np.nan))
    return pd.DataFrame(rows, columns=["model", "columns", "auc", "low", "high", "target"])


def used(table: pd.DataFrame, raw: pd.DataFrame, attack: NDArray[np.bool_], most: int = 8) -> pd.DataFrame:
    """Where a model on metadata finds what it uses, by share of gain: the first places to look for a leak."""
    from lightgbm import LGBMClassifier

    whole = pd.concat([table[columns_of()["metadata"]], raw.add_prefix("raw ")], axis=1)
    model = LGBMClassifier(**TREES, random_state=0, importance_type="gain").fit(whole.to_numpy(np.float64), attack)
    share = np.asarray(model.feature_importances_, np.float64)
    found = pd.DataFrame({"column": whole.columns.astype(str), "share": share / max(share.sum(), 1e-12)})
    return found.sort_values("share", ascending=False, ignore_index=True).head(most)


def out_of_fold(x: Floats, attack: NDArray[np.bool_], group: NDArray[np.object_], seeds: int) -> Floats:
    """Each account's mean score by models that saw no account of its group, over `seeds` divisions into folds."""
    from lightgbm import LGBMClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    score = np.zeros(len(attack))
    for seed in range(seeds):
        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        for known, unknown in folds.split(x, attack, group):
            model = LGBMClassifier(**TREES, random_state=seed).fit(x[known], attack[known])
            score[unknown] += model.predict_proba(x[unknown])[:, 1] / seeds
    return score


def unread_likeness(traffic: Path, known: pd.DataFrame) -> Floats:
    """Mean likeness to harvesting of each account's prompts, by a likeness fitted without the account's text family.

    What the head's features would say of families that no head was trained on: folds are text families of each side.
    """
    sample = sample_prompts([traffic])
    owner = known.index.get_indexer(pd.Index(np.array(sample.accounts.items, object)[sample.account]))
    kept = pd.Series(owner).groupby(owner).cumcount().to_numpy() < READ
    rows = np.flatnonzero(kept & (owner >= 0))
    owner, counts = owner[rows], gram_counts([sample.prompt[i] for i in rows])
    text = pd.Series([text_group(*pair) for pair in zip(known["label"], known["family"], strict=True)])
    fold = text.map({name: i % 3 for i, name in enumerate(sorted(text.unique()))}).to_numpy()[owner]
    label = known["label"].to_numpy()[owner]
    score = np.zeros(len(rows))
    for k in range(3):
        inside = fold != k
        weights, bias = fit_likeness(counts[inside], label[inside], np.ones(int(inside.sum())))
        score[~inside] = counts[~inside] @ weights[0] + bias[0]
    return np.bincount(owner, score, len(known)) / np.maximum(np.bincount(owner, minlength=len(known)), 1)
