"""Clocks: inside the account's life, sorted, seeded, and near the quantiles of the real traces."""

import numpy as np
import pandas as pd
import pytest
from real import CORPORA, needs_corpora

from training.world import clock_report, clocks
from training.world.clocks import CLASSES, DAY, people, sessions, timeline
from training.world.flows import Flow, outages, run_offsets
from training.world.laws import laws

SPAN = 300 * DAY
SIZES = {"people": (300, 20), "coding": (1500, 24), "service": (300, 200), "nightly": (600, 40)}


def account(kind: str, q: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, *kind.encode()])
    times, fresh = timeline(kind, rng, q, 1000.0, 2 * DAY if kind == "nightly" else SPAN)
    depth = np.arange(q) - np.maximum.accumulate(np.where(fresh, np.arange(q), 0))
    return pd.DataFrame({
        "account_id": f"{kind}{seed}", "session_id": np.cumsum(fresh).astype(str), "timestamp": times, "clock": kind,
        "input_tokens": clocks.context_tokens(kind, rng, np.full(q, 60.0), depth),
        "output_tokens": clocks.output_tokens(kind, rng, q),
    })  # fmt: skip


@pytest.fixture(scope="module")
def traffic() -> pd.DataFrame:
    return pd.concat([account(kind, q, i) for kind, (q, n) in SIZES.items() for i in range(n)])


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("q", [1, 2, 10, 112, 800])
def test_times_are_sorted_and_inside_the_account_s_life(kind: str, q: int) -> None:
    for seed in range(20):
        times, _ = timeline(kind, np.random.default_rng(seed), q, 5 * DAY, q / 26 * DAY)
        assert len(times) == q
        assert times[0] >= 5 * DAY
        assert (np.diff(times) >= 0).all()
        tail = DAY if kind in ("burst", "nightly") else 0.0
        assert times[-1] <= 5 * DAY + q / 26 * DAY + tail


