"""The laws of windows: streaming, batch, merging and splitting give the same bits; bytes round-trip."""

import struct
import zlib
from functools import reduce

import numpy as np
import pytest
from builders import exchanges, random_head
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint import Window
from fingerprint.contribution import contribute, read_exchange
from fingerprint.errors import WindowError
from fingerprint.exchange import Names, batch_of, parse
from fingerprint.kernels.layout import AT, LAYOUT_ID, WINDOW_BYTES, WORDS

HEAD = random_head()


def contributions(records):
    """One contribution a record, gaps from the order of time, as streaming makes them."""
    previous, rows = -1, []
    for record in records:
        rows.append(read_exchange(record, HEAD, previous))
        previous = parse(record).time_us
    return rows


def window_of(rows):
    window = Window.empty()
    for row in rows:
        window.update(row)
    return window


def test_a_window_takes_at_most_4_kib():
    assert len(Window.empty().to_bytes()) == WINDOW_BYTES <= 4096


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**31), st.data())
def test_streaming_batch_and_any_merge_of_any_split_give_the_same_bits(count, seed, data):
    rows = contributions(exchanges(count, seed))
    streamed = window_of(rows)
    batched = Window.empty()
    for row in [type(rows[0]).concat(rows)] if rows else []:
        batched.update(row)
    assert batched == streamed
    parts = data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    order = data.draw(st.permutations(range(5)))
    pieces = [window_of(row for row, part in zip(rows, parts, strict=True) if part == k) for k in order]
    assert reduce(Window.merge, pieces, Window.empty()) == streamed


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_order_of_updates_does_not_matter(count, seed):
    rows = contributions(exchanges(count, seed))
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(count)]
    assert window_of(shuffled) == window_of(rows)


def test_the_batch_path_and_the_path_of_one_exchange_read_the_same_integers():
    records = exchanges(200, 3)
    batch = contribute(batch_of(map(parse, records), Names(), Names()), HEAD)
    for i, record in enumerate(records):
        single = read_exchange(record, HEAD)
        assert all(np.array_equal(part[i], one[0]) for part, one in zip(batch, single, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.integers(0, 2**31))
def test_bytes_round_trip(count, seed):
    window = window_of(contributions(exchanges(count, seed)))
    assert Window.from_bytes(window.to_bytes()) == window


def test_merging_with_the_empty_window_changes_nothing():
    window = window_of(contributions(exchanges(5, 1)))
    assert window.copy().merge(Window.empty()) == window
    assert Window.empty().merge(window) == window
    assert (len(window), len(Window.empty()), Window.empty().last_us) == (5, 0, -1)


def test_a_copy_is_independent():
    window = window_of(contributions(exchanges(5, 1)))
    copy = window.copy()
    copy.merge(window)
    assert len(window) == 5


@pytest.mark.parametrize("at", [0, 5, 9, 17, 30, WINDOW_BYTES - 1])
def test_damaged_bytes_are_refused(at):
    data = bytearray(window_of(contributions(exchanges(5, 1))).to_bytes())
    data[at] ^= 1
    with pytest.raises(WindowError):
        Window.from_bytes(bytes(data))


@pytest.mark.parametrize("data", [b"", b"FPW1", b"x" * WINDOW_BYTES])
def test_other_bytes_are_refused(data):
    with pytest.raises(WindowError, match="expected a window"):
        Window.from_bytes(data)


def test_another_layout_is_named():
    body = np.zeros(WORDS, "<i8").tobytes()
    head = b"FPW1" + struct.pack("<II", len(body), zlib.crc32(body)) + b"\0" * 4 + b"\1" * 8
    with pytest.raises(WindowError, match=LAYOUT_ID.hex()):
        Window.from_bytes(head + body)


def test_the_parts_are_views_of_the_state():
    window = window_of(contributions(exchanges(5, 1)))
    assert window.sums[AT["n"]] == 5
    assert len(window.sums) + len(window.minima) + len(window.maxima) == WORDS
