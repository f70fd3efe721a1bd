"""Histories that replicas share through Redis: one round trip an exchange, and traffic goes on where Redis does not.

Every replica sends its exchanges to the server's log of the account and gets the rows that it has not seen yet, in the
order of the log, so that all replicas have the history of one process that saw everything in that order. When a log
grows long, a replica hands in with its next call what the rows add up to: the account's new base. Accounts are hashes
named by a hash of the account's id; they hold integers made of prompts, never text. Left out: the script
(``_redis_script``), what is known of accounts here (``_redis_accounts``).
"""

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError, RedisError
    from redis.retry import Retry
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("RedisStore needs redis: pip install 'fingerprint[redis]'", name=error.name) from None

from fingerprint.contribution import Contributions
from fingerprint.history import HISTORY_LAYOUT
from fingerprint.stores import Seen, Standing, StoreError
from fingerprint.stores._redis_accounts import Accounts
from fingerprint.stores._redis_script import STAND, UPDATE, Call, Item, Limits, Reply

__all__ = ["RedisStore"]

MONTH_S: Final = 31 * 86_400  # a day more than what histories keep
TRIES: Final = 4  # of a call whose account was lost, damaged or changed by another thread
_LAYOUT: Final = HISTORY_LAYOUT
_SHA: Final = {text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for text in (UPDATE, STAND)}
_log = logging.getLogger("fingerprint")

_Command = tuple[str, str, Sequence[Any]]  # script, key, arguments


