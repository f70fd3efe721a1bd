"""Rows of a Parquet file to a ``Batch``: the rules of ``exchange.parse``, in its order, column by column.

A bad row gets the same reason from either format, and a good one the same integers. Prompts are not copied.
Left out: opening files and counting (``fingerprint.readers``); a column of a wrong type is an error of the whole
file (``fingerprint._schema``), not of its rows. Rows with ``messages`` are read one by one, by ``parse``'s code.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint import _columns as read
from fingerprint._columns import Coded, Faults, Ints, Spans
from fingerprint._schema import columns_of
from fingerprint.errors import ExchangeError
from fingerprint.exchange import FLAGS, SMALL_PLANS, Batch, Names, conversation, joined, text_hash
from fingerprint.kernels.hashing import hash_spans
from fingerprint.kernels.layout import MISSING, OTHER_STOP, STOPS, M

__all__ = ["to_batch"]

Columns = dict[str, Any]
TALK: Final = ("prompt", "system", "n_messages", "messages")  # what ``conversation`` reads
HOUR_US: Final = 3_600_000_000


class Talk(NamedTuple):
    """What is said: prompts, hashes of system prompts, depths."""

    prompts: Spans
    system: Ints
    depth: Ints


def _talk(columns: Columns, faults: Faults) -> Talk:
    messages, prompt = columns.get("messages"), columns.get("prompt")
    if messages is not None and messages.null_count < len(messages):
        return _chat(columns, faults)
    texts = Spans(*joined([b""] * len(faults.codes)))
    if prompt is not None:
        texts = read.spans(prompt)
        read.check_spans(texts, "prompt", faults)
    system = read.text_values(columns.get("system"), "system", text_hash, faults)
    depth = read.counts(columns.get("n_messages"), "n_messages", faults)
    absent = np.ones(len(depth), np.bool_) if prompt is None else read.nulls(prompt)
    faults.mark(absent, "missing:prompt")
    return Talk(texts, system, depth)


def _chat(columns: Columns, faults: Faults) -> Talk:
    """The same, row by row, where the prompt may have to be found in the conversation."""
    fields = {field: _items(columns[field], field, faults) for field in TALK if field in columns}
    prompts, rows = [b""] * len(faults.codes), np.full((len(faults.codes), 2), MISSING, np.int64)
    for i in np.flatnonzero(faults.codes == 0):
        try:
            prompt, system, depth = conversation({field: items[i] for field, items in fields.items()})
        except ExchangeError as error:
            faults.mark(np.arange(len(rows)) == i, error.reason)
            continue
        prompts[i] = prompt.encode()
        rows[i] = MISSING if system is None else text_hash(system), depth
    return Talk(Spans(*joined(prompts)), rows[:, 0], rows[:, 1])


def _items(column: Any, field: str, faults: Faults) -> list[Any]:
    """The column as Python objects; rows that are not UTF-8 are marked and None."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        items, bad = [], np.zeros(len(column), np.bool_)
        for i, item in enumerate(column):
            try:
                items.append(item.as_py())
            except UnicodeDecodeError:
                items.append(None)
                bad[i] = True
        faults.mark(bad, f"invalid_utf8:{field}")
        return items


def _meta(columns: Columns, talk: Talk, faults: Faults) -> NDArray[np.int32]:
    """int32[rows, len(M)]; the order of the checks is that of ``parse``."""
    get = columns.get
    stop = read.text_values(get("stop_reason"), "stop_reason", lambda text: STOPS.get(text, OTHER_STOP), faults)
    plan = read.text_values(get("account.plan"), "plan", lambda text: text.lower() in SMALL_PLANS, faults)
    payment = read.text_values(get("account.payment_hash"), "payment_hash", text_hash, faults)
    values = {"n_messages": talk.depth, "n_tools": read.tools(get("tools"), faults)}
    values["max_tokens"] = read.counts(get("max_tokens"), "max_tokens", faults)
    values["temperature"] = read.temperatures(get("temperature"), faults)
    values["n"] = read.counts(get("n"), "n", faults)
    values |= {field: read.flags(get(field), faults) for field in FLAGS}
    values |= {field: read.counts(get(field), field, faults) for field in ("input_tokens", "output_tokens")}
    values |= {"stop": stop, "small_plan": plan, "system": talk.system, "payment": payment}
    values["ip"] = read.text_values(get("client.ip_prefix"), "ip_prefix", text_hash, faults)
    values["agent"] = read.text_values(get("client.user_agent"), "user_agent", text_hash, faults)
    created = read.times(get("account.created_at"), "created_at", faults)
    values["created_hour"] = np.where(created == MISSING, MISSING, created // HOUR_US)
    values["model"] = read.text_values(get("model"), "model", text_hash, faults)
    meta = np.empty((len(talk.depth), len(M)), np.int32)
    for name, place in M.items():
        meta[:, place] = np.where(faults.codes == 0, values[name], MISSING)
    return meta


def _codes(coded: Coded, rows: Ints, names: Names) -> NDArray[np.int32]:
    """Codes of the given rows, given out in the order in which the rows come; -1 where absent or empty."""
    places = coded.places[rows]
    used, first = np.unique(places, return_index=True)
    codes = np.full(len(coded.values) + 1, -1, np.int32)
    for place in used[np.argsort(first)]:
        if place >= 0 and coded.values[place]:
            codes[place] = names.code(coded.values[place].decode())
    return codes[places]


def to_batch(rows: Any, accounts: Names, sessions: Names) -> tuple[Batch, Faults]:
    """The accepted rows of a record batch, and what is wrong with the others."""
    columns, faults = columns_of(rows), Faults(rows.num_rows)
    identities = _identities(columns, faults)
    account = read.ids(columns.get("account_id"), "account_id", True, faults)
    session = read.ids(columns.get("session_id"), "session_id", False, faults)
    time_us = read.times(columns.get("timestamp"), "timestamp", faults)
    faults.mark(time_us == MISSING, "missing:timestamp")
    talk = _talk(columns, faults)
    meta = _meta(columns, talk, faults)
    keep = np.flatnonzero(faults.codes == 0)
    prompts = talk.prompts.take(keep)
    batch = Batch(
        _codes(account, keep, accounts),
        _codes(session, keep, sessions),
        time_us[keep],
        hash_spans(*identities.take(keep)),
        prompts.data,
        prompts.offsets,
        meta[keep],
    )
    return batch, faults


def _identities(columns: Columns, faults: Faults) -> Spans:
    column = columns.get("exchange_id")
    if column is None:
        faults.mark(faults.codes == 0, "missing:exchange_id")
        return Spans(*joined([b""] * len(faults.codes)))
    texts = read.spans(column)
    faults.mark(read.nulls(column) | (np.diff(texts.offsets) == 0), "missing:exchange_id")
    read.check_spans(texts, "exchange_id", faults)
    return texts
