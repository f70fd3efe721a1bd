"""From the body of a request to an exchange record: OpenAI chat, completions and responses, Anthropic messages.

    record = record_of(body, kind=kind_of(path), call_id=..., account_id=..., received=time.time())

What a body leaves out of ``n``, ``tools``, ``logprobs``, ``stream`` and ``reasoning`` is known all the same (one
completion, none, not asked for): the body is the whole request. Temperature and ceiling are missing where they are left
out: the model's own. A client cannot escape by sending what no record may hold: a field of the wrong type or out of
bounds is missing, NUL bytes and lone surrogates are replaced. Nothing is raised. Left out: who the account is and
whether its request is let through (the integrations), and usage, which is not known yet.
"""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from fingerprint.errors import ExchangeError
from fingerprint.exchange import INT_MAX, time_of

__all__ = ["KINDS", "account_of", "client_of", "kind_of", "record_of"]

KINDS: Final = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/messages": "messages",
    "/responses": "responses",
}
_OFF: Final = ("none", "disabled", "off", False, 0, None)
_AROUND: Final = ("system", "developer")
_RESULTS: Final = ("tool_result", "mcp_tool_result")

Record = dict[str, Any]
Turn = tuple[str, Any]  # role and content


def kind_of(path: str) -> str | None:
    """Which API a path belongs to, whatever stands before it; None for paths that ask no model for text."""
    path = path.rstrip("/")
    return next((kind for end, kind in KINDS.items() if path.endswith(end)), None)


def record_of(
    body: Mapping[str, Any],
    *,
    kind: str,
    call_id: str,
    account_id: str,
    received: float,
    session_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    ip: str | None = None,
    account: Mapping[str, Any] | None = None,
) -> Record:
    """The exchange record of a request body of this kind (a value of ``KINDS``), received at these epoch seconds.

    ``ip`` is the client's address, of which only the network is kept, ``account`` what is known of the account.
    A body in which nothing is asked gives a record without ``prompt``, which ``parse`` rejects.
    """
    system, prompt, depth = _CONVERSATIONS[kind](body)
    record: Record = {
        "exchange_id": _clean(call_id),
        "account_id": _clean(account_id),
        "timestamp": received,
        "session_id": _text(session_id) or (_conversation_id(body) if kind == "responses" else None),
        "model": _text(body.get("model")),
        "system": system,
        "prompt": prompt,
        "n_messages": depth,
        "tools": _tools(body),
        "max_tokens": _ceiling(body),
        "temperature": _temperature(body.get("temperature")),
        "n": _count(body.get("n"), 1) or 1,
        "logprobs": _logprobs(body),
        "reasoning": _reasoning(body),
        "stream": body.get("stream") is True,
        "client": client_of(headers, ip),
        "account": account_of(account),
    }
    return {name: value for name, value in record.items() if value is not None}


def client_of(headers: Mapping[str, str] | None, ip: str | None) -> Record | None:
    """``client`` of a record: the network of an address (/24, /48) and the user agent."""
    agent = next((value for name, value in (headers or {}).items() if name.lower() == "user-agent"), None)
    known = {"ip_prefix": _network(ip), "user_agent": _text(agent)}
    return {name: value for name, value in known.items() if value} or None


def account_of(known: Mapping[str, Any] | None) -> Record | None:
    """``account`` of a record, from what an operator keeps with an account or key: what is usable of it."""
    known = known if isinstance(known, Mapping) else {}
    found = {name: _text(known.get(name)) for name in ("plan", "payment_hash")}
    created = known.get("created_at")
    try:
        time_of(created, "created_at")
    except ExchangeError:
        created = None
    return {name: value for name, value in (found | {"created_at": created}).items() if value is not None} or None


