"""The whole run, top to bottom: traffic and labels in, a served and tracked model out.

    python -m training run --traffic DIR --labels FILE --bundle DIR

Stages are plain functions with explicit inputs and outputs; ``run`` calls them in order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import fingerprint
from fingerprint import Scorer
from fingerprint._files import search
from fingerprint.assemble import Ordered
from fingerprint.bundle import check_place
from fingerprint.calibrate import quantiles
from fingerprint.exchange import Names
from fingerprint.features import FEATURE_SET, FEATURES
from fingerprint.head import Head
from training.bench import booster_beside, one_row
from training.card import RETRAIN, card
from training.config import LightGBM, RunConfig
from training.dataset import Progress, Sample, WindowTable, contributions, sample_prompts, window_table
from training.evaluate import Evaluation, evaluate
from training.export import ParityReport, check_parity, write_bundle
from training.fit import Model, fit
from training.graph import to_onnx
from training.head import known_capabilities, train_heads
from training.known import read_known
from training.own import Own, read_own
from training.split import check_folds, nothing_held_out, split_accounts
from training.tracking import Tracked, track
from training.tune import tune
from training.unlabelled import Unlabelled, soft_labels

__all__ = ["NAMES", "SHAPE", "Result", "exchanges", "run", "windows"]

NAMES = [feature.name for feature in FEATURES]
DIRECTIONS = [feature.direction for feature in FEATURES]
SHAPE: dict[str, Any] = {"feature_names": NAMES, "directions": DIRECTIONS}


@dataclass(frozen=True)
class Result:
    """What a run leaves: the bundle, the evaluation on held-out rows, its speed, and where MLflow has it."""

    bundle: Path
    model: Model
    evaluation: Evaluation
    parity: ParityReport
    latency: dict[str, float]
    tracked: Tracked
    accounts: pd.DataFrame
    labelled: list[str]  # what is to be told about the labels, a sentence each


def run(
    traffic: Sequence[Path],
    labels: Path,
    bundle: Path,
    config: RunConfig,
    *,
    groups: Path | None = None,
    unlabelled: Unlabelled = Unlabelled.drop,
    feedback: Path | None = None,
    benign: Sequence[Path] = (),
    corpora: Path | None = None,
    origin: Sequence[dict[str, Any]] = (),
    progress: Progress = lambda stage, done, total: None,
) -> Result:
    """Train, calibrate, prove the export, evaluate, keep and track one model.

    ``groups`` says which accounts are operated together (see ``split.read_labels``). ``unlabelled`` says what becomes
    of accounts without a label, ``feedback`` is a store of analysts' verdicts (see ``known``). ``benign`` is the
    operator's own ordinary traffic, trained on as such and as what harvesting hides in (see ``own``). ``corpora``
    adds its prompts of known capability to those of the built-in grammar. ``origin`` says what the traffic is made of
    and is kept in the manifest and the card. Raises ``FingerprintError`` with a clear message; the bundle is
    written only when the export is exact.
    """
    check_place(bundle)
    known, own = read_known(labels, groups, feedback, unlabelled), read_own(benign) if benign else None
    if own:
        known, traffic = known.with_own(own), [*traffic, *benign]
    tables = [table for table in (labels, groups, feedback) if table is not None]
    digest = _digest(traffic, *tables) | ({"own_accounts": len(own.accounts)} if own else {})
    sample = sample_prompts(traffic, progress)
    if own:
        own, sample = own.beside(sample)
    known = known.met(sample.median_us)
    keep = tuple(dict.fromkeys((*config.split.keep, *known.never_held_out())))
    config = replace(config, split=replace(config.split, keep=keep))
    accounts = split_accounts(known.accounts, sample.median_us, config.split, config.tune.folds, config.seed)
    check_folds(accounts)
    counts: dict[str, Any] = {"accounts": _accounts(accounts)}
    head, table = windows(sample, accounts, traffic, corpora, config, progress, own)
    learnt, weighed = _weighed(table, unlabelled, config)
    tuning = tune(learnt.X, learnt.meta, config, progress=lambda done, total: progress("tune", done, total), **SHAPE)
    trained = _train(learnt, tuning.params, config, "test", lambda stage: progress(stage, 0, 1))
    progress("evaluate", 0, 1)
    evaluation = evaluate(trained.model, table.X, table.meta, config.evaluation, config.seed)
    if config.refit:
        everyone = nothing_held_out(accounts, config.split, config.seed)
        counts = {"accounts": _accounts(everyone), "forerunner_accounts": counts["accounts"]}
        head, table = windows(sample, everyone, traffic, corpora, config, progress, own)
        progress("refit", 0, 1)
        learnt, weighed = _weighed(table, unlabelled, config)
        trained = _train(learnt, tuning.params, config, "calib", lambda stage: None)
    counts |= {"labels": known.counts, "unlabelled": unlabelled.value} | weighed
    data = [*origin, {**digest, "exchanges": sample.exchanges, "rejected": sample.rejected, **counts}]
    model, onnx_bytes, parity = trained
    text = card(
        config=config, model=model, evaluation=evaluation, parity=parity, meta=table.meta, training_data=data,
        retrain=_command(unlabelled, feedback),
    )  # fmt: skip
    _write(bundle, trained, head, table, evaluation, config, data, text)
    latency = _latency(bundle, model, table)
    progress("track", 0, 1)
    tracked = track(
        config=config, model=model, onnx_bytes=onnx_bytes, X=table.X, meta=table.meta, evaluation=evaluation,
        tuning=tuning, parity=parity, bundle=bundle, card=text, training_data=data, metrics=latency,
    )  # fmt: skip
    return Result(bundle, model, evaluation, parity, latency, tracked, accounts, known.sentences())


def _command(unlabelled: Unlabelled, feedback: Path | None) -> str:
    """How to train again, in the card."""
    mode = f" --unlabelled {unlabelled}" if unlabelled is not Unlabelled.drop else ""
    return RETRAIN + mode + (" --feedback FEEDBACK" if feedback else "")


def _weighed(table: WindowTable, mode: Unlabelled, config: RunConfig) -> tuple[WindowTable, dict[str, Any]]:
    """The windows to train on, and what weighing unlabelled ones has found."""
    if mode is not Unlabelled.weighted:
        return table, {}
    soft = soft_labels(table, config.lightgbm, seed=config.seed, **SHAPE)
    return soft.table, {"labelled_share": round(soft.share, 4), "unlabelled_attacks": round(soft.attacks, 1)}


class _Trained(NamedTuple):
    """A model, its export, and the proof that the two agree."""

    model: Model
    onnx_bytes: bytes
    parity: ParityReport


def _train(
    table: WindowTable, params: LightGBM, config: RunConfig, proof: str, begin: Callable[[str], None]
) -> _Trained:
    """Fit, export, and compare over the rows of the split ``proof``, which no tree was grown on."""
    begin("fit")
    model = fit(table.X, table.meta, params, config=config, **SHAPE)
    begin("export")
    onnx_bytes, rows = to_onnx(model), (table.meta["split"] == proof).to_numpy()
    return _Trained(model, onnx_bytes, check_parity(onnx_bytes, model, table.X[rows]))


def windows(
    sample: Sample,
    accounts: pd.DataFrame,
    traffic: Sequence[Path],
    corpora: Path | None,
    config: RunConfig,
    progress: Progress,
    own: Own | None = None,
) -> tuple[Head, WindowTable]:
    """The prompt head of all training accounts, and the windows of every account, cross-fitted.

    With ``own`` traffic among it, also those of copies of its accounts into which harvesting is mixed.
    """
    head, ordered, names = exchanges(sample, accounts, traffic, corpora, config, progress)
    if own:
        ordered, accounts = own.joined(ordered, names, accounts, config.seed)
    cuts = (config.windows.sizes, config.windows.per_account, config.seed)
    return head, window_table(ordered, names, accounts, *cuts, progress)


def exchanges(
    sample: Sample,
    accounts: pd.DataFrame,
    traffic: Sequence[Path],
    corpora: Path | None,
    config: RunConfig,
    progress: Progress,
) -> tuple[Head, Ordered, Names]:
    """The prompt head of all training accounts, and every account's exchanges in order, read cross-fitted."""
    heads = _heads(sample, accounts, corpora, config, progress)
    head_of = dict(zip(accounts["account_id"], _head_numbers(accounts, config), strict=True))
    return heads[-1], *contributions(traffic, heads, head_of, progress)


