"""ASGI middleware: a verdict on every request to a model API, for FastAPI, Starlette and any other ASGI application.

    app.add_middleware(FingerprintMiddleware, monitor=Monitor.load(), account="x-account-id")

It reads the JSON body of a request as it passes, observes it before the application runs, and gives the application
the verdict as ``scope["fingerprint"]`` (``request.state.fingerprint`` too). The application gets the same bytes as
without it, and no fault of this module reaches a request. Answers are passed on unread: what only they tell (output
tokens, why they stopped) is missing in the record, and missing evidence is none. No verdict is told to clients.
"""

import asyncio
import inspect
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

from fingerprint.errors import FingerprintError
from fingerprint.integrations.requests import kind_of, record_of
from fingerprint.monitor import Monitor, Verdict
from fingerprint.policy import LEVELS
from fingerprint.stores.memory import MemoryStore

__all__ = ["PATHS", "FingerprintMiddleware"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Account = Callable[[Scope], str | Awaitable[str | None] | None]

PATHS: Final = ("/v1/chat/completions", "/v1/messages", "/v1/responses")
_REFUSAL: Final = json.dumps({"error": {"type": "permission_error", "message": "This request is not permitted."}})
_log = logging.getLogger("fingerprint")


class FingerprintMiddleware:
    """Observes POST requests to ``paths`` with ``monitor``.

    ``account`` says whose a request is: the name of a header that a gateway in front sets (and takes from clients who
    send it themselves), or a function of the scope, plain or async, that returns the account or None. Put the
    middleware inside the one that authenticates, where ``account`` finds what that left in the scope. It is kept as it
    is given: no API key. Paths are whole, or those below a mount or ``root_path``, and end as a model API's do.

    ``on_act="block"`` answers requests of accounts at level ``act`` with status 403 and says no more.

    Requests that are not observed are counted in ``monitor.counts``: ``skipped:no_account``, ``skipped:too_large`` (a
    body over ``max_body`` bytes; no more than that, and what the server hands over at once, is ever held),
    ``skipped:encoded`` (a compressed body), ``skipped:invalid_json``, ``skipped:disconnected``. They get the verdict
    that their account has without them, so that large bodies are no way around ``block``.

    Exchange ids are ``request_id``, a header, together with a hash of the body: a request that a gateway sends twice is
    one exchange. Without the header they are random. None: always, for servers whose clients may set that header.
    The client's network is taken from the scope; behind a proxy the server has to put the client there
    (``uvicorn --proxy-headers --forwarded-allow-ips``).
    """

    def __init__(
        self,
        app: App,
        monitor: Monitor,
        account: str | Account,
        paths: Collection[str] = PATHS,
        max_body: int = 1_000_000,
        on_act: Literal["pass", "block"] = "pass",
        request_id: str | None = "x-request-id",
    ) -> None:
        if on_act not in ("pass", "block"):
            raise FingerprintError(f"on_act: expected pass or block, got {on_act}")
        if isinstance(paths, str) or not all(kind_of(path) for path in paths):
            raise FingerprintError("paths: expected paths that end as those of a model API do, such as /v1/messages")
        self.app, self.monitor = app, monitor
        self._account = account if callable(account) else _header_of(account)
        self._paths, self._max_body, self._blocks = frozenset(paths), max_body, on_act == "block"
        self._request_id = request_id and request_id.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (kind := self._kind(scope)) is None:
            await self.app(scope, receive, send)
            return
        received, body = time.time(), _Body(receive)
        account = await self._whose(scope)
        reason = await body.read(scope, self._max_body) if account else "no_account"
        verdict = await self._judged(scope, _Call(kind, account or "", received, body.content), reason)
        if verdict is not None and self._blocks and verdict.level == LEVELS[-1]:
            await _refuse(send)
        else:
            await self.app(scope, body.receive, send)

    def _kind(self, scope: Scope) -> str | None:
        """Which API is asked; None where nothing is observed."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path, below = scope["path"], scope["path"].removeprefix(scope.get("root_path", ""))
        return kind_of(path) if path in self._paths or below in self._paths else None

    async def _whose(self, scope: Scope) -> str | None:
        try:
            account = self._account(scope)
            if inspect.isawaitable(account):
                account = await account
        except Exception as error:
            self._fault(error)
            return None
        return account if isinstance(account, str) and account else None

    async def _judged(self, scope: Scope, call: "_Call", reason: str) -> Verdict | None:
        """The verdict, put into the scope; None where there is none. Raises nothing."""
        try:
            verdict = await self._verdict(scope, call, reason)
            if verdict is not None:
                scope["fingerprint"] = verdict
                scope.setdefault("state", {})["fingerprint"] = verdict
            return verdict
        except Exception as error:
            self._fault(error)
            return None

    async def _verdict(self, scope: Scope, call: "_Call", reason: str) -> Verdict | None:
        asked = None if reason else _json(call.content)
        if asked is not None:
            return await self.monitor.aobserve(self._record(scope, call, asked))
        self.monitor.counts[f"skipped:{reason or 'invalid_json'}"] += 1
        if not call.account:
            return None
        if isinstance(self.monitor.store, MemoryStore):
            return self.monitor.verdict(call.account)
        return await asyncio.to_thread(self.monitor.verdict, call.account)

    def _record(self, scope: Scope, call: "_Call", asked: dict[str, Any]) -> dict[str, Any]:
        headers, client = dict(_headers(scope)), scope.get("client")
        given = headers.get(self._request_id) if self._request_id else None
        return record_of(
            asked,
            kind=call.kind,
            call_id=f"{given}:{blake2b(call.content, digest_size=8).hexdigest()}" if given else uuid.uuid4().hex,
            account_id=call.account,
            received=call.received,
            headers=headers,
            ip=client[0] if client else None,
        )

    def _fault(self, error: Exception) -> None:
        self.monitor.counts[f"error:{type(error).__name__}"] += 1
        _log.error("no verdict: %s in the middleware", type(error).__name__)


class _Call(NamedTuple):
    kind: str
    account: str
    received: float
    content: bytes


class _Body:
    """A request's body, read ahead of the application and given to it once more by ``receive``."""

    def __init__(self, receive: Receive) -> None:
        self.content = b""
        self._receive, self._again = receive, list[Message]()

    async def read(self, scope: Scope, most: int) -> str:
        """Read it up to ``most`` bytes; the reason where it is not whole or not plain, else nothing."""
        headers = dict(_headers(scope))
        if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            return "encoded"
        announced = headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > most):
            return "too_large"
        held, more, reason = bytearray(), True, ""
        while more and not reason:
            message = await self._receive()
            part = message.get("body", b"")
            if message["type"] != "http.request":
                reason = "disconnected"
            elif len(held) + len(part) > most:
                reason = "too_large"
            else:
                held += part
                more = message.get("more_body", False)
        content = bytes(held)
        self._again.append({"type": "http.request", "body": content, "more_body": more})
        if reason:
            self._again.append(message)
            return reason
        self.content = content
        return ""

    async def receive(self) -> Message:
        """What the server sent, from the beginning."""
        return self._again.pop(0) if self._again else await self._receive()


def _json(content: bytes) -> dict[str, Any] | None:
    """The JSON object of these bytes, None if they are none."""
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return asked if isinstance(asked, dict) else None


def _headers(scope: Scope) -> Iterator[tuple[str, str]]:
    return ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])


def _header_of(name: str) -> Account:
    wanted = name.lower().encode("latin-1")

    def account(scope: Scope) -> str | None:
        found: list[bytes] = [value for name, value in scope["headers"] if name.lower() == wanted]
        return found[-1].decode("latin-1").strip() if found else None  # what a gateway adds stands last

    return account


async def _refuse(send: Send) -> None:
    body = _REFUSAL.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
