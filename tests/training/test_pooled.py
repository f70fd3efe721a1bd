"""MMD on draws from one pool: keeps its rate on honest draws, finds more with share and with size."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_limits

from training.pooled import DRAWN, PUBLISHED, SHARES, SIZES, pooled


def cloud(rng: np.random.Generator, count: int, centre: float) -> npt.NDArray[np.float16]:
    vectors = rng.normal(size=(count, 12))
    vectors[:, 0] += centre
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(autouse=True)
def _few_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("training.pooled.NULL", 100)
    with threadpool_limits(1):
        yield


def test_recall_grows_with_share_and_size_and_is_nothing_for_honest_text() -> None:
    rng = np.random.default_rng(1)
    attack = {"far": cloud(rng, 600, 2.0), "honest": cloud(rng, 600, 0.0), "few": cloud(rng, 20, 2.0)}
    found = pooled(cloud(rng, 4_000, 0.0), attack, rng).set_index(["family", "size", "share"])["found"] / DRAWN
    assert set(found.index.get_level_values("size")) == {100, 500, 1500}
    far = found["far"].unstack()
    assert far.loc[100, 0.05] < 0.5 < far.loc[500, 0.25]
    assert far.loc[100, 0.5] == far.loc[500, 1.0] == 1
    for smaller, larger in ((100, 500), (500, 1500)):
        shared = far.loc[[smaller, larger]].dropna(axis=1)
        assert (shared.loc[larger] >= shared.loc[smaller]).all()
    assert found["honest"].mean() < 0.1
    assert found["few"].index.tolist() == [(100, 0.05), (100, 0.1)], "no more than 20 prompts of it in a window"
    assert 1.0 not in found["far"][1500].index, "it has no 1,500 prompts"


def test_a_small_pool_has_small_windows_alone() -> None:
    rng = np.random.default_rng(2)
    found = pooled(cloud(rng, 300, 0.0), {"far": cloud(rng, 200, 2.0)}, rng)
    assert set(found["size"]) == {100}


def test_each_published_figure_has_its_cell() -> None:
    assert set(PUBLISHED) == set(SIZES)
    assert {len(row) for row in PUBLISHED.values()} == {len(SHARES)}
