"""The figures of docs/benchmarks.md: each speed beside its peer, measured in one run on this machine.

    python -m training bench [--out docs/benchmarks.md]

Medians of repeated runs and ratios; nothing here fails on a slow machine. The traffic is the built-in
world's, with prompts cut or repeated to one length, so that the figures do not depend on the corpora.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import HashingVectorizer

from fingerprint import Scorer, Window, features
from fingerprint.assemble import Assembler
from fingerprint.bundle import default_path
from fingerprint.exchange import Names
from fingerprint.features import FEATURES, compute
from fingerprint.head import Head
from fingerprint.readers import Rejects, read
from training.world import make_world
from training.world.settings import load as load_world

__all__ = [
    "Row",
    "bench",
    "booster_beside",
    "exchange_of",
    "median_us",
    "one_row",
    "reasons_of_one_row",
    "report",
    "start_row",
]


@dataclass(frozen=True)
class Row:
    """One line of the report: what, how fast, its peer in the same run, the ratio, and what is asked for."""

    what: str
    ours: str
    peer: str
    ratio: str
    asked: str


def booster_beside(bundle: Path) -> Path:
    """Where the native Booster of a bundle is kept: beside it, for parity tests and this benchmark."""
    return bundle.parent / f"{bundle.name}.booster.txt"


def median_us(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and 99th percentile of the time of ``call`` in microseconds, after a tenth of warm-up."""
    for _ in range(repeats // 10 + 1):
        call()
    times = np.empty(repeats)
    for i in range(repeats):
        start = time.perf_counter_ns()
        call()
        times[i] = time.perf_counter_ns() - start
    return float(np.median(times)) / 1000, float(np.quantile(times, 0.99)) / 1000


def one_row(scorer: Scorer, booster: lightgbm.Booster, row: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    """p50 of scoring one row by the bundle and by ``Booster.predict``, and p99 of the bundle, in microseconds."""
    row = np.ascontiguousarray(row.reshape(1, -1), np.float32)
    ours, p99 = median_us(lambda: scorer.score(row), 5000)
    peer, _ = median_us(lambda: booster.predict(row, num_threads=1), 500)
    return ours, peer, p99


def reasons_of_one_row(scorer: Scorer, booster: lightgbm.Booster, row: np.ndarray[Any, Any]) -> tuple[float, float]:
    """p50 of the reasons of one row, and of ``Booster.predict(pred_contrib=True)`` of it, in microseconds."""
    row = np.ascontiguousarray(row.reshape(1, -1), np.float32)
    ours, _ = median_us(lambda: scorer.reasons(row), 1000)
    peer, _ = median_us(lambda: booster.predict(row, pred_contrib=True, num_threads=1), 1000)
    return ours, peer


def _sized(text: bytes, size: int) -> str:
    """The text cut or repeated to `size` bytes, spaces in place of half a character at the end."""
    whole = (text * (size // max(len(text), 1) + 1))[:size].decode("utf-8", "ignore")
    return whole + " " * (size - len(whole.encode()))


def _traffic(directory: Path, rows: int, size: int) -> Path:
    """A Parquet file of ``rows`` exchanges of the built-in world with prompts of ``size`` bytes."""
    make_world(directory / "world", load_world("demo", overrides={"accounts": 800, "seed": 11}))
    table = pq.read_table(directory / "world" / "traffic")
    prompts = [_sized(text.encode(), size) for text in table["prompt"].to_pylist()]
    at = table.schema.get_field_index("prompt")
    table = table.set_column(at, "prompt", pa.array(prompts))
    copies = []
    for k in range(-(-rows // len(table))):
        ids = pa.array([f"{k}-{i}" for i in range(len(table))])
        copies.append(table.set_column(table.schema.get_field_index("exchange_id"), "exchange_id", ids))
    path = directory / "traffic.parquet"
    pq.write_table(pa.concat_tables(copies).slice(0, rows), path, compression="zstd", row_group_size=65_536)
    return path


def _windows_of(path: Path, head: Head) -> float:
    """Seconds to read a Parquet file into account windows and compute their features."""
    accounts, sessions = Names(), Names()
    start = time.perf_counter()
    assembler = Assembler("account", head, accounts, sessions)
    for batch in read(path, accounts=accounts, sessions=sessions, rejects=Rejects()):
        assembler.add(batch)
    for entities in assembler.finish():
        compute(entities.windows)
    return time.perf_counter() - start


def _batch_rows(directory: Path, scorer: Scorer, rows: int) -> list[Row]:
    path = _traffic(directory, rows, 320)
    table, times = pq.read_table(path), {}
    for count in (rows // 4, rows // 2, rows):
        part = directory / f"{count}.parquet"
        pq.write_table(table.slice(0, count), part, compression="zstd", row_group_size=65_536)
        times[count] = float(np.median([_windows_of(part, scorer.head) for _ in range(5)]))
    prompts = pq.read_table(path, columns=["prompt"])["prompt"].slice(0, 20_000).to_pylist()
    start = time.perf_counter()
    HashingVectorizer(n_features=2**16, ngram_range=(1, 2)).transform(prompts)
    peer = len(prompts) / (time.perf_counter() - start)
    rate = rows / times[rows]
    growth = ", ".join(f"{count:,}: {count / seconds:,.0f}/s" for count, seconds in times.items())
    return [
        Row(
            "Parquet to account windows, 320-byte prompts, 2 threads",
            f"{rate:,.0f} exchanges/s",
            f"HashingVectorizer alone, 1 thread: {peer:,.0f} prompts/s",
            f"{rate / peer:.1f}x",
            ">= 200,000/s",
        ),
        Row("the same by number of exchanges", growth, "", "", "linear"),
    ]


def exchange_of(size: int) -> dict[str, Any]:
    """An exchange with a prompt of so many bytes."""
    text = "Explain how the tides work and list 3 examples, step by step. " * (size // 60 + 1)
    return {
        "exchange_id": "e",
        "account_id": "a",
        "timestamp": "2026-03-01T10:00:00Z",
        "session_id": "s",
        "model": "m",
        "prompt": text[:size],
        "n_messages": 1,
        "max_tokens": 2048,
        "temperature": 0.7,
        "input_tokens": 90,
        "output_tokens": 700,
        "stop_reason": "end_turn",
        "client": {"ip_prefix": "203.0.113.0/24", "user_agent": "client"},
        "account": {"created_at": "2026-01-01T00:00:00Z", "plan": "pro"},
    }


def _serving_rows(scorer: Scorer, booster: lightgbm.Booster) -> list[Row]:
    window = Window.empty()
    for _ in range(20):
        window.update(scorer.read(exchange_of(320), after=window))
    ours, peer, p99 = one_row(scorer, booster, features(window))
    rows = [
        Row(
            "score one window",
            f"p50 {ours:.1f} µs, p99 {p99:.1f} µs",
            f"Booster.predict: p50 {peer:.1f} µs",
            f"{peer / ours:.1f}x",
            "<= 15 µs and >= 3x",
        )
    ]
    vectorizer = HashingVectorizer(n_features=2**16, ngram_range=(1, 2))
    for size, asked in ((320, "<= 40 µs"), (16 * 1024, "<= 400 µs")):
        exchange = exchange_of(size)
        ours, p99 = median_us(lambda e=exchange: features(window.update(scorer.read(e, after=window))), 3000)  # type: ignore[misc]
        peer, _ = median_us(lambda e=exchange: vectorizer.transform([e["prompt"]]), 300)  # type: ignore[misc]
        rows.append(
            Row(
                f"read one exchange of {size:,} bytes, update its window, compute features",
                f"p50 {ours:.1f} µs, p99 {p99:.1f} µs",
                f"HashingVectorizer.transform alone: p50 {peer:.0f} µs",
                f"{peer / ours:.1f}x",
                asked,
            )
        )
    return rows


def _start_row(bundle: Path) -> Row:
    code = f"import fingerprint; fingerprint.Scorer.load({str(bundle)!r})"
    return start_row("import and load the bundle, warm", code, "<= 1.5 s")


def start_row(what: str, ours: str, asked: str) -> Row:
    """A statement in a fresh interpreter, kernels already compiled on disk, beside importing the libraries."""

    def seconds(code: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    both, libraries = seconds(ours), seconds("import numpy, numba, onnxruntime")
    return Row(
        what,
        f"{both:.2f} s",
        f"import numpy, numba, onnxruntime: {libraries:.2f} s",
        f"{libraries / both:.2f}x",
        asked,
    )


def bench(bundle: Path | None = None, rows: int = 400_000) -> list[Row]:
    """Measure everything; about a minute."""
    bundle = bundle or default_path()
    scorer = Scorer.load(bundle)
    booster = lightgbm.Booster(model_file=str(booster_beside(bundle)))
    with tempfile.TemporaryDirectory() as folder:
        table = _batch_rows(Path(folder), scorer, rows)
    return [*table, *_serving_rows(scorer, booster), _start_row(bundle)]


def report(rows: list[Row], bundle_id: str, command: str = "bench --out docs/benchmarks.md") -> str:
    """The measurements as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python -m training {command}`. Each figure stands beside its peer, measured",
        "in the same run on the same machine; read the ratios rather than the absolute values.",
        "",
        f"Bundle `{bundle_id}` ({len(FEATURES)} features); {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, numpy {np.__version__}, lightgbm {lightgbm.__version__}.",
        "",
        "| what | fingerprint | peer | ratio | asked |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {row.what} | {row.ours} | {row.peer} | {row.ratio} | {row.asked} |" for row in rows]
    return "\n".join(lines) + "\n"
