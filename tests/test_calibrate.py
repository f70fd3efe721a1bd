"""Thresholds from the operator's own traffic: the bound is exact, the promise is kept, and what cannot be is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import exchange
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from toy_bundle import toy_bundle, write_manifest
from typer.testing import CliRunner

from fingerprint import Scorer
from fingerprint.bundle import load
from fingerprint.calibrate import cut, needed, upper_bound
from fingerprint.commands import app
from fingerprint.errors import BundleError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("bundles") / "toy")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def account(name: str, share: float, count: int = 20, day: int = 0) -> list[dict[str, Any]]:
    """Exchanges of which a share asks for logprobs: the toy bundle's score rises with it."""
    start = 1_772_366_400 + 86_400 * day
    return [
        exchange(exchange_id=f"{name}-{day}-{i}", account_id=name, timestamp=start + 60 * i, logprobs=i < share * count)
        for i in range(count)
    ]


def traffic(path: Path, *accounts: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for records in accounts for record in records))
    return path


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred accounts, one of which asks for logprobs half of the time."""
    quiet = [account(f"a{i}", (i % 5) / 20) for i in range(399)]
    return traffic(tmp_path_factory.mktemp("own") / "ordinary.jsonl", *quiet, account("loud", 0.5))


@given(st.integers(1, 3000), st.floats(0.5, 0.999), st.data())
def test_the_bound_is_that_of_clopper_and_pearson(total: int, confidence: float, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, total))
    expected = beta.ppf(confidence, hits + 1, total - hits) if hits < total else 1.0
    assert upper_bound(hits, total, confidence) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("rate", "accounts"), [(0.01, 299), (0.001, 2995), (0.05, 59)])
def test_from_how_many_accounts_on_a_rate_can_be_promised(rate: float, accounts: int) -> None:
    assert needed(rate, 0.95) == accounts
    assert upper_bound(0, accounts, 0.95) <= rate < upper_bound(0, accounts - 1, 0.95)


@pytest.mark.parametrize(("accounts", "asked"), [(300, 0.01), (1000, 0.01), (2000, 0.003), (500, 0.05)])
def test_the_promise_is_kept_on_accounts_that_come_later(accounts: int, asked: float) -> None:
    """Of 1,000 operators about 95 % find the true rate within what was asked, and not by asking for nothing."""
    rng = np.random.default_rng(accounts)
    rates = np.array([np.exp(-cut(rng.exponential(size=accounts), asked, 0.95).at) for _ in range(1000)])
    assert 0.93 <= (rates <= asked).mean() < 1
    assert rates.mean() > asked / 5


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=700), st.floats(0.001, 0.2))
def test_equal_values_never_let_more_through_than_is_allowed(values: list[float], asked: float) -> None:
    found = cut(np.array(values), asked, 0.95)
    assert found.reached == sum(value >= found.at for value in values)
    assert upper_bound(found.reached, found.accounts, 0.95) <= max(asked, upper_bound(0, found.accounts, 0.95))
    assert found.kept == (len(values) >= needed(asked, 0.95))


def test_a_smaller_share_never_has_a_lower_cut() -> None:
    values = np.random.default_rng(1).normal(size=500)
    cuts = [cut(values, asked, 0.95).at for asked in (0.2, 0.05, 0.01, 0.003, 0.001, 0.0001)]
    assert cuts == sorted(cuts)


def test_too_few_values_give_a_cut_beyond_all_of_them() -> None:
    found = cut(np.arange(40.0), 0.001, 0.95)
    assert found.at > 39
    assert not found.kept
    assert found.reached == 0
    assert found.bound == pytest.approx(0.072, abs=0.001)


def test_a_bundle_with_thresholds_of_ones_own(tmp_path: Path, bundle: Path, ordinary: Path) -> None:
    out = tmp_path / "own"
    result = run("calibrate", ordinary, "--bundle", bundle, "--out", out)
    assert result.exit_code == 0
    made, before = load(out), load(bundle)
    scorer = Scorer.load(out)
    assert made.bundle_id != before.bundle_id
    assert made.head.weights.tobytes() == before.head.weights.tobytes()
    assert 0.5 < scorer.review <= scorer.act  # above the account that asks half of the time
    assert (
        "0 of 400 honest accounts reach it; at most 0.75% of such accounts will, with 95% confidence" in result.stdout
    )
    assert "400 accounts are too few to promise 0.10%, 2,995 are needed" in result.stdout
    assert made.bundle_id in result.stdout
    facts = made.manifest["calibrated"]
    assert (facts["from"], facts["accounts"], facts["confidence"]) == (before.bundle_id, 400, 0.95)
    assert facts["levels"]["review"] == {
        "asked": 0.01,
        "reached": 0,
        "bound": pytest.approx(0.00746, abs=1e-5),
        "kept": True,
    }
    assert facts["levels"]["act"]["kept"] is False
    assert made.manifest["baseline"]["logprobs_share"] == pytest.approx([0.0, 0.1, 0.2])
    assert made.manifest["baseline"]["likeness_p50"] != before.manifest["baseline"]["likeness_p50"]


def test_half_of_the_accounts_may_reach_a_level_that_half_may_reach(tmp_path: Path, bundle: Path) -> None:
    """The cut is one of scores as `score` gives them."""
    own = traffic(tmp_path / "t.jsonl", *[account(f"a{i}", i / 100, 100) for i in range(100)])
    told = run("calibrate", own, "--bundle", bundle, "--out", tmp_path / "own", "--review", 0.5, "--act", 0.1)
    assert told.exit_code == 0
    verdicts = run("score", own, "--by", "account", "--bundle", tmp_path / "own", "--out", "-").stdout.splitlines()
    levels = [json.loads(line)["level"] for line in verdicts]
    facts = load(tmp_path / "own").manifest["calibrated"]["levels"]
    assert levels.count("act") == facts["act"]["reached"] == 4
    assert levels.count("act") + levels.count("review") == facts["review"]["reached"] == 41


def test_strict_writes_nothing_where_the_promise_cannot_be_kept(tmp_path: Path, bundle: Path, ordinary: Path) -> None:
    asked = ["calibrate", ordinary, "--bundle", bundle, "--out", tmp_path / "own", "--strict"]
    result = run(*asked)
    assert result.exit_code == 2
    assert "400 accounts are too few to promise 0.10%, 2,995 are needed" in result.stderr
    assert not (tmp_path / "own").exists()
    assert run(*asked, "--act", 0.01).exit_code == 0


def test_the_card_gets_one_line_whatever_was_there(tmp_path: Path, bundle: Path, ordinary: Path) -> None:
    run("calibrate", ordinary, "--bundle", bundle, "--out", tmp_path / "once")
    run("calibrate", ordinary, "--bundle", tmp_path / "once", "--out", tmp_path / "twice", "--review", 0.02)
    once, twice = ((tmp_path / name / "card.md").read_text().splitlines() for name in ("once", "twice"))
    assert once[0] == twice[0] == "# A toy"
    assert len(once) == len(twice) == 3
    assert once[2] != twice[2]
    assert twice[2].startswith("> Set on the operator's own traffic: review from ")


def test_the_same_traffic_gives_the_same_bundle(tmp_path: Path, bundle: Path, ordinary: Path) -> None:
    for name in ("a", "b"):
        run("calibrate", ordinary, "--bundle", bundle, "--out", tmp_path / name)
    assert load(tmp_path / "a").bundle_id == load(tmp_path / "b").bundle_id
    assert run("calibrate", ordinary, "--bundle", bundle, "--out", tmp_path / "a").exit_code == 0  # replaced


def test_an_account_in_two_files_is_one_account(tmp_path: Path, bundle: Path) -> None:
    first = traffic(tmp_path / "1.jsonl", *[account(f"a{i}", 0.2)[:10] for i in range(9)])
    second = traffic(tmp_path / "2.jsonl", *[account(f"a{i}", 0.2)[10:] for i in range(9)])
    result = run("calibrate", first, second, "--bundle", bundle, "--out", tmp_path / "own")
    assert "0 of 9 honest accounts" in result.stdout
    assert "180 records: 0 rejected, 0 duplicates dropped; 9 accounts (" in result.stderr


def test_an_account_counts_once_by_its_highest_session(tmp_path: Path, bundle: Path) -> None:
    days = [account(f"a{i}", 0.0) + account(f"a{i}", 0.9 * (i == 7), day=2)[1:] for i in range(30)]
    own = traffic(tmp_path / "t.jsonl", *days)
    result = run("calibrate", own, "--by", "session", "--bundle", bundle, "--out", tmp_path / "own")
    assert "0 of 30 honest accounts" in result.stdout
    facts = load(tmp_path / "own").manifest["calibrated"]
    assert (facts["by"], facts["accounts"], facts["windows"]) == ("session", 30, 60)
    assert Scorer.load(tmp_path / "own").review > 0.9


def test_accounts_of_one_or_two_exchanges_are_counted_apart(tmp_path: Path, bundle: Path) -> None:
    small = [account(f"small{i}", 1.0, 2) for i in range(500)]
    own = traffic(tmp_path / "t.jsonl", *[account(f"a{i}", 0.2) for i in range(50)], *small)
    result = run("calibrate", own, "--bundle", bundle, "--out", tmp_path / "own")
    assert "0 of 50 honest accounts" in result.stdout
    assert "500 accounts of fewer than 3 exchanges are left out; 500 of them reach review" in result.stdout
    facts = load(tmp_path / "own").manifest["calibrated"]["accounts_too_small"]
    assert facts == {"accounts": 500, "review": 500, "act": 500}


@pytest.mark.parametrize(
    "options",
    [
        ["--review", 0.001, "--act", 0.01],
        ["--act", 0],
        ["--review", 1.0],
        ["--confidence", 1.0],
        ["--confidence", 0.2],
    ],
)
def test_options_that_promise_nothing_are_refused(
    tmp_path: Path, bundle: Path, ordinary: Path, options: list[object]
) -> None:
    result = run("calibrate", ordinary, "--bundle", bundle, "--out", tmp_path / "own", *options)
    assert result.exit_code == 2
    assert "expected 0 < --act <= --review < 1" in result.stderr


def test_traffic_without_an_account_of_three_exchanges(tmp_path: Path, bundle: Path) -> None:
    own = traffic(tmp_path / "t.jsonl", account("a", 0.0, 2), account("b", 0.0, 1))
    result = run("calibrate", own, "--bundle", bundle, "--out", tmp_path / "own")
    assert result.exit_code == 2
    assert "expected accounts of at least 3 exchanges, got 2 of fewer" in result.stderr


def test_nothing_but_a_bundle_is_replaced(tmp_path: Path, bundle: Path, ordinary: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = run("calibrate", ordinary, "--bundle", bundle, "--out", tmp_path)
    assert result.exit_code == 2
    assert "this holds something else" in result.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
    over = run("calibrate", ordinary, "--bundle", bundle, "--out", bundle)
    assert over.exit_code == 2
    assert "this is the bundle that is read" in over.stderr
    load(bundle)


def test_a_bundle_that_was_trained_on_ordinary_traffic_warns(tmp_path: Path, ordinary: Path) -> None:
    toy = toy_bundle(tmp_path / "toy")
    manifest = json.loads((toy / "manifest.json").read_text())
    told = []
    for number, rows in enumerate(([{"name": "traffic"}], [{"name": "traffic", "own_accounts": 3}])):
        write_manifest(toy, manifest | {"training_data": rows})
        told.append(run("calibrate", ordinary, "--bundle", toy, "--out", tmp_path / str(number)).stderr)
    assert ["was trained on ordinary traffic" in line for line in told] == [False, True]


def test_a_changed_promise_is_noticed(tmp_path: Path, bundle: Path, ordinary: Path) -> None:
    """What was promised is under the bundle's id, as the thresholds are."""
    run("calibrate", ordinary, "--bundle", bundle, "--out", tmp_path / "own")
    path = tmp_path / "own" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["calibrated"]["levels"]["act"]["kept"] = True
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="was changed"):
        load(tmp_path / "own")
