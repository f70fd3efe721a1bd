"""The figures of serving: `Monitor.observe`, its memory and its stores, each beside a peer in the same run.

    python -m training bench serving [--accounts 1000000] [--soak 10000000] [--out docs/benchmarks-serving.md]

Medians and ratios; nothing fails on a slow machine. Memory is that of a process of its own. Where the peer is not
installed (tl2cgen) or the server is missing (Redis), the row says so. Left out: batch (`bench`), grouping.
"""

from __future__ import annotations

import importlib.util
import json
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from fingerprint import Scorer
from fingerprint.bundle import default_path
from fingerprint.contribution import Contributions
from fingerprint.features import compute
from fingerprint.kernels.layout import W
from fingerprint.monitor import Monitor
from fingerprint.stores.memory import MemoryStore
from training.bench import Row, booster_beside, exchange_of, median_us, one_row, start_row

__all__ = ["bench_serving", "fill", "observed", "soak"]

ACCOUNTS = 200  # of the timed traffic: each comes back every ten minutes
STEP_S = 3.0
START_S = 1_780_000_000
MEDIAN, SIGMA, DAYS = 5.0, 1.2, 10.0  # exchanges of a tracked account (log-normal), and the days they spread over


def _stream(size: int, count: int, tag: str) -> Iterator[dict[str, Any]]:
    one = exchange_of(size)
    for i in range(count):
        yield {
            **one, "exchange_id": f"{tag}-{i}", "account_id": f"a{i % ACCOUNTS}", "timestamp": START_S + i * STEP_S,
        }  # fmt: skip


def observed(monitor: Monitor, size: int, count: int) -> np.ndarray[Any, Any]:
    """Microseconds of each `observe`, after a tenth of warm-up."""
    times = np.empty(count)
    for i, exchange in enumerate(_stream(size, count, f"{size}")):
        began = time.perf_counter_ns()
        monitor.observe(exchange)
        times[i] = time.perf_counter_ns() - began
    return times[count // 10 :] / 1000


def _observe_rows(scorer: Scorer) -> list[Row]:
    vectorizer, rows = HashingVectorizer(n_features=2**16, ngram_range=(1, 2)), []
    for size, asked in ((320, "p50 <= 60 µs, p99 <= 250 µs, >= 12,000/s"), (16 * 1024, "p50 <= 500 µs")):
        times = observed(Monitor(scorer), size, 30_000)
        text = [exchange_of(size)["prompt"]]
        peer, _ = median_us(lambda text=text: vectorizer.transform(text), 300)  # type: ignore[misc]
        p50, p99 = np.quantile(times, [0.5, 0.99])
        rows.append(
            Row(
                f"`Monitor.observe`, prompts of {size:,} bytes, four horizons scored",
                f"p50 {p50:.0f} µs, p99 {p99:.0f} µs, {1e6 / times.mean():,.0f}/s",
                f"HashingVectorizer.transform alone: p50 {peer:.0f} µs",
                f"{peer / p50:.1f}x",
                asked,
            )
        )
    return rows


def _score_row(scorer: Scorer, bundle: Path) -> Row:
    booster = lightgbm.Booster(model_file=str(booster_beside(bundle)))
    monitor = Monitor(scorer)
    for exchange in _stream(320, 2_000, "s"):
        monitor.observe(exchange)
    seen = monitor.store.get("a0")
    assert seen is not None
    row = compute(seen.windows[-1:])
    ours, peer, p99 = one_row(scorer, booster, row)
    compiled = _compiled(booster, row)
    beside = f"; tl2cgen: p50 {compiled:.1f} µs" if compiled else "; tl2cgen is not installed"
    return Row(
        "score one window (ONNX)",
        f"p50 {ours:.1f} µs, p99 {p99:.1f} µs",
        f"Booster.predict: p50 {peer:.1f} µs{beside}",
        f"{peer / ours:.1f}x" + (f", {compiled / ours:.1f}x" if compiled else ""),
        ">= 3x, and no slower than tl2cgen",
    )


def _compiled(booster: lightgbm.Booster, row: np.ndarray[Any, Any]) -> float | None:
    """p50 of one row through tl2cgen's compiled model in microseconds, None where it is not installed."""
    if importlib.util.find_spec("tl2cgen") is None or importlib.util.find_spec("treelite") is None:
        return None
    import tl2cgen  # type: ignore[import-not-found]
    import treelite  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "model.so"
        model = treelite.frontend.from_lightgbm(booster)
        tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={})
        predictor = tl2cgen.Predictor(str(library), nthread=1)
        return median_us(lambda: predictor.predict(tl2cgen.DMatrix(row)), 2_000)[0]


def _row_of(scorer: Scorer) -> Contributions:
    return scorer.read(exchange_of(320))


def _at(rows: Contributions, time_us: int, number: int) -> Contributions:
    """The same exchange at another time, with another prompt's hashes: its own arrays, since a store keeps them."""
    copied = rows.take(np.zeros(1, np.int64))
    copied.when[0, W["time_us"]] = time_us
    copied.when[0, W["prompt"]] ^= number
    return copied


