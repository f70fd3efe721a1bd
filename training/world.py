"""A labelled world: exchange records of people, programs, shared keys and campaigns, as time-ordered Parquet.

`make_world(out)` plans the accounts, builds each from `SeedSequence([seed, index])` alone, and writes
`traffic/part-*.parquet`, `labels.csv`, `groups.csv` and `world.json`. The text comes from the built-in grammar or, with
`corpora`, mostly from real prompts with real clocks. Left out: evasions beyond cover traffic, events other than one
model release, and worlds larger than memory.

    python -m training world --out /tmp/world --accounts 400
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training import campaigns, clocks, plan, populations
from training.corpora import Corpora, Source
from training.metadata import Profile, draw_profile, models_over_time, usage
from training.plan import Plan, make_plan

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
ROWS_A_FILE = 200_000
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
LABELS = ("account_id", "label", "kind", "family", "campaign_id", "share")


@dataclass(frozen=True)
class WorldSummary:
    """What was written; `digest` is the same for the same seed and options."""

    accounts: int
    exchanges: int
    by_kind: dict[str, int]
    by_family: dict[str, int]
    campaigns: int
    files: int
    digest: str


@dataclass(frozen=True)
class World:
    """What every account is built from."""

    seed: int
    days: int
    corpora: Corpora | None
    traces: clocks.Traces | None


def make_world(
    out: Path,
    *,
    accounts: int = 400,
    seed: int = 7,
    corpora: Path | None = None,
    days: int = 30,
    uses: Sequence[str] = ("train",),
    progress: Callable[[int, int], None] | None = None,
) -> WorldSummary:
    """Write a world to `out`; `progress` is called with accounts done and accounts in all."""
    if accounts < 8 or days < 2:
        raise ValueError(f"expected at least 8 accounts and 2 days, got {accounts} and {days}")
    real = Corpora(corpora, uses) if corpora else None
    world = World(seed, days, real, clocks.read_traces(corpora) if corpora else None)
    plans = make_plan(accounts, seed, real)
    batches = []
    for done, p in enumerate(plans, 1):
        batches.append(build_account(world, p))
        if progress:
            progress(done, accounts)
    (out / "traffic").mkdir(parents=True, exist_ok=True)
    digest = _write_traffic(out / "traffic", batches)
    digest.update(_write_labels(out, seed, plans).encode())
    summary = _summary(plans, batches, len(list((out / "traffic").glob("part-*.parquet"))), digest.hexdigest())
    _write_description(out, world, summary)
    return summary


def account_id(seed: int, index: int) -> str:
    return "acct_" + hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=7).hexdigest()


def build_account(world: World, p: Plan) -> pa.RecordBatch:
    """One account's exchanges in order of time; depends on the seed and this line of the plan only."""
    rng = np.random.default_rng(np.random.SeedSequence([world.seed, p.index]))
    group = np.random.default_rng(np.random.SeedSequence([world.seed, 1 << 41, p.group]))
    text = _text(Random(int(rng.integers(2**62))), world, p)
    if p.clock == "people" and p.kind == "human":
        times = clocks.people(rng, np.array(text.fresh), np.array(text.gaps), world.days, world.traces)
    else:
        times = clocks.arrivals(p.clock, rng, p.q, world.days, world.traces)
    _retry(rng, text, times)
    profile = draw_profile(rng, group, plan.style(rng, p))
    if p.kind != "human" or profile.request.threaded is False:
        fresh = _threads(rng, times, profile.request.threaded)
    else:
        fresh = np.array(text.fresh)
    return _record_batch(rng, world, p, text, times, fresh, profile)


def _text(rnd: Random, world: World, p: Plan) -> populations.Text:
    if p.kind == "human":
        return populations.human_text(rnd, p.family, p.q, world.corpora)
    if p.kind == "automation":
        return populations.automation_text(rnd, p.family, p.q, world.corpora)
    if p.kind == "mixed":
        return populations.mixed_text(rnd, p.family, p.q, world.corpora)
    shard = campaigns.Shard(p.number, p.of, world.seed * 1_000_003 + p.group)
    return campaigns.attack_text(rnd, p.family, shard, p.q, p.share, world.corpora)[0]


