"""Drift: figures by hand, no drift in one traffic split in two, what was shifted is found, statuses, MLflow."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import exchanges
from mlflow.tracking import MlflowClient
from toy_bundle import FOLLOWED, toy_bundle
from toy_run import CANARY, leaks
from typer.testing import CliRunner

from fingerprint import FEATURES, Scorer
from fingerprint.calibrate import LEAST, quantiles
from fingerprint.errors import FingerprintError
from fingerprint.exchange import text_hash
from training import drift_page
from training.__main__ import app, main
from training.drift import (
    Drift,
    Seen,
    against_baseline,
    alarms,
    asked_models,
    by_chance,
    compare,
    ks,
    psi,
    psi_of,
    see,
)

NAMES = [feature.name for feature in FEATURES]
PER_ACCOUNT = 8


@dataclass(frozen=True)
class Toy:
    """A bundle whose baseline is that of ``june``; ``july`` is more of the same, ``shifted`` is not."""

    folder: Path
    bundle: Path

    def of(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("drift")
    records = exchanges(600 * PER_ACCOUNT, seed=5, accounts=600)
    odd = [int(record["account_id"][1:]) % 2 for record in records]
    lines(folder / "june.jsonl", [record for record, is_odd in zip(records, odd, strict=True) if is_odd])
    july = [record for record, is_odd in zip(records, odd, strict=True) if not is_odd]
    lines(folder / "july.jsonl", july)
    changed = {"logprobs": True, "temperature": 1.0, "stream": False, "max_tokens": 9_000, "n": 4, "model": "m9"}
    changed |= {"prompt": CANARY, "n_messages": 1, "tools": [], "output_tokens": 9_000}
    lines(folder / "shifted.jsonl", [record | changed for record in july])
    lines(folder / "few.jsonl", [record for record in july if int(record["account_id"][1:]) < 40])
    june = see([folder / "june.jsonl"], Scorer.load(toy_bundle(folder / "plain")), "account").features
    typical: dict[str, list[float | None]] = {
        name: [None if value != value else value for value in row] for name, row in quantiles(june).items()
    }
    return Toy(folder, toy_bundle(folder / "bundle", typical=typical))


def drift_of(toy: Toy, latest: str, reference: str | None, by: Any = "account") -> Drift:
    scorer = Scorer.load(toy.bundle)
    earlier = None if reference is None else see([toy.of(reference)], scorer, by)
    return compare(scorer, by, see([toy.of(latest)], scorer, by), earlier)


def test_psi_by_hand() -> None:
    """Halves become three quarters and a quarter: 0.25 ln 1.5 + 0.25 ln 2."""
    found = psi(np.array([0.5, 0.5]), np.array([0.75, 0.25]))
    assert found == pytest.approx(0.25 * math.log(1.5) + 0.25 * math.log(2))


def test_psi_over_deciles_by_hand() -> None:
    """Ten values, one a decile; all of the latest in the highest: nine bins that hold nothing count half a window."""
    reference, latest = np.arange(10.0), np.full(20, 9.0)
    found, bins = psi_of(reference, latest)
    assert bins == 10
    assert found == pytest.approx(9 * (0.1 - 0.025) * math.log(0.1 / 0.025) + 0.9 * math.log(10))
    assert psi_of(reference, reference) == (0.0, 10)


def test_missing_is_a_bin_of_its_own() -> None:
    reference = np.r_[np.zeros(50), np.full(50, np.nan)]
    found, bins = psi_of(reference, np.r_[np.zeros(25), np.full(75, np.nan)])
    assert bins == 2
    assert found == pytest.approx(0.25 * math.log(2) + 0.25 * math.log(1.5))
    assert ks(reference, reference) == 0
    assert math.isnan(ks(reference, np.full(3, np.nan)))
    assert psi_of(np.full(9, np.nan), np.zeros(9))[0] > 1


@pytest.mark.parametrize("moved", [0.5, 1.5])
def test_a_value_that_all_have_is_left_to_either_side(moved: float) -> None:
    """A bin that ended at it would hold what lies below, too."""
    assert psi_of(np.ones(300), np.full(300, moved))[0] > 1
    assert ks(np.ones(300), np.full(300, moved)) == 1


def test_float32_values_lie_in_the_bins_of_their_own() -> None:
    values = np.repeat(np.float32([0.1, 0.3, 0.7]), 100)
    assert psi_of(values, values) == (0.0, 3)


def test_baseline_bins_by_hand() -> None:
    """All between the median and the 95 % quantile: 45 % become everything."""
    found, distance = against_baseline(np.array([-1.0, 0.0, 1.0]), np.full(100, 0.5))
    small = 0.005
    rest = 2 * (small - 0.05) * math.log(small / 0.05) + (small - 0.45) * math.log(small / 0.45)
    assert found == pytest.approx(rest + 0.55 * math.log(1 / 0.45))
    assert distance == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["normal", "zeros", "counts", "constant"])
def test_the_baseline_of_the_same_values_is_no_drift(kind: str) -> None:
    """Values that equal a quantile, however many, are no drift by themselves."""
    rng = np.random.default_rng(1)
    made = {"normal": rng.normal(size=2000), "zeros": np.maximum(rng.normal(size=2000), 0)}
    made |= {"counts": rng.integers(0, 3, 2000).astype(float), "constant": np.ones(2000)}
    values = np.r_[made[kind], np.full(100, np.nan)].astype(np.float32)
    found, distance = against_baseline(np.nanquantile(values, [0.05, 0.5, 0.95]), values)
    assert found < 1e-5
    assert distance < 1e-3


def test_ks_at_three_points_is_below_the_true_one() -> None:
    rng = np.random.default_rng(2)
    reference, latest = rng.normal(size=1000), rng.normal(0.4, 1.3, size=1000)
    bound = against_baseline(np.quantile(reference, [0.05, 0.5, 0.95]), latest)[1]
    assert 0.05 < bound <= ks(reference, latest) + 1e-3


def test_no_baseline_or_no_value_is_no_figure() -> None:
    assert all(map(math.isnan, against_baseline(np.array([0.0, np.nan, 1.0]), np.ones(5))))
    assert all(map(math.isnan, against_baseline(np.array([0.0, 0.5, 1.0]), np.full(5, np.nan))))


def test_psi_by_chance_is_what_is_drawn() -> None:
    rng = np.random.default_rng(3)
    drawn = np.array([psi_of(rng.normal(size=400), rng.normal(size=300))[0] for _ in range(300)])
    mean, most = by_chance(10, 300, 400)
    assert mean == pytest.approx(9 * (1 / 300 + 1 / 400))
    assert drawn.mean() == pytest.approx(mean, rel=0.15)
    assert (drawn > most).mean() < 0.04
    assert by_chance(1, 10, 10) == (0, 0)


def test_one_traffic_split_in_two_does_not_drift(toy: Toy) -> None:
    found = drift_of(toy, "july", "june")
    assert alarms(found) == []
    assert found.score["psi"] < 0.25
    assert not found.few
    judged = found.features.dropna(subset="psi")
    assert len(judged) == len(FEATURES)
    assert (judged["psi"] > judged["noise"]).mean() < 0.05
    known = found.features[found.features["missing_reference"] < 0.9]
    assert known["outside_reference"].max() <= 0.1 + 0.04, "10 %, and a window or two of the fewest"
    assert found.features["outside"].median() == pytest.approx(0.1, abs=0.05)


def test_what_was_shifted_is_found(toy: Toy) -> None:
    found = drift_of(toy, "shifted", "june")
    assert found.features["psi"].is_monotonic_decreasing
    by_name = found.features.set_index("feature")
    assert by_name.loc[FOLLOWED, "psi"] > 1
    assert by_name.loc[FOLLOWED, "outside"] > 0.5 or by_name.loc[FOLLOWED, "ks"] > 0.9
    assert found.score["psi"] > 1
    assert found.score["act"] > found.score["act_reference"]
    assert len(alarms(found)) == 2
    assert alarms(found, most_psi=1e9, most_features=1) == []


def test_one_feature_alone_is_named_first_and_raises_no_alarm(toy: Toy) -> None:
    scorer = Scorer.load(toy.bundle)
    june, july = (see([toy.of(name)], scorer, "account") for name in ("june", "july"))
    moved = july.features.copy()
    moved[:, 7] += 1000
    found = compare(scorer, "account", replace(july, features=moved), june)
    assert found.features["feature"][0] == NAMES[7]
    assert alarms(found) == []


def test_without_reference_there_is_the_baseline_alone(toy: Toy) -> None:
    steady, moved = (drift_of(toy, name, None) for name in ("july", "shifted"))
    assert set(steady.score) == {"review", "act"}
    assert steady.features["missing_reference"].isna().all()
    assert alarms(steady) == []
    assert moved.features["psi"].max() > 1
    assert any("features" in line for line in alarms(moved))
    told = " ".join(drift_page.notes(steady, []))
    assert "three quantiles of windows as training cuts them" in told
    assert "KS is a lower bound" in told
    assert "differ from those of the baseline already in size" in told


def test_few_windows_are_told_and_chance_raises_no_alarm(toy: Toy) -> None:
    found = drift_of(toy, "few", "june")
    assert found.few
    assert (found.features["psi"] > found.features["chance"]).any()
    assert alarms(found, most_psi=0, most_features=0.1) == []
    assert "PSI is noisy" in " ".join(drift_page.notes(found, []))


def test_windows_of_one_or_two_exchanges_are_counted_apart(toy: Toy) -> None:
    seen = see([toy.of("july")], Scorer.load(toy.bundle), "session")
    assert seen.small > 0
    by_account = see([toy.of("july")], Scorer.load(toy.bundle), "account")
    assert len(seen.scores) + seen.small > len(by_account.scores)


def test_traffic_without_windows_is_an_error(toy: Toy, tmp_path: Path) -> None:
    alone = lines(tmp_path / "alone.jsonl", exchanges(LEAST - 1))
    with pytest.raises(FingerprintError, match="exchanges, got 1 of fewer"):
        see([alone], Scorer.load(toy.bundle), "account")


def test_traffic_out_of_order_is_read_again(toy: Toy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import training.drift

    records = [json.loads(line) for line in toy.of("few").read_text().splitlines()]
    halves = [lines(tmp_path / f"{i}.jsonl", part) for i, part in enumerate((records[100:], records[:100]))]
    scorer = Scorer.load(toy.bundle)
    expected = see([toy.of("few")], scorer, "account")
    monkeypatch.setattr(training.drift, "HOLD", 50)
    found = see(halves, scorer, "account")
    assert sorted(found.scores) == sorted(expected.scores)
    assert len(found.time_us) == len(records)


def seen_models(*names: str | None) -> Seen:
    hashes = np.array([-1 if name is None else text_hash(name) for name in names], np.int32)
    none = np.empty((0, len(FEATURES)), np.float32)
    return Seen(none, np.empty(0, np.float32), 0, 0, np.arange(len(names), dtype=np.int64), hashes)


def test_models_of_the_first_and_last_third() -> None:
    table = asked_models(seen_models("a", "a", None, "a", "b", "b", "b", "c", "c")).set_index("model")
    shares = {name: tuple(table.loc[f"{text_hash(name):08x}", ["first_third", "last_third"]]) for name in "abc"[::2]}
    assert shares["a"] == (pytest.approx(2 / 3), 0)
    assert shares["c"] == (0, pytest.approx(2 / 3))
    assert table["new"].to_dict() == {
        f"{text_hash('a'):08x}": False,
        f"{text_hash('b'):08x}": True,
        f"{text_hash('c'):08x}": True,
        "none named": False,
    }
    beside = asked_models(seen_models("a", "b", "c"), seen_models("c", "a")).set_index("model")
    assert not beside["new"].any()
    assert beside.loc[f"{text_hash('c'):08x}", "reference"] == 0.5


def test_models_that_nobody_names() -> None:
    assert len(asked_models(seen_models(None, None, None))) == 0
    assert len(asked_models(seen_models("a"))) == 0


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["drift", *map(str, arguments)])


def test_steady_is_status_0_with_a_table(toy: Toy) -> None:
    result = call(toy.of("july"), "--bundle", toy.bundle, "--reference", toy.of("june"))
    assert result.exit_code == 0, result.output
    assert "Steady: nothing is beyond its limit." in result.stdout
    assert "PSI by chance" in result.stdout
    assert result.stdout.count("│") > 20


def test_drift_is_status_3_with_a_page_and_a_plot(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "new" / "drift.md"
    result = call(toy.of("shifted"), "--bundle", toy.bundle, "--reference", toy.of("june"), "--out", out)
    assert result.exit_code == 3, result.output
    assert "PSI of the score is" in result.stdout
    assert "New models: 1, 100.0% of the last third" not in result.stdout, "it is not new since the first third"
    page = out.read_text("utf-8")
    assert all(name in page for name in NAMES)
    assert "(drift.png)" in page
    assert f"{text_hash('m9'):08x}" in page
    assert (out.parent / "drift.png").read_bytes().startswith(b"\x89PNG")
    assert leaks(out.parent, [CANARY]) == []
    limits = ["--most-psi", 1000, "--most-features", 1]
    assert call(toy.of("shifted"), "--bundle", toy.bundle, "--reference", toy.of("june"), *limits).exit_code == 0


@pytest.mark.parametrize("by", ["account", "session"])
def test_the_baseline_alone_by_the_command(toy: Toy, tmp_path: Path, by: str) -> None:
    result = call(toy.of("shifted"), "--bundle", toy.bundle, "--by", by, "--out", tmp_path / "drift.md")
    assert result.exit_code == 3, result.output
    assert "Without reference traffic" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"drift.md", "drift.png"}


def test_errors_are_status_2(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "none.jsonl", "--bundle", toy.bundle).exit_code == 2
    (tmp_path / "empty.jsonl").touch()
    for arguments in ([tmp_path / "empty.jsonl"], [toy.of("few"), "--out", tmp_path / "page.png"]):
        monkeypatch.setattr("sys.argv", ["training", "drift", "--bundle", str(toy.bundle), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "training: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty.jsonl"]


@pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
def test_a_run_in_mlflow_has_figures_page_and_plot(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    result = call(toy.of("shifted"), "--bundle", toy.bundle, "--reference", toy.of("june"), "--track")
    assert result.exit_code == 3, result.output
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("fingerprint")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["bundle_id"] == Scorer.load(toy.bundle).bundle_id
    assert run.data.tags["drift"] == "drift"
    assert run.data.metrics[f"psi.{FOLLOWED}"] > 1
    assert run.data.metrics["score.psi"] > 1
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"drift.md", "drift.png", "features.csv"}
    assert leaks(tmp_path / "mlartifacts", [CANARY]) == []
