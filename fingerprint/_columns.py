"""One Parquet column to integers: the checks of ``exchange``, over a whole array at once.

Columns that repeat (models, user agents, plans, ...) are judged once a distinct value, by the very functions that
judge JSONL. Left out: which columns there are and in what order they are checked (``fingerprint._arrow``).
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fingerprint.errors import ExchangeError
from fingerprint.exchange import COUNTS, INT_MAX, TIME_BOUNDS, text_of, time_of
from fingerprint.kernels.layout import MISSING

__all__ = ["Coded", "Faults", "Spans", "check_spans", "counts", "flags", "ids", "nulls", "spans", "temperatures"]
__all__ += ["text_values", "times", "tools"]

Array = Any  # pyarrow publishes no types
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# What Arrow and ``time_of`` read alike; anything else is left to ``time_of``.
PLAIN_TIME: Final = r"^(19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$"
MICROS: Final = {"s": 1_000_000, "ms": 1000, "us": 1}


class Faults:
    """The first reason found against each row."""

    def __init__(self, rows: int) -> None:
        self.words = [""]
        self.codes = np.zeros(rows, np.int16)

    def mark(self, rows: Mask, reason: str) -> None:
        """``rows`` (a mask) have this fault; those that had one before keep it."""
        rows = rows & (self.codes == 0)
        if rows.any():
            self.words.append(reason)
            self.codes[rows] = len(self.words) - 1

    def missing(self) -> Ints:
        """The values of a column that is not there."""
        return np.full(len(self.codes), MISSING, np.int64)

    def by_reason(self) -> dict[str, Ints]:
        """The rows of each reason."""
        rows: dict[str, Ints] = {}
        for code, word in enumerate(self.words[1:], 1):
            found = np.flatnonzero(self.codes == code)
            rows[word] = np.sort(np.concatenate([rows[word], found])) if word in rows else found
        return rows


class Coded(NamedTuple):
    """A text column as places (-1 where null) in its distinct values, as bytes."""

    places: Ints
    values: list[bytes]


def _coded(column: Array) -> Coded:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    places = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    used = np.flatnonzero(np.bincount(places + 1, minlength=len(column.dictionary) + 1)[1:])
    values = column.dictionary.take(pa.array(used, pa.int64())).cast(pa.large_binary()).to_pylist()
    renamed = np.full(len(column.dictionary) + 1, -1, np.int64)
    renamed[used] = [-1 if value is None else i for i, value in enumerate(values)]
    return Coded(renamed[places], [value or b"" for value in values])


def _text(value: bytes, field: str, needed: bool = False) -> str:
    """The value as text, if ``text_of`` accepts it."""
    text_of({field: value.decode(errors="replace")}, field, needed)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ExchangeError(f"invalid_utf8:{field}") from None


def _judged(coded: Coded, judge: Callable[[bytes], int], faults: Faults) -> Ints:
    """``judge`` of each row's value, asked once a distinct value; MISSING where null."""
    results = np.full(len(coded.values) + 1, MISSING, np.int64)
    reasons: dict[str, list[int]] = {}
    for i, value in enumerate(coded.values):
        try:
            results[i] = judge(value)
        except ExchangeError as error:
            reasons.setdefault(error.reason, []).append(i)
    for reason, places in reasons.items():
        faults.mark(np.isin(coded.places, places), reason)
    return results[coded.places]


def text_values(column: Array | None, field: str, judge: Callable[[str], int], faults: Faults) -> Ints:
    """An integer for each text, by ``judge``; MISSING where there is none."""
    if column is None:
        return faults.missing()
    return _judged(_coded(column), lambda value: judge(_text(value, field)), faults)


def ids(column: Array | None, field: str, needed: bool, faults: Faults) -> Coded:
    """A column of names, checked."""
    coded = Coded(faults.missing(), []) if column is None else _coded(column)
    if needed:
        faults.mark(coded.places < 0, f"missing:{field}")
    _judged(coded, lambda value: len(_text(value, field, needed)), faults)
    return coded


class Spans(NamedTuple):
    """Texts in one buffer: ``data[offsets[i]:offsets[i + 1]]``."""

    data: NDArray[np.uint8]
    offsets: Ints

    def take(self, rows: Ints) -> "Spans":
        """The given texts."""
        if len(rows) == len(self.offsets) - 1:
            return self
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        whole = pa.Array.from_buffers(pa.large_binary(), len(self.offsets) - 1, buffers)
        return spans(whole.take(pa.array(rows, pa.int64())))


