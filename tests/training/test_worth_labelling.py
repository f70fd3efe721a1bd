"""What is most worth labelling: uncertain, novel, not a copy, and not labelled before."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from toy_run import CANARY, Run

from fingerprint import FEATURES, Scorer
from training.worth_labelling import Judged, foremost, judge, novelty, spread, uncertainty


@pytest.fixture(scope="module")
def scorer(trained: Run) -> Scorer:
    return Scorer.load(trained.bundle)


@pytest.fixture(scope="module")
def judged(trained: Run, scorer: Scorer) -> Judged:
    return judge([trained.traffic], scorer, "account", lambda stage, done, total: None)


def test_the_threshold_is_where_a_score_is_least_certain() -> None:
    found = uncertainty(np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0], np.float32), 0.2)
    assert found[2] == pytest.approx(1)
    assert (np.diff(found[:3]) > 0).all()
    assert (np.diff(found[2:]) < 0).all()
    assert (found >= 0).all()


def test_novelty_counts_what_lies_outside_the_honest_range_and_how_far() -> None:
    baseline = np.array([[0, 0, 5], [1, 1, 5], [2, 4, 5]], np.float32)
    rows = np.array([[1, 0, 5], [4, 1, 5], [-100, 1, 5], [np.nan, 8, np.nan], [1, 1, 6]], np.float32)
    found, outside = novelty(rows, baseline)
    assert outside.tolist() == [0, 1, 1, 1, 1]
    assert found == pytest.approx([0, 0.5 / 3, 100 / 102 / 3, 0.5, 1 / 3])
    assert novelty(np.full((1, 3), np.nan, np.float32), baseline)[0].tolist() == [0]


def test_copies_do_not_fill_the_queue() -> None:
    """Ten copies of the best row, then others further down: one of the copies comes, then the others."""
    worth = np.r_[np.full(10, 0.9), 0.5, 0.4]
    places = np.zeros((12, 2))
    places[10:] = [[3, 0], [0, 3]]
    chosen, gained = spread(worth, places, 4)
    assert chosen[:3].tolist() == [0, 10, 11]
    assert (np.diff(gained) <= 0).all()
    assert gained[3] == 0


def test_the_queue_ends_with_the_accounts() -> None:
    assert len(spread(np.array([0.2, 0.3]), np.eye(2), 9)[0]) == 2
    assert len(spread(np.empty(0), np.empty((0, 2)), 9)[0]) == 0


def test_a_row_an_account_and_none_of_those_already_labelled(trained: Run, judged: Judged, scorer: Scorer) -> None:
    done = set(trained.accounts[::2])
    found = foremost(judged, scorer, done, 50)
    assert len(found) == 50
    assert found["account_id"].is_unique
    assert not done & set(found["account_id"])
    assert found["priority"].is_monotonic_decreasing
    assert found["level"].tolist() == scorer.level(found["score"].to_numpy(np.float32))
    assert found["reason"].str.contains("log odds (?:above|below) the review threshold").all()
    assert CANARY not in found.to_csv()


def test_the_queue_follows_from_the_windows_not_from_their_order(judged: Judged, scorer: Scorer) -> None:
    turn = np.argsort(judged.account_id)[::-1]
    names = [judged.account_id[i] for i in turn]
    turned = Judged(names, judged.n[turn], judged.features[turn], judged.scores[turn])
    pd.testing.assert_frame_equal(foremost(judged, scorer, (), 30), foremost(turned, scorer, (), 30))


def test_an_account_stands_by_its_foremost_window(judged: Judged, scorer: Scorer) -> None:
    """Windows of one account, such as its sessions, are one row."""
    same = replace(judged, account_id=["a"] * len(judged.n))
    found = foremost(same, scorer, (), 30)
    assert found["account_id"].tolist() == ["a"]
    assert len(FEATURES) == judged.features.shape[1]


def test_everybody_labelled_is_an_empty_queue(judged: Judged, scorer: Scorer) -> None:
    found = foremost(judged, scorer, judged.account_id, 30)
    assert len(found) == 0
    assert found.columns[0] == "account_id"
