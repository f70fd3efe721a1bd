"""One account: its text, its times, its looks, as a few arrays; and many accounts as one Arrow batch.

An account depends on the world's settings and its line of the plan alone, so each can be built again by itself
(`one_account`). Left out: who there is (plan), the order of the world's files (write).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.world import campaigns, clocks
from training.world.clients import clients
from training.world.events import Calendar, live_through
from training.world.grammar import CAPABILITIES
from training.world.lookalikes import honest_text
from training.world.metadata import MODELS, STOPS, Profile, draw_profile, ja4, models_over_time, sharing, usage
from training.world.people import Script, Texts
from training.world.plan import Plan, style
from training.world.settings import WorldSettings

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH_US = int(EPOCH.timestamp() * 1e6)
STAMP = pa.timestamp("us", "UTC")
CLIENT = pa.struct({"ip_prefix": pa.string(), "asn": pa.int64(), "user_agent": pa.string(), "ja4": pa.string()})
ACCOUNT = pa.struct({"created_at": STAMP, "plan": pa.string(), "payment_hash": pa.string()})
SCHEMA = pa.schema({
    "exchange_id": pa.string(), "account_id": pa.string(), "timestamp": STAMP, "session_id": pa.string(),
    "model": pa.string(), "system": pa.string(), "prompt": pa.string(), "n_messages": pa.int64(),
    "tools": pa.list_(pa.string()), "max_tokens": pa.int64(), "temperature": pa.float64(), "n": pa.int64(),
    "logprobs": pa.bool_(), "reasoning": pa.bool_(), "stream": pa.bool_(), "input_tokens": pa.int64(),
    "output_tokens": pa.int64(), "stop_reason": pa.string(), "client": CLIENT, "account": ACCOUNT,
})  # fmt: skip
PIECES = pa.schema([f if f.name != "prompt" else pa.field("prompt", pa.list_(pa.int32())) for f in SCHEMA])
NEW_DAYS = 7.0  # an account younger than this at its first exchange is new
CODE = {name: i for i, name in enumerate(CAPABILITIES)} | {None: -1}


@dataclass(frozen=True)
class World:
    """What every account is built from."""

    settings: WorldSettings
    texts: Texts
    calendar: Calendar


class Facts(NamedTuple):
    """What labels tell of an account once it was built."""

    goal: str
    lang: str
    plan: str
    tenure: str  # at its first exchange


class Account(NamedTuple):
    """One account's exchanges in order of time: `rows` are arrays of length q, `pieces` the prompts end to end."""

    name: str
    profile: Profile
    created: int
    lengths: NDArray[np.int32]
    pieces: NDArray[np.int32]
    rows: dict[str, NDArray[Any]]
    facts: Facts


def account_id(seed: int, index: int) -> str:
    return f"acct_{Random(f'{seed}/{index}').getrandbits(56):014x}"


def build(world: World, p: Plan) -> Account:
    """One account from its line of the plan and the seed."""
    s = world.settings
    rng, rnd = np.random.default_rng(np.random.SeedSequence([s.seed, p.index])), Random(f"{s.seed}/account/{p.index}")
    script, goal = _script(world, rnd, p)
    start, span = p.start * clocks.DAY, p.span * clocks.DAY
    if p.clock == "people" and p.kind == "human":
        fresh = _joined(np.array(script.fresh), clocks.turns("people", rng, p.q))
        times = clocks.people(rng, fresh, np.array(script.gaps), start, span)
    else:
        flow = clients()[p.client].flow if p.clock == "burst" else None
        times, fresh = clocks.timeline(p.clock, rng, p.q, start, span, flow)
    times, again = live_through(rng, np.sort(times), world.calendar, p.kind == "human")
    times = _retry(rng, times, again)
    profile = _profile(world, rng, p)
    if not profile.request.threaded:
        fresh = np.ones(p.q, bool)
    return _account(world, rng, p, script, times, again, fresh, profile, goal)


