"""What a reviewer is shown of a candidate model, as tables: the one shape between what measures and what draws.

Figures of the candidate, the challenger, stand in plain columns; those of the model it would replace, the champion, in
columns of the same name after `champion_`, which are absent where there is no champion. Both were measured on the
same windows. Left out: measuring (`evaluate`, `compare`, `gate`) and drawing (`review_page`, `review_plots`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Against", "Decision", "Review"]


@dataclass(frozen=True)
class Against:
    """The champion compared with: its registered version, the bundle that serves, and on how many test accounts neither
    model had been fitted (`accounts`, of `of_accounts`)."""

    version: str
    bundle_id: str
    accounts: int
    of_accounts: int


@dataclass(frozen=True)
class Decision:
    """What the gate says. `rows`: check, slice, champion, challenger, difference, low, high, limit (text), passed.

    `low` and `high` bound the difference, challenger less champion; NaN where a check is of the challenger alone.
    """

    passed: bool
    reason: str
    rows: pd.DataFrame


@dataclass(frozen=True)
class Review:
    """Everything on the review page.

    - `trained_on`: a row a source, as the card shows it. `splits`: split, kind, accounts, windows.
    - `changed`: what, champion, challenger: settings, features, data that differ; empty without a champion.
    - `headline`: measure, value, low, high, champion, champion_low, champion_high, difference, difference_low,
      difference_high, the rows that decide first: four stand at the top of the page. Measures are told in words
      ("recall at 1.0% false positives, all families"); those that name recall, accounts, false positives or a share
      are shares and shown as percentages, here and in the gate's checks.
    - `found`: by kind of slice (family, attacker_share, window_size, window_size_and_share, lang, plan, evasion, phase,
      …) what is found of attack: slice, windows, accounts and for each rate r of `fprs` recall_r, low_r, high_r;
      of families also `seen_family`.
    - `honest`: by kind of slice (workload, lang, plan, tenure) honest accounts that reach a level at the model's own
      thresholds: slice, seen_family, accounts, review, review_low, review_high, act, act_low, act_high.
    - `calibration`: model (challenger, champion), predicted, observed, weight: a row a bin.
    - `early`: level, slice (attacker share), accounts, found, median, p90: exchanges until an account is first flagged,
      inf where fewer are ever; `found`: the share that ever is. `survival`: level, slice, exchanges, left (the share
      not flagged yet).
    - `drift`: feature, family, psi, ks, chance, noise, missing, missing_reference: honest windows after the cut in
      time beside those that were trained on.
    - `sample` float32[k, n] test windows and `contributions` float64[k, n], what each feature adds to the margin
      (exact Shapley values of the trees); `features`: the n names.
    - `examples`: side (honest, attack), account_id (a hash of `candidate.hashes`), slice (workload or family),
      n_exchanges, share, score, level, champion_score, reasons (list of sentences): the highest honest and the lowest
      attack accounts.
    - `speed`: score_p50_us, score_p99_us, booster_predict_p50_us, onnx_bytes, the champion's after `champion_` where
      they are known. `parity`: the fields of ParityReport.
    - `not_compared`: why there is no comparison although there is a champion.
    - `trials`: a row a trial of the tuning (number, value, parameters), empty without.

    A table without rows may lack its columns. NaN is shown as n/a.
    """

    bundle_id: str
    positives: str
    metrics_of: str
    against: Against | None
    fprs: tuple[float, ...]
    thresholds: Mapping[str, float]
    trained_on: pd.DataFrame
    splits: pd.DataFrame
    changed: pd.DataFrame
    headline: pd.DataFrame
    found: Mapping[str, pd.DataFrame]
    honest: Mapping[str, pd.DataFrame]
    calibration: pd.DataFrame
    early: pd.DataFrame
    survival: pd.DataFrame
    drift: pd.DataFrame
    features: tuple[str, ...]
    sample: npt.NDArray[np.float32]
    contributions: npt.NDArray[np.float64]
    examples: pd.DataFrame
    speed: Mapping[str, float]
    parity: Mapping[str, float]
    trials: pd.DataFrame
    decision: Decision | None
    not_compared: str = ""