def _resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def fill(scorer: Scorer, accounts: int, seed: int = 0) -> dict[str, float]:
    """Put so many accounts into a store, in order of time; bytes of memory that they take, and seconds."""
    rng, one = np.random.default_rng(seed), _row_of(scorer)
    store = MemoryStore(max_accounts=accounts + 1, max_bytes=16 << 30)
    counts = np.maximum(rng.lognormal(np.log(MEDIAN), SIGMA, accounts), 1).astype(int).clip(max=2_000)
    owner = np.repeat(np.arange(accounts), counts)
    moments = (START_S * 1e6 + rng.random(len(owner)) * DAYS * 86_400e6).astype(np.int64)
    order = np.argsort(moments, kind="stable")
    store.add("warm", 2**62, _at(one, START_S * 1_000_000, 1))
    before, began = _resident(), time.perf_counter()
    for i in order.tolist():
        store.add(f"account-{owner[i]:07d}", i + 1, _at(one, int(moments[i]), i))
    spent = time.perf_counter() - began
    told = {"exchanges": len(owner), "seconds": spent, "bytes": _resident() - before, "counted": store.bytes}
    return told | {"accounts": len(store), "resident": _resident()}


def soak(scorer: Scorer, exchanges: int, accounts: int = 20_000, looks: int = 10) -> dict[str, Any]:
    """Observe so many exchanges of accounts that come back; resident bytes after each tenth."""
    store = MemoryStore(max_accounts=accounts // 2, hot=512)
    monitor, one, seen = Monitor(scorer, store), _row_of(scorer), []
    rng, began = np.random.default_rng(1), time.perf_counter()
    for i in range(exchanges):
        account = int(accounts * rng.random() ** 2)
        verdict = store.add(f"account-{account}", i + 1, _at(one, (START_S + i) * 1_000_000, i))
        monitor._judge(f"account-{account}", verdict, monitor._model)
        if (i + 1) % (exchanges // looks) == 0:
            seen.append(_resident())
    return {"resident": seen, "seconds": time.perf_counter() - began, "evicted": store.counts["evicted"]}


def _child(call: str) -> dict[str, Any]:
    """What a function of this module gives in a process of its own."""
    code = "import json; from fingerprint import Scorer; from training import bench_serving as b;"
    code += f"print(json.dumps({call}))"
    return dict(json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout))


def _memory_rows(accounts: int, exchanges: int) -> list[Row]:
    rows = []
    if accounts:
        told = _child(f"b.fill(Scorer.load(), {accounts})")
        rows.append(
            Row(
                f"{accounts:,} tracked accounts, {told['exchanges']:,} exchanges over {DAYS:.0f} days, in memory",
                f"{told['resident'] / 1e9:.2f} GB resident, {told['bytes'] / accounts:,.0f} bytes an account",
                f"the store counts {told['counted'] / 1e9:.2f} GB",
                "",
                "<= 2.5 GB for 1,000,000",
            )
        )
    if exchanges:
        told = _child(f"b.soak(Scorer.load(), {exchanges})")
        steady = np.array(told["resident"][2:])
        rows.append(
            Row(
                f"soak: {exchanges:,} exchanges of 20,000 accounts, room for 10,000",
                f"resident {steady.min() / 1e6:,.0f} to {steady.max() / 1e6:,.0f} MB after the first fifth",
                f"{told['evicted']:,} evictions, {exchanges / told['seconds']:,.0f}/s",
                f"{steady.max() / steady.min() - 1:.1%}",
                "flat to 2 %",
            )
        )
    return rows


@contextmanager
def _redis_server() -> Iterator[str | None]:
    """The address of a server of our own, without persistence; None where there is no redis-server."""
    binary = shutil.which("redis-server")
    if binary is None or importlib.util.find_spec("redis") is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _redis_rows(scorer: Scorer) -> list[Row]:
    with _redis_server() as url:
        if url is None:
            return [Row("Redis over loopback", "redis-server or the redis package is not installed", "", "", "")]
        import redis

        from fingerprint.stores import RedisStore

        client = redis.Redis.from_url(url)
        _wait(client.ping)
        store = RedisStore(url)
        monitor = Monitor(scorer, store)
        one = observed(monitor, 320, 20_000)
        batch = _batches(monitor)
        ping, _ = median_us(client.ping, 5_000)
        monitor.close()
    peer = f"PING through redis-py: {1e6 / ping:,.0f}/s"
    return [
        Row("`Monitor.observe` over Redis on loopback, one at a time", f"{1e6 / one.mean():,.0f}/s", peer,
            f"{ping / one.mean():.2f}x", ">= 4,000/s"),
        Row("`Monitor.observe_many` over Redis, 100 at a time", f"{batch:,.0f}/s", peer,
            f"{batch * ping / 1e6:.2f}x", ">= 4,000/s"),
    ]  # fmt: skip


def _wait(ready: Callable[[], Any]) -> None:
    for _ in range(200):
        try:
            ready()
        except OSError:
            time.sleep(0.05)
        except Exception as error:
            if "Connection" not in type(error).__name__ and "Loading" not in type(error).__name__:
                raise
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the server of the benchmark did not start within 10 seconds")


def _batches(monitor: Monitor, count: int = 20_000, size: int = 100) -> float:
    exchanges = list(_stream(320, count, "batch"))
    began = time.perf_counter()
    for at in range(0, count, size):
        monitor.observe_many(exchanges[at : at + size])
    return count / (time.perf_counter() - began)


def _first_verdict(bundle: Path) -> Row:
    first = f"import fingerprint; fingerprint.Monitor.load({str(bundle)!r}).observe({exchange_of(320)!r})"
    return start_row("import, load, first verdict, warm kernel cache", first, "<= 2.5 s")


def bench_serving(bundle: Path | None = None, accounts: int = 1_000_000, exchanges: int = 10_000_000) -> list[Row]:
    """Measure everything; `accounts` and `exchanges` of 0 leave out what takes minutes."""
    bundle = bundle or default_path()
    scorer = Scorer.load(bundle)
    rows = [*_observe_rows(scorer), _score_row(scorer, bundle), *_redis_rows(scorer), _first_verdict(bundle)]
    return [*rows, *_memory_rows(accounts, exchanges)]
