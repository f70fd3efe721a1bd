"""What a Parquet file of exchange records may look like: which columns, of which types, read in which steps.

Left out: the values in them (``fingerprint._arrow``).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fingerprint.errors import TrafficError
from fingerprint.exchange import COUNTS, FIELDS, FLAGS

__all__ = ["INNER", "check_schema", "columns_of", "open_parquet", "steps"]

Array = Any  # pyarrow publishes no types
_is = pa.types
TEXTS: Final = (_is.is_string, _is.is_large_string, _is.is_string_view)
TEXTS_AS_BYTES: Final = (_is.is_binary, _is.is_large_binary, _is.is_binary_view)
LISTS: Final = (_is.is_list, _is.is_large_list, _is.is_fixed_size_list, _is.is_list_view, _is.is_large_list_view)
INNER: Final = {"client": ("ip_prefix", "user_agent"), "account": ("created_at", "plan", "payment_hash")}
DAMAGE: Final = (OSError, pa.ArrowException)
STEP_BYTES: Final = 32 << 20  # aimed at in one batch
CHAT_ROWS: Final = 4096
MANY_REPEATS: Final = 64  # bytes stored a prompt; under it most prompts are repeats, and are read as such


def is_text(kind: Array) -> bool:
    """Text in any of Arrow's layouts, or bytes, which then have to be UTF-8."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in (*TEXTS, *TEXTS_AS_BYTES))


def _is_number(kind: Array) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_time(kind: Array) -> bool:
    return is_text(kind) or _is_number(kind) or bool(pa.types.is_timestamp(kind) and kind.tz)


def _is_list(kind: Array) -> bool:
    return any(is_kind(kind) for is_kind in LISTS)


def _is_names(kind: Array) -> bool:
    return _is_list(kind) and (is_text(kind.value_type) or bool(pa.types.is_null(kind.value_type)))


def _is_chat(kind: Array) -> bool:
    return _is_list(kind) and bool(pa.types.is_struct(kind.value_type))


def _is_flat(kind: Array) -> bool:
    return not pa.types.is_nested(kind)


Kind = tuple[str, Callable[[Any], bool]]
TEXT: Final[Kind] = ("text", is_text)
NUMBER: Final[Kind] = ("a number", _is_number)
TIME: Final[Kind] = ("a timestamp with time zone, RFC 3339 text or epoch seconds", _is_time)
STRUCT: Final[Kind] = ("a struct", pa.types.is_struct)
KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(FIELDS, TEXT),
    **dict.fromkeys([*COUNTS, "temperature"], NUMBER),
    **dict.fromkeys(FLAGS, ("true or false", pa.types.is_boolean)),
    "timestamp": TIME,
    "messages": ("a list of structs", _is_chat),
    "tools": ("a list of text", _is_names),
    "client": STRUCT,
    "account": STRUCT,
    **dict.fromkeys(["client.ip_prefix", "client.user_agent", "account.plan", "account.payment_hash"], TEXT),
    **dict.fromkeys(["client.asn", "client.ja4"], ("text or a number", _is_flat)),
    "account.created_at": TIME,
}


def _repeated(schema: Array) -> str:
    """A column, or a field of a struct, that is there more than once; empty if none is."""
    paths = Counter(field.name for field in schema if field.name in FIELDS)
    for field in schema:
        if field.name in INNER and pa.types.is_struct(field.type):
            paths.update(f"{field.name}.{inner.name}" for inner in field.type)
    return next((path for path, count in paths.items() if count > 1), "")


def _leaves(schema: Array) -> dict[str, Array]:
    """Type of each known column, the fields of structs by their path."""
    kinds = {field.name: field.type for field in schema if field.name in FIELDS}
    for name in ("client", "account"):
        if name in kinds and pa.types.is_struct(kinds[name]):
            kinds.update({f"{name}.{inner.name}": inner.type for inner in kinds[name]})
    return kinds


def check_schema(schema: Array, file: str) -> dict[str, Array]:
    """The types of the columns to read; raises ``TrafficError`` for what ``parse`` could never accept."""
    kinds, repeated = _leaves(schema), _repeated(schema)
    if repeated:
        raise TrafficError(f"{file}: expected one column {repeated}, found several of that name")
    for field in ("exchange_id", "account_id", "timestamp", "prompt"):
        if field not in kinds and not (field == "prompt" and "messages" in kinds):
            needed = "prompt or messages" if field == "prompt" else field
            raise TrafficError(f"{file}: expected a column {needed}, found {len(schema)} columns without it")
    for path, kind in kinds.items():
        if path in KINDS and not pa.types.is_null(kind) and not KINDS[path][1](kind):
            raise TrafficError(f"{file}: column {path}: expected {KINDS[path][0]}, got {str(kind)[:60]}")
    wanted = {f"{name}.{inner}" for name, inners in INNER.items() for inner in inners}
    return {path: kind for path, kind in kinds.items() if path in wanted or (path in FIELDS and path not in INNER)}


