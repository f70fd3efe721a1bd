"""The exchange record: the input contract, checked. One mapping in, one row of plain integers and bytes out.

Absent and null fields are missing, never zero. A record that does not keep the contract raises
``ExchangeError`` whose ``reason`` is one of a small set of words (with the name of the field, never its
content), so that readers can count rejections. Reading files is the work of ``fingerprint.readers``.
"""

import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.errors import ExchangeError
from fingerprint.kernels.hashing import hash_spans
from fingerprint.kernels.layout import MISSING, OTHER_STOP, STOPS, M

__all__ = ["FIELDS", "TIME_BOUNDS", "Batch", "Exchange", "Names", "NoNames", "batch_of", "parse", "text_hash"]

FIELDS: Final = (
    "exchange_id",
    "account_id",
    "timestamp",
    "session_id",
    "model",
    "system",
    "prompt",
    "messages",
    "n_messages",
    "tools",
    "max_tokens",
    "temperature",
    "n",
    "logprobs",
    "reasoning",
    "stream",
    "input_tokens",
    "output_tokens",
    "stop_reason",
    "client",
    "account",
)
# Microseconds UTC, the end exclusive: requests of 2000 to 2099; accounts may be as old as time stamps are.
TIME_BOUNDS: Final = {
    "timestamp": (946_684_800_000_000, 4_102_444_800_000_000),
    "created_at": (0, 4_102_444_800_000_000),
}
INT_MAX: Final = 2**31 - 1
SMALL_PLANS: Final = frozenset({"free", "trial", "pro", "plus", "basic", "starter", "hobby", "personal", "individual"})
# Integer fields with their smallest value.
COUNTS: Final = {"n_messages": 1, "max_tokens": 0, "n": 1, "input_tokens": 0, "output_tokens": 0}
FLAGS: Final = ("logprobs", "reasoning", "stream")
NUL: Final = "\x00"
NUMBERS: Final = (np.integer, np.floating, np.bool_)
ODD_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Exchange(NamedTuple):
    """One accepted record: what is kept of it while it is being read."""

    exchange_id: bytes
    account_id: str
    session_id: str | None
    time_us: int
    prompt: bytes
    meta: list[int]


class Names:
    """Gives each distinct string the next integer; ``items`` gives them back."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.items)
            self.items.append(name)
        return code


class NoNames(Names):
    """Gives every string -1 and keeps none: for sessions, where only accounts are asked for and traffic is long."""

    def code(self, name: str) -> int:
        return -1


class Batch(NamedTuple):
    """Accepted records as columns; what a reader yields and the kernels read.

    ``account`` and ``session`` are codes of the reader's ``Names`` (session -1 where absent), ``time_us``
    is microseconds UTC, ``identity`` the hash of ``exchange_id``; the prompts lie in ``data`` between
    ``offsets``; ``meta`` holds ``int32[m, len(M)]`` with ``MISSING`` where absent.
    """

    account: NDArray[np.int32]
    session: NDArray[np.int32]
    time_us: NDArray[np.int64]
    identity: NDArray[np.uint64]
    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    meta: NDArray[np.int32]


def text_hash(text: str) -> int:
    """A non-negative 31-bit hash of a short string; only ever compared for equality inside sketches."""
    return zlib.crc32(text.encode()) & INT_MAX


def text_of(record: Mapping[str, Any], field: str, needed: bool = False) -> str | None:
    value = record.get(field)
    if value is None:
        if needed:
            raise ExchangeError(f"missing:{field}")
        return None
    if not isinstance(value, str):
        raise ExchangeError(f"wrong_type:{field}")
    if needed and not value:
        raise ExchangeError(f"missing:{field}")
    return _clean(value, field)


def _clean(text: str, field: str) -> str:
    if NUL in text:
        raise ExchangeError(f"nul_byte:{field}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ExchangeError(f"invalid_utf8:{field}") from None
    return text


def _plain(value: object) -> object:
    """A number of numpy as Python's own; anything else as it is."""
    return value.item() if isinstance(value, NUMBERS) else value


