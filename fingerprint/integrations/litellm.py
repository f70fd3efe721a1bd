"""LiteLLM proxy (``fingerprint[litellm]``): a guardrail that judges the account of every request before the call, and a
logger of usage.

    litellm_settings:
      callbacks: [fingerprint.integrations.litellm.guard, fingerprint.integrations.litellm.usage]

``guard`` is a ``Guardrail`` that environment variables set up. As a callback it is seen by operators only; what stands
under ``guardrails:`` in a configuration, parameters and all, LiteLLM shows to whoever may ask for ``/guardrails/list``.

Requests are counted before the call, because clients may keep a call from loggers (``no-log``) and because the account
must be judged by then. Usage is not known at that time: the exchange has none, and the logger adds what the call used
to ``Monitor.counts`` only. Counting the exchange when its call ends would leave everything in flight uncounted, for
evidence that changes little: on a simulated world the shipped model finds 33 % of attackers at ``review`` without usage
and 34 % with it, at the same rate of false alarms.

LiteLLM takes ``x-litellm-call-id`` from clients, so that a call id alone would let a client be counted once for ever.
An exchange is a call id together with when the proxy received it, which stays the same through retries and fallbacks.
No fault of this module reaches a request.
"""

import asyncio
import atexit
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.integrations.custom_logger import CustomLogger

from fingerprint.convictions import levels_of
from fingerprint.errors import FingerprintError
from fingerprint.integrations._litellm_data import (
    ACCOUNTS,
    account_id,
    bucket_of,
    call_of,
    exchange_of,
    inner,
    kind_of_call,
    usage_of,
)
from fingerprint.monitor import UNKNOWN, Monitor
from fingerprint.policy import LEVELS, Policy
from fingerprint.scorer import Scorer
from fingerprint.stores import Store
from fingerprint.stores.memory import MemoryStore

__all__ = ["Guardrail", "UsageLogger", "guard", "monitors", "usage"]

_REFUSAL: Final = "This request is not permitted."
_MARK: Final = "fingerprint"
_CALLS: Final = 50_000
_KEPT_S: Final = 7200.0
_LOOK_S: Final = 10.0  # from look to look at the file of campaigns and at the bundle
_log = logging.getLogger("fingerprint")


class _Sources(NamedTuple):
    """Where a monitor has what it needs."""

    bundle: str | None
    redis: str | None
    snapshot: str | None
    campaigns: str | None

    @classmethod
    def of(cls, given: Mapping[str, str | None]) -> "_Sources":
        """As given, else as the environment says."""
        return cls(
            **{name: given[name] or os.environ.get(f"FINGERPRINT_{name.upper()}") or None for name in cls._fields}
        )


