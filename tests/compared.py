"""Windows of test accounts as `training.compare` makes them, with scores of a champion and a challenger."""

from typing import Any

import numpy as np
import pandas as pd

from training.compare import CHALLENGER, CHAMPION, Compared
from training.early import PREFIXES
from training.evaluate import scored_rows

THRESHOLDS = {"review": 0.7, "act": 0.9}
SPEED = {"score_p50_us": 5.0, "score_p99_us": 6.0, "booster_predict_p50_us": 20.0, "onnx_bytes": 90_000.0}
PARITY = {"rows": 100.0, "edge_rows": 10.0, "probability_error": 1e-7, "margin_error": 0.0, "decision_differences": 0.0}
FACTS: dict[str, Any] = {"champion": "", "not_compared": "", "speed": SPEED, "parity": PARITY}
_HONEST, _ATTACK = ("chat", "ci", "labelling"), ("harvest", "judge", "rewrite")


def compared(accounts: int = 1200, seed: int = 5, *, alone: bool = False, strength: float = 3.0) -> Compared:
    """Three windows an account, a third of the accounts attack; both models score equally well, with errors of their
    own. `strength`: how far attack lies from honest windows, in standard deviations of a model's error."""
    rng = np.random.default_rng(seed)
    label = (np.arange(accounts) % 3 == 0).astype(np.int64)
    family = np.where(label, rng.choice(_ATTACK, accounts), rng.choice(_HONEST, accounts))
    share = np.where(label, rng.choice([0.25, 1.0], accounts), np.nan)
    people = pd.DataFrame(
        {
            "account_id": [f"account {i}" for i in range(accounts)],
            "group": [f"campaign {i // 12}" if attack else f"account {i}" for i, attack in enumerate(label)],
            "label": label,
            "kind": np.where(label, "attack", "human"),
            "family": family,
            "seen_family": ~np.isin(family, ["rewrite", "labelling"]),
            "share": share,
            "lang": rng.choice(["en", "de", "ja"], accounts, p=[0.6, 0.3, 0.1]),
            "plan": rng.choice(["free", "pro"], accounts),
            "evasions": np.where(label & (rng.random(accounts) < 0.5), "low_slow=0.4", ""),
        }
    )
    meta = people.loc[people.index.repeat(3)].reset_index(drop=True)
    meta["scope"], meta["n_exchanges"] = "slice", rng.choice([5, 20, 60, 200], len(meta))
    truth = np.where(meta["label"] == 1, strength * meta["share"].fillna(0).to_numpy() ** 0.5, 0.0) - 2.5
    truth += rng.normal(0, 0.5, len(meta))
    windows = scored_rows(_score(truth, rng), meta)
    looks = people.loc[people.index.repeat(len(PREFIXES)), ["account_id", "label", "share"]].reset_index(drop=True)
    looks = looks.rename(columns={"share": "attacker_share"}).assign(fold=0, n_exchanges=np.tile(PREFIXES, accounts))
    at = np.where(looks["label"] == 1, strength * np.log10(looks["n_exchanges"]) / 2, 0.0) - 2.5
    looks[CHALLENGER] = _score(at, rng)
    thresholds = {CHALLENGER: THRESHOLDS}
    if not alone:
        windows[CHAMPION], looks[CHAMPION] = _score(truth, rng), _score(at, rng)
        thresholds[CHAMPION] = THRESHOLDS
    X = rng.normal(size=(len(windows), 4)).astype(np.float32)
    return Compared(windows, looks, thresholds, accounts, accounts + 10, X)


def _score(truth: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return 1 / (1 + np.exp(-(truth + rng.normal(0, 0.3, len(truth)))))
