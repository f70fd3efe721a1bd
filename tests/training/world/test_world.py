"""The simulated world: contract, determinism, bounded files, parts that share no text."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from real import CORPORA, needs_corpora
from worlds import cover_units

from training.config import ConfigError
from training.world import LABELS, WorldSummary, make_world, open_world
from training.world.account import SCHEMA, account_id, one_account
from training.world.corpora import FAMILY, MATERIAL, Corpora
from training.world.settings import load


def make(out: Path, workers: int = 1, corpora: Path | None = None, **values: object) -> WorldSummary:
    return make_world(out, load(None, None, values), corpora=corpora, workers=workers)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    make(out, accounts=700, seed=11, rows_a_file=20_000)
    return out


def rows(out: Path, name: str) -> list[dict[str, str]]:
    with (out / name).open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def by_account(out: Path) -> dict[str, dict[str, list[Any]]]:
    """Columns of the traffic by account, without the prompts."""
    names = [n for n in SCHEMA.names if n != "prompt"]
    accounts: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in pq.read_table(out / "traffic", columns=names).to_pylist():
        for name in names:
            accounts[row["account_id"]][name].append(row[name])
    return accounts


def test_files_hold_the_exchange_record_in_order_of_time(world: Path) -> None:
    files = sorted((world / "traffic").iterdir())
    assert [f.name for f in files] == [f"part-{i:05d}.parquet" for i in range(len(files))]
    assert len(files) > 3
    assert all(pq.read_metadata(f).num_rows <= 20_000 for f in files)
    table = pq.read_table(files)
    assert table.schema.equals(SCHEMA)
    stamps = table.column("timestamp").to_numpy()
    assert (np.diff(stamps) >= np.timedelta64(0, "us")).all()
    assert len(set(table.column("exchange_id").to_pylist())) == table.num_rows
    for required in ("exchange_id", "account_id", "timestamp", "prompt"):
        assert table.column(required).null_count == 0
    assert all(p.strip() for p in table.column("prompt").to_pylist())


def test_nothing_is_left_beside_the_world(world: Path) -> None:
    assert sorted(f.name for f in world.iterdir()) == ["groups.csv", "labels.csv", "traffic", "world.json"]


def test_optional_columns_are_really_null_at_times(world: Path) -> None:
    table = pq.read_table(world / "traffic")
    for name in set(SCHEMA.names) - {"exchange_id", "account_id", "timestamp", "prompt"}:
        assert 0 < table.column(name).null_count < table.num_rows, name


def test_labels_follow_the_contract(world: Path) -> None:
    labels = rows(world, "labels.csv")
    assert tuple(labels[0]) == LABELS
    assert {r["kind"] for r in labels} == {"human", "automation", "mixed", "attack"}
    for r in labels:
        attack = r["kind"] == "attack"
        assert (r["label"] == "1") == attack == bool(r["campaign_id"]) == bool(r["share"]) == bool(r["goal"])
        assert attack or not r["evasions"]
    assert len({r["family"] for r in labels if r["label"] == "1"}) >= 8
    assert len({r["family"] for r in labels if r["label"] == "0"}) >= 10
    assert {r["account_id"] for r in labels} == set(by_account(world))


def test_the_description_tells_the_settings_and_makes_the_same_world(world: Path, tmp_path: Path) -> None:
    described = json.loads((world / "world.json").read_text("utf-8"))
    again = make(tmp_path, **described["settings"])
    assert again.digest == described["digest"]
    assert again.exchanges == described["exchanges"] == pq.read_table(world / "traffic", columns=[]).num_rows


def test_same_settings_same_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    told = [
        make(tmp_path / str(i), w, accounts=60, seed=s, rows_a_file=2000)
        for i, (w, s) in enumerate([(1, 5), (2, 5), (1, 6)])
    ]
    assert told[0] == told[1]
    assert told[0].digest != told[2].digest
    for file in sorted((tmp_path / "0").rglob("*.*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "1" / file.relative_to(tmp_path / "0")).read_bytes(), file.name


def test_any_account_can_be_built_alone(world: Path) -> None:
    opened, plans = open_world(load(None, None, {"accounts": 700, "seed": 11, "rows_a_file": 20_000}))
    for kind in ("human", "automation", "mixed", "attack"):
        plan = next(p for p in plans if p.kind == kind)
        alone = one_account(opened, plan)
        table = pq.read_table(world / "traffic", filters=[("account_id", "==", account_id(11, plan.index))])
        assert table.to_pylist() == alone.to_pylist()


def test_sessions_are_of_one_account_and_turns_count_up(world: Path) -> None:
    owner: dict[str, str] = {}
    for name, columns in by_account(world).items():
        for session in set(columns["session_id"]) - {None}:
            assert owner.setdefault(session, name) == name


def test_progress_and_bad_arguments(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    make_world(tmp_path, load("tiny"), progress=lambda *step: calls.append(step))
    assert [c[0] for c in calls] == sorted((c[0] for c in calls), key=["world", "write"].index)
    assert calls[-1][0] == "write"
    assert calls[-1][1] == calls[-1][2] == pq.read_table(tmp_path / "traffic", columns=[]).num_rows
    with pytest.raises(ConfigError, match="at least 8 accounts"):
        make(tmp_path, accounts=3)


@pytest.fixture(scope="module")
def real_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real")
    make(out, corpora=CORPORA, accounts=300, seed=3)
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
        if len(row["prompt"]) > 60 and label["share"] in ("1", "") and "relay" not in label["evasions"]:
            sides[label["label"] == "1"].add(row["prompt"])
    assert not sides[True] & sides[False]


@needs_corpora
def test_cover_units_are_kept_apart() -> None:
    corpora = Corpora(CORPORA)
    cover = {(u.source, u.key) for u in cover_units(corpora)}
    honest = {(u.source, u.key) for n in corpora.names("human") for u in corpora.honest_units(n)}
    assert cover
    assert not cover & honest
    for name in ("gsm8k", "swe_agent"):
        harvest = {u.key for u in corpora.harvest_units(name)}
        assert harvest
        assert not harvest & {u.key for u in corpora.honest_units(name)}


@needs_corpora
def test_parts_share_no_source_family() -> None:
    parts = {part: Corpora(CORPORA, part=part) for part in ("train", "validation", "test")}
    whole = {FAMILY.get(name, name) for name in Corpora(CORPORA).sources}
    families = {
        part: {FAMILY.get(n, n) for role in ("harvest", "human", "automation") for n in c.names(role)}
        for part, c in parts.items()
    }
    assert not families["train"] & families["validation"]
    assert not families["train"] & families["test"]
    assert not families["validation"] & families["test"]
    assert whole <= set.union(*families.values()) | set(MATERIAL)
    for c in parts.values():
        assert all(c.names(role) for role in ("harvest", "human", "automation"))


@needs_corpora
def test_worlds_of_different_parts_share_no_harvested_prompt(tmp_path: Path) -> None:
    sent: dict[str, set[str]] = {}
    for part in ("train", "test"):
        make(tmp_path / part, corpora=CORPORA, accounts=160, part=part, built_in=0.0)
        labels = {r["account_id"]: r for r in rows(tmp_path / part, "labels.csv")}
        table = pq.read_table(tmp_path / part / "traffic", columns=["account_id", "prompt"]).to_pylist()
        pure = [r["prompt"] for r in table if labels[r["account_id"]]["share"] == "1" and len(r["prompt"]) > 80]
        sent[part] = set(pure)
    assert sent["train"]
    assert sent["test"]
    assert len(sent["train"] & sent["test"]) <= 0.001 * len(sent["train"])
