"""The champion as a new model meets it, and a new comparison of a version that is registered already.

Left out: the comparison itself (`compare`), and moving aliases (`registry`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fingerprint.errors import FingerprintError
from training import registry, tracking
from training.assess import assess, changes, drift_of
from training.candidate import Candidate
from training.compare import Compared, beside
from training.config import RunConfig, load
from training.dataset import Progress
from training.evaluate import splits
from training.own import read_own
from training.registry import Registered
from training.review import Against, Review
from training.split import LabelError, read_labels, text_group
from training.tune import SEARCHED

__all__ = ["Standing", "again", "standing_champion"]

_ALWAYS = -(2**62)  # before every exchange


@dataclass(frozen=True)
class Standing:
    """The champion, if there is one: as registered, as a model where it can be compared with (else `why` not), its
    settings, and its speed as `champion_…`."""

    registered: Registered | None = None
    model: Candidate | None = None
    settings: RunConfig = field(default_factory=RunConfig)
    speed: Mapping[str, float] = field(default_factory=dict)
    why: str = ""

    def against(self, found: Compared) -> Against | None:
        """What the review says was compared with."""
        if self.registered is None or self.model is None:
            return None
        return Against(self.registered.version, self.registered.bundle_id, found.accounts, found.of_accounts)

    def changed(self, config: RunConfig, data: Sequence[Mapping[str, Any]], new: Candidate) -> pd.DataFrame:
        """Settings, parameters that tuning chose, and data that differ, by name."""
        if self.model is None:
            return changes({}, {})
        theirs = self.model.scorer.bundle.manifest["training_data"]
        return changes(_facts(config, data, new), _facts(self.settings, theirs, self.model))


def _facts(config: RunConfig, data: Sequence[Mapping[str, Any]], model: Candidate) -> dict[str, Any]:
    settings = {**config.as_dict(), "tune": {**config.as_dict()["tune"], "study": ""}}  # where it lies changes nothing
    chosen = {name: model.booster.params.get("num_iterations" if name == "trees" else name) for name in SEARCHED}
    named = {str(row.get("name", n)): dict(row) for n, row in enumerate(data)}
    return {"chosen": chosen, **settings, "data": named}


def standing_champion(config: RunConfig, folder: Path) -> Standing:
    """The champion of the registry, its measured model downloaded into `folder`.

    Raises StoreError where MLflow cannot be used. A champion that cannot be read (another feature set, or one whose run
    keeps no measured model) is no error: the gate refuses to replace it unasked.
    """
    registered = registry.champion(config.tracking)
    if registered is None:
        return Standing()
    try:
        model = registry.measured(registered, folder / "champion")
        settings = load(registry.settings_of(registered, folder / "champion"))
        _, facts = Compared.load(registry.comparison_of(registered, folder / "champion"))
        speed = {f"champion_{name}": value for name, value in facts["speed"].items() if "champion" not in name}
        return Standing(registered, model, settings, speed)
    except FingerprintError as error:
        return Standing(registered, why=str(error))


def again(
    traffic: Sequence[Path],
    labels: Path,
    config: RunConfig,
    folder: Path,
    *,
    version: str = "",
    groups: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[Registered, Review]:
    """Compare a registered version (else the configured alias) with the present champion on other traffic; track it.

    Counted are labelled accounts that neither was fitted on, with all their exchanges; `config.gate` and
    `config.evaluation` are the caller's, window sizes and seed those of the version's run. Raises PromotionError,
    LabelError.
    """
    new = registry.candidate(config.tracking, version)
    folder.mkdir(parents=True, exist_ok=True)
    model = registry.measured(new, folder / "candidate")
    kept = load(registry.settings_of(new, folder / "candidate"))
    standing = standing_champion(config, folder)
    accounts = _all_test(read_labels(labels, groups), traffic)
    found = beside(model, standing.model, traffic, accounts, kept, progress=progress)
    _, facts = Compared.load(registry.comparison_of(new, folder / "candidate"))
    data = model.scorer.bundle.manifest["training_data"]
    honest = found.X[(found.windows["label"] == 0).to_numpy()]
    review = assess(
        found, model, replace(kept, gate=config.gate, evaluation=config.evaluation), bundle_id=new.bundle_id,
        against=standing.against(found), not_compared=standing.why, trained_on=pd.DataFrame(data),
        splits=splits(found.windows.assign(split="test")), changed=standing.changed(kept, data, model),
        drift=drift_of(None, honest, model), speed=facts["speed"] | standing.speed, parity=facts["parity"],
        trials=pd.DataFrame(),
    )  # fmt: skip
    tracking.track_comparison(new, review, found, config.tracking)
    return new, review


def _all_test(known: pd.DataFrame, traffic: Sequence[Path]) -> pd.DataFrame:
    """Labelled accounts of the traffic as `split.split_accounts` gives them, all of them and all their time in test."""
    accounts = known[known["account_id"].isin(read_own(traffic).accounts)].reset_index(drop=True)
    if accounts["label"].nunique() < 2:
        raise LabelError("expected honest and distilling accounts with traffic, to compare on")
    groups = [text_group(*row) for row in zip(accounts["label"], accounts["family"], strict=True)]
    accounts = accounts.assign(text_group=groups, split="test")
    accounts.attrs["cut_us"] = _ALWAYS
    return accounts
