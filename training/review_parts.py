"""The sections of the review page, in the order in which a reviewer asks, each with one sentence on how to read it.

Left out: what a table or figure holds (`review_tables`, `review_plots`) and how the page looks (`review.html.j2`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from training import review_tables as tables
from training.drift import LARGE, SMALL
from training.evaluate import LEAST_ACCOUNTS
from training.review import Review
from training.review_tables import Table
from training.review_worst import worst

__all__ = ["Drawing", "Part", "parts"]

ROBUST = ("evasion", "phase")  # kinds of slices with a section of their own
MARKS = (
    f" {tables.WORSE} marks what is worse than all of the champion's interval, {tables.BETTER} what is better; "
    f"slices of fewer than {LEAST_ACCOUNTS} accounts have no mark."
)
SECTIONS = {
    "changed": ("What changed", "Settings, features and data that differ from the champion's."),
    "gate": ("Checks of the gate", "Each check with its limit; one that fails refuses the model."),
    "worst": (
        "Where it is worst",
        "Look here first: slices worse than all of the champion's interval, then the honest workloads and languages "
        f"most flagged. Slices of fewer than {LEAST_ACCOUNTS} accounts are left out.",
    ),
    "headline": (
        "Headline",
        "Intervals resample whole accounts and campaigns; a difference whose interval holds zero may be chance.",
    ),
    "found": (
        "What is found",
        "Share of attack windows found at a fixed rate of false positives; more is better. "
        "“Unseen” was never trained on.",
    ),
    "evasion": ("Robustness to evasions", "The same for campaigns by how they hide, and by their phase."),
    "honest": (
        "False positives of honest accounts",
        "Share of honest accounts with any window at a level of the model's own thresholds, with exact intervals; "
        "less is better. “Unseen” was never trained on.",
    ),
    "calibration": (
        "Calibration",
        "Of windows that score 0.8, eight in ten should be attack: dots on the diagonal. A large dot is many windows.",
    ),
    "early": (
        "Exchanges until detection",
        "How soon an account of a campaign is first flagged when it is looked at again and again; a lower curve is "
        "better. The median reads “never” where fewer than half ever are.",
    ),
    "examples": (
        "The hardest accounts",
        "Honest accounts that look most like attack and attack that looks most honest, with the strongest reasons.",
    ),
    "features": (
        "What the score rests on",
        "Exact Shapley values of the trees. A feature that outweighs all others, or works against its meaning, needs "
        "an explanation.",
    ),
    "drift": (
        "Drift of features",
        f"PSI below {SMALL:g} is steady, from {LARGE:g} shifted; a bar that ends before its mark may be chance.",
    ),
    "speed": ("Speed, size and parity", "What serving pays, and whether the exported graph decides as the trees do."),
    "trained": ("Trained on", "Sources with their digests, then accounts and windows of each split."),
    "tuning": ("Tuning", "The search for parameters, on left-out folds of the training split."),
}


@dataclass(frozen=True)
class Drawing:
    """A figure as inline SVG and the words that stand for it."""

    svg: Markup
    alt: str


@dataclass(frozen=True)
class Part:
    """A section: its anchor, title, how to read it, and figures and tables in order."""

    anchor: str
    title: str
    how: str
    shown: Sequence[Drawing | Table]


def parts(review: Review, drawn: Mapping[str, Drawing]) -> Iterator[Part]:
    """Every section; `drawn`: figures by their name in `review_plots.figures`, those that there are.

    What only a champion, the gate or a search gives is left out where there was none.
    """
    absent = {"changed": review.against is None, "gate": review.decision is None, "tuning": review.trials.empty}
    for anchor, shown in _shown(review, drawn).items():
        if absent.get(anchor):
            continue
        title, how = SECTIONS[anchor]
        yield Part(
            anchor, title, how + MARKS * (anchor in ("found", "evasion", "honest") and bool(review.against)), shown
        )


def _shown(review: Review, drawn: Mapping[str, Drawing]) -> dict[str, list[Drawing | Table]]:
    robust = [kind for kind in ROBUST if kind in review.found]
    others = [kind for kind in review.found if kind not in ROBUST]
    return {
        "changed": [tables.changed(review)],
        "gate": [tables.checks(review)],
        "worst": [worst(review)],
        "headline": [*_of(drawn, "headline"), tables.headline(review)],
        "found": _each(review, drawn, "found", others),
        "evasion": _each(review, drawn, "found", robust),
        "honest": _each(review, drawn, "honest", review.honest),
        "calibration": [*_of(drawn, "calibration"), tables.calibration(review)],
        "early": [*_of(drawn, "survival"), tables.early(review)],
        "examples": [tables.examples(review, side) for side in ("honest", "attack")],
        "features": [*_of(drawn, "shap_bar", "shap_beeswarm"), tables.importance(review)],
        "drift": [*_of(drawn, "drift"), tables.drift(review)],
        "speed": [tables.speed(review), tables.parity(review)],
        "trained": [Table("Sources", tables.plain(review.trained_on)), Table("Splits", tables.plain(review.splits))],
        "tuning": [*_of(drawn, "trials"), Table(f"Trials, {review.positives}", tables.plain(review.trials))],
    }


def _each(review: Review, drawn: Mapping[str, Drawing], side: str, kinds: Iterable[str]) -> list[Drawing | Table]:
    """Figure and table of each kind of slice in turn; `side`: found or honest."""
    table = {"found": tables.found, "honest": tables.honest}[side]
    return [shown for kind in kinds for shown in (*_of(drawn, f"{side}_{kind}"), table(review, kind))]


def _of(drawn: Mapping[str, Drawing], *names: str) -> list[Drawing | Table]:
    return [drawn[name] for name in names if name in drawn]
