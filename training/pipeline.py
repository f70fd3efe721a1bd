"""The whole run, top to bottom: traffic and labels in, a served and tracked model out.

    python -m training run --traffic DIR --labels FILE --bundle DIR

Stages are plain functions with explicit inputs and outputs; ``run`` calls them in order.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd

import fingerprint
from fingerprint import Scorer
from fingerprint._files import search
from fingerprint.bundle import check_place
from fingerprint.calibrate import quantiles
from fingerprint.features import FEATURE_SET
from fingerprint.head import Head
from training.assess import assess, drift_of, names
from training.bench import booster_beside, one_row
from training.candidate import BUNDLE, Candidate, keep
from training.card import RETRAIN, card
from training.compare import Compared, beside
from training.config import LightGBM, RunConfig
from training.dataset import Progress, Sample, WindowTable, sample_prompts
from training.evaluate import Evaluation, evaluate
from training.export import ParityReport, check_parity, write_bundle
from training.fit import Model, fit
from training.graph import to_onnx
from training.known import Known, read_known
from training.own import Own, read_own
from training.reading import NAMES, SHAPE, windows
from training.review import Review
from training.split import check_folds, nothing_held_out, split_accounts
from training.standing import Standing, standing_champion
from training.store import tracking_uri
from training.tracking import Tracked, track
from training.tune import Tuning, tune
from training.tune_study import check_study
from training.unlabelled import Unlabelled, soft_labels

__all__ = ["Result", "run"]

MEASURED = "# The model that was measured\n\nKept to be compared with later ones; another may serve in its place.\n"


@dataclass(frozen=True)
class Result:
    """What a run leaves: bundle, evaluation on held-out rows, speed, review, and where MLflow has it."""

    bundle: Path
    model: Model
    evaluation: Evaluation
    parity: ParityReport
    latency: dict[str, float]
    review: Review
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
    """Train, calibrate, prove the export, evaluate, compare with the champion, keep and track one model.

    ``groups`` says which accounts are operated together (see ``split.read_labels``). ``unlabelled`` says what becomes
    of accounts without a label, ``feedback`` is a store of analysts' verdicts (see ``known``). ``benign`` is the
    operator's own ordinary traffic, trained on as such and as what harvesting hides in (see ``own``). ``corpora``
    adds its prompts of known capability to those of the built-in grammar. ``origin`` says what the traffic is made of
    and is kept in the manifest and the card. Raises ``FingerprintError`` with a clear message; the bundle is
    written only when the export is exact.
    """
    check_place(bundle)
    if config.tune.study:
        check_study(Path(config.tune.study), tracking_uri())
    with TemporaryDirectory() as folder:
        known = read_known(labels, groups, feedback, unlabelled)
        standing = standing_champion(config, Path(folder))  # before hours of training: MLflow must be there
        tables = [table for table in (labels, groups, feedback) if table is not None]
        material = _material(traffic, tables, known, benign, corpora, config, progress)
        measured = _measure(material, standing, Path(folder) / "measured", origin, progress)
        final = _refit(material, measured.final, progress) if config.refit else measured.final
        return _deliver(bundle, Path(folder) / "measured", material, standing, measured, final, origin, progress)


class _Material(NamedTuple):
    """What is learnt from: the traffic, its accounts with their split, and the settings that hold for them."""

    traffic: Sequence[Path]
    corpora: Path | None
    sample: Sample
    own: Own | None
    known: Known
    accounts: pd.DataFrame
    config: RunConfig
    digest: dict[str, Any]
    began: float  # seconds since 1970

    def windows(self, accounts: pd.DataFrame, progress: Progress) -> tuple[Head, WindowTable]:
        return windows(self.sample, accounts, self.traffic, self.corpora, self.config, progress, self.own)

    def data(self, origin: Sequence[dict[str, Any]], final: _Final) -> list[dict[str, Any]]:
        """What the model is made of, a row a source."""
        told = {"labels": self.known.counts, "unlabelled": self.known.unlabelled.value, **final.weighed}
        read = {"exchanges": self.sample.exchanges, "rejected": self.sample.rejected}
        return [*origin, {**self.digest, **read, **final.counts, **told}]


class _Final(NamedTuple):
    """A trained model with its prompt head and windows, and how many accounts it was made of."""

    trained: _Trained
    head: Head
    table: WindowTable
    params: LightGBM
    counts: dict[str, Any]
    weighed: dict[str, Any]


class _Measured(NamedTuple):
    """The model that was measured, what was found, and the comparison with the champion."""

    final: _Final
    tuning: Tuning
    evaluation: Evaluation
    candidate: Candidate
    found: Compared
    drift: pd.DataFrame


def _material(
    traffic: Sequence[Path], tables: Sequence[Path], known: Known, benign: Sequence[Path], corpora: Path | None,
    config: RunConfig, progress: Progress,
) -> _Material:  # fmt: skip
    """First read of the traffic, and the split."""
    began, own = time.time(), read_own(benign) if benign else None
    if own:
        known, traffic = known.with_own(own), [*traffic, *benign]
    digest = _digest(traffic, *tables) | ({"own_accounts": len(own.accounts)} if own else {})
    sample = sample_prompts(traffic, progress)
    if own:
        own, sample = own.beside(sample)
    known = known.met(sample.median_us)
    kept = tuple(dict.fromkeys((*config.split.keep, *known.never_held_out())))
    config = replace(config, split=replace(config.split, keep=kept))
    accounts = split_accounts(known.accounts, sample.median_us, config.split, config.tune.folds, config.seed)
    check_folds(accounts)
    return _Material(traffic, corpora, sample, own, known, accounts, config, digest, began)


def _measure(
    material: _Material, standing: Standing, folder: Path, origin: Sequence[dict[str, Any]], progress: Progress
) -> _Measured:
    """Tune and train on what is not held out, measure on what is, beside the champion."""
    config, accounts = material.config, material.accounts
    head, table = material.windows(accounts, progress)
    learnt, weighed = _weighed(table, material.known.unlabelled, config)
    tuning = tune(learnt.X, learnt.meta, config, progress=lambda done, total: progress("tune", done, total), **SHAPE)
    trained = _train(learnt, tuning.params, config, "test", lambda stage: progress(stage, 0, 1))
    progress("evaluate", 0, 1)
    evaluation = evaluate(trained.model, table.X, table.meta, config.evaluation, config.seed)
    final = _Final(trained, head, table, tuning.params, {"accounts": _accounts(accounts)}, weighed)
    folder.mkdir()
    _write(folder / BUNDLE, final, evaluation, replace(config, refit=False), material.data(origin, final), MEASURED)
    candidate = keep(folder, accounts)
    found = beside(candidate, standing.model, material.traffic, accounts, config, material.own, progress)
    return _Measured(final, tuning, evaluation, candidate, found, _drift(table, candidate))


def _refit(material: _Material, forerunner: _Final, progress: Progress) -> _Final:
    """The same parameters on all accounts, families and times."""
    config = material.config
    everyone = nothing_held_out(material.accounts, config.split, config.seed)
    counts = {"accounts": _accounts(everyone), "forerunner_accounts": forerunner.counts["accounts"]}
    head, table = material.windows(everyone, progress)
    progress("refit", 0, 1)
    learnt, weighed = _weighed(table, material.known.unlabelled, config)
    trained = _train(learnt, forerunner.params, config, "calib", lambda stage: None)
    return _Final(trained, head, table, forerunner.params, counts, weighed)


def _deliver(
    bundle: Path, folder: Path, material: _Material, standing: Standing, measured: _Measured, final: _Final,
    origin: Sequence[dict[str, Any]], progress: Progress,
) -> Result:  # fmt: skip
    """Write the bundle, then review and track the run."""
    config, evaluation, tuning = material.config, measured.evaluation, measured.tuning
    (model, onnx_bytes, parity), table, data = final.trained, final.table, material.data(origin, final)
    text = card(
        config=config, model=model, evaluation=evaluation, parity=parity, meta=table.meta, training_data=data,
        retrain=_command(material.known),
    )  # fmt: skip
    scorer = _write(bundle, final, evaluation, config, data, text)
    latency = _latency(scorer, model, table)
    progress("track", 0, 1)
    review = assess(
        measured.found, measured.candidate, config, bundle_id=scorer.bundle_id,
        against=standing.against(measured.found), not_compared=standing.why,
        trained_on=pd.DataFrame(data), splits=evaluation.tables["splits"],
        changed=standing.changed(config, data, measured.candidate), drift=measured.drift, trials=tuning.trials,
        speed={**latency, "onnx_bytes": float(len(onnx_bytes)), **standing.speed}, parity=asdict(parity),
    )  # fmt: skip
    tracked = track(
        config=config, model=model, onnx_bytes=onnx_bytes, X=table.X, meta=table.meta, evaluation=evaluation,
        tuning=tuning, parity=parity, bundle=bundle, card=text, review=review, found=measured.found,
        measured=folder, training_data=data, metrics=latency, began=material.began,
    )  # fmt: skip
    named = names(review, material.accounts["account_id"])
    named.to_csv(bundle.with_name(f"{bundle.name}.examples.csv"), index=False)
    return Result(
        bundle, model, evaluation, parity, latency, review, tracked, material.accounts, material.known.sentences()
    )


def _command(known: Known) -> str:
    """How to train again, in the card."""
    mode = f" --unlabelled {known.unlabelled}" if known.unlabelled is not Unlabelled.drop else ""
    return RETRAIN + mode + (" --feedback FEEDBACK" if "decided" in known.counts else "")


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
    bundle: Path, final: _Final, evaluation: Evaluation, config: RunConfig, data: list[dict[str, Any]], text: str
) -> Scorer:
    """The bundle, and beside it the native Booster that it must equal; the bundle's scorer."""
    meta = final.table.meta
    benign = final.table.X[((meta["split"] != "test") & (meta["label"] == 0)).to_numpy()]
    compact, info = final.head.compact()
    model = final.trained.model
    write_bundle(
        bundle,
        model=model,
        onnx_bytes=final.trained.onnx_bytes,
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
    return Scorer.load(bundle)


def _drift(table: WindowTable, model: Candidate) -> pd.DataFrame:
    """Of honest windows: those of test, after the cut in time, beside those trained on."""
    honest, split = (table.meta["label"] == 0).to_numpy(), table.meta["split"].to_numpy()
    return drift_of(table.X[honest & (split == "train")], table.X[honest & (split == "test")], model)


def _latency(scorer: Scorer, model: Model, table: WindowTable) -> dict[str, float]:
    """Microseconds to score one window by the bundle and by LightGBM itself."""
    ours, peer, p99 = one_row(scorer, model.booster, table.X[0])
    return {"score_p50_us": ours, "score_p99_us": p99, "booster_predict_p50_us": peer}
