"""The monitor: a verdict for every request, in microseconds, inside serving code.

    monitor = Monitor.load()
    verdict = monitor.observe(exchange)  # a dict as in the exchange record, or an ``Exchange``

It keeps a history of each account in a store, scores its windows over several horizons with the one model and applies
a policy. It is never in the way: whatever goes wrong inside is counted and logged without content, and the verdict is
``unknown``. Verdicts are for the operator: who shows them to clients helps them to probe. Left out: state (``history``,
``stores``), levels over time (``policy``), web frameworks (``integrations``).
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fingerprint.contribution import Contributions, read_parsed
from fingerprint.errors import ExchangeError, FingerprintError
from fingerprint.exchange import Exchange, parse
from fingerprint.features import compute
from fingerprint.history import HORIZONS
from fingerprint.kernels.hashing import hash_spans
from fingerprint.kernels.layout import AT
from fingerprint.policy import LEVELS, Alerts, Policy
from fingerprint.scorer import Scorer
from fingerprint.stores import Seen, Standing, Store
from fingerprint.stores.memory import MemoryStore

__all__ = ["Monitor", "Verdict"]

UNKNOWN = "unknown"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_N, _FIRST, _LAST = AT["n"], AT["first_us"], AT["last_us"]
_REFRESH_US = 600_000_000  # a level that is reached again is written down at most this often
_log = logging.getLogger("fingerprint")

_AddMany = Callable[[Sequence[tuple[str, int, Contributions]]], list[Seen]]


class Verdict:
    """What is thought of an account after an exchange: the fields of the verdict record as attributes, and more.

    ``window`` is which of ``HORIZONS`` the verdict rests on (that of the highest score); ``alert`` is whether people
    should be told now; ``campaign_id`` is the campaign that the account was found in, if any; ``scores`` has the score
    of every horizon; ``previous`` is the level that the account was told to have before. ``reasons`` are worked out
    when they are asked for. A verdict that could not be reached has level ``unknown``, score None and in ``reason`` a
    word for why.
    """

    __slots__ = (
        "_features", "_first_us", "_last_us", "_reasons", "_scorer", "account_id", "alert", "bundle_id", "campaign_id",
        "level", "n_exchanges", "previous", "reason", "score", "scores", "window",
    )  # fmt: skip

    def __init__(self, account_id: str, bundle_id: str, level: str = UNKNOWN, reason: str = "") -> None:
        self.account_id, self.bundle_id, self.level, self.reason = account_id, bundle_id, level, reason
        self.n_exchanges, self._first_us, self._last_us = 0, 0, 0
        self.score: float | None = None
        self.scores: dict[str, float] = {}
        self.window, self.alert, self.campaign_id = "", False, ""
        self.previous = level
        self._reasons: list[dict[str, Any]] | None = None
        self._scorer: Scorer | None = None
        self._features: NDArray[np.float32] | None = None

    @property
    def entity_id(self) -> str:
        return self.account_id

    @property
    def first_seen(self) -> datetime | None:
        """When the first exchange of the window arrived."""
        return _EPOCH + timedelta(microseconds=self._first_us) if self.n_exchanges else None

    @property
    def last_seen(self) -> datetime | None:
        """When the newest exchange arrived."""
        return _EPOCH + timedelta(microseconds=self._last_us) if self.n_exchanges else None

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """What drives the score, strongest first, as ``Scorer.reasons`` gives it, at whatever level."""
        if self._reasons is None:
            known = self._scorer is not None and self._features is not None
            self._reasons = self._scorer.reasons(self._features[None])[0] if known else []  # type: ignore[union-attr,index]
        return self._reasons

    def as_dict(self) -> dict[str, Any]:
        """The verdict record as JSON has it: reasons for ``review`` and ``act`` only."""
        first, last = self.first_seen, self.last_seen
        return {
            "entity_id": self.entity_id,
            "account_id": self.account_id,
            "n_exchanges": self.n_exchanges,
            "first_seen": first and f"{first.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
            "last_seen": last and f"{last.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
            "score": self.score,
            "level": self.level,
            "reasons": self.reasons if self.level in LEVELS[1:] else [],
            "bundle_id": self.bundle_id,
            "window": self.window,
            "alert": self.alert,
            "campaign_id": self.campaign_id or None,
        }

    def __repr__(self) -> str:
        score = "none" if self.score is None else f"{self.score:.3f}"
        return f"Verdict({self.level}, score {score}, {self.n_exchanges} exchanges)"


class _Model(NamedTuple):
    """What judges an exchange, from its text to its level: replaced as one."""

    scorer: Scorer
    thresholds: tuple[float, float]


class Monitor:
    """Judges every exchange. Thread-safe.

    ``counts`` says what happened: verdicts by level (``verdict:allow``, ...), ``rejected:`` with the reason, ``error:``
    with the type, ``duplicates``, ``alerts``, ``alerts_over_budget``, ``reloads``; the store has counts of its own.
    ``listener`` is called with each verdict and the seconds that it took.
    """

    def __init__(
        self,
        scorer: Scorer,
        store: Store | None = None,
        policy: Policy | None = None,
        listener: Callable[[Verdict, float], None] | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self._model = self._model_of(scorer)
        self.store: Store = store if store is not None else MemoryStore()
        self.listener = listener
        self.counts: Counter[str] = Counter()
        self._alerts = Alerts(self.policy.alerts_an_hour)
        self._convicted: Mapping[str, tuple[str, int]] = {}
        self._counting, self._alerting, self._reloading = threading.Lock(), threading.Lock(), threading.Lock()

    @classmethod
    def load(cls, bundle: str | Path | None = None, store: Store | None = None, policy: Policy | None = None) -> Self:
        """The monitor of a bundle directory, or of the bundle that ships with the package; raises ``BundleError``."""
        return cls(Scorer.load(bundle), store, policy)

    @property
    def scorer(self) -> Scorer:
        """The scorer of the bundle that judges now."""
        return self._model.scorer

    def _model_of(self, scorer: Scorer) -> _Model:
        return _Model(scorer, self.policy.thresholds(float(scorer.review), float(scorer.act)))

    def reload(self, path: str | Path | None = None) -> bool:
        """Take over the bundle that is in its directory now, or in another; whether it is another bundle.

        What is known of accounts stays: windows and histories are the same integers for all bundles of a feature set.
        Each exchange is judged by one bundle whole, head, model and thresholds. What was read of earlier exchanges was
        read by the old prompt head; that part ages out with the horizons, the month's last. Raises ``BundleError``
        where the bundle is damaged or of another feature set, and goes on with the one it has.
        """
        with self._reloading:
            before = self.scorer
            scorer = before.reload(path)
            if scorer is not before:
                self._model = self._model_of(scorer)
        changed = scorer.bundle_id != before.bundle_id
        if changed:
            self._count("reloads")
        return changed

    def convict(self, members: Iterable[tuple[str, str, str]]) -> None:
        """Take over what ``fingerprint campaigns`` found, in place of what was known: account, campaign, level. The
        level of a member is at least that of its campaign from its next exchange on."""
        found = {}
        for account, campaign, level in members:
            if level not in LEVELS:
                raise FingerprintError(f"convict: expected a level of {', '.join(LEVELS)}, got {level!r}")
            found[account] = campaign, LEVELS.index(level)
        self._convicted = found

    def observe(self, exchange: Mapping[str, Any] | Exchange) -> Verdict:
        """The verdict on an exchange's account, the exchange counted in. Never raises."""
        began = perf_counter()
        try:
            verdict = self._observe(exchange)
        except Exception as error:
            verdict = self._failed(exchange, error)
        self._done(verdict, began)
        return verdict

    def observe_many(self, exchanges: Sequence[Mapping[str, Any] | Exchange]) -> list[Verdict]:
        """``observe`` for each, in their order: faster where the store takes many at once."""
        add_many: _AddMany | None = getattr(self.store, "add_many", None)
        if add_many is None:
            return [self.observe(exchange) for exchange in exchanges]
        model, began, verdicts, places, read = self._model, perf_counter(), {}, [], []
        for i, exchange in enumerate(exchanges):
            try:
                read.append(self._read(exchange, model))
                places.append(i)
            except Exception as error:
                verdicts[i] = self._failed(exchange, error)
        try:
            judged = self._judge_many([account for account, _, _ in read], add_many(read), model)
            verdicts.update(zip(places, judged, strict=True))
        except Exception as error:
            verdicts.update({i: self._failed(exchanges[i], error) for i in places})
        for verdict in verdicts.values():
            self._done(verdict, began)
        return [verdicts[i] for i in range(len(exchanges))]

    async def aobserve(self, exchange: Mapping[str, Any] | Exchange) -> Verdict:
        """``observe`` for asyncio: in a thread, where the store may wait for a network."""
        if isinstance(self.store, MemoryStore):
            return self.observe(exchange)
        import asyncio  # not for those who never wait

        return await asyncio.to_thread(self.observe, exchange)

    def verdict(self, account: str) -> Verdict | None:
        """The verdict on an account as it is now, without an exchange; None if nothing is known of it."""
        seen = self.store.get(account)
        return self._judge(account, seen, self._model, asked=True) if seen is not None else None

    def _read(self, exchange: Mapping[str, Any] | Exchange, model: _Model) -> tuple[str, int, Contributions]:
        """Account, identity and contribution of an exchange."""
        known = exchange if isinstance(exchange, Exchange) else parse(exchange)
        name = known.exchange_id
        identity = int(hash_spans(np.frombuffer(name, np.uint8), np.array([0, len(name)], np.int64))[0])
        return known.account_id, identity, read_parsed(known, model.scorer.head)

    def _observe(self, exchange: Mapping[str, Any] | Exchange) -> Verdict:
        model = self._model
        account, identity, rows = self._read(exchange, model)
        seen = self.store.add(account, identity, rows)
        if not seen.new:
            self._count("duplicates")
        return self._judge(account, seen, model)

    def _failed(self, exchange: Mapping[str, Any] | Exchange, error: Exception) -> Verdict:
        """The verdict where there is none, and why."""
        if isinstance(error, ExchangeError):
            self._count(f"rejected:{error.reason}")
            return self._unknown(exchange, error.reason)
        self._count(f"error:{type(error).__name__}")
        _log.error("no verdict: %s while observing an exchange", type(error).__name__)
        return self._unknown(exchange, "error")

    def _done(self, verdict: Verdict, began: float) -> None:
        self._count(f"verdict:{verdict.level}")
        if self.listener:
            self._tell(verdict, perf_counter() - began)

    def _judge(self, account: str, seen: Seen, model: _Model, asked: bool = False) -> Verdict:
        rows = seen.distinct()
        if not rows:
            return Verdict(account, model.scorer.bundle_id, LEVELS[0])
        features = compute(seen.windows if len(rows) == len(HORIZONS) else seen.windows[rows])
        return self._verdict(account, seen, rows, features, model.scorer.score(features).tolist(), model, asked)[0]

    def _judge_many(self, accounts: Sequence[str], seen: Sequence[Seen], model: _Model) -> list[Verdict]:
        """Verdicts in this order, all windows scored at once; how an account stands follows from those before."""
        rows = [one.distinct() for one in seen]
        if not any(rows):
            return [Verdict(account, model.scorer.bundle_id, LEVELS[0]) for account in accounts]
        features = compute(np.concatenate([one.windows[of_one] for one, of_one in zip(seen, rows, strict=True)]))
        scores = model.scorer.score(features).tolist()
        verdicts, at = [], 0
        standings: dict[str, Standing] = {}
        for account, one, of_one in zip(accounts, seen, rows, strict=True):
            if not one.new:
                self._count("duplicates")
            one = one._replace(standing=standings.get(account, one.standing))
            span = slice(at, at + len(of_one))
            verdict, standings[account] = self._verdict(account, one, of_one, features[span], scores[span], model)
            verdicts.append(verdict)
            at = span.stop
        return verdicts

    def _verdict(
        self,
        account: str,
        seen: Seen,
        rows: list[int],
        features: NDArray[np.float32],
        scores: list[float],
        model: _Model,
        asked: bool = False,
    ) -> tuple[Verdict, Standing]:
        """The verdict on windows ``rows`` of an account, and how it stands now."""
        verdict = Verdict(account, model.scorer.bundle_id, LEVELS[0])
        if not rows:
            return verdict, seen.standing
        n = seen.windows[:, _N].tolist()
        verdict.scores = {HORIZONS[i]: score for i, score in zip(rows, scores, strict=True)}
        enough = [k for k, i in enumerate(rows) if n[i] >= self.policy.least]
        best = max(enough or [len(rows) - 1], key=scores.__getitem__)
        window = seen.windows[rows[best]]
        verdict.window, verdict.score = HORIZONS[rows[best]], scores[best]
        verdict.n_exchanges = n[rows[best]]
        verdict._first_us, verdict._last_us = int(window[_FIRST]), int(window[_LAST])
        verdict._scorer, verdict._features = model.scorer, features[best]
        return verdict, self._level(verdict, seen, scores[best] if enough else 0.0, model.thresholds, asked)

    def _level(
        self, verdict: Verdict, seen: Seen, score: float, thresholds: tuple[float, float], asked: bool
    ) -> Standing:
        """The level by policy and by campaign; whether to alert, and what changed is kept, unless one only asked. How
        the account stands for the store."""
        before, time_us = seen.standing, verdict._last_us
        verdict.previous = LEVELS[before.level]
        now = self.policy.after(score, before, thresholds, time_us)
        verdict.campaign_id, convicted = self._convicted.get(verdict.account_id, ("", 0))
        if convicted > now.level:
            now = now._replace(level=convicted, since_us=max(time_us, now.since_us))
        verdict.level = LEVELS[now.level]
        if asked:
            return before
        rose = now.level > before.level
        if self.policy.due(now, before, time_us) and (rose or self._alerts.left(time_us)):
            return self._alert(verdict, now, rose)
        if now._replace(since_us=0) != before._replace(since_us=0) or now.since_us - before.since_us > _REFRESH_US:
            self.store.stand(verdict.account_id, now)
            return now
        return before

    def _alert(self, verdict: Verdict, now: Standing, rose: bool) -> Standing:
        """An alert, if there is one left, and if no other exchange of the account at the same time made it; kept."""
        account, time_us = verdict.account_id, verdict._last_us
        with self._alerting:
            other = self.store.get(account)
            if other is not None and not self.policy.due(now, other.standing, time_us):
                now = now._replace(alerted=other.standing.alerted, alerted_us=other.standing.alerted_us)
            elif self._alerts.take(time_us):
                verdict.alert = True
                self._count("alerts")
                now = now._replace(alerted=now.level, alerted_us=time_us)
            elif rose:
                self._count("alerts_over_budget")
            self.store.stand(account, now)
        return now

    def _count(self, what: str) -> None:
        with self._counting:
            self.counts[what] += 1

    def _unknown(self, exchange: object, reason: str) -> Verdict:
        account = exchange.account_id if isinstance(exchange, Exchange) else None
        if isinstance(exchange, Mapping):
            with suppress(Exception):  # a mapping may be anything
                account = exchange.get("account_id")
        return Verdict(account if isinstance(account, str) else "", self.scorer.bundle_id, UNKNOWN, reason)

    def _tell(self, verdict: Verdict, seconds: float) -> None:
        assert self.listener is not None
        try:
            self.listener(verdict, seconds)
        except Exception as error:
            self._count(f"error:listener:{type(error).__name__}")

    def close(self) -> None:
        """Close the store."""
        self.store.close()
