"""The command that watches traffic as it comes: each change of an account's level is a line on standard output.

Left out: following a file (``fingerprint.follow``), judging (``fingerprint.monitor``).
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from fingerprint.commands import EXAMPLES, BundleOption, app, needed, one_line_errors, say
from fingerprint.convictions import levels_of
from fingerprint.errors import FingerprintError, TrafficError
from fingerprint.exchange import Exchange
from fingerprint.follow import follow_file, follow_stream
from fingerprint.monitor import UNKNOWN, Monitor, Verdict
from fingerprint.readers import Rejects, exchanges
from fingerprint.scorer import Scorer
from fingerprint.stores import Store
from fingerprint.stores.memory import MemoryStore

__all__: list[str] = []

_LOOK_S: Final = 1.0  # from look to look at the file of campaigns
_RELOAD_S: Final = 3.0  # and at the bundle


class _Stopped(Exception):
    """A signal asked for the end."""


class _Counted(Rejects):
    """Rejected records that the monitor's metrics count too."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._also = counts

    def add(self, reason: str, file: str, lines: Iterable[int]) -> None:
        before = self.counts.get(reason, 0)
        super().add(reason, file, lines)
        self._also[f"rejected:{reason}"] += self.counts[reason] - before


class _Convictions:
    """The file of campaigns: given to the monitor at first and whenever it has changed."""

    def __init__(self, path: Path, monitor: Monitor) -> None:
        self._path, self._monitor = path, monitor
        self._state, self._due = self._now(), 0.0
        self._take()

    def _now(self) -> tuple[int, ...]:
        found = self._path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _take(self) -> None:
        known = levels_of(self._path)
        self._monitor.convict(known)
        groups = len({campaign for _, campaign, _ in known})
        say(f"{self._path.name}: {groups:,} campaign{'s' * (groups != 1)} of {len(known):,} accounts")

    def look(self) -> None:
        """Take over what changed. What cannot be read is told once, and what was known stays."""
        if (now := time.monotonic()) < self._due:
            return
        self._due = now + _LOOK_S
        try:
            state = self._now()
        except OSError:
            state = ()
        if state == self._state:
            return
        self._state = state
        try:
            self._take()
        except (FingerprintError, OSError) as error:
            say(f"fingerprint: --campaigns: {error}; what was known before stays")