def _head_numbers(accounts: pd.DataFrame, config: RunConfig) -> pd.Series[int]:
    """Which head reads an account: of its fold in training and calibration, the last one in test."""
    return accounts["fold"].where(accounts["split"] != "test", config.tune.folds)


def _heads(
    sample: Sample, accounts: pd.DataFrame, corpora: Path | None, config: RunConfig, progress: Progress
) -> list[Head]:
    """The cross-fitted prompt heads and, last, the one that goes into the bundle.

    They learn from training accounts and, like their windows, from before the cut alone.
    """
    seen = set(accounts.loc[accounts["seen_family"], "text_group"])
    held_out = set(accounts.loc[~accounts["text_group"].isin(seen), "family"])
    held_out |= {family.rsplit(":", 1)[-1] for family in held_out}
    train = accounts[accounts["split"] == "train"].set_index("account_id")
    owner = np.array(sample.accounts.items, dtype=object)[sample.account]
    early = sample.before(accounts.attrs["cut_us"])
    rows = early[np.isin(owner[early], train.index.to_numpy())]
    facts = train.loc[owner[rows]].reset_index()
    labelled = known_capabilities(corpora, held_out, config.seed)
    prompts = [sample.prompt[i] for i in rows]
    folds = config.tune.folds
    return list(train_heads(prompts, facts, labelled, folds, lambda done, total: progress("head", done, total)))


