"""How an account looks beside its text and its clock: client, plan, network, request parameters, usage, null fields.

One law for each of two styles, `app` (a person's client) and `api` (a program's), whoever is behind them: attack,
honest automation and shared keys draw from the same distributions, and members of one group (a campaign or an
honest organisation) share their draws to a degree that follows the same law too. Nothing here knows a label.
Left out: evidence that links accounts beyond a shared payment, network or client.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.world.clients import Client
from training.world.grammar import CAPABILITIES

MODELS = ("harrier-4", "harrier-4-mini", "osprey-2", "osprey-2-fast", "harrier-5")
NEWEST = "harrier-5"  # exists from the first release on
AGENTS = {
    "api": ["openai-python/1.82.0", "openai-python/1.35.3", "python-httpx/0.27.2", "aiohttp/3.11", "node-fetch/3.3",
            "axios/1.7.9", "java-http-client/21", "curl/8.6.0", "go-client/1.26", "litellm/1.55", "langchain/0.3"],
    "app": ["Mozilla/5.0 (Windows NT 10.0) Chrome/134", "Mozilla/5.0 (Macintosh) Safari/18", "okhttp/4.12 (Android)",
            "Mozilla/5.0 (X11; Linux) Firefox/136", "iOS-App/3.2", "vscode-plugin/1.9", "OpenWebUI/0.5", "Raycast/1.9"],
}  # fmt: skip
ASNS = (16509, 15169, 8075, 14061, 24940, 7922, 3320, 4134, 12389, 5089, 3215, 9808, 45102, 20473, 2516, 396982)
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
    ceilings: tuple[int, ...]  # -1: none
    heats: tuple[float, ...]  # NaN: the default
    n: int
    logprobs: bool
    reasoning: float
    stream: bool
    threaded: bool = False


class Identity(NamedTuple):
    """Where an account comes from and who pays."""

    user_agents: tuple[str, ...]
    networks: tuple[tuple[str, int], ...]
    plan: str
    age: float
    payment: str


@dataclass(frozen=True)
class Profile:
    request: Request
    identity: Identity
    nulls: frozenset[str]


class Sharing(NamedTuple):
    """What the accounts of a group have in common, each with its probability."""

    request: float
    network: float
    payment: float


def sharing(group: Random, identity: float = 0.0, payment: bool = True, network: bool = True) -> Sharing:
    """A group's coherence: one law for campaigns and honest groups; `identity` is the strength of an evasion."""
    coherence = group.choice([0.0, 0.3, 0.8])
    apart = 1 - identity
    return Sharing(coherence, coherence * apart * network, coherence * apart * payment)


def draw_profile(
    own: Random, group: Random, style: str, clock: str, client: Client, shared: Sharing, vary: float
) -> Profile:
    """An account's look: each part its group's or its own; `vary` is how likely it randomises its parameters."""
    theirs, mine = _request(group, style, client), _request(own, style, client)
    common, identity = _identity(group, style), _identity(own, style)
    nulls = {k for k, p in NULLABLE.items() if own.random() < p}
    if own.random() < {"api": 0.3, "app": 0.1}[style]:
        nulls.add("session_id")
    request = theirs if own.random() < shared.request else mine
    if own.random() < vary:
        request = _varied(own, request)
    if clock in MEASURED:
        request = replace(request, n=1, ceilings=tuple(c if c >= 4096 else -1 for c in request.ceilings))
    request = replace(request, threaded=own.random() < THREADED.get(clock, THREADED[style]))
    if not request.threaded:
        nulls.add("session_id")  # calls without a conversation have no id of one
    if own.random() < shared.network:
        identity = identity._replace(networks=common.networks, user_agents=common.user_agents)
    if own.random() < shared.payment:
        identity = identity._replace(payment=common.payment, plan=common.plan)
    return Profile(request, identity, frozenset(nulls))


def _request(rnd: Random, style: str, client: Client) -> Request:
    """Parameters by the style's law; half of the programs have those that their client was measured with."""
    api = style == "api"
    measured = api and rnd.random() < 0.5
    several = client.models if measured else 3 if rnd.random() < 0.12 else 1
    varied = 3 if rnd.random() < (0.15 if api else 0.04) else 1
    tools = rnd.random() < 0.25 or (measured and client.tools)
    system = rnd.random() < (0.55 if api else 0.3) or (measured and client.system)
    ceilings = [-1 if c is None else c for c in rnd.choices(CEILINGS, CEILING_LAW[style], k=varied)]
    heats = [float("nan") if h is None else h for h in rnd.choices(HEAT, HEAT_LAW[style], k=varied)]
    if measured:
        ceilings = [c or -1 for c in client.max_tokens]
        heats = list(client.temperature) or [float("nan")]
    return Request(
        models=tuple(rnd.sample(MODELS, several)),
        system=rnd.choice(SYSTEMS) if system else None,
        tools=tuple(rnd.sample(TOOLS, rnd.randint(1, 6))) if tools else (),
        ceilings=tuple(ceilings),
        heats=tuple(heats),
        n=client.n if measured else rnd.choices([1, 2, 4, 8], [0.94, 0.03, 0.02, 0.01])[0] if api else 1,
        logprobs=rnd.random() < (0.05 if api else 0.01),
        reasoning=1.0 if measured and client.reasoning else rnd.choices([0.0, 1.0, rnd.random()], [0.6, 0.25, 0.15])[0],
        stream=rnd.random() < (0.25 if api else 0.92),
    )


