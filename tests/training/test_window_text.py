"""One pass for the text of windows: right prompts, in order, whatever the batches; how windows compress."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fingerprint.exchange import Names
from fingerprint.readers import Rejects, read
from training.embedding import DIMENSIONS
from training.window_text import BYTES, PROMPTS, WindowText, read_window_text


def embed(prompts: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """A vector that tells the prompt: its number, which each of these prompts ends in."""
    out = np.zeros((len(prompts), DIMENSIONS), np.float32)
    out[:, 0] = [int(prompt.rsplit(b" ", 1)[1]) for prompt in prompts]
    return out


def write(path: Path, prompts: Sequence[str], order: Sequence[int]) -> None:
    rows = [
        {"exchange_id": f"e{i}", "account_id": "a", "timestamp": 1_700_000_000 + i, "prompt": prompts[i]} for i in order
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def text(path: Path, prompts: Sequence[str], order: Sequence[int], windows: Sequence[Sequence[int]]) -> WindowText:
    """Windows over prompts by their number; the traffic has them in the order given."""
    write(path, prompts, order)
    batches = list(read(path, accounts=Names(), sessions=Names(), rejects=Rejects()))
    times, hashes = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("time_us", "identity"))
    identity = np.empty(len(prompts), np.uint64)
    identity[times // 1_000_000 - 1_700_000_000] = hashes
    return read_window_text([path], identity, [np.array(window) for window in windows], embed)


def test_each_window_has_its_prompts_in_order_of_time(tmp_path: Path) -> None:
    prompts = [f"question number {i}" for i in range(12)]
    order = [7, 3, 11, 0, 1, 2, 10, 4, 9, 5, 6, 8, 3]
    found = text(tmp_path / "t.jsonl", prompts, order, [range(4), range(2, 9), [11]])
    assert [found.of(i)[:, 0].tolist() for i in range(3)] == [[0, 1, 2, 3], [2, 3, 4, 5, 6, 7, 8], [11]]
    assert len(found.vectors) == 10, "prompts 9 and 10 are in no window"


def test_repeated_text_compresses_better_than_diverse_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(400)]
    diverse = [" ".join(rng.choice(words, 12)) + f" {i}" for i in range(40)]
    same = [f"grade this answer with one digit and give the reason for it {i}" for i in range(40, 80)]
    found = text(tmp_path / "t.jsonl", diverse + same, range(80), [range(40), range(40, 80)])
    assert found.ratio[1] < 0.5 * found.ratio[0] < 0.5
    plain = "\n".join(diverse).encode()
    assert found.ratio[0] == pytest.approx(len(zlib.compress(plain)) / len(plain))


def test_what_is_compressed_is_bounded(tmp_path: Path) -> None:
    """The same first prompts and first bytes of each give the same ratio, whatever comes after."""
    first = [f"{'ab' * BYTES} {i}" for i in range(PROMPTS)]
    rest = [f"something else entirely, each time {i}" for i in range(PROMPTS, PROMPTS + 50)]
    windows = [range(PROMPTS), range(PROMPTS + 50)]
    found = text(tmp_path / "t.jsonl", first + rest, range(PROMPTS + 50), windows)
    assert found.ratio[0] == found.ratio[1]
    assert found.ratio[0] == pytest.approx(len(zlib.compress(b"\n".join([b"ab" * (BYTES // 2)] * PROMPTS))) / (
        PROMPTS * (BYTES + 1) - 1
    ))  # fmt: skip


def test_a_window_that_is_never_complete_has_no_ratio(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", ["one 0", "two 1"], [0, 1])
    (batch,) = read(tmp_path / "t.jsonl", accounts=Names(), sessions=Names(), rejects=Rejects())
    identity = np.append(batch.identity, np.uint64(5))
    windows = [np.array([0, 1]), np.array([1, 2])]
    found = read_window_text([tmp_path / "t.jsonl"], identity, windows, embed)
    assert np.isnan(found.ratio).tolist() == [False, True]