class RedisStore:
    """A ``Store`` in Redis 6.2 or later, or what speaks its protocol and has its Lua.

    ``url`` is ``redis://``, ``rediss://`` (TLS) or ``unix://``; ``options`` go to the client of ``redis``
    (``username``, ``password``, ``ssl_ca_certs``, ...). Or hand in a ``client``, also one of a cluster or of sentinels,
    that returns bytes; its time-outs and retries are then its own. Replicas share accounts whose ``prefix`` and
    ``bundle`` (any string: the id of the bundle whose head reads prompts) are the same, and the layout of histories:
    others have keys of their own. A key expires ``expire_s`` seconds after its account's last exchange. The server
    remembers at least the last ``ids`` exchange ids of an account, few more; a copy of an older one counts again.
    ``log_rows``: rows after which an account gets a new base.

    No call waits longer than about ``timeout_s``. After an error the server is left alone for ``retry_s`` seconds at a
    time and exchanges are counted in locally: up to ``queue`` of them (312 bytes each) wait for the server and are sent
    with the calls after it is back, then histories are as if it had never been away; more are dropped, the longest
    waiting first. ``cache`` accounts are kept here, 20 to 50 kB each; ``len`` is their number.

    ``counts``: ``store_errors``, ``outages``, ``local`` (exchanges that were answered without the server),
    ``dropped``, ``duplicates``, ``damaged`` (accounts that could not be read and began anew), ``restored`` (accounts
    that the server had lost and was given back), ``resent`` (exchanges that it had lost).
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        client: Any = None,
        prefix: str = "fp:",
        bundle: str = "",
        expire_s: int = MONTH_S,
        timeout_s: float = 0.5,
        retry_s: float = 1.0,
        cache: int = 2048,
        log_rows: int = 32,
        ids: int = 1024,
        queue: int = 100_000,
        **options: Any,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._client = _connect(url, timeout_s, options) if client is None else client
        self._owned = client is None
        if self._client.get_encoder().decode_responses:
            raise StoreError("expected a client that returns bytes, got one with decode_responses")
        self._pipelines = not isinstance(self._client, redis.RedisCluster)  # it has none for scripts
        self._expire_s, self._retry_s = expire_s, retry_s
        self._accounts = Accounts(Limits(expire_s, ids, log_rows, cache, queue), self.counts)
        self._prefix, self._salt = prefix, hashlib.blake2b(_LAYOUT + bundle.encode(*_LOSSLESS), digest_size=16).digest()
        self._lock = threading.Lock()
        self._down, self._try_at = False, 0.0

    def __len__(self) -> int:
        return len(self._accounts)

    def add(self, account: str, identity: int, rows: Contributions) -> Seen:
        return self._exchange({self._key(account): [Item.of(identity, rows)]})[0][0]

    def add_many(self, items: Sequence[tuple[str, int, Contributions]]) -> list[Seen]:
        """``add`` for each (account, identity, rows), in one round trip."""
        calls: dict[str, list[Item]] = {}
        places: list[tuple[int, int]] = []
        order: dict[str, int] = {}
        for account, identity, rows in items:
            key = self._key(account)
            of_account = calls.setdefault(key, [])
            places.append((order.setdefault(key, len(order)), len(of_account)))
            of_account.append(Item.of(identity, rows))
        seen = self._exchange(calls) if calls else []
        return [seen[call][i] for call, i in places]

    def get(self, account: str) -> Seen | None:
        return next(iter(self._exchange({self._key(account): []})[0]), None)

    def stand(self, account: str, standing: Standing) -> None:
        """Keep how the account stands, the last word of all replicas; nothing happens if it is unknown."""
        key = self._key(account)
        up = self._may_try()
        with self._lock:
            self._accounts.stand(key, standing, waits=not up)
        if up and self._run([self._stands(key, standing)]) is None:
            with self._lock:
                self._accounts.stand(key, standing, waits=True)

    def close(self) -> None:
        """Send what waits, as far as the server takes it, and close the client unless it was handed in."""
        while self._accounts.waiting or self._accounts.standings:
            before = self._accounts.waiting, len(self._accounts.standings)
            self._try_at = 0.0
            self._exchange({})
            if before == (self._accounts.waiting, len(self._accounts.standings)):
                break
        if self._owned:
            self._client.close()

    def _key(self, account: str) -> str:
        name = hashlib.blake2b(account.encode(*_LOSSLESS), digest_size=16, key=self._salt)
        return self._prefix + name.hexdigest()

    def _stands(self, key: str, standing: Standing) -> _Command:
        return STAND, key, (self._expire_s, standing.to_bytes())

    def _exchange(self, wanted: dict[str, list[Item]]) -> list[list[Seen]]:
        """What is seen after each item, call by call; what waits for the server is sent beside them."""
        up = self._may_try()
        with self._lock:
            calls = [self._accounts.call(key, items) for key, items in wanted.items()]
            if not up:
                return self._local(calls)
            standings: list[tuple[str, Standing]] = []
            if self._accounts.waiting or self._accounts.standings:
                calls += self._accounts.backlog(wanted)
                standings = self._accounts.standing_to(calls)
        done: dict[str, list[Seen]] = {}
        for _ in range(TRIES):
            commands: list[_Command] = [(UPDATE, call.key, call.arguments(self._accounts.limits)) for call in calls]
            replies = self._run(commands + [self._stands(*one) for one in standings])
            with self._lock:
                if replies is None:
                    break
                self._accounts.have_stood(standings)
                left = []
                for call, reply in zip(calls, replies[: len(calls)], strict=True):
                    taken = self._accounts.take(call, Reply(*reply))
                    if isinstance(taken, Call):
                        left.append(taken)
                    else:
                        done[call.key] = taken
            calls, standings = left, []
            if not calls:
                break
        with self._lock:
            rest = [call for call in calls if call.key in wanted]
            done.update(zip([call.key for call in rest], self._local(rest), strict=True))
        return [done[key] for key in wanted]

    def _local(self, calls: Sequence[Call]) -> list[list[Seen]]:
        if items := sum(len(call.items) for call in calls):
            self.counts["local"] += items
        return [self._accounts.local(call) for call in calls]

    def _may_try(self) -> bool:
        """Whether the server is to be asked: in an outage one call in ``retry_s`` seconds is."""
        if not self._down:
            return True
        with self._lock:
            now = monotonic()
            if now < self._try_at:
                return False
            self._try_at = now + self._retry_s
            return True

    def _run(self, commands: Sequence[_Command]) -> list[Any] | None:
        """Replies to calls of scripts; None, and an outage begins or goes on, if the server does not give them all."""
        try:
            replies = self._ask(commands)
        except (RedisError, OSError) as error:
            with self._lock:
                self.counts["store_errors"] += 1
                self._try_at = monotonic() + self._retry_s
                if not self._down:
                    self._down = True
                    self.counts["outages"] += 1
                    _log.warning("redis: %s: exchanges are counted in locally until it is back", type(error).__name__)
            return None
        if self._down:
            with self._lock:
                if self._down:
                    self._down = False
                    _log.warning("redis: it is back: %d exchanges wait to be sent", self._accounts.waiting)
        return replies

    def _ask(self, commands: Sequence[_Command]) -> list[Any]:
        if len(commands) == 1 or not self._pipelines:
            return [self._ask_one(*command) for command in commands]
        replies = self._pipeline(commands)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            for script in {commands[i][0] for i in missing}:
                self._client.script_load(script)
            for i, reply in zip(missing, self._pipeline([commands[i] for i in missing]), strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _pipeline(self, commands: Sequence[_Command]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipeline:
            for script, key, arguments in commands:
                pipeline.evalsha(_SHA[script], 1, key, *arguments)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def _ask_one(self, script: str, key: str, arguments: Sequence[Any]) -> Any:
        try:
            return self._client.evalsha(_SHA[script], 1, key, *arguments)
        except NoScriptError:
            self._client.script_load(script)
            return self._client.evalsha(_SHA[script], 1, key, *arguments)


_LOSSLESS: Final = ("utf-8", "surrogatepass")


def _connect(url: str, timeout_s: float, options: dict[str, Any]) -> Any:
    """A client that never waits longer than the time-out, half of it for a connection and half for a reply, and tries
    once more where a connection was broken."""
    waits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), timeout_s / 2)
    again = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    try:
        make: Callable[..., Any] = redis.Redis.from_url
        return make(url, **{**waits, "retry": again, "protocol": 2, "max_connections": 1024, **options})
    except (ValueError, TypeError) as error:  # its text may hold the password
        raise StoreError(f"redis: the URL or an option cannot be used ({type(error).__name__})") from None