def _varied(rnd: Random, request: Request) -> Request:
    """Random parameters for every call."""
    heats = tuple(round(rnd.uniform(0, 1.3), 2) for _ in range(12))
    ceilings = tuple(rnd.randrange(200, 8000, 8) for _ in range(12))
    return Request(**(vars(request) | {"heats": heats, "ceilings": ceilings}))


def _identity(rnd: Random, style: str) -> Identity:
    agents = 1 if rnd.random() < 0.8 else rnd.randint(2, 4)
    nets = rnd.choices([1, 2, 4, 24], [0.5, 0.25, 0.15, 0.1])[0]
    asns = [rnd.choice(ASNS) for _ in range(nets if rnd.random() < 0.5 else 1)]
    return Identity(
        user_agents=tuple(rnd.sample(AGENTS[style if rnd.random() < 0.9 else "api"], agents)),
        networks=tuple((_prefix(rnd), asns[i % len(asns)]) for i in range(nets)),
        plan=rnd.choices(PLANS, PLAN_LAW[style])[0],
        age=rnd.expovariate(1 / 0.7) if rnd.random() < 0.25 else rnd.lognormvariate(np.log(60), 1.5),
        payment=f"{rnd.getrandbits(62):016x}",
    )


def ja4(user_agent: str) -> str:
    """The handshake that goes with a client program."""
    return f"t13d{1500 + sum(user_agent.encode()) % 20}h2_{sum(user_agent.encode()) * 7919 % 0xFFFFFF:06x}"


def _prefix(rnd: Random) -> str:
    return f"{rnd.randint(1, 223)}.{rnd.randint(1, 223)}.{rnd.randint(1, 223)}.0/24"


def models_over_time(
    rng: np.random.Generator, request: Request, day: NDArray[np.float64], release: float, moved: float | None
) -> NDArray[np.int8]:
    """The model of each request as a number into `MODELS`; `moved` is how many days after its release an account
    takes up the newest one, None for never."""
    known = np.array([MODELS.index(m) for m in request.models], np.int8)
    model = known[rng.integers(len(known), size=len(day))]
    if moved is not None:
        model = np.where(day > release + moved, np.int8(MODELS.index(NEWEST)), model)
    fallback = np.int8(rng.integers(len(MODELS) - 1))
    return np.where((model == MODELS.index(NEWEST)) & (day < release), fallback, model)


THREADED = {"api": 0.25, "app": 0.85, "coding": 0.95}  # accounts whose requests carry a conversation, by style or clock
MEASURED = ("coding", "service")  # clock classes whose answers are as long as measured, whatever is asked
STOPS = ("end_turn", "max_tokens", "tool_use", "refusal")
LONG = np.array([WORDS[c] for c in CAPABILITIES] + [230], np.float64) ** 0.25 * 230**0.75


def usage(
    rng: np.random.Generator,
    request: Request,
    caps: NDArray[np.int8],
    clock: str,
    drawn: NDArray[np.int64],
    context: NDArray[np.int64],
) -> dict[str, Any]:
    """Ceilings, temperatures, reasoning, tokens and stop reasons of an account's requests.

    `caps` numbers capabilities (-1 unknown), `drawn` is the answer length in tokens by the law of the clock class,
    `context` the prompt's with what goes before it.
    """
    q = len(caps)
    at = rng.integers(len(request.ceilings) * len(request.heats), size=q)
    ceilings = np.array(request.ceilings, np.int64)[at % len(request.ceilings)]
    reasoning = rng.random(q) < request.reasoning
    if clock not in MEASURED:
        drawn = drawn * (LONG[caps] / 230) * np.where(reasoning, 1.7, 1.0)
    limit = np.where(ceilings < 0, 64_000, ceilings)
    output = np.maximum(1, np.minimum(drawn, limit)).astype(np.int64) * request.n
    kind = rng.random(q)
    stop = np.where(drawn >= limit, 1, np.where(kind < 0.012, 3, 0)).astype(np.int8)
    if request.tools:
        stop = np.where((stop == 0) & (kind > 0.6), np.int8(2), stop)
    fixed = len(request.system or "") / 4 + 60 * len(request.tools) + 4
    return {
        "max_tokens": ceilings, "temperature": np.array(request.heats)[at % len(request.heats)],
        "reasoning": reasoning, "output_tokens": output, "stop_reason": stop,
        "input_tokens": (context + fixed + 1).astype(np.int64),
    }  # fmt: skip
