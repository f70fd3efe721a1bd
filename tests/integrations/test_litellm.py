"""The LiteLLM proxy: requests as exchange records, and a real proxy with answers of its own on the loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from toy_bundle import write_manifest

from fingerprint.exchange import parse
from fingerprint.integrations._litellm_data import account_id, bucket_of, call_of, exchange_of, usage_of
from fingerprint.stores import MemoryStore

HERE = Path(__file__).parent
CONFIG = HERE / "litellm_config.yaml"
CANARY = "zanzibar-9154 wonderfully unlikely"
SHIPPED = HERE.parents[1] / "models" / "default"
SOURCES = {"campaigns": "campaigns.csv", "bundle": "bundle"}
MASTER = "sk-2f6d0c6f5f1f4d0ea1b7c0a9d3e84b57"
CALL = {"litellm_call_id": "c", "proxy_server_request": {"arrival_time": 1_772_000_000.5, "headers": {}}}

ROOT = HERE.parents[1]
PYTHON = Path(os.environ.get("LITELLM_PYTHON", ROOT / ".venv-litellm/bin/python"))
needs_proxy = pytest.mark.skipif(not PYTHON.exists(), reason="needs .venv-litellm: make litellm")


@pytest.mark.parametrize("document", ["README.md", "docs/serving.md"])
def test_the_documents_show_the_configuration_that_is_tested(document: str) -> None:
    assert f"```yaml\n{CONFIG.read_text()}```" in (ROOT / document).read_text("utf-8")


def key(**fields: Any) -> SimpleNamespace:
    known = {"api_key": "hash", "user_id": "u", "team_id": "t", "metadata": {}, "team_metadata": None}
    return SimpleNamespace(**(known | fields))


def record(kind: str, data: dict[str, Any], owner: SimpleNamespace | None = None, **bucket: Any) -> dict[str, Any]:
    """The record of a request as the proxy hands it to hooks."""
    owner, name = owner or key(), "metadata" if kind == "chat" else "litellm_metadata"
    data = CALL | data | {name: data.get(name, {}) | {"user_api_key_auth": owner} | bucket}
    found = exchange_of(data, owner, kind, ("key", "user", "team"), call_of("c", data["proxy_server_request"]))
    parse(found)
    return found


def test_a_chat_request() -> None:
    request = {"arrival_time": 1_772_000_000.5, "headers": {"User-Agent": "ua/1"}}
    found = record(
        "chat",
        {
            "model": "m",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}],
            "tools": [{"type": "function", "function": {"name": "search"}}],
            "max_completion_tokens": 50,
            "temperature": 0.5,
            "n": 2,
            "logprobs": True,
            "reasoning_effort": "high",
            "stream": True,
            "metadata": {"session_id": "s"},
            "proxy_server_request": request,
        },
        key(metadata={"plan": "pro", "created_at": "2026-01-01T00:00:00Z"}),
        requester_ip_address="10.1.2.3, 10.9.9.9",
    )
    assert found.pop("exchange_id") == call_of("c", request)
    assert found == {
        "account_id": "hash",
        "timestamp": 1_772_000_000.5,
        "session_id": "s",
        "model": "m",
        "system": "be brief",
        "prompt": "why?",
        "n_messages": 1,
        "tools": ["search"],
        "max_tokens": 50,
        "temperature": 0.5,
        "n": 2,
        "logprobs": True,
        "reasoning": True,
        "stream": True,
        "client": {"ip_prefix": "10.1.2.0/24", "user_agent": "ua/1"},
        "account": {"plan": "pro", "created_at": "2026-01-01T00:00:00Z"},
    }


def test_a_request_to_messages() -> None:
    found = record(
        "messages",
        {
            "system": [{"type": "text", "text": "be brief"}],
            "max_tokens": 20,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [{"name": "search"}, {"type": "web_search_20250305"}],
            "metadata": {"user_id": "the client's word"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "what is"}, {"type": "text", "text": "new?"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "search", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "nothing"}]},
            ],
        },
    )
    assert (found["system"], found["prompt"], found["n_messages"]) == ("be brief", "what is\nnew?", 3)
    assert (found["max_tokens"], found["reasoning"], len(found["tools"])) == (20, True, 2)
    assert not {"temperature", "session_id", "client", "account", "output_tokens", "stop_reason"} & set(found)


def test_a_request_to_responses() -> None:
    found = record("responses", {"input": "why?", "instructions": "be brief", "max_output_tokens": 9})
    assert (found["system"], found["prompt"], found["n_messages"]) == ("be brief", "why?", 1)
    assert (found["max_tokens"], found["n"], found["tools"], found["stream"]) == (9, 1, [], False)
    items = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "input_text", "text": "why?"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "name": "f", "call_id": "1", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "42"},
    ]
    found = record("responses", {"input": items, "reasoning": {"effort": "low"}, "include": ["x"]})
    assert (found["system"], found["prompt"], found["n_messages"]) == ("be brief", "why?", 3)
    assert (found["reasoning"], found["logprobs"]) == (True, False)
    found = record("responses", {"input": "and?", "conversation": {"id": "conv"}})
    assert (found["session_id"], found.get("n_messages")) == ("conv", None)


@pytest.mark.parametrize("kind", ["chat", "messages", "responses", "completions"])
@pytest.mark.parametrize("broken", [None, "text", 7, [], [None, "x", 3], {}, [{"role": 3, "content": {"a": 1}}]])
def test_what_is_malformed_is_missing(kind: str, broken: Any) -> None:
    names = ("messages", "system", "tools", "max_tokens", "temperature", "n", "logprobs", "stream", "thinking", "model")
    data = dict.fromkeys((*names, "functions", "reasoning", "include", "top_logprobs", "metadata"), broken) | CALL
    asked = dict.fromkeys(("input", "prompt"), "why?") | {"messages": [{"role": "user", "content": "why?"}]}
    for body in (data, data | asked):
        found = exchange_of(body, key(), kind, ("key",), call_of("c", CALL["proxy_server_request"]))
        if body is not data:
            assert parse(found).prompt == b"why?"


def test_no_client_escapes_by_what_records_may_not_hold() -> None:
    found = record(
        "chat", {"messages": [{"role": "user", "content": "a\x00b \ud800"}], "temperature": "hot", "n": 10**12}
    )
    assert (found["prompt"], found["n"], "temperature" in found) == ("a b ?", 1, False)
    found = record("chat", {"messages": [{"role": "system", "content": "all is said here"}]})
    assert (found["prompt"], "system" in found) == ("all is said here", False)


def test_whose_account_it_is() -> None:
    assert account_id(key(), ("key", "user")) == "hash"
    assert account_id(key(api_key=None), ("key", "user")) == "u"
    assert account_id(key(api_key="hashed-jwt-1"), ("key", "team")) == "t"
    assert account_id(key(api_key=None), ("key",)) == ""


def test_clients_cannot_choose_what_an_exchange_is_called() -> None:
    first, second = call_of("same", {"arrival_time": 1.0}), call_of("same", {"arrival_time": 2.0})
    assert first != second
    assert first == call_of("same", {"arrival_time": 1.0})
    assert call_of("same", None) is None


def test_clients_cannot_pass_their_metadata_off_as_the_proxys() -> None:
    forged = {"user_api_key_auth": {"api_key": "x"}, "requester_ip_address": "9.9.9.9"}
    owner = key()
    own = {"user_api_key_auth": owner}
    assert bucket_of({"litellm_metadata": forged, "metadata": own}, owner) is own
    assert bucket_of({"litellm_metadata": forged}, owner) == {}


def test_usage_is_counted_by_why_it_stopped() -> None:
    answer = SimpleNamespace(choices=[SimpleNamespace(finish_reason="length")])
    used = usage_of({"prompt_tokens": 3, "completion_tokens": 5}, answer)
    assert used == {"usage:calls": 1, "usage:stop:length": 1, "usage:input_tokens": 3, "usage:output_tokens": 5}
    assert usage_of({}, SimpleNamespace(status="completed"))["usage:stop:stop"] == 1
    assert usage_of({}, None)["usage:stop:other"] == 1


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)

    def text(self) -> str:
        return f"{self.headers} {self.body}".lower()


class Proxy:
    """A LiteLLM proxy of its own process, started and stopped."""

    def __init__(self, config: Path, folder: Path, **env: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / "proxy.log"
        self._out = self.log.open("w")
        known = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME") if name in os.environ}
        known |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": MASTER, "NO_PROXY": "*"}
        run = "import litellm, sys; sys.argv[0] = 'litellm'; sys.exit(litellm.run_server())"
        self._process = subprocess.Popen(
            [PYTHON, "-c", run, "--config", config, "--host", "127.0.0.1", "--port", str(self.port)],
            cwd=folder,
            env=known | {"PYTHONPATH": f"{HERE}:{ROOT}"} | env,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Until it answers, two minutes at most."""
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if self.ask("/health/liveliness").status == 200:
                    return
            except OSError:
                time.sleep(0.25)
        raise AssertionError(f"the proxy did not start:\n{self.log.read_text()[-3000:]}")

    def ask(self, path: str, body: Any = None, token: str = MASTER, **headers: str) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        told = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, told)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as reply:
                return Answer(reply.status, dict(reply.headers), reply.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read().decode())

    def state(self) -> Any:
        return self.ask("/probe").json()

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._out.close()


