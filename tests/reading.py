"""Read a small source as tests do: records to write, and what the readers told of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fingerprint.errors import TrafficError
from fingerprint.exchange import Batch, Names
from fingerprint.readers import Rejects, read

NOON = "2026-03-01T12:00:00Z"
GOOD: dict[str, Any] = {
    "exchange_id": "e1",
    "account_id": "a1",
    "timestamp": NOON,
    "session_id": None,
    "model": "large",
    "system": "be brief",
    "prompt": "why is the sky blue?",
    "n_messages": 3,
    "tools": ["search"],
    "max_tokens": 256,
    "temperature": 0.7,
    "n": 1,
    "logprobs": False,
    "reasoning": True,
    "stream": None,
    "input_tokens": 12,
    "output_tokens": 90,
    "stop_reason": "end_turn",
    "client": {"ip_prefix": "192.0.2.0/24", "asn": 64500, "user_agent": "curl", "ja4": "t13d"},
    "account": {"created_at": "2026-02-01T00:00:00+02:00", "plan": "Pro", "payment_hash": "p1"},
}
SCHEMA = pa.schema(
    {
        **{name: pa.string() for name in ("exchange_id", "account_id", "timestamp", "session_id", "model", "system")},
        "prompt": pa.string(),
        "n_messages": pa.float64(),
        "tools": pa.list_(pa.string()),
        "max_tokens": pa.int64(),
        "temperature": pa.float64(),
        "n": pa.int64(),
        "logprobs": pa.bool_(),
        "reasoning": pa.bool_(),
        "stream": pa.bool_(),
        "input_tokens": pa.int64(),
        "output_tokens": pa.float64(),
        "stop_reason": pa.string(),
        "client": pa.struct(
            {"ip_prefix": pa.string(), "asn": pa.int64(), "user_agent": pa.string(), "ja4": pa.string()}
        ),
        "account": pa.struct({"created_at": pa.string(), "plan": pa.string(), "payment_hash": pa.string()}),
    }
)
CHAT = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))


def numbered(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [GOOD | {"exchange_id": f"e{i}", "account_id": f"a{i % 3}"} | fields for i in range(count)]


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_parquet(path: Path, records: list[dict[str, Any]], schema: pa.Schema = SCHEMA, **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(records, schema), path, **options)
    return path


class Told:
    """What a source gave: rows as comparable tuples, with names in place of codes, and the rejections."""

    def __init__(self, source: Path | str, **options: Any) -> None:
        self.accounts, self.sessions, self.rejects = Names(), Names(), Rejects()
        self.error = ""
        self.rows: list[tuple[Any, ...]] = []
        self.batches = 0
        batches = read(source, accounts=self.accounts, sessions=self.sessions, rejects=self.rejects, **options)
        try:
            for batch in batches:
                self.batches += 1
                self.rows.extend(self._rows(batch))
        except TrafficError as error:
            self.error = str(error)

    def _rows(self, batch: Batch) -> Iterator[tuple[Any, ...]]:
        assert batch.offsets[0] == 0
        assert batch.meta.dtype == np.int32
        assert not batch.data.flags.writeable
        for i in range(len(batch.time_us)):
            session = int(batch.session[i])
            yield (
                self.accounts.items[batch.account[i]],
                None if session < 0 else self.sessions.items[session],
                int(batch.time_us[i]),
                int(batch.identity[i]),
                batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes(),
                tuple(batch.meta[i].tolist()),
            )