def _moment(text: str) -> datetime:
    """RFC 3339 with what Python does not read: small t and z, and leap seconds, which end just before they begin."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        found = ODD_TIME.fullmatch(text)
        if not found:
            raise
        minute, second, part, zone = found.groups()
        second, part = ("59", ".999999") if second == "60" else (second, part or "")
        return datetime.fromisoformat(f"{minute}:{second}{part}{zone.upper()}")


def time_of(value: object, field: str) -> int:
    """Microseconds UTC of an RFC 3339 string with offset or of epoch seconds."""
    try:
        if isinstance(value, str):
            value = _moment(value)
        elif not isinstance(value, int | float):
            value = _plain(value)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ExchangeError(f"unreadable_time:{field}")
            micros = round(value.timestamp() * 1_000_000)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            micros = round(value * 1_000_000)
        else:
            raise ExchangeError(f"wrong_type:{field}" if value is not None else f"missing:{field}")
    except (ValueError, OverflowError) as error:
        if isinstance(error, ExchangeError):
            raise
        raise ExchangeError(f"unreadable_time:{field}") from None
    earliest, end = TIME_BOUNDS[field]
    if not earliest <= micros < end:
        raise ExchangeError(f"absurd_time:{field}")
    return micros


def _count(record: Mapping[str, Any], field: str, least: int) -> int:
    value = record.get(field)
    if value is None:
        return MISSING
    if not isinstance(value, int):
        value = _plain(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ExchangeError(f"wrong_type:{field}")
    if not least <= value <= INT_MAX:
        raise ExchangeError(f"out_of_range:{field}")
    return value


def _flag(record: Mapping[str, Any], field: str) -> int:
    value = record.get(field)
    if value is None:
        return MISSING
    if not isinstance(value, bool):
        value = _plain(value)
        if not isinstance(value, bool):
            raise ExchangeError(f"wrong_type:{field}")
    return int(value)


def _temperature(record: Mapping[str, Any]) -> int:
    value = record.get("temperature")
    if value is None:
        return MISSING
    if not isinstance(value, int | float):
        value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ExchangeError("wrong_type:temperature")
    if not 0 <= value <= 1000:
        raise ExchangeError("out_of_range:temperature")
    return round(value * 1000)


def _inner(record: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = record.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ExchangeError(f"wrong_type:{field}")
    return value


def _tools(record: Mapping[str, Any]) -> int:
    tools = record.get("tools")
    if tools is None:
        return MISSING
    if not isinstance(tools, list | tuple) or not all(isinstance(name, str) for name in tools):
        raise ExchangeError("wrong_type:tools")
    return len(tools)


def _content(message: Mapping[str, Any]) -> str:
    """The text of a chat message: a string, or the text parts of a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ExchangeError("wrong_type:messages")
    return _clean(content, "messages")


def conversation(record: Mapping[str, Any]) -> tuple[str, str | None, int]:
    """Prompt, system prompt and depth (MISSING if unknown), from ``prompt`` or from ``messages``."""
    prompt, system = text_of(record, "prompt"), text_of(record, "system")
    depth = _count(record, "n_messages", COUNTS["n_messages"])
    messages = record.get("messages")
    if messages is None:
        if prompt is None:
            raise ExchangeError("missing:prompt")
        return prompt, system, depth
    if not isinstance(messages, list | tuple) or not all(isinstance(m, Mapping) for m in messages):
        raise ExchangeError("wrong_type:messages")
    turns = [m for m in messages if m.get("role") not in ("system", "developer")]
    if prompt is None:
        asked = next((m for m in reversed(turns) if m.get("role") == "user"), None)
        if asked is None:
            raise ExchangeError("missing:prompt")
        prompt = _content(asked)
    if system is None and len(turns) < len(messages):
        system = _content(next(m for m in messages if m.get("role") in ("system", "developer")))
    return prompt, system, depth if depth != MISSING else max(len(turns), 1)


def _hashed(text: str | None) -> int:
    return MISSING if text is None else text_hash(text)


def parse(record: Mapping[str, Any]) -> Exchange:
    """Check one exchange record (a mapping as ``json.loads`` gives it).

    Raises ``ExchangeError`` with the reason; unknown fields are ignored.
    """
    if not isinstance(record, Mapping):
        raise ExchangeError("not_an_object")
    identity, account = text_of(record, "exchange_id", True), text_of(record, "account_id", True)
    assert identity is not None
    assert account is not None
    session = text_of(record, "session_id") or None
    time_us = time_of(record.get("timestamp"), "timestamp")
    prompt, system, depth = conversation(record)
    client, owner = _inner(record, "client"), _inner(record, "account")
    stop, plan, created = text_of(record, "stop_reason"), text_of(owner, "plan"), owner.get("created_at")
    payment = text_of(owner, "payment_hash")
    for field in ("asn", "ja4"):
        if isinstance(client.get(field), dict | list):
            raise ExchangeError(f"wrong_type:{field}")
    meta = [
        depth,
        _tools(record),
        _count(record, "max_tokens", COUNTS["max_tokens"]),
        _temperature(record),
        _count(record, "n", COUNTS["n"]),
        *(_flag(record, field) for field in FLAGS),
        _count(record, "input_tokens", COUNTS["input_tokens"]),
        _count(record, "output_tokens", COUNTS["output_tokens"]),
        MISSING if stop is None else STOPS.get(stop, OTHER_STOP),
        _hashed(text_of(client, "ip_prefix")),
        _hashed(text_of(client, "user_agent")),
        MISSING if created is None else time_of(created, "created_at") // 3_600_000_000,
        MISSING if plan is None else int(plan.lower() in SMALL_PLANS),
        _hashed(text_of(record, "model")),
        _hashed(system),
        _hashed(payment),
    ]
    return Exchange(identity.encode(), account, session, time_us, prompt.encode(), meta)


def joined(texts: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts as one buffer and ``int64[m + 1]`` offsets into it."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return np.frombuffer(b"".join(texts), np.uint8), offsets


def batch_of(exchanges: Iterable[Exchange], accounts: Names, sessions: Names) -> Batch:
    """Put accepted records into the columns of a ``Batch``."""
    rows = list(exchanges)
    data, offsets = joined([row.prompt for row in rows])
    return Batch(
        np.array([accounts.code(row.account_id) for row in rows], np.int32),
        np.array([-1 if row.session_id is None else sessions.code(row.session_id) for row in rows], np.int32),
        np.array([row.time_us for row in rows], np.int64),
        hash_spans(*joined([row.exchange_id for row in rows])),
        data,
        offsets,
        np.array([row.meta for row in rows], np.int32).reshape(len(rows), len(M)),
    )