APIS = {
    "/chat/completions": {"model": "gpt-4o", "messages": [{"role": "user", "content": CANARY}]},
    "/v1/messages": {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": CANARY}]},
    "/v1/responses": {"model": "gpt-4o", "input": CANARY},
}
TOLD = ("fingerprint", "review", "score", "guardrail", "neutral", "verdict", "campaign")


class Upstream(BaseHTTPRequestHandler):
    """A provider that streams one answer, for the APIs that LiteLLM cannot both mock and stream."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        events = RESPONSES if self.path.endswith("/responses") else MESSAGES
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        pass


_WHOLE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o", "output": [], "status": "completed",
          "usage": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}}  # fmt: skip
RESPONSES = (
    {"type": "response.created", "response": _WHOLE | {"status": "in_progress", "usage": None}},
    {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": "Hello."},
    {"type": "response.completed", "response": _WHOLE},
)
MESSAGES = (
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
     "model": "claude", "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
)  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[Proxy]:
    """The proxy of the documentation, blocking, with a probe, keys of any name, and a guardrail that adds tags."""
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "campaigns.csv").write_text("account_id,campaign_id,score\nbad,c-1,0.95\nodd,c-1,0.6\n")
    config = yaml.safe_load(CONFIG.read_text())
    for name, model, base in (("flaky", "openai/gpt-4o", ""), ("gpt-streams", "openai/gpt-4o", "/v1"),
                              ("claude-streams", "anthropic/claude-3-7-sonnet-20250219", "")):  # fmt: skip
        params = {"model": model, "api_key": "none"}
        params |= {"mock_response": "litellm.RateLimitError"} if name == "flaky" else {"api_base": f"{upstream}{base}"}
        config["model_list"].append({"model_name": name, "litellm_params": params})
    params = {"guardrail": "fingerprint.integrations.litellm.Guardrail", "mode": "pre_call", "default_on": True}
    config["guardrails"] = [{"guardrail_name": "neutral", "litellm_params": params | {"on_act": "pass", "tags": True}}]
    config["litellm_settings"]["callbacks"].append("litellm_probe.probe")
    config["router_settings"] = {"fallbacks": [{"flaky": ["gpt-4o"]}], "num_retries": 2}
    config["general_settings"] = {"custom_auth": "litellm_probe.auth"}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    shutil.copytree(SHIPPED, folder / "bundle")
    sources = {f"FINGERPRINT_{name.upper()}": str(folder / file) for name, file in SOURCES.items()}
    running = Proxy(path, folder, FINGERPRINT_ON_ACT="block", **sources)
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def eventually(proxy: Proxy, check: Any) -> Any:
    """The state once it is as expected; loggers run after the answer."""
    until = time.monotonic() + 20
    while not check(state := proxy.state()) and time.monotonic() < until:
        time.sleep(0.2)
    assert check(state), state
    return state


@needs_proxy
@pytest.mark.parametrize("path", APIS)
def test_every_request_is_counted_once(proxy: Proxy, path: str) -> None:
    name = f"count{path.replace('/', '-')}"
    answers = [proxy.ask(path, APIS[path], name)]
    answers.append(proxy.ask(path, APIS[path] | {"no-log": True}, name))
    answers += [proxy.ask(path, APIS[path], name, x_litellm_call_id="same") for _ in range(2)]
    model = {"/v1/messages": "claude-streams", "/v1/responses": "gpt-streams"}.get(path, "gpt-4o")
    answers.append(proxy.ask(path, APIS[path] | {"stream": True, "model": model}, name))
    assert answers[-1].headers["content-type"].startswith("text/event-stream")
    for answer in answers:
        assert answer.status == 200
        assert "hel" in answer.text()
        assert not [word for word in TOLD if word in answer.text()]
    state = proxy.state()
    assert state["exchanges"][name] == len(answers)
    found = state["records"][name]
    assert (found["prompt"], found["model"], found["n_messages"]) == (len(CANARY), model, 1)
    assert found["stream"]
    assert found["client"]["ip_prefix"] == "127.0.0.0/24"
    assert found["account"] == {"plan": "pro"}
    assert not {"output_tokens", "stop_reason"} & set(found)


@needs_proxy
def test_retries_and_fallbacks_are_no_requests(proxy: Proxy) -> None:
    answer = proxy.ask("/chat/completions", APIS["/chat/completions"] | {"model": "flaky"}, "flaky")
    assert (answer.status, int(answer.headers["x-litellm-attempted-fallbacks"])) == (200, 1)
    state = eventually(proxy, lambda state: state["counts"].get("usage:failed"))
    assert state["exchanges"]["flaky"] == 1


@needs_proxy
def test_usage_is_counted_apart(proxy: Proxy) -> None:
    before = proxy.state()["counts"]
    proxy.ask("/chat/completions", APIS["/chat/completions"], "usage")
    state = eventually(proxy, lambda state: state["counts"]["usage:calls"] > before.get("usage:calls", 0))
    assert state["counts"]["usage:output_tokens"] > before.get("usage:output_tokens", 0)
    assert state["counts"].get("usage:unseen", 0) == before.get("usage:unseen", 0)


@needs_proxy
@pytest.mark.parametrize(
    "messages", ["text", [], [7], [{"role": "user"}], [{"role": "user", "content": [{"type": 3}]}]]
)
def test_malformed_requests_are_left_to_the_proxy(proxy: Proxy, messages: Any) -> None:
    answer = proxy.ask("/chat/completions", {"model": "gpt-4o", "messages": messages}, "broken")
    assert answer.status != 403
    assert not [word for word in TOLD if word in answer.text()]
    assert not [name for name in proxy.state()["counts"] if name.startswith("error")]


@needs_proxy
@pytest.mark.parametrize("path", APIS)
def test_only_accounts_at_act_are_blocked_and_are_told_nothing(proxy: Proxy, path: str) -> None:
    for streamed in ({}, {"stream": True}):
        answer = proxy.ask(path, APIS[path] | streamed, "bad")
        assert answer.status == 403
        assert "This request is not permitted." in answer.body
        assert not [word for word in (*TOLD, "level") if word in answer.text()]
    assert proxy.ask(path, APIS[path], "odd").status == 200
    assert proxy.ask(path, APIS[path], "good").status == 200
    assert proxy.state()["exchanges"]["bad"] >= 2


@needs_proxy
def test_other_apis_are_no_way_around(proxy: Proxy) -> None:
    proxy.ask("/chat/completions", APIS["/chat/completions"], "bad")
    assert proxy.ask("/v1/embeddings", {"model": "gpt-4o", "input": "x"}, "bad").status == 403
    assert proxy.state()["counts"]["skipped:other_api"] == 1


@needs_proxy
@pytest.mark.parametrize("path", APIS)
def test_levels_reach_loggers(proxy: Proxy, path: str) -> None:
    before = len(proxy.state()["seen"])
    body = APIS[path] | {"metadata": {"fingerprint": "forged"}} if path != "/v1/messages" else APIS[path]
    for name in ("odd", "usual"):
        assert proxy.ask(path, body, name).status == 200
    state = eventually(proxy, lambda state: {"odd", "usual"} <= {seen["key"] for seen in state["seen"][before:]})
    seen = {seen["key"]: seen for seen in state["seen"][before:]}
    assert (seen["odd"]["mark"], seen["usual"]["mark"]) == ({"level": "review"}, {"level": "allow"})
    assert "fingerprint:review" in seen["odd"]["tags"]
    assert not [tag for tag in seen["usual"]["tags"] if "fingerprint" in tag]


@needs_proxy
def test_what_blocks_nobody_tells_the_level(proxy: Proxy) -> None:
    assert proxy.ask("/probe/pass/bad", {}).json() == {"mark": {"level": "act"}, "tags": ["fingerprint:act"]}


@needs_proxy
def test_no_text_of_prompts_and_no_fault_is_in_the_log(proxy: Proxy) -> None:
    proxy.ask("/chat/completions", APIS["/chat/completions"], "logged")
    told = proxy.log.read_text()
    assert "Application startup complete" in told
    assert CANARY not in told
    assert "no verdict" not in told
    assert "no usage" not in told


@needs_proxy
def test_the_configuration_works_as_it_stands_in_the_documentation(tmp_path: Path) -> None:
    running = Proxy(CONFIG, tmp_path, FINGERPRINT_SNAPSHOT=str(tmp_path / "accounts"))
    try:
        running.wait()
        for path, body in APIS.items():
            answer = running.ask(path, body)
            assert answer.status == 200
            assert not [word for word in TOLD if word in answer.text()]
        assert running.ask("/guardrails/list").json() == {"guardrails": []}
    finally:
        running.stop(signal.SIGINT)
    assert "WITHOUT" not in running.log.read_text()
    assert CANARY not in running.log.read_text()
    store = MemoryStore.load(tmp_path / "accounts")
    seen = store.get("litellm_proxy_master_key")
    assert len(store) == 1
    assert seen is not None
    assert seen.windows[0][0] == len(APIS)


@needs_proxy
def test_campaigns_that_are_found_later_count_without_a_restart(proxy: Proxy) -> None:
    assert proxy.ask("/chat/completions", APIS["/chat/completions"], "late").status == 200
    with (proxy.log.parent / "campaigns.csv").open("a") as stream:
        stream.write("late,c-2,0.95\n")
    until = time.monotonic() + 30
    while (status := proxy.ask("/chat/completions", APIS["/chat/completions"], "late").status) == 200:
        assert time.monotonic() < until
        time.sleep(0.5)
    assert status == 403


@needs_proxy
def test_a_bundle_that_is_pulled_counts_without_a_restart(proxy: Proxy) -> None:
    """As ``fingerprint pull`` does it: another directory in the place of the old one."""
    place = proxy.log.parent / "bundle"
    shutil.copytree(place, place.with_name("new"))
    manifest = json.loads((place / "manifest.json").read_text())
    write_manifest(place.with_name("new"), manifest | {"thresholds": {"review": 0.98, "act": 0.99}})
    place.rename(place.with_name("old"))
    place.with_name("new").rename(place)
    until = time.monotonic() + 30
    while not proxy.state()["counts"].get("reloads"):
        proxy.ask("/chat/completions", APIS["/chat/completions"], "reloading")
        assert time.monotonic() < until
        time.sleep(0.5)
    assert f"{manifest['bundle_id']} until now" in proxy.log.read_text()
