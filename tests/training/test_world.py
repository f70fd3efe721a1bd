"""The simulated world: contract, determinism, and the leak audit that keeps it from being a toy."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from real import CORPORA, needs_corpora
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from training.corpora import Corpora
from training.plan import make_plan
from training.world import SCHEMA, World, account_id, build_account, make_world

CATEGORIES = (
    "model",
    "system",
    "max_tokens",
    "temperature",
    "n",
    "stop_reason",
    "logprobs",
    "reasoning",
    "stream",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    make_world(out, accounts=700, seed=11)
    return out


def rows(out: Path, name: str) -> list[dict[str, str]]:
    with (out / name).open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def by_account(out: Path) -> dict[str, dict[str, list[Any]]]:
    """Columns of the traffic by account, without the prompts."""
    names = [n for n in SCHEMA.names if n != "prompt"]
    table = pq.read_table(out / "traffic", columns=names).to_pylist()
    accounts: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in table:
        for name in names:
            accounts[row["account_id"]][name].append(row[name])
    return accounts


def describe(account: dict[str, list[Any]]) -> list[float]:
    """Request parameters, identity, usage, conversation shape and timing of an account; nothing of its text."""
    first = {k: v[0] for k, v in account.items()}
    client, owner = first["client"] or {}, first["account"] or {}
    number = [_float(first[k]) for k in ("max_tokens", "temperature", "n", "logprobs", "stream")]
    codes = [_code(v) for v in (first["model"], first["system"], client.get("asn"), client.get("user_agent"))]
    codes += [_code(owner.get("plan")), float(len(first["tools"] or []))]
    age = (first["timestamp"] - owner["created_at"]).days if owner.get("created_at") else np.nan
    networks = len({(c or {}).get("ip_prefix") for c in account["client"]})
    sessions, depth = len(set(account["session_id"])), [_float(d) for d in account["n_messages"]]
    output = np.log1p([_float(v) for v in account["output_tokens"]])
    shape = [float(first["session_id"] is None), sessions / len(depth), np.mean(depth), np.max(depth)]
    used = [np.mean(output), np.std(output), np.mean([s == "max_tokens" for s in account["stop_reason"]])]
    reasoning = np.mean([_float(r) for r in account["reasoning"]])
    return [*number, *codes, age, networks, *shape, *used, reasoning, *timing(account["timestamp"])]


def timing(stamps: list[Any]) -> list[float]:
    t = np.array([s.timestamp() for s in stamps])
    gaps = np.log10(np.diff(t) + 1e-3)
    hours = np.abs(np.mean(np.exp(2j * np.pi * t / 86400)))
    spread = np.std(np.diff(t)) / np.mean(np.diff(t))
    return [
        len(t),
        t[-1] - t[0],
        *np.quantile(gaps, [0.05, 0.25, 0.5, 0.75, 0.95]),
        spread,
        hours,
        len(set(t // 3600)),
    ]


def _float(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _code(value: object) -> float:
    return np.nan if value is None else float(sum(str(value).encode()) % 997)


def leak(out: Path, seeds: int = 3) -> float:
    """AUC of attack against programs and shared keys from everything but text, cross-validated by group."""
    groups = {r["account_id"]: r["group"] for r in rows(out, "groups.csv")}
    labels = [r for r in rows(out, "labels.csv") if r["kind"] != "human"]
    accounts = by_account(out)
    x = np.nan_to_num([describe(accounts[r["account_id"]]) for r in labels], nan=-1.0)
    y = np.array([int(r["label"]) for r in labels])
    member = np.array([groups[r["account_id"]] for r in labels])
    aucs = []
    for seed in range(seeds):
        model = GradientBoostingClassifier(n_estimators=60, max_depth=2, subsample=0.7, random_state=seed)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        score = cross_val_predict(model, x, y, groups=member, cv=folds, method="predict_proba")[:, 1]
        aucs.append(roc_auc_score(y, score))
    return float(np.mean(aucs))


def test_metadata_and_timing_do_not_give_the_attack_away(world: Path) -> None:
    assert leak(world) <= 0.65


def test_leak_audit_would_see_a_leak(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit's own oracle: a constant that follows the label in one account of two is found."""
    label = {r["account_id"]: int(r["label"]) for r in rows(world, "labels.csv")}
    marked = by_account(world)
    for i, (name, account) in enumerate(sorted(marked.items())):
        if label[name] and i % 2:
            account["n"] = [3] * len(account["n"])
    monkeypatch.setattr(f"{__name__}.by_account", lambda out: marked)
    assert leak(world, seeds=1) > 0.65


def test_no_value_is_one_side_only(world: Path) -> None:
    kind = {r["account_id"]: r["kind"] for r in rows(world, "labels.csv")}
    seen: dict[tuple[str, Any], set[tuple[str, bool]]] = defaultdict(set)
    for name, account in by_account(world).items():
        if kind[name] == "human":
            continue
        for column, value in values(account):
            seen[column, value].add((name, kind[name] == "attack"))
    for key, accounts in seen.items():
        if len(accounts) >= 12:
            assert {attack for _, attack in accounts} == {True, False}, key


