"""Who serves: aliases of the registered model, moved by the gate and back, with the reason on the version.

Alias `champion` stands for the version that serving pulls, the configured alias (`challenger`) for the newest one.
What the gate said is kept as tags of the version and of its run: `gate` (passed, refused, overridden), `gate_reason`,
`gate_table`, `replaces` (the version that was champion before). Left out: writing
runs (`tracking`) and the checks (`gate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from fingerprint.errors import FingerprintError
from training import store
from training.candidate import Candidate
from training.card import markdown
from training.compare import Compared
from training.config import RunConfig, Tracking, load
from training.gate import decide
from training.review import Decision

__all__ = [
    "ALIAS", "Promotion", "PromotionError", "Registered", "candidate", "champion", "comparison_of", "demote",
    "measured", "promote", "settings_of",
]  # fmt: skip

ALIAS = "champion"
_TAG = 4900  # characters of a tag that every MLflow keeps


class PromotionError(FingerprintError, RuntimeError):
    """No alias was moved; the message says why and what to do."""


@dataclass(frozen=True)
class Registered:
    """A registered version: its number, bundle and run."""

    version: str
    bundle_id: str
    run_id: str


@dataclass(frozen=True)
class Promotion:
    """What became of a candidate: the decision, whether alias champion was moved, and whom it replaced (or "")."""

    candidate: Registered
    decision: Decision
    moved: bool
    replaced: str


def champion(tracking: Tracking) -> Registered | None:
    """The version that serves, if there is one."""
    with store.opened() as client:
        return _aliased(client, tracking.registered_model, ALIAS)


def measured(registered: Registered, folder: Path) -> Candidate:
    """The model of a version that was measured, downloaded into `folder`.

    Raises FingerprintError where it cannot be used: not kept, or of another feature set.
    """
    with store.opened() as client:
        _download(client, registered, "measured", folder)
    return Candidate.load(folder / "measured")


def settings_of(registered: Registered, folder: Path) -> Path:
    """The resolved settings of a version's run, as JSON."""
    with store.opened() as client:
        return _download(client, registered, "config.json", folder)


def comparison_of(registered: Registered, folder: Path) -> Path:
    """The folder in which `compare.Compared` was kept."""
    with store.opened() as client:
        return _download(client, registered, "review", folder)


def promote(config: RunConfig, folder: Path, *, version: str = "", override: str = "") -> Promotion:
    """Move alias champion to the candidate if `config.gate` lets it pass, or with a reason to override it.

    The candidate is `version`, else the one with the configured alias. `folder` takes its downloaded comparison. Raises
    PromotionError where there is no candidate, it serves already, or it was compared with another champion than the
    present one.
    """
    name = config.tracking.registered_model
    with store.opened() as client:
        new, present = _candidate(client, config.tracking, version), _aliased(client, name, ALIAS)
        if present and present.version == new.version:
            raise PromotionError(f"version {new.version} is the champion already")
        found, facts = Compared.load(_download(client, new, "review", folder))
        if facts["champion"] != (present.version if present else "") and not override:
            raise PromotionError(_stale(new, facts, present))
        kept = load(_download(client, new, "config.json", folder))  # the same resamples as on the review page
        decision = decide(found, facts["speed"], facts["parity"], replace(kept, gate=config.gate))
        moved, replaced = decision.passed or bool(override), present.version if present else ""
        _record(client, name, new, _tags(decision, override, replaced))
        if moved:
            client.set_registered_model_alias(name, ALIAS, new.version)
            if _aliased(client, name, config.tracking.alias) == new:
                client.delete_registered_model_alias(name, config.tracking.alias)
        return Promotion(new, decision, moved, replaced)


def demote(tracking: Tracking, reason: str) -> tuple[Registered, Registered]:
    """Give alias champion back to the version that the present champion replaced: (that one, the demoted one).

    Raises PromotionError where there is no champion, or it replaced none.
    """
    name = tracking.registered_model
    with store.opened() as client:
        present = _aliased(client, name, ALIAS)
        if present is None:
            raise PromotionError(f"{name} has no champion to demote")
        before = client.get_model_version(name, present.version).tags.get("replaces", "")
        if not before:
            raise PromotionError(f"version {present.version} replaced no champion: there is none to go back to")
        back = _registered(_version(client, name, before))
        client.set_registered_model_alias(name, ALIAS, back.version)
        _record(client, name, present, {"demoted": reason[:_TAG]})
        return back, present


def candidate(tracking: Tracking, version: str = "") -> Registered:
    """The version given, else the one with the configured alias. Raises PromotionError where there is none."""
    with store.opened() as client:
        return _candidate(client, tracking, version)


def _candidate(client: MlflowClient, tracking: Tracking, version: str) -> Registered:
    name = tracking.registered_model
    if version:
        return _registered(_version(client, name, version))
    found = _aliased(client, name, tracking.alias)
    if found is None:
        raise PromotionError(
            f"{name} has no version with alias {tracking.alias}: train one with `run`, or give --version"
        )
    return found


def _version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    try:
        return client.get_model_version(name, version)
    except MlflowException:
        known = ", ".join(sorted((v.version for v in client.search_model_versions(f"name = '{name}'")), key=int))
        raise PromotionError(f"{name} has no version {version} (it has {known or 'none'})") from None


def _aliased(client: MlflowClient, name: str, alias: str) -> Registered | None:
    try:
        return _registered(client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _registered(version: ModelVersion) -> Registered:
    return Registered(str(version.version), version.tags.get("bundle_id", ""), str(version.run_id))


def _download(client: MlflowClient, registered: Registered, artifact: str, folder: Path) -> Path:
    try:
        return Path(client.download_artifacts(registered.run_id, artifact, str(folder)))
    except (MlflowException, OSError) as error:
        raise PromotionError(
            f"version {registered.version}: its run keeps no {artifact}: train it again with this version"
        ) from error


def _stale(new: Registered, facts: Mapping[str, str], present: Registered | None) -> str:
    """A comparison with another champion says nothing about this one."""
    was = f"version {facts['champion']}" if facts["champion"] else "no champion"
    now = f"version {present.version}" if present else "none"
    why = f" ({facts['not_compared']})" if facts["not_compared"] else ""
    return (
        f"version {new.version} was compared with {was}, the champion is {now}{why}: compare it again with "
        "`python -m training compare --traffic … --labels …`, or give --override REASON"
    )


def _tags(decision: Decision, override: str, replaced: str) -> dict[str, str]:
    said = "passed" if decision.passed else "overridden" if override else "refused"
    tags = {"gate": said, "gate_reason": decision.reason[:_TAG], "gate_table": _table(decision.rows)}
    if override:
        tags["gate_override"] = override[:_TAG]
    return tags | ({"replaces": replaced} if said != "refused" else {})


def _table(rows: pd.DataFrame) -> str:
    """The table as Markdown, failed checks first, as many whole rows as a tag holds."""
    lines = markdown(rows.sort_values("passed", kind="stable")).splitlines(keepends=True)
    while sum(map(len, lines)) > _TAG:
        lines.pop()
    return "".join(lines)


def _record(client: MlflowClient, name: str, registered: Registered, tags: Mapping[str, str]) -> None:
    """The same tags on the version and on its run."""
    for key, value in tags.items():
        client.set_model_version_tag(name, registered.version, key, value)
        client.set_tag(registered.run_id, key, value)
