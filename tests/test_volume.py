"""Volume alone raises no honest account: the shipped bundle on the same accounts, with few exchanges or many."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from worlds import opened

from fingerprint import Scorer
from fingerprint.assemble import Ordered, reduce_rows
from fingerprint.features import compute
from fingerprint.kernels.layout import WORDS
from fingerprint.kernels.reduce import clear
from training.dataset import contributions
from training.world.account import account_id
from training.world.write import write_traffic

FEW, MANY, ACCOUNTS = 30, 1500, 120
REACHED = 0.1  # of the accounts, by the window of few exchanges
Scores = NDArray[np.float32]


def exchanges_of(place: Path, scorer: Scorer, volume: int) -> tuple[Ordered, list[slice]]:
    """The same honest people, programs and gateways, each with ``volume`` exchanges; where each one's are."""
    world, plans = opened(accounts=220, seed=11)
    honest = [replace(plan, q=volume) for plan in plans if plan.kind != "attack"][:ACCOUNTS]
    write_traffic(place, world, honest, 1, lambda stage, done, total: None)
    heads = {account_id(world.settings.seed, plan.index): 0 for plan in honest}
    ordered, names = contributions([place], [scorer.head], heads)
    starts = np.searchsorted(ordered.account, np.arange(len(names.items) + 1))
    by_name = sorted(zip(names.items, starts[:-1], starts[1:], strict=True))
    return ordered, [slice(start, stop) for _, start, stop in by_name]


def scores(scorer: Scorer, ordered: Ordered, parts: list[slice]) -> Scores:
    windows = np.empty((len(parts), WORDS), np.int64)
    clear(windows)
    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    entity = np.repeat(np.arange(len(parts)), [part.stop - part.start for part in parts])
    reduce_rows(windows, entity, ordered.rows.take(rows))
    return scorer.score(compute(windows))


def raised(few: Scores, many: Scores) -> bool:
    """Whether more accounts pass the cut by many exchanges than by few: by three errors of the paired difference."""
    cut = np.quantile(few, 1 - REACHED)
    difference = (many > cut).astype(float) - (few > cut)
    return bool(difference.mean() > 3 * max(difference.std(), np.sqrt(REACHED / 10)) / np.sqrt(len(few)))


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scorer, Ordered, list[slice]]:
    scorer = Scorer.load()
    return scorer, *exchanges_of(tmp_path_factory.mktemp("busy"), scorer, MANY)


def test_a_longer_stretch_of_the_same_account_does_not_score_higher(busy: tuple[Scorer, Ordered, list[slice]]) -> None:
    """The same law of content and the same pace; and the check is one that fails where volume counts."""
    scorer, ordered, whole = busy
    rng = np.random.default_rng(5)
    draws = [
        scores(
            scorer,
            ordered,
            [slice(at, at + FEW) for part in whole for at in [rng.integers(part.start, part.stop - FEW)]],
        )
        for _ in range(12)
    ]
    many = scores(scorer, ordered, whole)
    assert not any(raised(few, many) for few in draws)
    assert raised(draws[0], np.max(draws, axis=0))  # judged by the highest of twelve short windows, busy accounts pay


def test_fifty_times_the_volume_in_the_same_life_reaches_no_level(
    tmp_path: Path, busy: tuple[Scorer, Ordered, list[slice]]
) -> None:
    """What the many exchanges change here is the pace, and that alone puts nobody before an analyst."""
    scorer, ordered, whole = busy
    few = scores(scorer, *exchanges_of(tmp_path, scorer, FEW))
    many = scores(scorer, ordered, whole)
    assert not raised(few, many)
    assert (many >= scorer.review).sum() <= (few >= scorer.review).sum() + 1
