"""From traffic to labelled rows: samples, cross-fitted contributions, windows on their side of the cut."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import exchange, exchanges, random_head, window_of

from fingerprint import Window, features
from fingerprint.assemble import session_keys
from fingerprint.contribution import read_exchange
from fingerprint.errors import TrafficError
from fingerprint.exchange import parse
from fingerprint.kernels.layout import W
from training import dataset
from training.dataset import PROMPTS, contributions, cut_windows, sample_prompts, window_table

NOON = 1_772_366_400
HEADS = [random_head(1), random_head(2)]


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """Five accounts, each prompt with its own id in it."""
    return [r | {"prompt": f"{r['exchange_id']} {r['prompt']}"} for r in exchanges(600, 7, accounts=5)]


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> list[Path]:
    folder = tmp_path_factory.mktemp("traffic")
    return [lines(folder / "1.jsonl", records[:250]), lines(folder / "2.jsonl", records[250:])]


def sampled(sample: dataset.Sample, cut_us: int = 2**62) -> dict[str, set[bytes]]:
    """What the head may be trained on."""
    found: dict[str, set[bytes]] = {}
    for row in sample.before(cut_us):
        found.setdefault(sample.accounts.items[sample.account[row]], set()).add(sample.prompt[row])
    return found


def test_a_sample_holds_a_few_prompts_of_every_account(traffic: list[Path], records: list[dict[str, Any]]) -> None:
    sample = sample_prompts(traffic)
    found = sampled(sample)
    assert {name: len(prompts) for name, prompts in found.items()} == dict.fromkeys(
        [f"a{i}" for i in range(5)], PROMPTS
    )
    for name, prompts in found.items():
        assert prompts <= {r["prompt"].encode() for r in records if r["account_id"] == name}
    assert (sample.exchanges, sample.rejected) == (600, 0)


@pytest.mark.parametrize("part", [0.0, 0.02, 0.1, 0.5, 0.9])
def test_a_sample_is_cut_in_time_and_stays_as_full_as_it_can(
    traffic: list[Path], records: list[dict[str, Any]], part: float
) -> None:
    """Wherever the cut falls: only earlier prompts, and as many of an account as it sent, up to the usual number."""
    times = {r["prompt"].encode(): (r["account_id"], parse(r).time_us) for r in records}
    cut = sorted(time for _, time in times.values())[int(part * len(times))]
    found = sampled(sample_prompts(traffic), cut)
    for name in {name for name, _ in times.values()}:
        early = {prompt for prompt, (owner, time) in times.items() if owner == name and time < cut}
        assert found.get(name, set()) <= early
        assert len(found.get(name, set())) == min(PROMPTS, len(early))


def test_the_sample_does_not_depend_on_batches_or_files(
    traffic: list[Path], records: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = sorted(parse(r).time_us for r in records)[120]
    expected = [sampled(sample_prompts(traffic), at) for at in (cut, 2**62)]
    turned = sample_prompts([lines(tmp_path / "all.jsonl", records[::-1])])
    assert [sampled(turned, at) for at in (cut, 2**62)] == expected
    monkeypatch.setattr("fingerprint.readers.BATCH_BYTES", 3000)
    assert [sampled(sample_prompts(traffic), at) for at in (cut, 2**62)] == expected


def test_the_sample_knows_when_accounts_were_active(traffic: list[Path], records: list[dict[str, Any]]) -> None:
    medians = sample_prompts(traffic).median_us
    for name, median in medians.items():
        times = [parse(r).time_us for r in records if r["account_id"] == name]
        assert median == int(np.median(times))


def test_rejected_records_are_counted_and_no_records_are_an_error(tmp_path: Path) -> None:
    path = lines(tmp_path / "t.jsonl", [*exchanges(9, 1), {"exchange_id": "bad"}])
    assert sample_prompts([path]).rejected == 1
    with pytest.raises(TrafficError):
        sample_prompts([lines(tmp_path / "bad.jsonl", [{"exchange_id": "bad"}])])


def test_each_account_is_read_by_its_own_head(traffic: list[Path], records: list[dict[str, Any]]) -> None:
    """Contributions are those of serving with that head; accounts that are not asked for are left out."""
    head_of = {"a0": 0, "a1": 1, "a2": 1}
    ordered, names = contributions(traffic, HEADS, head_of)
    assert {names.items[code] for code in ordered.account} == set(head_of)
    for name, k in head_of.items():
        mine = sorted((r for r in records if r["account_id"] == name), key=lambda r: r["timestamp"])
        window = window_of(mine, HEADS[k])
        rows = ordered.rows.take(ordered.account == names.items.index(name))
        assert Window.empty().update(rows) == window
        assert window_of(mine, HEADS[1 - k]) != window


def test_exchanges_are_in_order_without_duplicates(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    doubled = lines(tmp_path / "t.jsonl", [*records[::-1], *records[:100]])
    ordered, _ = contributions([doubled], HEADS[:1], {f"a{i}": 0 for i in range(5)})
    assert len(ordered.account) == 600
    time = ordered.rows.when[:, W["time_us"]]
    same = np.diff(ordered.account) == 0
    assert (np.diff(ordered.account) >= 0).all()
    assert (np.diff(time)[same] >= 0).all()
    assert np.array_equal(ordered.rows.when[1:, W["gap_us"]][same], np.diff(time)[same])


def cuts(count: int, sizes: tuple[int, ...] = (3, 10), per_account: int = 2, step: int = 3600) -> list[Any]:
    times = np.arange(count) * step * 1_000_000
    return cut_windows(times, np.arange(count) // 4, sizes, per_account, np.random.default_rng(1))


def test_windows_of_all_scopes_and_sizes() -> None:
    windows = cuts(30)
    scopes = [scope for scope, _ in windows]
    assert scopes[0] == "account"
    assert windows[0][1].tolist() == list(range(30))
    assert {scope: scopes.count(scope) for scope in scopes} == {"account": 1, "slice": 4, "day": 2, "session": 2}
    assert sorted(len(rows) for scope, rows in windows if scope == "slice") == [3, 3, 10, 10]
    for scope, rows in windows:
        assert len(rows) >= 3
        assert (np.diff(rows) == 1).all(), "exchanges that follow each other"
        if scope == "day":
            assert len(set(rows // 24)) == 1
        if scope == "session":
            assert rows.tolist() == [4 * (rows[0] // 4) + i for i in range(4)]


@pytest.mark.parametrize(("count", "windows"), [(0, 0), (2, 0), (3, 1), (4, 3)])
def test_small_accounts(count: int, windows: int) -> None:
    """Fewer than three exchanges give no window; three give one, the account."""
    assert len(cuts(count)) == windows


def test_slices_are_distinct() -> None:
    for _ in range(5):
        starts = [rows[0] for scope, rows in cuts(5, (3,), 9) if scope == "slice"]
        assert sorted(starts) == [0, 1, 2]


@pytest.fixture(scope="module")
def known(records: list[dict[str, Any]]) -> pd.DataFrame:
    times = sorted(parse(r).time_us for r in records)
    table = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(4)],
            "label": [0, 1, 0, 1],
            "split": ["train", "calib", "test", "test"],
        }
    )
    table.attrs["cut_us"] = times[360]
    return table


@pytest.fixture(scope="module")
def table(traffic: list[Path], known: pd.DataFrame) -> tuple[Any, dataset.WindowTable]:
    made = contributions(traffic, HEADS[:1], {f"a{i}": 0 for i in range(4)})
    return made, window_table(*made, known, (3, 10, 30), 2, 5)


def test_windows_lie_on_their_side_of_the_cut(table: Any, known: pd.DataFrame, records: list[dict[str, Any]]) -> None:
    """Training and calibration see only what came before, test only what came after."""
    meta = table[1].meta
    for name, split in zip(known["account_id"], known["split"], strict=True):
        times = [parse(r).time_us for r in records if r["account_id"] == name]
        side = [t for t in times if (t >= known.attrs["cut_us"]) == (split == "test")]
        rows = meta[meta["account_id"] == name]
        assert rows.loc[rows["scope"] == "account", "n_exchanges"].tolist() == [len(side)]
        assert rows["n_exchanges"].max() == len(side)


def test_rows_repeat_their_accounts_facts_and_weigh_one_together(table: Any) -> None:
    meta, X = table[1].meta, table[1].X
    assert len(meta) == len(X)
    assert X.dtype == np.float32
    assert meta.groupby("account_id")["weight"].sum().tolist() == pytest.approx([1] * 4)
    assert set(meta["scope"]) <= {"account", "slice", "day", "session"}
    assert meta.groupby("account_id")["label"].nunique().max() == 1


def test_what_a_label_weighs_is_what_its_windows_weigh_together(table: Any, known: pd.DataFrame) -> None:
    weights = dict(zip(known["account_id"], [0.5, 1.0, 2.0, 0.25], strict=True))
    weighted = known.assign(weight=known["account_id"].map(weights))
    meta, _ = dataset.all_windows(*table[0], weighted, (3, 10), 2, 1)
    assert meta.groupby("account_id")["weight"].sum().to_dict() == pytest.approx(weights)


def test_rows_are_the_features_of_serving(table: Any, records: list[dict[str, Any]], known: pd.DataFrame) -> None:
    """The account window of a training account, streamed exchange by exchange, has the same bits."""
    meta, X = table[1].meta, table[1].X
    mine = [r for r in records if r["account_id"] == "a0" and parse(r).time_us < known.attrs["cut_us"]]
    row = X[((meta["account_id"] == "a0") & (meta["scope"] == "account")).to_numpy()]
    assert np.array_equal(row, features(window_of(mine, HEADS[0])), equal_nan=True)
    last, window = -1, Window.empty()
    after = [r for r in records if r["account_id"] == "a2"]
    for record in after:
        contribution = read_exchange(record, HEADS[0], last)
        last = parse(record).time_us
        if last >= known.attrs["cut_us"]:
            window.update(contribution)
    row = X[((meta["account_id"] == "a2") & (meta["scope"] == "account")).to_numpy()]
    assert np.array_equal(row, features(window), equal_nan=True), "the first gap after the cut is known"


def test_the_same_seed_gives_the_same_rows(table: Any, known: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    (ordered, names), made = table
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(dataset, "_CHUNK", 7)
    again = window_table(ordered, names, known, (3, 10, 30), 2, 5, lambda *step: told.append(step))
    assert np.array_equal(again.X, made.X, equal_nan=True)
    assert again.meta.equals(made.meta)
    assert told[-1] == ("windows", len(made.X), len(made.X))
    other = window_table(ordered, names, known, (3, 10, 30), 2, 6)
    assert not np.array_equal(other.X, made.X, equal_nan=True)


def test_sessions_of_training_are_those_of_serving(tmp_path: Path) -> None:
    moments = [0, 60, 120, 4000, 4060, 4120, 9000]
    path = lines(tmp_path / "t.jsonl", [exchange(exchange_id=str(s), timestamp=NOON + s) for s in moments])
    ordered, _ = contributions([path], HEADS[:1], {"a": 0})
    assert session_keys(ordered).tolist() == [0, 0, 0, 1, 1, 1, 2]
