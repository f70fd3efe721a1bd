"""Made scores of a bake-off where the answer is known."""

import numpy as np
import pandas as pd

from training.bakeoff import BY_SIZE, Bout
from training.bakeoff_tables import PURE, QUARTER
from training.leaveout import VARIANTS
from training.rivals import RIVALS

HONEST, ATTACKS = 200, 20


def windows() -> pd.DataFrame:
    """200 honest accounts of scores 0 to 1; 20 attacking ones of each of two cells. The product finds half of them."""
    honest = pd.DataFrame({
        "account_id": [f"h{i}" for i in range(HONEST)], "label": 0, "share": np.nan, "n_exchanges": 100,
        "family": ["labelling:irc", "judging:irc"] * (HONEST // 2), "score": np.arange(HONEST) / HONEST,
        "found": False,
    })  # fmt: skip
    attacks = [
        pd.DataFrame({
            "account_id": [f"{share}-{i}" for i in range(ATTACKS)], "label": 1, "share": share, "n_exchanges": size,
            "family": "boxed_math", "score": 0.5, "found": np.arange(ATTACKS) < ATTACKS // 2,
        })
        for share, size in (PURE, QUARTER)
    ]  # fmt: skip
    out = pd.concat([honest, *attacks], ignore_index=True)
    out = out.assign(group=out["account_id"], seen_family=False, fold=0, account_weight=1.0)
    score = out["score"]
    scores = {variant: score.where(~out["found"], 9.0) for variant in VARIANTS}
    for name in RIVALS:
        scores |= {f"{name}: good": score, f"{name}: good{BY_SIZE}": score}
    scores["mmd: better"] = score.where(out["label"] == 0, np.where(out["share"] == 1, 5.0, -5.0))
    scores["prada: W"] = -score.where(out["label"] == 0, 5.0)  # low is suspicious
    scores[f"compression: zlib{BY_SIZE}"] = score.where(out["label"] == 0, np.where(out["share"] == 1, 7.0, -7.0))
    return pd.concat([out.drop(columns=["score", "found"]), pd.DataFrame(scores)], axis=1)


def bout() -> Bout:
    pooled = pd.DataFrame([(100, 1.0, "boxed_math", 10, 9)], columns=["size", "share", "family", "windows", "found"])
    return Bout(windows(), pooled, {"mmd": 2.0, "embedding": 1.0})