def _network(ip: str | None) -> str | None:
    try:
        address = ip_address((ip or "").split("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return str(ip_network((address, 24 if address.version == 4 else 48), strict=False))


def _clean(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\x00", " ")


def _text(value: object) -> str | None:
    return _clean(value) if isinstance(value, str) else None


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _count(value: object, least: int) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= INT_MAX else None


def _ceiling(body: Mapping[str, Any]) -> int | None:
    names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
    return next((count for name in names if (count := _count(body.get(name), 0)) is not None), None)


def _temperature(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1000
    return value if known else None  # type: ignore[return-value]


def _tools(body: Mapping[str, Any]) -> list[str]:
    names: list[object] = []
    for tool in _mappings(body.get("tools")) + _mappings(body.get("functions")):
        inner = tool.get("function")
        names.append((inner.get("name") if isinstance(inner, Mapping) else tool.get("name")) or tool.get("type"))
    return [_text(name) or "" for name in names]


def _logprobs(body: Mapping[str, Any]) -> bool:
    asked, top, include = body.get("logprobs"), body.get("top_logprobs"), body.get("include")
    number = isinstance(asked, int) and not isinstance(asked, bool)  # completions ask for so many, and 0 is one too
    listed = isinstance(include, list | tuple) and "message.output_text.logprobs" in include
    return asked is True or number or listed or bool(_count(top, 1))


def _reasoning(body: Mapping[str, Any]) -> bool:
    """Whether thinking is asked for, in any of the ways that are in use."""
    thinking, reasoning = body.get("thinking"), body.get("reasoning")
    template = body.get("chat_template_kwargs")
    asked = [body.get("reasoning_effort")]
    if isinstance(thinking, Mapping):
        asked.append(thinking.get("type"))
    if isinstance(reasoning, Mapping):
        asked += [reasoning.get(name) for name in ("effort", "enabled", "max_tokens", "summary")]
    if isinstance(template, Mapping):
        asked += [template.get(name) for name in ("thinking", "enable_thinking")]
    return any(isinstance(value, str | int) and value not in _OFF for value in asked)


def _words(content: object) -> str:
    """The text of a turn: a string, or the text parts of a list of parts of any API."""
    if isinstance(content, list | tuple):
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return _clean("\n".join(text for text in texts if isinstance(text, str)))
    return _text(content) or ""


def _results_only(content: object) -> bool:
    """Whether a user turn only hands back what tools answered, as Anthropic's API has it: nobody asks anything."""
    parts = _mappings(content)
    return bool(parts) and all(part.get("type") in _RESULTS for part in parts)


def _asked(turns: list[Turn], system: str | None) -> tuple[str | None, str | None]:
    """System prompt and newest user turn. Where nobody but the system says anything, that is what is asked."""
    said = [content for role, content in turns if role not in _AROUND]
    if system is None and len(said) < len(turns):
        system = _words(next(content for role, content in turns if role in _AROUND))
    users = [content for role, content in turns if role == "user"]
    for content in reversed(users):
        if not _results_only(content):
            return system, _words(content)
    if said:
        return system, _words(said[-1])
    return None, system


def _chat(body: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    turns = [(str(message.get("role")), message.get("content")) for message in _mappings(body.get("messages"))]
    depth = sum(role not in _AROUND for role, _ in turns)
    return *_asked(turns, None), depth or None


def _messages(body: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    turns = [(str(message.get("role")), message.get("content")) for message in _mappings(body.get("messages"))]
    system = _words(body.get("system")) if body.get("system") else None
    return *_asked(turns, system), sum(role not in _AROUND for role, _ in turns) or None


def _responses(body: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    """Items of one answer (reasoning, calls, text) are one turn. How deep a stored conversation is, is not known."""
    system, asked = _text(body.get("instructions")) or None, body.get("input")
    stored = body.get("previous_response_id") or body.get("conversation")
    if isinstance(asked, str):
        return system, _clean(asked), None if stored else 1
    turns: list[Turn] = []
    depth, before = 0, ""
    for item in _mappings(asked):
        kind = str(item.get("type", "message"))
        role = str(item.get("role", "tool" if kind.endswith("_output") else "assistant"))
        if kind == "message":
            turns.append((role, item.get("content")))
        depth += role not in _AROUND and not role == before == "assistant"
        before = role
    return *_asked(turns, system), depth if depth and not stored else None


def _completions(body: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    prompt = body.get("prompt")
    return None, _words(prompt) if prompt is not None else None, None


def _conversation_id(body: Mapping[str, Any]) -> str | None:
    known = body.get("conversation")
    return _text(known.get("id") if isinstance(known, Mapping) else known) or None


_CONVERSATIONS: Final = {"chat": _chat, "completions": _completions, "messages": _messages, "responses": _responses}