def columns_of(rows: Array) -> dict[str, Array]:
    """The columns of a record batch by path; columns without any type are left out: all missing."""
    columns: dict[str, Array] = {}
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if name in INNER and pa.types.is_struct(column.type):
            inners = [inner.name for inner in column.type if inner.name in INNER[name]]
            columns.update({f"{name}.{inner}": pc.struct_field(column, inner) for inner in inners})
        else:
            columns[name] = column
    return {path: _usual(column) for path, column in columns.items() if not pa.types.is_null(column.type)}


def _usual(column: Array) -> Array:
    """The column in the layout that ``_columns`` reads; text that is not UTF-8 stays, to be found there."""
    kind = column.type
    if pa.types.is_dictionary(kind) and is_text(kind):
        return pa.DictionaryArray.from_arrays(column.indices, _usual(column.dictionary))
    if is_text(kind) and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column.cast(pa.large_binary()).view(pa.large_string())
    if _is_list(kind) and not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return column.cast(pa.large_list(kind.value_type))
    return column


def _repeating(kinds: dict[str, Array], footer: Array) -> list[str]:
    """Text columns that are read as distinct values and places: a long system prompt is kept once.

    Not those inside structs: Arrow cannot read them so where their dictionary ends in the middle.
    """
    names = [path for path, kind in kinds.items() if is_text(kind) and "." not in path]
    unlike = {"exchange_id", "timestamp"} | ({"prompt"} if _bytes_a_row(footer, "prompt") > MANY_REPEATS else set())
    return [name for name in names if name not in unlike]


def _bytes_a_row(footer: Array, path: str = "") -> float:
    """Uncompressed size of the widest row group, a row; of one column or of all."""
    widest = 0.0
    for i in range(footer.num_row_groups):
        group = footer.row_group(i)
        chunks = [group.column(j) for j in range(group.num_columns)] if path else []
        sizes = [chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == path]
        widest = max(widest, (sum(sizes) if path else group.total_byte_size) / max(group.num_rows, 1))
    return widest


def open_parquet(path: Path, name: str) -> Array:
    """The open file, repeating columns as distinct values; raises ``TrafficError`` for columns that are off."""
    with pq.ParquetFile(path) as file:
        footer, kinds = file.metadata, check_schema(file.schema_arrow, name)
    repeating = _repeating(kinds, footer)
    return pq.ParquetFile(path, read_dictionary=repeating, buffer_size=1 << 20, pre_buffer=False, metadata=footer)


def steps(file: Array, batch_rows: int) -> Iterator[tuple[int, Array | None]]:
    """Record batches of the known columns, of a bounded size, and the number of the first row of each.

    None in place of a batch: from this row on a row group is damaged; the next ones follow.
    """
    kinds = check_schema(file.schema_arrow, "")
    rows = min(batch_rows, max(16, int(STEP_BYTES / max(_bytes_a_row(file.metadata), 1))))
    if "messages" in kinds:
        rows = min(rows, CHAT_ROWS)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    start = 0
    for groups in _runs(sizes, rows):
        yield from _run(lambda some: file.iter_batches(rows, some, list(kinds)), groups, sizes, start)
        start += sum(sizes[i] for i in groups)


def _runs(sizes: list[int], rows: int) -> Iterator[list[int]]:
    """Row groups to be read together: neighbours that have at most this many rows, or one."""
    run, held = list[int](), 0
    for i, size in enumerate(sizes):
        if run and held + size > rows:
            yield run
            run, held = [], 0
        run.append(i)
        held += size
    if run:
        yield run


def _joined(batches: Iterator[Array]) -> list[Array]:
    """One batch of several small ones."""
    found = list(batches)
    return list(pa.Table.from_batches(found).unify_dictionaries().combine_chunks().to_batches()) if found else []


def _run(
    batches: Callable[[list[int]], Iterator[Array]], groups: list[int], sizes: list[int], start: int
) -> Iterator[tuple[int, Array | None]]:
    """Several row groups at once or, if any of them is damaged, one at a time."""
    done = start
    try:
        for rows in batches(groups) if len(groups) == 1 else _joined(batches(groups)):
            for part in _parts(rows):
                yield done, part
                done += part.num_rows
    except DAMAGE:
        if len(groups) == 1:
            yield done, None
            return
        for i in groups:
            yield from _run(batches, [i], sizes, start)
            start += sizes[i]


def _parts(rows: Array) -> Iterator[Array]:
    """Slices whose prompts, once repeats are written out, are of a bounded size."""
    at = rows.schema.get_field_index("prompt")
    if at < 0 or not pa.types.is_dictionary(rows.column(at).type):
        yield rows
        return
    lengths = pc.take(pc.binary_length(rows.column(at).dictionary), rows.column(at).indices)
    sizes = np.cumsum(lengths.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
    cuts = np.searchsorted(sizes, np.arange(STEP_BYTES, sizes[-1] if len(sizes) else 0, STEP_BYTES), "right")
    edges = np.unique(np.r_[0, cuts, len(sizes)])
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield rows.slice(start, stop - start)
