"""What OpenTelemetry and Prometheus are told of a monitor, read as their users read it."""

import asyncio
import threading
import time
import urllib.request
from collections import Counter
from typing import Any

import httpx
import pytest
from builders import exchange
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families
from toy_bundle import toy_bundle

from fingerprint.integrations.metrics import instrument, metrics_app, serve_metrics
from fingerprint.monitor import Monitor, Verdict
from fingerprint.policy import Policy
from fingerprint.scorer import Scorer
from fingerprint.stores.memory import MemoryStore

CANARY = "canary-7f3a"
Samples = dict[tuple[str, str], float]  # name and label


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("bundles") / "toy"))


@pytest.fixture
def monitor(scorer: Scorer) -> Monitor:
    return Monitor(scorer, MemoryStore(max_accounts=5, hot=2), Policy(alerts_an_hour=1))


def use(monitor: Monitor) -> None:
    """Two loud accounts of which one is over the budget, six that ask once, a duplicate, records that are rejected."""
    for name in ("loud", CANARY):
        for i in range(11):
            monitor.observe(exchange(exchange_id=f"{name}{i}", account_id=name, logprobs=True, prompt=CANARY))
    for i in range(6):
        monitor.observe(exchange(exchange_id=str(i), account_id=f"one{i}"))
    monitor.observe(exchange(exchange_id="5", account_id="one5"))
    monitor.observe(exchange(account_id=None, prompt=CANARY))
    monitor.observe(exchange(n=-1, prompt=CANARY))
    monitor.counts["skipped:too_large"] += 2
    monitor.store.counts["snapshot_errors"] += 3


def check(found: Samples, monitor: Monitor) -> None:
    expected = {
        ("verdicts", "allow"): 18 + 7,
        ("verdicts", "review"): 0,
        ("verdicts", "act"): 4,
        ("verdicts", "unknown"): 2,
        ("rejected", "missing:account_id"): 1,
        ("rejected", "out_of_range:n"): 1,
        ("skipped", "too_large"): 2,
        ("duplicates", ""): 1,
        ("alerts", ""): 1,
        ("alerts_over_budget", ""): 1,
        ("reloads", ""): 0,
        ("accounts", ""): len(monitor.store),
        ("store_evictions", ""): monitor.store.counts["evicted"],
        ("store_forgotten", ""): 0,
        ("store_errors", ""): 3,
        ("observe_duration_count", ""): 31,
    }
    assert found == expected
    assert len(monitor.store) == 5
    assert monitor.store.counts["evicted"] == 3


def collected(reader: InMemoryMetricReader) -> tuple[Samples, dict[str, Any]]:
    """The values of counters and gauges and the number of the histogram, and each metric by name."""
    data = reader.get_metrics_data()
    assert data is not None
    found, by_name = {}, {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        by_name[metric.name] = metric
        name = metric.name.removeprefix("fingerprint.").replace(".", "_")
        for point in metric.data.data_points:
            label = next(iter((point.attributes or {}).values()), "")
            counts = hasattr(point, "bucket_counts")
            found[f"{name}_count" if counts else name, str(label)] = getattr(point, "count" if counts else "value")
    return found, by_name


def test_opentelemetry(monitor: Monitor) -> None:
    reader = InMemoryMetricReader()
    instrument(monitor, MeterProvider(metric_readers=[reader]))
    use(monitor)
    found, metrics = collected(reader)
    check(found, monitor)
    duration = metrics["fingerprint.observe.duration"]
    assert duration.unit == "s"
    (point,) = duration.data.data_points
    assert (point.explicit_bounds[0], point.explicit_bounds[-1]) == (1e-5, 1.0)
    assert 0 < point.min <= point.max < 10
    assert metrics["fingerprint.verdicts"].data.is_monotonic
    assert not metrics["fingerprint.accounts"].data.is_monotonic


def test_a_listener_that_was_there_is_still_told(monitor: Monitor) -> None:
    told: list[tuple[Verdict, float]] = []
    monitor.listener = lambda verdict, took: told.append((verdict, took))
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    for reader in readers:
        instrument(monitor, MeterProvider(metric_readers=[reader]))
    verdict = monitor.observe(exchange())
    assert told == [(verdict, told[0][1])]
    assert [collected(reader)[0]["observe_duration_count", ""] for reader in readers] == [1, 1]


def test_without_a_provider_it_is_that_of_the_process(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr("fingerprint.integrations.metrics.get_meter_provider", lambda: provider)
    instrument(monitor)
    monkeypatch.undo()
    monitor.observe(exchange())
    assert collected(reader)[0]["verdicts", "allow"] == 1


def scraped(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_sum")):
                continue
            name = sample.name.removeprefix("fingerprint_").removesuffix("_total").replace("_seconds_", "_")
            found[name, next(iter(sample.labels.values()), "")] = sample.value
    return found


def test_prometheus_on_a_port(monitor: Monitor) -> None:
    page = serve_metrics(monitor, 0)
    use(monitor)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics") as got:
            text, kind = got.read().decode(), got.headers["Content-Type"]
    finally:
        page.close()
    check(scraped(text), monitor)
    assert kind.startswith("text/plain; version=")
    assert CANARY not in text
    assert "acct" not in text
    assert 'fingerprint_observe_duration_seconds_bucket{le="1e-05"}' in text
    again = serve_metrics(monitor, page.port)
    with pytest.raises(OSError, match="in use"):
        serve_metrics(monitor, again.port)
    again.close()


def test_prometheus_inside_an_application(monitor: Monitor) -> None:
    app = metrics_app(monitor)
    use(monitor)

    async def go(accept: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as asking:
            return await asking.get("/metrics", headers={"Accept": accept})

    check(scraped(asyncio.run(go("text/plain")).text), monitor)
    assert "openmetrics" in asyncio.run(go("application/openmetrics-text")).headers["content-type"]


def test_pages_of_two_monitors_know_nothing_of_each_other(scorer: Scorer) -> None:
    monitors = [Monitor(scorer), Monitor(scorer)]
    pages = [serve_metrics(monitor, 0) for monitor in monitors]
    monitors[0].observe(exchange())
    found = []
    for page in pages:
        with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics") as got:
            found.append(scraped(got.read().decode())["verdicts", "allow"])
        page.close()
    assert found == [1, 0]


def test_counting_goes_on_while_it_is_read(monitor: Monitor) -> None:
    """A count that is new does not disturb who reads at the same moment."""
    page, stop = serve_metrics(monitor, 0), threading.Event()

    def count() -> None:
        n = 0
        while not stop.is_set():
            monitor.counts[f"rejected:{n}"] += 1
            n = (n + 1) % 1000
            monitor.counts = Counter() if n == 0 else monitor.counts
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(20):
            with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics") as got:
                assert b"fingerprint_accounts" in got.read()
    finally:
        stop.set()
        thread.join()
        page.close()
