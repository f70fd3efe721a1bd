"""Inside the proxy that ``test_litellm`` starts: keys without a database, what loggers see, and a page of it."""

from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
from litellm.proxy.proxy_server import app

from fingerprint.integrations.litellm import Guardrail, monitors
from fingerprint.monitor import Monitor

RECORDS: dict[str, dict[str, Any]] = {}
SEEN: list[dict[str, Any]] = []
_parsed = Monitor.observe


async def auth(request: Any, api_key: str) -> UserAPIKeyAuth:
    """Every key is good and belongs to itself."""
    key = api_key.removeprefix("Bearer ")
    return UserAPIKeyAuth(
        api_key=key, user_id=f"user-of-{key}", user_role=LitellmUserRoles.INTERNAL_USER, metadata={"plan": "pro"}
    )


class Probe(CustomLogger):
    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        payload, params = kwargs["standard_logging_object"], kwargs["litellm_params"]
        metadata = (params.get("metadata") or {}) | (params.get("litellm_metadata") or {})
        mark = metadata.get("fingerprint")
        SEEN.append({"key": payload["metadata"]["user_api_key_hash"], "mark": mark, "tags": payload["request_tags"]})


def _observe(self: Monitor, exchange: Any) -> Any:
    """As the monitor does, the newest record of each account kept without its text."""
    RECORDS[exchange["account_id"]] = {**exchange, "prompt": len(exchange.get("prompt", ""))}
    return _parsed(self, exchange)


Monitor.observe = _observe
probe = Probe()


@app.get("/probe")
def state() -> dict[str, Any]:
    (monitor,) = monitors()
    known = {account: monitor.verdict(account) for account in RECORDS}
    exchanges = {account: verdict.n_exchanges for account, verdict in known.items() if verdict}
    return {"counts": monitor.counts, "exchanges": exchanges, "records": RECORDS, "seen": SEEN}


@app.post("/probe/pass/{account}")
async def passed(account: str) -> dict[str, Any]:
    """What a guardrail that blocks nobody does with a request of this account."""
    data = {"messages": [{"role": "user", "content": "hello"}], "metadata": {}}
    key = UserAPIKeyAuth(api_key=account)
    data["metadata"]["user_api_key_auth"] = key
    other = Guardrail(tags=True, on_act="pass")
    assert len(monitors()) == 1
    await other.async_pre_call_hook(key, None, data, "acompletion")
    return {"mark": data["metadata"]["fingerprint"], "tags": data["metadata"]["tags"]}