def _joined(fresh: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a person's conversations begin: pieces of text follow each other in one until it has its length."""
    ends, begins = np.cumsum(lengths), np.zeros(len(fresh), bool)
    after = 0
    for at in np.flatnonzero(fresh):
        if at >= after - 1:  # units end where they end: a turn early is nearer than a unit late
            begins[at] = True
            after = ends[np.searchsorted(ends, at, "right")]
    return begins


def _script(world: World, rnd: Random, p: Plan) -> tuple[Script, str]:
    """The account's text, and a campaign's goal."""
    if p.kind != "attack":
        return honest_text(world.texts, rnd, p, world.settings.seed), ""
    c = world.settings.campaigns
    software = 0.7 * world.settings.lookalikes.share  # as many honest groups have a text of software around requests
    script, marks = campaigns.attack_text(world.texts, rnd, p, world.settings.seed, c.share_templates, software)
    return script, campaigns.goal(script, marks)


def _retry(rng: np.random.Generator, times: NDArray[np.float64], again: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Some clients send a request again a few seconds later, whoever they belong to; marks them in `again`."""
    rate = rng.uniform(0, 0.03) if rng.random() < 0.4 else 0.0
    more = rng.random(len(times)) < rate
    more[0] = again[0] = False
    again |= more
    at = np.flatnonzero(more)
    times[at] = np.minimum(times[at], times[at - 1] + rng.uniform(1, 20, len(at)))
    return times


def _profile(world: World, rng: np.random.Generator, p: Plan) -> Profile:
    s, rnd = world.settings, Random(f"{world.settings.seed}/looks of/{p.index}")
    group = Random(f"{s.seed}/looks/{p.group}")
    shared = sharing(group, p.strength("identity"), *_shares(s, p.group))
    return draw_profile(rnd, group, style(rng, p), p.clock, clients()[p.client], shared, p.strength("parameters"))


def _shares(s: WorldSettings, group: int) -> tuple[bool, bool]:
    """Whether the accounts of a group may share a payment, and a network; one law for campaigns and honest groups."""
    rnd = Random(f"{s.seed}/shares/{group}")
    return rnd.random() < s.campaigns.share_payment, rnd.random() < s.campaigns.share_network


def _account(
    world: World, rng: np.random.Generator, p: Plan, script: Script, times: NDArray[np.float64],
    again: NDArray[np.bool_], fresh: NDArray[np.bool_], profile: Profile, goal: str,
) -> Account:  # fmt: skip
    q, request = len(times), profile.request
    source = np.maximum.accumulate(np.where(again, 0, np.arange(q)))
    prompts = script.prompts if not again.any() else [script.prompts[i] for i in source]
    fresh[0] = True
    thread = np.cumsum(fresh) - 1
    depth = np.arange(q) - np.flatnonzero(fresh)[thread]
    lengths = np.fromiter(map(len, prompts), np.int32, q)
    pieces = np.fromiter((piece for prompt in prompts for piece in prompt), np.int32, int(lengths.sum()))
    size = np.add.reduceat(world.texts.pool.tokens[pieces], np.cumsum(lengths) - lengths)
    caps = np.fromiter((CODE[script.caps[i]] for i in source), np.int8, q)
    moved = _moves(world, p)
    networks, agents = profile.identity.networks, profile.identity.user_agents
    count = int(thread[-1]) + 1
    rows = {
        "exchange": rng.integers(2**63, size=q, dtype=np.uint64),
        "session": rng.integers(2**63, size=count, dtype=np.uint64)[thread],
        "time": (times * 1e6).astype(np.int64) + EPOCH_US,
        "model": models_over_time(rng, request, times / clocks.DAY, world.calendar.release, moved),
        "n_messages": 1 + 2 * depth,
        "network": rng.integers(len(networks), size=count)[thread],
        "agent": rng.integers(len(agents), size=count)[thread],
        **usage(
            rng, request, caps, p.clock, clocks.output_tokens(p.clock, rng, q),
            clocks.context_tokens(p.clock, rng, size.astype(np.float64), depth),
        ),
    }  # fmt: skip
    created = int(rows["time"][0] - (min(profile.identity.age, 2500.0) * clocks.DAY + 60) * 1e6)
    name = account_id(world.settings.seed, p.index)
    tenure = "new" if profile.identity.age < NEW_DAYS else "established"
    facts = Facts(goal, script.lang, profile.identity.plan, tenure)
    return Account(name, profile, created, lengths, pieces, rows, facts)


def _moves(world: World, p: Plan) -> float | None:
    """Days after its release at which an account takes up the newest model: a campaign at once, others by and by."""
    whole, rnd = (Random(f"{world.settings.seed}/moves/{at}") for at in (f"group {p.group}", p.index))
    if p.kind == "attack" and whole.random() < world.settings.campaigns.reaim:
        return rnd.uniform(0.02, 1.0) if rnd.random() < 0.5 else None
    return rnd.expovariate(0.7) if rnd.random() < 0.25 else None


def told(p: Plan, facts: Facts) -> list[str | int]:
    """A row of `labels.csv` after the account's id and before its use; habits of honest groups are not in it."""
    attack = p.kind == "attack"
    campaign, share = (f"camp_{p.group:05d}", f"{p.share:g}") if attack else ("", "")
    evasions = " ".join(f"{name}={strength:g}" for name, strength in p.evasions) if attack else ""
    client = "" if p.kind == "human" else p.client
    who: list[str | int] = [int(attack), p.kind, p.family, campaign, share, facts.goal, client, p.clock, facts.lang]
    return [*who, p.phase, evasions, facts.plan, facts.tenure]


def to_batch(accounts: list[Account]) -> pa.RecordBatch:
    """The accounts' exchanges, account after account, prompts still as pieces (schema `PIECES`)."""
    sizes = [len(a.lengths) for a in accounts]
    owner = pa.array(np.repeat(np.arange(len(accounts), dtype=np.int32), sizes))
    rows = {name: np.concatenate([a.rows[name] for a in accounts]) for name in accounts[0].rows}
    each = [a.profile.request for a in accounts]
    columns = {
        "exchange_id": _hexed("x", rows["exchange"]),
        "account_id": pa.array([a.name for a in accounts]).take(owner),
        "timestamp": pa.array(rows["time"], STAMP),
        "session_id": _hexed("s", rows["session"]),
        "model": pa.array(MODELS).take(pa.array(rows["model"])),
        "system": pa.array([r.system for r in each], pa.string()).take(owner),
        "prompt": _pieces(accounts),
        "n_messages": pa.array(rows["n_messages"], pa.int64()),
        "tools": pa.array([list(r.tools) for r in each], pa.list_(pa.string())).take(owner),
        "max_tokens": pa.array(rows["max_tokens"], mask=rows["max_tokens"] < 0),
        "temperature": pa.array(rows["temperature"], mask=np.isnan(rows["temperature"])),
        "n": pa.array([r.n for r in each], pa.int64()).take(owner),
        "logprobs": pa.array([r.logprobs for r in each]).take(owner),
        "reasoning": pa.array(rows["reasoning"]),
        "stream": pa.array([r.stream for r in each]).take(owner),
        "input_tokens": pa.array(rows["input_tokens"]),
        "output_tokens": pa.array(rows["output_tokens"]),
        "stop_reason": pa.array(STOPS).take(pa.array(rows["stop_reason"])),
        "client": _client(accounts, rows, sizes),
        "account": _owner(accounts).take(owner),
    }
    for name in columns:
        hidden = np.array([name in a.profile.nulls for a in accounts])
        if hidden.any():
            columns[name] = _hide(columns[name], np.repeat(hidden, sizes))
    return pa.RecordBatch.from_arrays([columns[f.name] for f in PIECES], schema=PIECES)


def _hide(column: pa.Array, where: NDArray[np.bool_]) -> pa.Array:
    """The column with nulls in the rows marked."""
    rows = np.arange(len(column))
    return column.take(pa.array(rows, mask=where))


def _hexed(letter: str, numbers: NDArray[np.uint64]) -> pa.Array:
    """`letter` and 16 hexadecimal digits a number, as strings."""
    text = np.full((len(numbers), 17), ord(letter), np.uint8)
    text[:, 1:] = np.frombuffer(numbers.astype(">u8").tobytes().hex().encode(), np.uint8).reshape(-1, 16)
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * 17
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))


