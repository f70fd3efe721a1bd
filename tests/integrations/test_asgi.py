"""The middleware under real applications and a real server: the same bytes pass, verdicts are for the operator."""

import asyncio
import gzip
import hashlib
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_bundle import toy_bundle

from fingerprint.errors import FingerprintError
from fingerprint.integrations.asgi import FingerprintMiddleware
from fingerprint.monitor import Monitor
from fingerprint.scorer import Scorer
from fingerprint.stores.memory import MemoryStore

CANARY = "canary-7f3a"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
README = Path(__file__).parents[2] / "README.md"
WHO = {"x-account-id": "acct-1"}


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("bundles") / "toy"))


@pytest.fixture
def monitor(scorer: Scorer) -> Monitor:
    return Monitor(scorer)


@pytest.fixture
def seen(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records that the monitor is given."""
    records: list[dict[str, Any]] = []
    observe = monitor.observe

    def keep(record: Any) -> Any:
        records.append(record)
        return observe(record)

    monkeypatch.setattr(monitor, "observe", keep)
    return records


def chat(text: str = "Explain tides.", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def answer(request: Request) -> JSONResponse:
    """What the application got: a digest of the body and what is thought of the account."""
    verdict = request.scope.get("fingerprint")
    assert verdict is getattr(request.state, "fingerprint", None)
    body = await request.body()
    return JSONResponse({"sha": hashlib.sha256(body).hexdigest(), "level": verdict and verdict.level})


def application(monitor: Monitor | None, **options: Any) -> FastAPI:
    app = FastAPI()
    for path in (CHAT, MESSAGES, RESPONSES, "/v1/embeddings"):
        app.add_api_route(path, answer, methods=["POST", "GET"])
    if monitor is not None:
        app.add_middleware(FingerprintMiddleware, monitor=monitor, **({"account": "X-Account-Id"} | options))
    return app


def client(app: Any, ip: str = "203.0.113.77") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(ip, 5000)), base_url="http://test")


def ask(app: Any, *bodies: Any, path: str = CHAT, ip: str = "203.0.113.77", **options: Any) -> list[httpx.Response]:
    """Answers to POSTs of these bodies, one after the other; what is no bytes or stream is sent as JSON."""

    async def all_of_them() -> list[httpx.Response]:
        async with client(app, ip) as asking:
            answers = []
            for body in bodies:
                content = json.dumps(body).encode() if isinstance(body, dict | list) else body
                answers.append(await asking.post(path, content=content, **({"headers": WHO} | options)))
            return answers

    return asyncio.run(all_of_them())


def sha(body: Any) -> str:
    return hashlib.sha256(body if isinstance(body, bytes) else json.dumps(body).encode()).hexdigest()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(max_tokens=9)),
        (MESSAGES, chat(max_tokens=9)),
        (RESPONSES, {"model": "m", "input": "Explain tides.", "max_output_tokens": 9}),
    ],
)
def test_a_request_is_observed_and_the_application_gets_it_whole(
    monitor: Monitor, seen: list[dict[str, Any]], path: str, body: dict[str, Any]
) -> None:
    before = time.time()
    (got,) = ask(application(monitor), body, path=path, headers=WHO | {"User-Agent": "ua/1"})
    assert got.json() == {"sha": sha(body), "level": "allow"}
    (record,) = seen
    assert (record["account_id"], record["prompt"], record["max_tokens"]) == ("acct-1", "Explain tides.", 9)
    assert before <= record["timestamp"] <= time.time()
    assert record["client"] == {"ip_prefix": "203.0.113.0/24", "user_agent": "ua/1"}
    assert {"output_tokens", "input_tokens", "stop_reason"} & set(record) == set(), "known after the answer only"
    assert monitor.counts == {"verdict:allow": 1}


def test_addresses_are_masked(monitor: Monitor, seen: list[dict[str, Any]]) -> None:
    for ip in ("2001:db8:1:2:3::4", "::ffff:203.0.113.9"):
        ask(application(monitor), chat(), ip=ip, headers=WHO | {"X-Forwarded-For": "198.51.100.1"})
    assert [record["client"]["ip_prefix"] for record in seen] == ["2001:db8:1::/48", "203.0.113.0/24"]


def test_a_request_that_is_sent_again_counts_once_and_a_constant_id_hides_nothing(
    monitor: Monitor, seen: list[dict[str, Any]]
) -> None:
    told = WHO | {"X-Request-Id": "req-1"}
    ask(application(monitor), chat("one"), chat("one"), chat("two"), headers=told)
    assert monitor.counts["duplicates"] == 1
    ask(application(monitor), chat("one"), chat("one"))
    assert monitor.counts["duplicates"] == 1
    ask(application(monitor, request_id=None), chat("one"), headers=told)
    assert monitor.counts["duplicates"] == 1
    ids = [record["exchange_id"] for record in seen]
    assert [name.startswith("req-1:") for name in ids] == [True, True, True, False, False, False]
    assert len(set(ids)) == 5


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CHAT), ("POST", "/v1/embeddings"), ("POST", "/v1/messages/count_tokens")]
)
def test_other_requests_pass(monitor: Monitor, seen: list[dict[str, Any]], method: str, path: str) -> None:
    async def go() -> httpx.Response:
        async with client(application(monitor)) as asking:
            return await asking.request(method, path, json=chat(), headers=WHO)

    assert asyncio.run(go()).status_code in (200, 404)
    assert (seen, monitor.counts) == ([], {})


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_pass_untouched(monitor: Monitor, kind: str) -> None:
    got: list[Any] = []

    async def app(*given: Any) -> None:
        got.extend(given)

    given = ({"type": kind, "path": CHAT}, object(), object())
    asyncio.run(FingerprintMiddleware(app, monitor, "x-account-id")(*given))  # type: ignore[arg-type]
    assert all(one is other for one, other in zip(got, given, strict=True))
    assert given[0] == {"type": kind, "path": CHAT}


async def parts(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


@pytest.mark.parametrize(
    ("reason", "body", "headers"),
    [
        ("too_large", json.dumps(chat("x" * 2000)).encode(), {}),
        ("too_large", b"[" * 2000, {}),
        ("encoded", gzip.compress(json.dumps(chat()).encode()), {"Content-Encoding": "gzip"}),
        ("invalid_json", b'{"messages": [', {}),
        ("invalid_json", b"[1]", {}),
        ("invalid_json", b"", {}),
        ("invalid_json", b"\xff\xfe{", {}),
        ("invalid_json", b"[" * 999, {}),
        ("invalid_json", b"1" * 999, {}),
        ("no_account", json.dumps(chat()).encode(), {"X-Account-Id": ""}),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_not_observed_passes_and_is_counted(
    monitor: Monitor, seen: list[dict[str, Any]], reason: str, body: bytes, headers: dict[str, str], chunked: bool
) -> None:
    content = parts(body) if chunked else body
    (got,) = ask(application(monitor, max_body=1000), content, headers=WHO | headers)
    assert got.json() == {"sha": sha(body), "level": None}
    assert (seen, monitor.counts) == ([], {f"skipped:{reason}": 1})


def test_who_asks_may_be_a_function(monitor: Monitor, seen: list[dict[str, Any]]) -> None:
    async def awaited(scope: Any) -> str | None:
        return f"async {scope['path']}"

    def broken(scope: Any) -> str | None:
        raise LookupError(CANARY)

    for account in (lambda scope: f"plain {scope['path']}", awaited, lambda scope: None, broken):
        (got,) = ask(application(monitor, account=account), chat())
        assert got.status_code == 200
    assert [record["account_id"] for record in seen] == [f"plain {CHAT}", f"async {CHAT}"]
    assert (monitor.counts["skipped:no_account"], monitor.counts["error:LookupError"]) == (2, 1)


def test_the_last_of_several_headers_counts_which_a_gateway_added(monitor: Monitor, seen: list[dict[str, Any]]) -> None:
    told = [("X-Account-Id", "somebody-else"), ("x-account-id", " acct-1 ")]
    ask(application(monitor), chat(), headers=told)
    assert seen[0]["account_id"] == "acct-1"


def loud(count: int) -> list[dict[str, Any]]:
    return [chat(f"Explain {n}.", logprobs=True) for n in range(count)]


def test_act_is_answered_with_403_where_the_operator_wants_it(monitor: Monitor) -> None:
    answers = ask(application(monitor, on_act="block"), *loud(14))
    codes = [got.status_code for got in answers]
    assert codes == [200] * 9 + [403] * 5, "ten exchanges are needed for a level"
    assert answers[-1].json() == {"error": {"type": "permission_error", "message": "This request is not permitted."}}
    length = str(len(answers[-1].content))
    assert dict(answers[-1].headers) == {"content-type": "application/json", "content-length": length}
    other = ask(application(monitor, on_act="block"), chat(), headers={"x-account-id": "other"})
    assert other[0].status_code == 200


def test_act_passes_otherwise(monitor: Monitor) -> None:
    answers = ask(application(monitor), *loud(12))
    assert [got.json()["level"] for got in answers] == ["allow"] * 9 + ["act"] * 3
    plain = ask(application(None), *loud(1))[0]
    assert answers[-1].headers.keys() == plain.headers.keys(), "nothing is told to clients"


@pytest.mark.parametrize(
    ("body", "headers"),
    [(chat("x" * 5000), {}), (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}), (b"no", {})],
)
def test_what_is_not_read_is_no_way_around_the_block(monitor: Monitor, body: Any, headers: dict[str, str]) -> None:
    app = application(monitor, on_act="block", max_body=1000)
    ask(app, *loud(12))
    assert ask(app, body, headers=WHO | headers)[0].status_code == 403
    assert ask(app, body, headers={"x-account-id": "other"} | headers)[0].status_code == 200


@pytest.mark.parametrize("options", [{"on_act": "perhaps"}, {"paths": ("/v1/embeddings",)}, {"paths": "/v1/messages"}])
def test_options_that_cannot_be_are_refused(monitor: Monitor, options: dict[str, Any]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(FingerprintError, match="expected"):
        FingerprintMiddleware(app, monitor, "x-account-id", **options)


def test_paths_of_another_prefix_and_below_a_mount(monitor: Monitor, seen: list[dict[str, Any]]) -> None:
    app = FastAPI()
    app.add_api_route(MESSAGES, answer, methods=["POST"])
    app.add_middleware(FingerprintMiddleware, monitor=monitor, account="x-account-id")
    outer = FastAPI()
    outer.mount("/proxy", app)
    assert ask(outer, chat(), path=f"/proxy{MESSAGES}")[0].status_code == 200
    own = application(None)
    own.add_api_route("/api/messages", answer, methods=["POST"])
    own.add_middleware(FingerprintMiddleware, monitor=monitor, account="x-account-id", paths=["/api/messages"])
    ask(own, chat(), path="/api/messages")
    ask(own, chat(), path=MESSAGES)
    assert len(seen) == 2


def test_no_fault_of_ours_reaches_a_request(
    monitor: Monitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise LookupError(CANARY)

    monkeypatch.setattr(monitor, "observe", fail)
    monkeypatch.setattr(monitor, "verdict", fail)
    with caplog.at_level(logging.DEBUG, logger="fingerprint"):
        for body in (chat(CANARY), CANARY.encode()):
            (got,) = ask(application(monitor, on_act="block"), body)
            assert got.json() == {"sha": sha(body), "level": None}
    assert monitor.counts["error:LookupError"] == 2
    assert CANARY not in caplog.text
    assert "LookupError" in caplog.text


def test_errors_of_the_application_are_its_own(monitor: Monitor) -> None:
    app = application(None)

    async def broken() -> None:
        raise ZeroDivisionError

    app.add_api_route("/own/messages", broken, methods=["POST"])
    app.add_middleware(FingerprintMiddleware, monitor=monitor, account="x-account-id", paths=["/own/messages"])
    with pytest.raises(ZeroDivisionError):
        ask(app, chat(), path="/own/messages")
    assert monitor.counts == {"verdict:allow": 1}


def test_a_store_that_may_wait_is_asked_in_a_thread(scorer: Scorer) -> None:
    threads = set()

    class Remote:
        """A store whose calls are not those of ``MemoryStore`` itself."""

        def __init__(self) -> None:
            self._inner = MemoryStore()

        def __getattr__(self, name: str) -> Any:
            threads.add(threading.current_thread() is threading.main_thread())
            return getattr(self._inner, name)

    app = application(Monitor(scorer, Remote()))  # type: ignore[arg-type]
    assert [got.json()["level"] for got in ask(app, chat(), b"no")] == ["allow", "allow"]
    assert threads == {False}


# ---- the protocol, message by message

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def play(monitor: Monitor, messages: list[Message], **options: Any) -> tuple[list[Message], int, Message]:
    """What an application receives that reads to the end, how many messages were read before it was called, scope."""
    left = list(messages)
    got: list[Message] = []
    read_before = []

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nothing is sent")

    async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        read_before.append(len(messages) - len(left))
        while True:
            got.append(await receive())
            if got[-1]["type"] == "http.disconnect" or (not got[-1].get("more_body") and not left):
                return

    scope: Message = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"x-account-id", b"a")]}
    asyncio.run(FingerprintMiddleware(app, monitor, "x-account-id", **options)(scope, receive, send))  # type: ignore[arg-type]
    return got, read_before[0], scope


def body_of(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


@pytest.fixture(scope="module")
def of_all(scorer: Scorer) -> Monitor:
    return Monitor(scorer)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=12),
    most=st.integers(0, 200),
    gone=st.booleans(),
)
def test_every_byte_passes_however_it_is_cut(of_all: Monitor, sizes: list[int], most: int, gone: bool) -> None:
    monitor = of_all
    whole = json.dumps(chat()).encode()
    cuts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    pieces = [*(whole[a:b] for a, b in pairwise(cuts)), whole[cuts[-1] :]]
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in pieces]
    if gone:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1] = {"type": "http.request", "body": pieces[-1]}
    before = monitor.counts.copy()
    got, _, scope = play(monitor, messages, max_body=most)
    assert body_of(got) == whole
    assert (got[-1]["type"] == "http.disconnect") == gone
    counted = monitor.counts - before
    if len(whole) > most:
        assert counted["skipped:too_large"] == 1
    elif gone:
        assert counted["skipped:disconnected"] == 1
    else:
        assert counted["verdict:allow"] == 1
        assert scope["fingerprint"] is scope["state"]["fingerprint"]


def test_no_more_is_read_ahead_than_the_limit(monitor: Monitor) -> None:
    piece: Message = {"type": "http.request", "body": b"x" * 100, "more_body": True}
    last: Message = {"type": "http.request", "body": b"x", "more_body": False}
    got, read_before, _ = play(monitor, [dict(piece) for _ in range(50)] + [last], max_body=1000)
    assert read_before == 11
    assert len(body_of(got)) == 5001


# ---- a real server


@pytest.fixture
def served(monitor: Monitor) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An application behind uvicorn on loopback: its address, and what it was told."""
    told: list[dict[str, Any]] = []
    app = FastAPI()

    @app.post(CHAT)
    async def stream(request: Request) -> StreamingResponse:
        verdict, body = request.scope.get("fingerprint"), await request.body()
        told.append({"sha": sha(body), "level": verdict and verdict.level})

        async def events() -> AsyncIterator[str]:
            for n in range(5):
                yield f"data: {n}\n\n"
                await asyncio.sleep(0.01)

        return StreamingResponse(events(), media_type="text/event-stream")

    app.add_middleware(FingerprintMiddleware, monitor=monitor, account="x-account-id", max_body=100_000, on_act="block")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}{CHAT}", told
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def test_behind_a_real_server(monitor: Monitor, served: tuple[str, list[dict[str, Any]]]) -> None:
    url, told = served
    body = json.dumps(chat("x" * 50_000)).encode()
    with httpx.Client(headers=WHO, timeout=30) as asking:
        with asking.stream("POST", url, content=body) as got:  # an answer as events
            assert list(got.iter_lines()) == [line for n in range(5) for line in (f"data: {n}", "")]
        chunks = (body[at : at + 999] for at in range(0, len(body), 999))  # a chunked upload
        assert asking.post(url, content=chunks).status_code == 200
        large = json.dumps(chat("x" * 300_000)).encode()
        assert asking.post(url, content=large).status_code == 200
        assert asking.post(url, content=(large[at : at + 9999] for at in range(0, len(large), 9999))).is_success
        assert told == [{"sha": sha(body), "level": "allow"}] * 2 + [{"sha": sha(large), "level": "allow"}] * 2
        assert monitor.counts == {"verdict:allow": 2, "skipped:too_large": 2}
        codes = [asking.post(url, json=body).status_code for body in loud(60)]
        assert codes[0] == 200
        assert codes[-1] == 403


def test_a_client_that_leaves_in_the_middle(monitor: Monitor, served: tuple[str, list[dict[str, Any]]]) -> None:
    url, told = served
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0]))) as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: t\r\nX-Account-Id: a\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"messages":')
    deadline = time.time() + 10
    while not monitor.counts and time.time() < deadline:
        time.sleep(0.02)
    assert monitor.counts == {"skipped:disconnected": 1}
    with httpx.Client(headers=WHO, timeout=30) as asking:
        assert asking.post(url, json=chat()).status_code == 200
    assert len(told) == 1


def test_the_readmes_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs as it is printed, with the bundle that ships."""
    text = README.read_text("utf-8") if README.is_file() else ""
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    (example,) = [block for block in blocks if "FingerprintMiddleware" in block]
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec", dont_inherit=True), names)
    got = ask(names["app"], chat(), b"{}")
    assert [answer.status_code for answer in got] == [200, 200]
    assert names["monitor"].counts["verdict:allow"] == 1