def _digest(traffic: Sequence[Path], *tables: Path) -> dict[str, Any]:
    """What tells these inputs from others, without a path or an id in it; over the files that are read, no other."""
    files = [file for path in traffic for file in search(path)[0]]
    digest = hashlib.sha256()
    for file in [*files, *tables]:
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return {"name": "traffic and labels", "sha256": digest.hexdigest(), "files": len(files)}


def _accounts(accounts: pd.DataFrame) -> dict[str, int]:
    """How many accounts a split has."""
    return {str(split): int(count) for split, count in accounts["split"].value_counts().sort_index().items()}


def _write(
    bundle: Path,
    trained: _Trained,
    head: Head,
    table: WindowTable,
    evaluation: Evaluation,
    config: RunConfig,
    data: list[dict[str, Any]],
    text: str,
) -> None:
    """The bundle, and beside it the native Booster that it must equal."""
    benign = table.X[((table.meta["split"] != "test") & (table.meta["label"] == 0)).to_numpy()]
    compact, info = head.compact()
    model = trained.model
    write_bundle(
        bundle,
        model=model,
        onnx_bytes=trained.onnx_bytes,
        head=compact,
        head_info=info,
        feature_names=NAMES,
        feature_set=FEATURE_SET,
        thresholds=model.thresholds.as_dict(),
        baseline=quantiles(benign),
        training_data=data,
        metrics=evaluation.metrics,
        metrics_of=config.metrics_of,
        metrics_thresholds=evaluation.thresholds.as_dict(),
        card=text,
        package_version=fingerprint.__version__,
    )
    model.booster.save_model(str(booster_beside(bundle)))


def _latency(bundle: Path, model: Model, table: WindowTable) -> dict[str, float]:
    """Microseconds to score one window by the bundle and by LightGBM itself."""
    ours, peer, p99 = one_row(Scorer.load(bundle), model.booster, table.X[0])
    return {"score_p50_us": ours, "score_p99_us": p99, "booster_predict_p50_us": peer}