@pytest.mark.parametrize("kind", CLASSES)
def test_the_same_seed_gives_the_same_account(kind: str) -> None:
    one, two = (account(kind, 112, 3) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert not np.array_equal(one["timestamp"], account(kind, 112, 4)["timestamp"])


@pytest.mark.parametrize("kind", CLASSES)
def test_a_life_too_short_is_squeezed_not_left(kind: str) -> None:
    times, _ = timeline(kind, np.random.default_rng(1), 800, 0.0, 3600.0)
    assert len(times) == 800
    assert (np.diff(times) >= 0).all()
    if kind not in ("burst", "nightly"):
        assert times[-1] <= 3600.0


def test_simulated_sessions_are_near_the_real_ones(traffic: pd.DataFrame) -> None:
    """Within twice the distance of two halves of the real trace."""
    found = clock_report.compare(None, traffic).set_index(["role", "statistic"])["ratio"]
    assert {"people", "coding", "service", "evaluation"} == set(found.index.get_level_values(0))
    assert found.max() < 2.0
    assert found.median() < 1.2


@needs_corpora
def test_simulated_sessions_are_near_the_traces_themselves(traffic: pd.DataFrame) -> None:
    found = clock_report.compare(CORPORA, traffic).set_index(["role", "statistic"])
    assert found["ratio"].max() < 2.0
    shipped = clock_report.compare(None, traffic).set_index(["role", "statistic"]).loc[found.index]
    assert np.allclose(shipped["real p50"], found["real p50"], rtol=0.15, atol=0.02)
    assert np.allclose(shipped["yardstick"], found["yardstick"], rtol=0.01)


def test_medians_are_those_of_the_domain_facts(traffic: pd.DataFrame) -> None:
    """People pause a minute or two, agents some seconds; both are irregular, and people less so."""
    found = clock_report.compare(None, traffic).set_index(["role", "statistic"])["simulated p50"]
    assert 40 < found["people", "gap p50"] < 160
    assert 12 < found["coding", "gap p50"] < 30
    assert 0.5 < found["people", "cv"] < 0.95
    assert found["coding", "cv"] > 1.6
    assert found["service", "cv"] > 1.1


def test_regularity_is_no_class_of_its_own(traffic: pd.DataFrame) -> None:
    found = clock_report.compare(None, traffic).set_index(["role", "statistic"])
    assert (found.xs("cv", level=1)["simulated p5"] < 0.75).all()


def test_sessions_of_agents_hold_pauses_of_hours() -> None:
    times, fresh = timeline("coding", np.random.default_rng(2), 20_000, 0.0, 4 * SPAN)
    inside = np.diff(times)[~fresh[1:]]
    assert 0.003 < (inside > 1800).mean() < 0.03


def test_known_gaps_of_people_are_kept() -> None:
    fresh = np.array([True, False, False, False])
    times = people(np.random.default_rng(1), fresh, np.array([np.nan, 11.0, 22.0, 33.0]), 0.0, DAY)
    assert np.allclose(np.diff(times), [11, 22, 33])


def test_conversations_at_given_times_begin_after_idle_time() -> None:
    times = np.array([0.0, 10.0, 4000.0, 4010.0, 40_000.0])
    for kind in CLASSES:
        fresh = sessions(kind, np.random.default_rng(0), times)
        assert fresh[0]
        assert fresh[4]
        assert fresh[2] or kind == "coding"


def test_a_flow_keeps_its_ceiling_its_barrier_and_its_sleep() -> None:
    rng = np.random.default_rng(5)
    _, capped = run_offsets(rng, np.array([400]), Flow(workers=64, per_minute=60))
    windows = np.searchsorted(capped, capped + 60) - np.arange(400)
    assert windows.max() <= 60 + 64 + 1
    assert capped[-1] > (400 - 64 - 1) * 1.0
    _, steps = run_offsets(rng, np.array([200]), Flow(workers=20, barrier=20, latency_s=10, spread=0.2))
    assert (np.diff(steps)[19::20] > 3).all()
    _, slow = run_offsets(rng, np.array([50]), Flow(workers=1, latency_s=0.5, spread=0.1, sleep_s=1.0))
    assert np.diff(slow).min() > 1.0


def test_pauses_silence_the_whole_client_or_one_worker() -> None:
    whole, alone = (
        run_offsets(np.random.default_rng(6), np.array([300]), Flow(workers=32, pause_s=60, limited=0.05, whole=w))[1]
        for w in (True, False)
    )
    assert np.diff(whole).max() > 55
    assert np.diff(alone[:250]).max() < 30


def test_a_batch_api_answers_at_once() -> None:
    _, times = run_offsets(np.random.default_rng(7), np.array([500]), Flow(asynchronous=True, barrier=100))
    gaps = np.diff(times)
    assert (gaps > 55).sum() == 4
    assert np.quantile(gaps, 0.9) < 0.1


def test_runs_of_any_sizes_give_every_completion() -> None:
    run, times = run_offsets(np.random.default_rng(8), np.array([1, 7, 30]), Flow(workers=4, barrier=5, retry_s=1))
    assert np.bincount(run).tolist() == [1, 7, 30]
    assert (times > 0).all()


def test_outages_move_requests_past_their_end() -> None:
    times = np.sort(np.random.default_rng(9).uniform(0, 10_000, 500))
    windows = np.array([[2000.0, 2600.0], [5000.0, 9000.0]])
    moved = outages(times, windows, np.random.default_rng(9))
    assert not any(((moved >= a) & (moved < b)).any() for a, b in windows)
    assert (moved >= times).all()
    assert moved.max() < 10_000 + 602
    outside = ~np.any([(times >= a) & (times < b) for a, b in windows], axis=0)
    assert np.array_equal(moved[outside], times[outside])


@pytest.mark.parametrize("kind", CLASSES)
def test_contexts_hold_their_prompt_and_grow_in_a_conversation(kind: str) -> None:
    depth = np.tile(np.arange(20), 50)
    tokens = clocks.context_tokens(kind, np.random.default_rng(3), np.full(1000, 300.0), depth)
    assert (tokens >= 0.95 * 300).all()
    if kind != "service":  # several users' conversations, of unknown order, in the traces
        assert np.median(tokens[depth == 19]) > 1.5 * np.median(tokens[depth == 0])
    assert (clocks.output_tokens(kind, np.random.default_rng(3), 100) >= 1).all()


def test_the_report_draws_every_role_and_reads_arrow(traffic: pd.DataFrame) -> None:
    pa = pytest.importorskip("pyarrow")
    small = traffic[traffic["clock"] == "people"].reset_index(drop=True)
    stamps = pa.array((small["timestamp"] * 1e6).astype("int64").to_numpy(), pa.timestamp("us", "UTC"))
    table = pa.table({c: stamps if c == "timestamp" else small[c].to_numpy() for c in small})
    one, two = (clock_report.compare(None, t) for t in (small, table))
    assert np.allclose(one["distance"], two["distance"], atol=0.01)
    figures = clock_report.plots(None, traffic)
    assert set(figures) == {"people", "coding", "service", "evaluation"}


def test_a_yardstick_is_no_distance_of_a_sample_from_itself() -> None:
    for role, rows in laws()["real"].items():
        for name, row in rows.items():
            assert len(row) == 52, (role, name)
            assert row[0] > 0