def _retry(rng: np.random.Generator, text: populations.Text, times: np.ndarray) -> None:
    """Some clients send a request again a few seconds later, whoever they belong to."""
    rate = rng.uniform(0, 0.03) if rng.random() < 0.4 else 0.0
    for i in np.flatnonzero(rng.random(len(times)) < rate):
        if i:
            text.prompts[i], text.caps[i], text.fresh[i] = text.prompts[i - 1], text.caps[i - 1], text.fresh[i - 1]
            times[i] = min(times[i], times[i - 1] + rng.uniform(1, 20))


def _threads(rng: np.random.Generator, times: np.ndarray, threaded: bool) -> np.ndarray:
    """Where conversations begin for accounts that are not one person: never depends on the text."""
    if not threaded:
        return np.ones(len(times), bool)
    idle = np.diff(times, prepend=-np.inf) > 1800
    return idle | (rng.random(len(times)) < 1 / rng.uniform(2, 14))


def _record_batch(
    rng: np.random.Generator, world: World, p: Plan, text: populations.Text,
    times: np.ndarray, fresh: np.ndarray, profile: Profile,
) -> pa.RecordBatch:  # fmt: skip
    q = len(times)
    fresh[0] = True
    thread = np.cumsum(fresh) - 1
    depth = np.arange(q) - np.flatnonzero(fresh)[thread]
    ids = rng.integers(2**63, size=(2, q))
    request, name = profile.request, account_id(world.seed, p.index)
    stamps = np.datetime64(EPOCH.replace(tzinfo=None), "us") + (times * 1e6).astype("timedelta64[us]")
    columns: dict[str, Any] = {
        "exchange_id": [f"x{v:016x}" for v in ids[0]], "account_id": [name] * q, "timestamp": stamps,
        "session_id": [f"s{ids[1][t]:016x}" for t in thread], "system": [request.system] * q,
        "model": models_over_time(rng, request, times / (world.days * clocks.DAY)), "prompt": text.prompts,
        "n_messages": 1 + 2 * depth, "tools": [list(request.tools)] * q, "n": [request.n] * q,
        "logprobs": [request.logprobs] * q, "stream": [request.stream] * q,
        **usage(rng, request, text.prompts, text.caps, depth),
        "client": _client(rng, profile, thread), "account": _account(profile, stamps[0], q),
    }  # fmt: skip
    nulls = profile.nulls
    arrays = [pa.nulls(q, f.type) if f.name in nulls else pa.array(columns[f.name], f.type) for f in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _client(rng: np.random.Generator, profile: Profile, thread: np.ndarray) -> list[dict[str, Any]]:
    """Network and client of each request: constant within a conversation."""
    identity, nulls = profile.identity, profile.nulls
    count = int(thread[-1]) + 1
    net, agent = (
        rng.integers(len(identity.networks), size=count),
        rng.integers(len(identity.user_agents), size=count),
    )
    seen = [
        {
            "ip_prefix": None if "ip_prefix" in nulls else identity.networks[i][0],
            "asn": None if "asn" in nulls else identity.networks[i][1],
            "user_agent": None if "user_agent" in nulls else identity.user_agents[j],
            "ja4": None if "ja4" in nulls else identity.ja4s[j],
        }
        for i, j in zip(net, agent, strict=True)
    ]
    return [seen[t] for t in thread]


def _account(profile: Profile, first: np.datetime64, q: int) -> list[dict[str, Any]]:
    identity, nulls = profile.identity, profile.nulls
    age = min(identity.age, 2500.0) * clocks.DAY
    created = (first - np.timedelta64(int(age + 60), "s")).astype(datetime).replace(tzinfo=UTC)
    row = {
        "created_at": None if "created_at" in nulls else created,
        "plan": None if "plan" in nulls else identity.plan,
        "payment_hash": None if "payment_hash" in nulls else identity.payment,
    }
    return [row] * q


def _write_traffic(directory: Path, batches: list[pa.RecordBatch]) -> Any:
    """Time-ordered files: each takes from every account the rows of its stretch of time."""
    for old in directory.glob("part-*.parquet"):
        old.unlink()
    stamps = [b.column("timestamp").to_numpy(zero_copy_only=False).astype("int64") for b in batches]
    ordered = np.sort(np.concatenate(stamps))
    files = -(-len(ordered) // ROWS_A_FILE)
    cuts = [ordered[min(i * ROWS_A_FILE, len(ordered) - 1)] for i in range(1, files)]
    digest, low = hashlib.sha256(), [0] * len(batches)
    for i in range(files):
        high = [int(np.searchsorted(s, cuts[i])) if i < files - 1 else len(s) for s in stamps]
        part = pa.Table.from_batches([b.slice(a, z - a) for b, a, z in zip(batches, low, high, strict=True)])
        order = pc.sort_indices(part, sort_keys=[("timestamp", "ascending"), ("exchange_id", "ascending")])
        part = part.combine_chunks().take(order)
        pq.write_table(part, directory / f"part-{i:05d}.parquet", compression="zstd")
        for column in ("exchange_id", "prompt"):
            digest.update("\x00".join(part.column(column).to_pylist()).encode())
        digest.update(part.column("timestamp").to_numpy().tobytes())
        low = high
    return digest


def _write_labels(out: Path, seed: int, plans: list[Plan]) -> str:
    """`labels.csv` by the contract, and `groups.csv`: which accounts are operated together, honest ones too."""
    rows = []
    for p in plans:
        attack = p.kind == "attack"
        campaign, share = (f"camp_{p.group:05d}", f"{p.share:g}") if attack else ("", "")
        rows.append((account_id(seed, p.index), int(attack), p.kind, p.family, campaign, share))
    for name, header, lines in (
        ("labels.csv", LABELS, rows),
        (
            "groups.csv",
            ("account_id", "group"),
            [(r[0], f"group_{p.group:05d}") for r, p in zip(rows, plans, strict=True)],
        ),
    ):
        with (out / name).open("w", encoding="utf-8", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows([header, *lines])
    return (out / "labels.csv").read_text("utf-8")


def _summary(plans: list[Plan], batches: list[pa.RecordBatch], files: int, digest: str) -> WorldSummary:
    return WorldSummary(
        accounts=len(plans),
        exchanges=sum(b.num_rows for b in batches),
        by_kind=dict(sorted(Counter(p.kind for p in plans).items())),
        by_family=dict(sorted(Counter(p.family for p in plans).items())),
        campaigns=len({p.group for p in plans if p.kind == "attack"}),
        files=files,
        digest=digest,
    )


def _write_description(out: Path, world: World, summary: WorldSummary) -> None:
    corpora = world.corpora
    described = {
        "seed": world.seed, "days": world.days, "epoch": EPOCH.isoformat(),
        "text": "corpora and grammar" if corpora else "grammar", "uses": corpora.uses if corpora else [],
        "sources": [s._asdict() for s in corpora.sources.values()] if corpora else [],
        "versions": {"fingerprint": version("fingerprint"), "numpy": np.__version__, "pyarrow": pa.__version__},
        **asdict(summary),
    }  # fmt: skip
    (out / "world.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")


def origin(world: Path) -> list[dict[str, object]]:
    """What a world was made of, a row a source, for manifest and card; empty where `world` has no description."""
    if not (world / "world.json").is_file():
        return []
    told = json.loads((world / "world.json").read_text("utf-8"))
    made = f"{told['accounts']} accounts, {told['days']} days, seed {told['seed']}"
    own = Source("simulated world, text of our own", "all", "train", "of this project", made)
    return [own._asdict(), *told["sources"]]
