"""Strings by number, and prompts joined from them."""

import numpy as np
import pytest

from training.world.pool import NUMBERS, Pool


def test_the_same_text_has_the_same_number_and_numbers_are_themselves() -> None:
    pool = Pool()
    assert pool.add("a") == pool.add("a") != pool.add("b")
    assert pool.text([17, pool.add(" items")]) == "17 items"
    assert list(pool.extend(["x", "x"])) == [NUMBERS + 3, NUMBERS + 4]


def test_join_concatenates_the_pieces_of_each_prompt() -> None:
    pool = Pool()
    ab, heart = pool.add("ab"), pool.add("心")
    pool.seal()
    joined = pool.join(np.array([0, 2, 2, 3], np.int32), np.array([ab, heart, 5], np.int32))
    assert joined.to_pylist() == ["ab心", "", "5"]
    assert pool.tokens[ab] == 0.5
    assert pool.tokens[heart] == 0.5


def test_a_sealed_pool_takes_no_new_piece() -> None:
    pool = Pool()
    known = pool.add("known")
    pool.seal()
    assert pool.add("known") == known
    with pytest.raises(ValueError, match="sealed"):
        pool.add("new")
    with pytest.raises(ValueError, match="sealed"):
        pool.extend(["new"])