def _pieces(accounts: list[Account]) -> pa.Array:
    lengths = np.concatenate([a.lengths for a in accounts])
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate([a.pieces for a in accounts])))


def _client(accounts: list[Account], rows: dict[str, NDArray[Any]], sizes: list[int]) -> pa.Array:
    """Network and client of each request; each account leaves out what its logs do not have."""
    networks = [
        (None if "ip_prefix" in a.profile.nulls else net, None if "asn" in a.profile.nulls else asn)
        for a in accounts
        for net, asn in a.profile.identity.networks
    ]
    agents = [
        (None if "user_agent" in a.profile.nulls else agent, None if "ja4" in a.profile.nulls else ja4(agent))
        for a in accounts
        for agent in a.profile.identity.user_agents
    ]
    net = rows["network"] + np.repeat(_starts([len(a.profile.identity.networks) for a in accounts]), sizes)
    agent = rows["agent"] + np.repeat(_starts([len(a.profile.identity.user_agents) for a in accounts]), sizes)
    kinds = (("ip_prefix", pa.string()), ("asn", pa.int64())), (("user_agent", pa.string()), ("ja4", pa.string()))
    arrays = {
        name: pa.array([row[i] for row in table], kind).take(pa.array(at))
        for table, at, pair in ((networks, net, kinds[0]), (agents, agent, kinds[1]))
        for i, (name, kind) in enumerate(pair)
    }
    return pa.StructArray.from_arrays([arrays[f.name] for f in CLIENT], fields=list(CLIENT))


def _starts(counts: list[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *counts[:-1]])


def _owner(accounts: list[Account]) -> pa.Array:
    rows = []
    for a in accounts:
        nulls, identity = a.profile.nulls, a.profile.identity
        rows.append(
            {
                "created_at": None if "created_at" in nulls else a.created,
                "plan": None if "plan" in nulls else identity.plan,
                "payment_hash": None if "payment_hash" in nulls else identity.payment,
            }
        )
    return pa.array(rows, ACCOUNT)


def with_prompts(world: World, table: pa.Table) -> pa.Table:
    """The table with its prompts written out (schema `SCHEMA`)."""
    column = table.column("prompt").combine_chunks()
    offsets = column.offsets.to_numpy()
    prompts = world.texts.pool.join(offsets - offsets[0], column.flatten().to_numpy())
    return table.set_column(table.schema.get_field_index("prompt"), "prompt", prompts).cast(SCHEMA)


def one_account(world: World, p: Plan) -> pa.Table:
    """One account's exchange records in order of time, as they stand in the world's files."""
    return in_order(with_prompts(world, pa.Table.from_batches([to_batch([build(world, p)])])))


def in_order(table: pa.Table) -> pa.Table:
    """The rows in order of time; of equal times, by id."""
    keys = [("timestamp", "ascending"), ("exchange_id", "ascending")]
    return table.take(pa.compute.sort_indices(table, sort_keys=keys))
