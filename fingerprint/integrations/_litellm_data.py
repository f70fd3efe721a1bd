"""What LiteLLM's hooks are given, as plain data: which call it is, whose, the exchange record of it, and its usage.

Left out: everything that needs LiteLLM itself (``litellm``).
"""

import time
import uuid
from collections.abc import Mapping, MutableMapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from fingerprint.integrations.requests import record_of
from fingerprint.kernels.layout import STOPS

__all__ = ["ACCOUNTS", "account_id", "bucket_of", "call_of", "exchange_of", "kind_of_call", "usage_of"]

# What an account may be, and the attributes of LiteLLM's key object that say so.
ACCOUNTS: Final = {
    "key": "api_key",  # a hash
    "user": "user_id",
    "team": "team_id",
    "organization": "org_id",
    "customer": "end_user_id",  # what the client says
}
_KINDS: Final = {
    "acompletion": "chat",
    "completion": "chat",
    "atext_completion": "completions",
    "text_completion": "completions",
    "anthropic_messages": "messages",
    "aresponses": "responses",
    "responses": "responses",
}


def kind_of_call(call_type: str) -> str | None:
    """Which API of ``requests.KINDS`` a call is of; None for others."""
    return _KINDS.get(call_type)


def call_of(call_id: object, request: object) -> str | None:
    """The name of a call: a hash of its id, which clients may choose, and of when the proxy received it. None where the
    proxy does not say when."""
    arrived = request.get("arrival_time") if isinstance(request, Mapping) else None
    if not isinstance(arrived, int | float):
        return None
    return blake2b(f"{arrived!r} {call_id}".encode("utf-8", "replace"), digest_size=16).hexdigest()


def account_id(key: object, names: Sequence[str]) -> str:
    """The first of these (of ``ACCOUNTS``) that the key object has, else nothing. A hash of a token that identity
    providers renew names no account."""
    for name in names:
        value = getattr(key, ACCOUNTS[name], None)
        if value and isinstance(value, str) and not value.startswith("hashed-jwt-"):
            return value
    return ""


def bucket_of(data: Mapping[str, Any], key: object) -> MutableMapping[str, Any]:
    """The metadata that the proxy has written for the request of this key. Beside it may be the client's own, in which
    no object of the proxy can be."""
    found = [each for name in ("litellm_metadata", "metadata") if isinstance(each := data.get(name), dict)]
    return next((each for each in found if isinstance(each.get("user_api_key_auth"), type(key))), {})


def exchange_of(
    data: Mapping[str, Any], key: object, kind: str, names: Sequence[str], call: str | None
) -> dict[str, Any]:
    """The exchange record of a request of this kind before its call."""
    bucket, request = bucket_of(data, key), inner(data, "proxy_server_request")
    address = bucket.get("requester_ip_address")
    owned = {name: getattr(key, name, None) for name in ("team_metadata", "metadata")}
    return record_of(
        data,
        kind=kind,
        call_id=call or uuid.uuid4().hex,
        account_id=account_id(key, names),
        received=request["arrival_time"] if call else time.time(),
        session_id=_session_of(data, bucket),
        headers=inner(request, "headers"),
        ip=address.split(",")[0].strip() if isinstance(address, str) else None,
        account=inner(owned, "team_metadata") | inner(owned, "metadata"),
    )


def _session_of(data: Mapping[str, Any], bucket: Mapping[str, Any]) -> str | None:
    told = (data.get("litellm_session_id"), bucket.get("session_id"), inner(data, "metadata").get("session_id"))
    return next((session for session in told if isinstance(session, str) and session), None)


def usage_of(payload: Mapping[str, Any], response: object) -> dict[str, int]:
    """What a call used, as names and numbers to count, from LiteLLM's logging payload and the answer."""
    counted = {"usage:calls": 1, f"usage:stop:{_stop_of(response)}": 1}
    for name, field in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        tokens = payload.get(field)
        counted[f"usage:{name}_tokens"] = tokens if isinstance(tokens, int) and tokens > 0 else 0
    return counted


def _stop_of(response: object) -> str:
    choices = getattr(response, "choices", None)
    if choices:
        stop = getattr(choices[0], "finish_reason", None)
    else:
        stop = {"completed": "stop", "incomplete": "length"}.get(str(getattr(response, "status", "")))
    return stop if isinstance(stop, str) and stop in STOPS else "other"


def inner(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A mapping inside a mapping; an empty one where there is none."""
    found = data.get(name)
    return found if isinstance(found, dict) else {}