def values(account: dict[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    for column in CATEGORIES:
        yield from ((column, v) for v in set(account[column]))
    for tools in account["tools"]:
        yield from (("tools", t) for t in tools or [])
    for client in account["client"]:
        yield from ((k, (client or {}).get(k)) for k in ("asn", "user_agent", "ja4"))
    yield "plan", (account["account"][0] or {}).get("plan")
    yield from ((c, None) for c in SCHEMA.names if c != "prompt" and account[c][0] is None)


def test_files_hold_the_exchange_record_in_order_of_time(world: Path) -> None:
    files = sorted((world / "traffic").glob("part-*.parquet"))
    assert [f.name for f in files] == [f"part-{i:05d}.parquet" for i in range(len(files))]
    table = pq.read_table(files)
    assert table.schema.equals(SCHEMA)
    stamps = table.column("timestamp").to_numpy()
    assert (np.diff(stamps) >= np.timedelta64(0, "us")).all()
    assert len(set(table.column("exchange_id").to_pylist())) == table.num_rows
    for required in ("exchange_id", "account_id", "timestamp", "prompt"):
        assert table.column(required).null_count == 0
    assert all(p.strip() for p in table.column("prompt").to_pylist())


def test_optional_columns_are_really_null_at_times(world: Path) -> None:
    table = pq.read_table(world / "traffic")
    needed = {"exchange_id", "account_id", "timestamp", "prompt"}
    for name in set(SCHEMA.names) - needed:
        assert 0 < table.column(name).null_count < table.num_rows, name


def test_labels_follow_the_contract(world: Path) -> None:
    labels = rows(world, "labels.csv")
    assert list(labels[0]) == ["account_id", "label", "kind", "family", "campaign_id", "share"]
    assert {r["kind"] for r in labels} == {"human", "automation", "mixed", "attack"}
    for r in labels:
        assert (r["label"] == "1") == (r["kind"] == "attack") == bool(r["campaign_id"]) == bool(r["share"])
    assert len({r["family"] for r in labels if r["label"] == "1"}) >= 8
    assert len({r["family"] for r in labels if r["label"] == "0"}) >= 10
    assert {r["account_id"] for r in labels} == set(by_account(world))


def test_volume_is_heavy_tailed_and_the_same_for_everybody(world: Path) -> None:
    attack = {r["account_id"]: r["label"] == "1" for r in rows(world, "labels.csv")}
    sizes = {name: len(a["exchange_id"]) for name, a in by_account(world).items()}
    medians = [np.median([q for name, q in sizes.items() if attack[name] is side]) for side in (True, False)]
    assert all(60 < m < 110 for m in medians)
    assert min(sizes.values()) >= 10
    assert max(sizes.values()) > 400


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    one, two, other = (make_world(tmp_path / str(i), accounts=40, seed=seed) for i, seed in enumerate((5, 5, 6)))
    assert one == two
    assert one.digest != other.digest
    assert (tmp_path / "0/labels.csv").read_bytes() == (tmp_path / "1/labels.csv").read_bytes()
    assert pq.read_table(tmp_path / "0/traffic").equals(pq.read_table(tmp_path / "1/traffic"))


def test_any_account_can_be_built_alone(world: Path) -> None:
    plan = make_plan(700, 11, None)[123]
    alone = build_account(World(11, 30, None, None), plan).to_pylist()
    table = pq.read_table(world / "traffic", filters=[("account_id", "==", account_id(11, 123))])
    assert table.to_pylist() == alone


def test_progress_and_bad_arguments(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    make_world(tmp_path, accounts=12, progress=lambda done, all_: calls.append((done, all_)))
    assert calls == [(i, 12) for i in range(1, 13)]
    with pytest.raises(ValueError, match="at least 8 accounts"):
        make_world(tmp_path, accounts=3)


@pytest.fixture(scope="module")
def real_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    make_world(out, accounts=300, seed=3, corpora=CORPORA)
    return out


@needs_corpora
def test_corpora_worlds_use_training_sources_only(real_world: Path) -> None:
    described = json.loads((real_world / "world.json").read_text("utf-8"))
    assert {source["use"] for source in described["sources"]} == {"train"}
    assert not {"alpaca", "dolly"} & {source["name"] for source in described["sources"]}
    assert any(":" in family for family in described["by_family"])


@needs_corpora
def test_harvested_text_is_not_in_honest_accounts(real_world: Path) -> None:
    """Long prompts of accounts that do nothing but harvest never occur in an honest account."""
    labels = {r["account_id"]: r for r in rows(real_world, "labels.csv")}
    table = pq.read_table(real_world / "traffic", columns=["account_id", "prompt"]).to_pylist()
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for row in table:
        label = labels[row["account_id"]]
        if len(row["prompt"]) > 60 and label["share"] in ("1", ""):
            sides[label["label"] == "1"].add(row["prompt"])
    assert not sides[True] & sides[False]


@needs_corpora
def test_cover_units_are_kept_apart() -> None:
    corpora = Corpora(CORPORA)
    cover = {(u.source, u.key) for u in corpora.cover_units}
    honest = {(u.source, u.key) for n in corpora.names("human") for u in corpora.honest_units(n)}
    assert cover
    assert not cover & honest
    for name in ("gsm8k", "swe_agent"):
        harvest = {u.key for u in corpora.harvest_units(name)}
        assert harvest
        assert not harvest & {u.key for u in corpora.honest_units(name)}
