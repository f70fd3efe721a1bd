"""Every string of a world by number, so that prompts are lists of integers until they are written.

A prompt is a list of *pieces*: literal parts of templates, slot values, whole real prompts. The pool holds each piece
once; `join` makes an Arrow string column of many prompts at once. Pieces 0 to 99,999 are those numbers. Left out:
which pieces make a prompt (grammar, people, programs, campaigns).
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUMBERS = 100_000
VOWELS = frozenset("aeioAEIO")
Prompt = list[int]


class Pool:
    """Strings by number. Add first, `seal` once, then `join`; the numbers depend on the order of adding alone."""

    def __init__(self) -> None:
        self.strings: list[str] = [str(i) for i in range(NUMBERS)]
        self._known: dict[str, int] = {}
        self._arrow: pa.Array = None
        self.tokens: NDArray[np.float32] = np.zeros(0, np.float32)

    def add(self, text: str) -> int:
        """The number of `text`; the same text gets the same number."""
        at = self._known.get(text)
        if at is None:
            self._open()
            at = self._known[text] = len(self.strings)
            self.strings.append(text)
        return at

    def extend(self, texts: Iterable[str]) -> range:
        """Consecutive numbers for `texts`, in order, repeated ones too."""
        self._open()
        first = len(self.strings)
        self.strings.extend(texts)
        return range(first, len(self.strings))

    def _open(self) -> None:
        if self._arrow is not None:
            raise ValueError("expected no new piece of text: the pool is sealed")

    def begins_with_vowel(self, piece: int) -> bool:
        return self.strings[piece][:1] in VOWELS

    def text(self, prompt: Sequence[int]) -> str:
        """One prompt as a string."""
        return "".join(self.strings[piece] for piece in prompt)

    def seal(self) -> None:
        """No more pieces: make the Arrow column and the token estimates (4 characters, 2 outside ASCII)."""
        self._arrow = pa.array(self.strings, pa.string())
        sizes = [len(s) / 4 if s.isascii() else len(s) / 2 for s in self.strings]
        self.tokens = np.array(sizes, np.float32)

    def join(self, offsets: NDArray[np.int32], pieces: NDArray[np.int32]) -> pa.Array:
        """`string[n]`: prompt i is made of `pieces[offsets[i]:offsets[i + 1]]`."""
        lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), self._arrow.take(pa.array(pieces)))
        return pc.binary_join(lists, "")