def spans(column: Array) -> Spans:
    """The bytes of a text column, not copied."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    column = column.cast(pa.large_binary())
    _, places, content = column.buffers()
    offsets = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(content if content is not None else b"", np.uint8)[offsets[0] : offsets[-1]]
    data.flags.writeable = False  # so that kernels are compiled for one kind of array only
    return Spans(data, offsets - offsets[0])


def _bad_utf8(texts: Spans) -> Mask:
    rows = len(texts.offsets) - 1
    bad, buffers = np.zeros(rows, np.bool_), [None, pa.py_buffer(texts.offsets), pa.py_buffer(texts.data)]
    try:
        pa.Array.from_buffers(pa.large_string(), rows, buffers).validate(full=True)
    except pa.ArrowInvalid:  # it does not say which
        for i, (start, stop) in enumerate(zip(texts.offsets[:-1], texts.offsets[1:], strict=True)):
            try:
                texts.data[start:stop].tobytes().decode()
            except UnicodeDecodeError:
                bad[i] = True
    return bad


def check_spans(texts: Spans, field: str, faults: Faults) -> None:
    """With NUL bytes, not UTF-8: in this order, as ``text_of`` has it."""
    zeros = np.flatnonzero(texts.data == 0)
    if len(zeros):
        rows = np.zeros(len(texts.offsets) - 1, np.bool_)
        rows[np.searchsorted(texts.offsets, zeros, "right") - 1] = True
        faults.mark(rows, f"nul_byte:{field}")
    faults.mark(_bad_utf8(texts), f"invalid_utf8:{field}")


def nulls(column: Array) -> Mask:
    """Where the column has none."""
    return np.asarray(column.is_null().to_numpy(zero_copy_only=False))


def _numbers(column: Array) -> NDArray[Any]:
    """Values as int64 or float64, 0 where null."""
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        return np.asarray(values, np.float64)
    whole = np.minimum(values, 2**62) if values.dtype == np.uint64 else values
    return np.asarray(whole, np.int64)


def counts(column: Array | None, field: str, faults: Faults) -> Ints:
    """A whole number; pandas keeps those with gaps as floats."""
    if column is None:
        return faults.missing()
    values, absent = _numbers(column), nulls(column)
    if values.dtype == np.float64:
        faults.mark(~np.isfinite(values) | (np.floor(values) != values), f"wrong_type:{field}")
        values = np.nan_to_num(np.clip(values, -1e18, 1e18)).astype(np.int64)
    faults.mark(~absent & ((values < COUNTS[field]) | (values > INT_MAX)), f"out_of_range:{field}")
    return np.where(absent, MISSING, values)


def temperatures(column: Array | None, faults: Faults) -> Ints:
    """In thousandths."""
    if column is None:
        return faults.missing()
    values = _numbers(column).astype(np.float64)
    faults.mark(np.isnan(values), "wrong_type:temperature")
    faults.mark(~((values >= 0) & (values <= 1000)), "out_of_range:temperature")
    thousandths = np.rint(np.clip(np.nan_to_num(values), 0, 1000) * 1000).astype(np.int64)
    return np.where(nulls(column), MISSING, thousandths)


def flags(column: Array | None, faults: Faults) -> Ints:
    """0 or 1."""
    if column is None:
        return faults.missing()
    return np.where(nulls(column), MISSING, column.fill_null(False).to_numpy(zero_copy_only=False))


def tools(column: Array | None, faults: Faults) -> Ints:
    """How many."""
    if column is None:
        return faults.missing()
    names = column.flatten()
    if names.null_count:
        rows = np.zeros(len(column), np.bool_)
        rows[pc.list_parent_indices(column).to_numpy()[nulls(names)]] = True
        faults.mark(rows, "wrong_type:tools")
    return np.asarray(pc.list_value_length(column).fill_null(MISSING).to_numpy(zero_copy_only=False), np.int64)


def _text_times(column: Array, field: str, faults: Faults) -> Ints:
    def judge(value: bytes) -> int:
        try:
            return time_of(value.decode(), field)
        except UnicodeDecodeError:
            raise ExchangeError(f"unreadable_time:{field}") from None

    if not pa.types.is_dictionary(column.type) and pc.all(pc.match_substring_regex(column, PLAIN_TIME)).as_py():
        try:
            return _micros(column.cast(pa.timestamp("us", "UTC")))
        except pa.ArrowInvalid:  # a 30th of February, say
            pass
    return _judged(_coded(column), judge, faults)


def _micros(column: Array) -> Ints:
    """Of an Arrow timestamp; what is far out of bounds may come out as any other such value."""
    raw = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if column.type.unit == "ns":
        return np.asarray(raw // 1000)
    scale = MICROS[column.type.unit]
    return np.asarray(np.clip(raw, -(10**18) // scale, 10**18 // scale) * scale)


def _epoch(column: Array, field: str, faults: Faults) -> Ints:
    seconds = _numbers(column)
    if seconds.dtype == np.int64:
        return np.asarray(np.clip(seconds, -(10**12), 10**12) * 1_000_000)
    with np.errstate(over="ignore"):
        micros = seconds * 1e6
    faults.mark(~np.isfinite(micros), f"unreadable_time:{field}")
    return np.rint(np.clip(np.nan_to_num(micros), -1e18, 1e18)).astype(np.int64)


def times(column: Array | None, field: str, faults: Faults) -> Ints:
    """Microseconds UTC, MISSING where null."""
    if column is None:
        return faults.missing()
    absent = nulls(column)
    if pa.types.is_timestamp(column.type):
        micros = _micros(column)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        micros = _epoch(column, field, faults)
    else:
        micros = _text_times(column, field, faults)
    earliest, end = TIME_BOUNDS[field]
    outside = (micros < earliest) | (micros >= end)
    faults.mark(~absent & outside, f"absurd_time:{field}")
    return np.where(absent, MISSING, micros)
