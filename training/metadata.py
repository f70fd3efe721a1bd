"""How an account looks beside its text and its clock: client, plan, network, request parameters, usage, null fields.

One law for each of two styles, `app` (a person's client) and `api` (a program's), whoever is behind them: attack,
honest automation and shared keys draw from the same distributions, and members of one group (a campaign or an
honest organisation) share their draws to a degree that follows the same law too. Nothing here knows a label.
Left out: evidence that links accounts beyond a shared payment, network or client.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

MODELS = ("harrier-4", "harrier-4-mini", "osprey-2", "osprey-2-fast", "harrier-5")
RELEASED = {"harrier-5": 0.4}  # part of the world's days after which it exists
AGENTS = {
    "api": ["openai-python/1.82.0", "openai-python/1.35.3", "python-httpx/0.27.2", "aiohttp/3.11", "node-fetch/3.3",
            "axios/1.7.9", "java-http-client/21", "curl/8.6.0", "go-client/1.26", "litellm/1.55", "langchain/0.3"],
    "app": ["Mozilla/5.0 (Windows NT 10.0) Chrome/134", "Mozilla/5.0 (Macintosh) Safari/18", "okhttp/4.12 (Android)",
            "Mozilla/5.0 (X11; Linux) Firefox/136", "iOS-App/3.2", "vscode-plugin/1.9", "OpenWebUI/0.5", "Raycast/1.9"],
}  # fmt: skip
ASNS = (
    16509,
    15169,
    8075,
    14061,
    24940,
    7922,
    3320,
    4134,
    12389,
    5089,
    3215,
    9808,
    45102,
    20473,
    2516,
    396982,
)
TOOLS = ("search_docs", "get_weather", "create_ticket", "run_sql", "send_mail", "book_room", "open_file", "bash",
         "convert_currency", "list_events", "lookup_user", "plan_route", "python", "fetch_url")  # fmt: skip
SYSTEMS = (
    "You are a helpful assistant.", "Be brief and exact.", "Answer in the language of the user.", "Use Markdown.",
    "You are a careful expert. Think before you answer and give the final answer clearly at the end.",
    "You help the users of our site. Never invent facts; say when you do not know.", "Respond only with valid JSON.",
    "You are the assistant of a busy team. Keep to the format asked for, do not add remarks, and never apologise.",
    "你是一个乐于助人的助手。", "あなたは親切なアシスタントです。", "Du bist ein hilfreicher Assistent.",
    "Your task is to solve the given problem thoroughly: analyse it, explore, reassess, verify each step, reflect on "
    "mistakes, and only then present a precise solution in a separate final section that a reader can follow.",
)  # fmt: skip
PLANS = ("free", "pro", "payg", "team", "enterprise")
PLAN_LAW = {"api": (0.12, 0.16, 0.42, 0.18, 0.12), "app": (0.3, 0.3, 0.2, 0.15, 0.05)}
CEILINGS = (None, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
CEILING_LAW = {
    "api": (0.28, 0.04, 0.07, 0.09, 0.11, 0.13, 0.11, 0.09, 0.05, 0.02, 0.01),
    "app": (0.6, 0.0, 0.0, 0.02, 0.03, 0.08, 0.09, 0.1, 0.06, 0.02, 0.0),
}
HEAT = (None, 0.0, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
HEAT_LAW = {
    "api": (0.3, 0.24, 0.04, 0.05, 0.04, 0.03, 0.13, 0.05, 0.02, 0.09, 0.01),
    "app": (0.62, 0.05, 0.02, 0.04, 0.02, 0.02, 0.1, 0.02, 0.01, 0.1, 0.0),
}
WORDS = {
    "extraction_labelling": 90, "support": 140, "chat": 230, "translation": 160, "grading_judging": 230,
    "tool_use": 150, "reasoning": 320, "cot_elicitation": 420, "planning_agentic": 330,
    "software_engineering": 330, "data_synthesis": 380, "rewriting_cleaning": 240,
}  # fmt: skip
NULLABLE = {
    "session_id": 0.0, "model": 0.02, "n_messages": 0.03, "tools": 0.04, "n": 0.03, "logprobs": 0.06,
    "reasoning": 0.06, "stream": 0.04, "input_tokens": 0.02, "output_tokens": 0.02, "stop_reason": 0.03,
    "ip_prefix": 0.05, "asn": 0.06, "user_agent": 0.04, "ja4": 0.2, "client": 0.03, "created_at": 0.05,
    "plan": 0.05, "payment_hash": 0.15, "account": 0.03,
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """Parameters of an account's requests; more than one value where its client varies them."""

    models: tuple[str, ...]
    system: str | None
    tools: tuple[str, ...]
    ceilings: tuple[int | None, ...]
    heats: tuple[float | None, ...]
    n: int
    logprobs: bool
    reasoning: float
    stream: bool
    threaded: bool
    verbose: float


@dataclass(frozen=True)
class Identity:
    """Where an account comes from and who pays."""

    user_agents: tuple[str, ...]
    ja4s: tuple[str, ...]
    networks: tuple[tuple[str, int], ...]
    plan: str
    age: float
    payment: str


@dataclass(frozen=True)
class Profile:
    request: Request
    identity: Identity
    nulls: frozenset[str]