class _Serving:
    """A monitor with the calls that it has judged lately, which the guardrail and the logger share."""

    def __init__(self, monitor: Monitor, campaigns: str | None) -> None:
        self.monitor = monitor
        self._calls: OrderedDict[str, list[Any]] = OrderedDict()  # call: when, level, whether its usage is counted
        self._campaigns = Path(campaigns) if campaigns else None
        self._written, self._look_at = 0, time.monotonic() + _LOOK_S
        if self._campaigns is not None:
            self._take(self._campaigns)

    def level(self, call: str) -> str | None:
        """The level that a call was judged to have; None if it is a new one."""
        known = self._calls.get(call)
        return known[1] if known else None

    def judged(self, call: str, level: str) -> None:
        now = time.monotonic()
        self._calls[call] = [now, level, False]
        while len(self._calls) > _CALLS or now - next(iter(self._calls.values()))[0] > _KEPT_S:
            self._calls.popitem(last=False)

    def ended(self, call: str, usage: Mapping[str, int]) -> bool:
        """Count what a call used, once; False if it was not judged here."""
        known = self._calls.get(call)
        if known and not known[2]:
            known[2] = True
            self.monitor.counts.update(usage)
        return known is not None

    async def look(self) -> None:
        """Take over the bundle and the file of campaigns if they have changed since the last look, some seconds ago."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            await asyncio.to_thread(self._reload)
            if self._campaigns is not None:
                await asyncio.to_thread(self._take, self._campaigns)

    def _reload(self) -> None:
        """What cannot be taken over is told, and the bundle that there is goes on."""
        before = self.monitor.scorer.bundle_id
        try:
            if self.monitor.reload():
                _log.warning("bundle %s from now on, %s until now", self.monitor.scorer.bundle_id, before)
        except (OSError, FingerprintError) as error:
            self.monitor.counts["error:bundle"] += 1
            _log.error("bundle %s goes on: %s", before, error.strerror if isinstance(error, OSError) else error)

    def _take(self, campaigns: Path) -> None:
        try:
            written = campaigns.stat().st_mtime_ns
            if written != self._written:
                self.monitor.convict(levels_of(campaigns))
                self._written = written
        except (OSError, FingerprintError) as error:
            self.monitor.counts["error:campaigns"] += 1
            _log.error("campaigns: %s", error.strerror if isinstance(error, OSError) else error)


_servings: dict[tuple[object, ...], _Serving] = {}


def monitors() -> list[Monitor]:
    """The monitors of this process, one for each configuration: for ``convict`` and for metrics."""
    return [serving.monitor for serving in _servings.values()]


def _serving(sources: _Sources, policy: Mapping[str, Any] | None) -> _Serving:
    key = (sources, repr(sorted((policy or {}).items())))
    if key not in _servings:
        try:
            wanted = Policy(**(policy or {}))
        except TypeError as error:
            raise FingerprintError(f"policy: {error}") from None
        scorer = Scorer.load(sources.bundle)
        Monitor(scorer, MemoryStore(1)).observe(_example())  # loads or compiles what is compiled, before traffic comes
        monitor = Monitor(scorer, _store(sources, scorer.bundle_id), wanted)
        atexit.register(monitor.close)
        _servings[key] = _Serving(monitor, sources.campaigns)
    return _servings[key]


def _store(sources: _Sources, bundle_id: str) -> Store:
    if sources.redis:
        from fingerprint.stores import RedisStore

        store: Store = RedisStore(sources.redis, bundle=bundle_id)
        return store
    return MemoryStore(snapshot=sources.snapshot)


def _example() -> dict[str, Any]:
    return {"exchange_id": "example", "account_id": "example", "timestamp": time.time(), "prompt": "hello"}


class Guardrail(CustomGuardrail):  # type: ignore[misc]
    """Observes every request of the APIs in ``requests.KINDS`` before the call.

    ``bundle``, ``redis`` and ``snapshot`` (of a store in memory) as well as ``campaigns``, a file of ``fingerprint
    campaigns`` that is read again when it changes, are by default what ``FINGERPRINT_BUNDLE`` and so on say.
    ``on_act``, by default ``FINGERPRINT_ON_ACT`` or ``pass``: ``block`` answers requests of accounts at level ``act``,
    and no others, with status 403 and says no more. ``policy``: fields of ``Policy``. ``account``: which of
    ``ACCOUNTS`` an account is, the first that a request has (``key``, ``user``, ``team``). ``tags``: whether to add the
    request tag ``fingerprint:review`` or ``fingerprint:act``. What else is given goes to LiteLLM.

    The level is in the request's metadata as ``fingerprint``, for callbacks. LiteLLM tells clients who are blocked the
    name of the guardrail, if it has one. A request of another API is counted as ``skipped:other_api`` and gets the
    level that its account has.
    """

    def __init__(
        self,
        *,
        bundle: str | None = None,
        redis: str | None = None,
        snapshot: str | None = None,
        campaigns: str | None = None,
        policy: Mapping[str, Any] | None = None,
        account: str | Sequence[str] = ("key", "user", "team"),
        tags: bool = False,
        on_act: str | None = None,
        **options: Any,
    ) -> None:
        names = (account,) if isinstance(account, str) else tuple(account)
        if not names or not set(names) <= set(ACCOUNTS):
            raise FingerprintError(f"account: expected some of {', '.join(ACCOUNTS)}")
        on_act = on_act or os.environ.get("FINGERPRINT_ON_ACT") or "pass"
        if on_act not in ("pass", "block"):
            raise FingerprintError(f"on_act: expected pass or block, got {on_act}")
        self._accounts, self._tags, self._blocks = names, tags, on_act == "block"
        given = {"bundle": bundle, "redis": redis, "snapshot": snapshot, "campaigns": campaigns}
        self._serving = _serving(_Sources.of(given), policy)
        super().__init__(**({"event_hook": "pre_call", "default_on": True} | options))

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> None:
        """Judge the account of a request; HTTPException for those that are blocked."""
        level = UNKNOWN
        try:
            level = await self._judged(user_api_key_dict, data, call_type)
            self._tell(bucket_of(data, user_api_key_dict), level)
        except Exception as error:
            self._serving.monitor.counts[f"error:{type(error).__name__}"] += 1
            _log.error("no verdict: %s in the guardrail", type(error).__name__)
        if self._blocks and level == LEVELS[-1]:
            raise HTTPException(status_code=403, detail=_REFUSAL)

    async def _judged(self, key: Any, data: Mapping[str, Any], call_type: str) -> str:
        await self._serving.look()
        serving, call = self._serving, call_of(data.get("litellm_call_id"), data.get("proxy_server_request"))
        if call and (known := serving.level(call)) is not None:
            return known
        kind = kind_of_call(call_type)
        if kind is None:
            level = await self._standing(account_id(key, self._accounts))
        else:
            record = exchange_of(data, key, kind, self._accounts, call)
            level = (await serving.monitor.aobserve(record)).level
        if call:
            serving.judged(call, level)
        return level

    async def _standing(self, account: str) -> str:
        """The level of an account whose request is none of the kind that is observed."""
        monitor = self._serving.monitor
        monitor.counts["skipped:other_api"] += 1
        if isinstance(monitor.store, MemoryStore):
            verdict = monitor.verdict(account)
        else:
            verdict = await asyncio.to_thread(monitor.verdict, account)
        return verdict.level if verdict else LEVELS[0]

    def _tell(self, bucket: MutableMapping[str, Any], level: str) -> None:
        bucket[_MARK] = {"level": level}  # in place of what a client may have put there
        if self._tags and level in LEVELS[1:]:
            tags = bucket.get("tags")
            bucket["tags"] = [*(tags if isinstance(tags, list | tuple) else ()), f"{_MARK}:{level}"]


class UsageLogger(CustomLogger):  # type: ignore[misc]
    """Adds to ``Monitor.counts`` what each call used: ``usage:calls``, ``usage:input_tokens``, ``usage:output_tokens``,
    ``usage:stop:`` and why it stopped; ``usage:failed`` for calls that failed, ``usage:unseen`` for calls that no
    guardrail has judged."""

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        try:
            _count(kwargs, usage_of(inner(kwargs, "standard_logging_object"), response_obj))
        except Exception as error:
            _log.error("no usage: %s in the logger", type(error).__name__)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        for monitor in monitors():
            monitor.counts["usage:failed"] += 1


def _count(kwargs: Mapping[str, Any], used: Mapping[str, int]) -> None:
    call = call_of(kwargs.get("litellm_call_id"), inner(kwargs, "litellm_params").get("proxy_server_request"))
    for serving in _servings.values():
        if call is None or not serving.ended(call, used):
            serving.monitor.counts["usage:unseen"] += 1


usage = UsageLogger()
guard: Guardrail


def __getattr__(name: str) -> Any:
    """``guard``, made when it is first asked for."""
    if name == "guard":
        globals()[name] = Guardrail()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
