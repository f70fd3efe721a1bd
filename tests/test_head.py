"""The prompt head as it is stored and applied: padded weights, exact round trip, outputs by hand."""

import math

import numpy as np
import pytest
from builders import exchange, random_head

from fingerprint import BundleError
from fingerprint.contribution import read_exchange
from fingerprint.head import Head
from fingerprint.kernels.layout import CAPABILITIES, HEAD_OUTPUTS, LOG_ONE, SHARE_ONE
from fingerprint.kernels.text import GRAM_BUCKETS, T_CAPABILITY, T


def outputs(head: Head, prompt: str = "hello there") -> tuple[float, list[float]]:
    """Likeness in logits and the shares of the capabilities."""
    row = read_exchange(exchange(prompt=prompt), head).text[0]
    return float(row[T["likeness"]] / LOG_ONE), (row[T_CAPABILITY:] / SHARE_ONE).tolist()


def test_compact_and_back_is_the_same_head() -> None:
    head = random_head(3)
    again = Head.of(*head.compact())
    for part in ("weights", "scale", "bias"):
        assert np.array_equal(getattr(again, part), getattr(head, part))
    assert outputs(again, "explain the tides") == outputs(head, "explain the tides")


def test_what_is_stored_is_under_a_megabyte_and_names_its_outputs() -> None:
    compact, info = random_head().compact()
    assert compact.shape == (GRAM_BUCKETS, HEAD_OUTPUTS)
    assert compact.nbytes < 1_000_000
    assert info["outputs"] == [*CAPABILITIES, "harvest_likeness"]


def test_a_blank_head_knows_nothing() -> None:
    likeness, shares = outputs(Head.blank())
    assert likeness == 0
    assert shares == pytest.approx([1 / 12] * 12, abs=1 / SHARE_ONE)


def test_a_logit_is_the_scaled_sum_over_the_root_of_the_number_of_grams() -> None:
    """Weights of 10 everywhere: n grams sum to 10 n, over the root of n. "a b" has 2 words, 2 pairs, 2 leads, 1 end."""
    blank = Head.blank()
    weights = blank.weights.copy()
    weights[:, HEAD_OUTPUTS - 1] = 10
    scale = np.full(HEAD_OUTPUTS, 0.05)
    likeness, _ = outputs(Head(weights, scale, np.full(HEAD_OUTPUTS, 0.25)), "a b")
    assert likeness == pytest.approx(0.25 + 0.05 * 70 / math.sqrt(7), abs=1 / LOG_ONE)


def test_shares_are_a_softmax_of_logits() -> None:
    blank = Head.blank()
    bias = np.zeros(HEAD_OUTPUTS)
    bias[2] = math.log(4)
    _, shares = outputs(Head(blank.weights, blank.scale, bias))
    assert shares[2] == pytest.approx(4 / 15, abs=0.02)
    assert sum(shares) == pytest.approx(1, abs=0.02)


def test_padding_never_counts() -> None:
    head = random_head(5)
    noisy = head.weights.copy()
    noisy[:, HEAD_OUTPUTS:] = 100
    assert outputs(Head(noisy, head.scale, head.bias), "one two") == outputs(head, "one two")


@pytest.mark.parametrize("kind", ["float64", "int16", "uint8"])
def test_weights_of_another_type_are_refused(kind: str) -> None:
    compact, info = random_head().compact()
    with pytest.raises(BundleError, match="int8"):
        Head.of(compact.astype(kind), info)
