"""Small seeded matrices and one trained model, shared by the tests of training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from training.config import RunConfig, load
from training.fit import Model, fit

FAMILIES = {"attack": ("harvest", "judge", "rewrite"), "benign": ("chat", "ci", "labelling")}


@dataclass(frozen=True)
class Matrix:
    """Rows as the pipeline makes them: one strong feature, some weak ones, missing values."""

    X: npt.NDArray[np.float32]
    meta: pd.DataFrame
    names: tuple[str, ...]
    directions: tuple[int, ...]


def make_matrix(rows: int = 3000, features: int = 12, seed: int = 7) -> Matrix:
    """`rows` windows of rows / 6 accounts; `rewrite` attacks and `labelling` accounts are in test alone."""
    rng = np.random.default_rng(seed)
    account = np.arange(rows) // 6
    attacker = rng.random(account[-1] + 1) < 0.4
    label = attacker[account].astype(np.int64)
    pick = rng.integers(0, 3, len(attacker))
    family = np.array([FAMILIES["attack" if a else "benign"][p] for a, p in zip(attacker, pick, strict=True)])
    split = rng.choice(["train", "calib", "test"], len(attacker), p=[0.5, 0.25, 0.25])
    split[(family == "rewrite") | (family == "labelling")] = "test"
    share = np.where(label == 1, rng.choice([0.05, 0.25, 1.0], rows), np.nan)
    X = rng.normal(size=(rows, features)).astype(np.float32)
    X[:, 0] += np.where(label == 1, 1.0 + 2.0 * share, 0.0)
    X[:, 1:4] += 0.5 * label[:, None]
    X[:, features - 1] = rng.integers(0, 4, rows)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[:, features - 2] = np.nan_to_num(X[:, features - 2])
    meta = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in account],
            "label": label,
            "kind": np.where(label == 1, "attack", np.where(pick[account] == 0, "human", "automation")),
            "family": family[account],
            "campaign_id": [f"c{i // 5}" if label[k] else "" for k, i in enumerate(account)],
            "scope": rng.choice(["slice", "session", "day", "account"], rows),
            "n_exchanges": rng.choice([3, 12, 40, 200, 900], rows),
            "share": share,
            "split": split[account],
            "seen_family": ~np.isin(family[account], ["rewrite", "labelling"]),
            "weight": rng.choice([0.5, 1.0], rows),
            "group": [f"c{i // 5}" if label[k] else f"a{i}" for k, i in enumerate(account)],
            "fold": pick[account],
        }
    )
    names = tuple(f"feature_{i}" for i in range(features))
    return Matrix(X, meta, names, (1, *[0] * (features - 1)))


@pytest.fixture(scope="session")
def matrix() -> Matrix:
    return make_matrix()


@pytest.fixture(scope="session")
def config() -> RunConfig:
    return load(
        None, {"lightgbm.trees": 25, "lightgbm.num_threads": 1, "lightgbm.num_leaves": 8, "evaluation.bootstrap": 40}
    )


@pytest.fixture(scope="session")
def model(matrix: Matrix, config: RunConfig) -> Model:
    return fit(
        matrix.X,
        matrix.meta,
        config.lightgbm,
        feature_names=matrix.names,
        directions=matrix.directions,
        config=config,
    )