def draw_profile(own: np.random.Generator, group: np.random.Generator, style: str) -> Profile:
    """An account's look: each part its group's or its own, as the group's coherence has it."""
    shared_request, shared_identity = _request(group, style), _identity(group, style)
    coherence = float(group.choice([0.0, 0.3, 0.8]))
    request, identity = _request(own, style), _identity(own, style)
    nulls = {k for k, p in NULLABLE.items() if own.random() < p}
    if own.random() < {"api": 0.45, "app": 0.1}[style]:
        nulls.add("session_id")
    return Profile(
        shared_request if own.random() < coherence else request,
        shared_identity if own.random() < coherence else identity,
        frozenset(nulls),
    )


def _request(rng: np.random.Generator, style: str) -> Request:
    api = style == "api"
    several = 3 if rng.random() < 0.12 else 1
    varied = 3 if rng.random() < (0.15 if api else 0.04) else 1
    tools: Any = rng.permutation(TOOLS)[: int(rng.integers(1, 7))] if rng.random() < 0.25 else []
    return Request(
        models=tuple(str(m) for m in rng.permutation(MODELS)[:several]),
        system=str(rng.choice(SYSTEMS)) if rng.random() < (0.55 if api else 0.3) else None,
        tools=tuple(str(t) for t in tools),
        ceilings=tuple(CEILINGS[i] for i in rng.choice(len(CEILINGS), varied, p=CEILING_LAW[style])),
        heats=tuple(HEAT[i] for i in rng.choice(len(HEAT), varied, p=HEAT_LAW[style])),
        n=int(rng.choice([1, 2, 4, 8], p=[0.93, 0.03, 0.03, 0.01])) if api else 1,
        logprobs=bool(rng.random() < (0.05 if api else 0.01)),
        reasoning=float(rng.choice([0.0, 1.0, rng.uniform()], p=[0.6, 0.25, 0.15])),
        stream=bool(rng.random() < (0.25 if api else 0.92)),
        threaded=bool(rng.random() < (0.25 if api else 0.8)),
        verbose=float(rng.lognormal(0, 0.5)),
    )


def _identity(rng: np.random.Generator, style: str) -> Identity:
    agents = 1 if rng.random() < 0.8 else int(rng.integers(2, 5))
    nets = int(rng.choice([1, 2, 4, 24], p=[0.5, 0.25, 0.15, 0.1]))
    asns = rng.choice(ASNS, nets if rng.random() < 0.5 else 1)
    chosen = [str(a) for a in rng.permutation(AGENTS[style if rng.random() < 0.9 else "api"])[:agents]]
    ja4s = [f"t13d{1500 + sum(a.encode()) % 20}h2_{sum(a.encode()) * 7919 % 0xFFFFFF:06x}" for a in chosen]
    return Identity(
        user_agents=tuple(chosen),
        ja4s=tuple(ja4s),
        networks=tuple((_prefix(rng), int(asns[i % len(asns)])) for i in range(nets)),
        plan=str(rng.choice(PLANS, p=PLAN_LAW[style])),
        age=float(rng.exponential(0.7) if rng.random() < 0.25 else rng.lognormal(np.log(60), 1.5)),
        payment=f"{int(rng.integers(2**62)):016x}",
    )


def _prefix(rng: np.random.Generator) -> str:
    a, b, c = (int(x) for x in rng.integers(1, 224, 3))
    return f"{a}.{b}.{c}.0/24"


def models_over_time(rng: np.random.Generator, request: Request, part: np.ndarray) -> list[str]:
    """The model of each request; `part` is how far the world's days have gone. A release draws some accounts."""
    pick = rng.integers(len(request.models), size=len(part))
    fallback = MODELS[int(rng.integers(len(MODELS) - 1))]
    moves, switch = bool(rng.random() < 0.3), float(rng.uniform(0, 0.06))
    out = []
    for p, i in zip(part, pick, strict=True):
        model = request.models[i]
        if moves and p > RELEASED["harrier-5"] + switch:
            model = "harrier-5"
        out.append(model if p >= RELEASED.get(model, 0.0) else fallback)
    return out


def usage(
    rng: np.random.Generator, request: Request, prompts: list[str], caps: list[str | None], depth: np.ndarray
) -> dict[str, Any]:
    """Ceilings, temperatures, reasoning, tokens and stop reasons of an account's requests."""
    q = len(prompts)
    at = rng.integers(len(request.ceilings), size=q)
    ceilings = [request.ceilings[i] for i in at]
    reasoning = rng.random(q) < request.reasoning
    base = np.array([WORDS.get(c or "", 230) for c in caps], float) ** 0.5 * 230**0.5
    drawn = base * request.verbose * rng.lognormal(0, 0.8, q) * np.where(reasoning, 1.7, 1.0)
    limit = np.array([c or 64_000 for c in ceilings], float)
    output = np.maximum(1, np.minimum(drawn, limit)).astype(np.int64) * request.n
    kind = rng.random(q)
    stop = np.where(drawn >= limit, "max_tokens", np.where(kind < 0.012, "refusal", "end_turn"))
    if request.tools:
        stop = np.where((stop == "end_turn") & (kind > 0.6), "tool_use", stop)
    size = np.array([len(p) / 4 if p.isascii() else len(p) / 2 for p in prompts])
    fixed = len(request.system or "") / 4 + 60 * len(request.tools) + 4
    history = (depth // 2) * rng.lognormal(np.log(260), 0.5, q)
    return {
        "max_tokens": ceilings, "temperature": [request.heats[i % len(request.heats)] for i in at],
        "reasoning": reasoning, "output_tokens": output, "stop_reason": [str(s) for s in stop],
        "input_tokens": (size * rng.uniform(0.9, 1.15, q) + fixed + history + 1).astype(np.int64),
    }  # fmt: skip
