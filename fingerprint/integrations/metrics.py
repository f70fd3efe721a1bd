"""Metrics of a monitor: OpenTelemetry instruments, and Prometheus's text format for who scrapes (``[metrics]``).

    instrument(monitor)                     # into the process's meter provider, whatever it exports to
    serve_metrics(monitor, 9464)            # or a page of its own on a port
    app.mount("/metrics", metrics_app(monitor))  # or inside an ASGI application

No account, no session and nothing of a prompt is in a name or a label. Left out: verdicts (``Monitor.listener`` has
each), and who may see the page.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider
from opentelemetry.sdk import metrics as sdk
from prometheus_client import CollectorRegistry, make_asgi_app, start_http_server

from fingerprint.monitor import Monitor, Verdict
from fingerprint.policy import LEVELS

__all__ = ["Serving", "instrument", "metrics_app", "serve_metrics"]

_SECONDS: Final = (*(n * step for step in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1) for n in (1, 2.5, 5)), 1.0)
_LEVELS: Final = (*LEVELS, "unknown")
Observe = Callable[[CallbackOptions], Iterable[Observation]]


def instrument(monitor: Monitor, meter_provider: MeterProvider | None = None) -> None:
    """Give what the monitor and its store count to a meter provider, by default the one that is set for the process.

    ``Monitor.listener`` gets the histogram of seconds; one that was there is called as before. Once for each provider.
    """
    meter = (meter_provider or get_meter_provider()).get_meter("fingerprint")
    _of_monitor(meter, monitor)
    _of_store(meter, monitor)
    seconds = meter.create_histogram(
        "fingerprint.observe.duration",
        unit="s",
        description="Time that a verdict took.",
        explicit_bucket_boundaries_advisory=_SECONDS,
    )
    before = monitor.listener

    def listen(verdict: Verdict, took: float) -> None:
        seconds.record(took)
        if before is not None:
            before(verdict, took)

    monitor.listener = listen


def _of_monitor(meter: Meter, monitor: Monitor) -> None:
    def counted(name: str, key: str, label: str, told: str, known: Iterable[str] = ()) -> None:
        """A counter of all keys that begin with ``key`` and a colon, the rest of the key being its label."""
        callback = _by_label(lambda: monitor.counts, f"{key}:", label, known)
        meter.create_observable_counter(f"fingerprint.{name}", [callback], description=told)

    counted("verdicts", "verdict", "level", "Verdicts by level.", _LEVELS)
    counted("rejected", "rejected", "reason", "Exchanges that do not keep the contract, by reason.")
    counted("skipped", "skipped", "reason", "Requests that were not observed, by reason.")
    counted("errors", "error", "type", "Exchanges without a verdict for a fault, by the type of the error.")
    for key, told in (
        ("duplicates", "Exchanges whose id was known."),
        ("alerts", "Verdicts that people should be told of."),
        ("alerts_over_budget", "Alerts that were kept back: the hour had its number of them."),
        ("reloads", "Bundles that were taken over."),
    ):
        callback = _one(lambda key=key: monitor.counts[key])  # type: ignore[misc]
        meter.create_observable_counter(f"fingerprint.{key}", [callback], description=told)


def _of_store(meter: Meter, monitor: Monitor) -> None:
    meter.create_observable_up_down_counter(
        "fingerprint.accounts", [_one(lambda: len(monitor.store))], description="Accounts that are tracked."
    )
    for name, holds, told in (
        ("evictions", "evicted", "Accounts of which only a summary was kept, to stay within bounds."),
        ("forgotten", "forgotten", "Accounts of which nothing was kept, to stay within bounds."),
        ("errors", "error", "Faults of the store; the log says which."),
    ):
        callback = _one(lambda holds=holds: _sum(monitor.store.counts, holds))  # type: ignore[misc]
        meter.create_observable_counter(f"fingerprint.store.{name}", [callback], description=told)


def _sum(counts: Mapping[str, int], holds: str) -> int:
    """Of all counts whose name holds this word."""
    return sum(count for name, count in dict(counts).items() if holds in name)


def _one(value: Callable[[], int]) -> Observe:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value())]

    return observe


def _by_label(counts: Callable[[], Counter[str]], key: str, label: str, known: Iterable[str]) -> Observe:
    """Also those of ``known`` that have not been counted, as 0: a rate needs a beginning."""
    expected = tuple(known)

    def observe(options: CallbackOptions) -> Iterator[Observation]:
        found = dict(counts())  # in one step: other threads count on
        rest = {name[len(key) :]: count for name, count in found.items() if name.startswith(key)}
        for name, count in (dict.fromkeys(expected, 0) | rest).items():
            yield Observation(count, {label: name})

    return observe


def _registry(monitor: Monitor) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    instrument(monitor, sdk.MeterProvider(metric_readers=[reader], shutdown_on_exit=False))
    return registry


def metrics_app(monitor: Monitor) -> Callable[..., Any]:
    """An ASGI application that answers with the metrics in Prometheus's text format (or OpenMetrics where asked)."""
    app: Callable[..., Any] = make_asgi_app(_registry(monitor))
    return app


class Serving:
    """A page that is served from a thread until ``close``."""

    def __init__(self, registry: CollectorRegistry, port: int, host: str) -> None:
        self._server, self._thread = start_http_server(port, host, registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop serving; the port is free again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_metrics(monitor: Monitor, port: int, host: str = "127.0.0.1") -> Serving:
    """Serve the metrics at ``http://host:port/metrics`` from a thread; port 0 takes a free one. OSError if it is taken.

    Everybody who reaches the address reads them: ``host="0.0.0.0"`` is for networks where all may.
    """
    return Serving(_registry(monitor), port, host)