class _Bundle:
    """The directory of the bundle: what is new in it is taken over."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._due, self._told = monitor, time.monotonic() + _RELOAD_S, ""

    def look(self) -> None:
        """Take over another bundle. What cannot be taken is told once, and the old one goes on."""
        if (now := time.monotonic()) < self._due:
            return
        self._due, before = now + _RELOAD_S, self._monitor.scorer.bundle_id
        try:
            changed, trouble = self._monitor.reload(), ""
        except (FingerprintError, OSError) as error:
            changed, trouble = False, str(error)
        if changed:
            say(f"bundle {self._monitor.scorer.bundle_id} from now on, {before} until now; accounts stay as known")
        if trouble and trouble != self._told:
            say(f"fingerprint: --bundle: {trouble}; bundle {before} goes on")
        self._told = trouble


class _Watch:
    """Exchanges in, lines out."""

    def __init__(self, monitor: Monitor, campaigns: Path | None, every: bool, reloading: bool) -> None:
        self.monitor, self._every = monitor, every
        self.rejects = _Counted(monitor.counts)
        self.exchanges, self.unjudged, self.signal = 0, 0, 0
        self.changes: Counter[str] = Counter()
        self._convictions = _Convictions(campaigns, monitor) if campaigns else None
        self._bundle = _Bundle(monitor) if reloading else None
        self._at_first = Counter(monitor.store.counts)  # a snapshot brings those of earlier runs

    def between(self) -> None:
        """What is done between two exchanges, and while there are none."""
        if self.signal:
            raise _Stopped
        if self._convictions:
            self._convictions.look()
        if self._bundle:
            self._bundle.look()

    def take(self, exchange: Exchange) -> None:
        """One more exchange."""
        self.between()
        verdict = self.monitor.observe(exchange)
        self.exchanges += 1
        self.unjudged += verdict.level == UNKNOWN
        changed = verdict.level not in (UNKNOWN, verdict.previous)
        if changed:
            self.changes[verdict.level] += 1
        if changed or self._every:
            _print(verdict)

    def _troubles(self) -> Counter[str]:
        """What the store could not do in this run."""
        counted = self.monitor.store.counts - self._at_first
        return Counter({name: count for name, count in counted.items() if "error" in name or name == "dropped"})

    def incomplete(self) -> bool:
        """Whether records were not used, or what is known of accounts was lost."""
        lost = self._troubles()
        return bool(self.rejects.total or self.unjudged or lost["dropped"] or lost["snapshot_errors"])

    def finish(self, began: float) -> None:
        """The last lines."""
        for line in (*self.rejects.summary(), *self.rejects.notices()):
            say(line)
        faults = {name: count for name, count in self.monitor.counts.items() if name.startswith("error:")}
        if self.unjudged:
            say(f"no verdict for {self.unjudged:,}: {', '.join(sorted(faults))}")
        if troubles := self._troubles():
            say(f"store: {', '.join(f'{count:,} {name}' for name, count in sorted(troubles.items()))}")
        changes = ", ".join(f"{self.changes[level]:,} to {level}" for level in ("allow", "review", "act"))
        say(
            f"{self.exchanges + self.rejects.total:,} records: {self.rejects.total:,} rejected, "
            f"{self.monitor.counts['duplicates']:,} duplicates dropped; changes of level: {changes} "
            f"({time.perf_counter() - began:.1f} s)"
        )


def _print(verdict: Verdict) -> None:
    told = {**verdict.as_dict(), "previous": verdict.previous}
    sys.stdout.buffer.write(json.dumps(told, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def _signals(watch: _Watch) -> Iterator[None]:
    """Ctrl-C and the signal to terminate end the watch between two exchanges; given twice, where it is."""

    def stop(number: int, _: FrameType | None) -> None:
        watch.signal = number
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _store(redis: str | None, snapshot: Path | None, bundle_id: str, sources: Iterable[str]) -> Store:
    if redis and snapshot:
        raise FingerprintError("expected --redis or --snapshot, got both: Redis keeps what it has by itself")
    if redis:
        store: Store = needed("fingerprint.stores.redis", "redis").RedisStore(redis, bundle=bundle_id)
        return store
    if snapshot and not snapshot.absolute().parent.is_dir():
        raise FingerprintError(f"--snapshot {snapshot}: no such directory")
    if snapshot and os.path.realpath(snapshot) in map(os.path.realpath, sources):
        raise FingerprintError(f"--snapshot {snapshot}: this file is read, name another place")
    return MemoryStore(snapshot=snapshot)


def _sources(file: str, watch: _Watch, new_only: bool, once: bool) -> Iterator[Iterator[bytes]]:
    if file != "-":
        if not once and not Path(file).exists():
            say(f"fingerprint: {file} is not there yet, waiting for it")
        yield from follow_file(Path(file), watch.between, new_only=new_only, once=once)
    elif sys.stdin is None:
        raise TrafficError("-: standard input is closed")
    else:
        yield follow_stream(sys.stdin.fileno(), watch.between)


def _run(watch: _Watch, file: str, new_only: bool, once: bool) -> None:
    name = "stdin" if file == "-" else f"{'new lines of ' if new_only else ''}{Path(file).name}"
    try:
        for chunks in _sources(file, watch, new_only, once):
            for exchange, _ in exchanges(chunks, name, watch.rejects):
                watch.take(exchange)
    except _Stopped:
        pass


@app.command(
    epilog=EXAMPLES
    + "  fingerprint watch traffic.jsonl --snapshot accounts.snapshot --campaigns campaigns.csv\n"
    + "  gateway | fingerprint watch - --redis redis://localhost:6379/0 | jq 'select(.alert)'"
)
def watch(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSONL file that grows, or - for stdin.")] = "-",
    bundle: BundleOption = None,
    redis: Annotated[str | None, typer.Option("--redis", metavar="URL", help="Keep accounts in Redis.")] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option("--snapshot", help="File that carries accounts from run to run; made if absent."),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start/--new-only", help="Read the lines that are there, or only those to come.")
    ] = True,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the file.")] = False,
    every: Annotated[bool, typer.Option("--all", help="A line for every exchange, not only for changes.")] = False,
    campaigns: Annotated[
        Path | None,
        typer.Option("--campaigns", help="What fingerprint campaigns wrote (.csv, .jsonl): its members are raised."),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", min=1, max=65535, help="Serve Prometheus metrics on 127.0.0.1."),
    ] = None,
) -> None:
    """Follow traffic as it comes and write a line whenever the level of an account changes.

    A new bundle in the folder of --bundle is taken over within seconds.
    """
    began = time.perf_counter()
    with one_line_errors():
        if sys.stdout is None:
            raise FingerprintError("standard output is closed")
        if once and not from_start:
            raise FingerprintError("expected --once or --new-only, got both: together they read nothing")
        scorer = Scorer.load(bundle)
        with ExitStack() as open_:
            store = _store(redis, snapshot, scorer.bundle_id, [file, str(campaigns)])
            open_.callback(store.close)
            watching = _Watch(Monitor(scorer, store), campaigns, every, bundle is not None)
            if metrics_port is not None:
                pages = needed("fingerprint.integrations.metrics", "metrics")
                open_.callback(pages.serve_metrics(watching.monitor, metrics_port).close)
            with _signals(watching):
                _run(watching, file, not from_start, once)
        watching.finish(began)
        if watching.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if watching.signal:
            raise typer.Exit(128 + watching.signal)
        if watching.incomplete():
            raise typer.Exit(1)
