"""Verdicts and features as files: the contract's columns in every format, complete or not at all."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fingerprint.assemble import Entities
from fingerprint.errors import FingerprintError
from fingerprint.kernels.layout import WORDS
from fingerprint.verdicts import feature_kinds, feature_rows, verdict_kinds, verdict_rows, writer

REASON = {
    "family": "timing",
    "feature": "rate",
    "value": 7.5,
    "typical": None,
    "low": None,
    "high": 5.0,
    "without": 0.25,
    "family_without": 0.125,
    "sentence": 'rate is 7.5 "an hour", größer',
}
NAMES = ["rate", "span"]


class Judge:
    """Stands in for a scorer: the score is the first feature."""

    bundle_id = "fp-1"

    def __init__(self) -> None:
        self.asked = 0

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features[:, 0]

    def level(self, scores: NDArray[np.float32]) -> list[str]:
        return [("allow", "review", "act")[int(s >= 0.5) + int(s >= 0.75)] for s in scores]

    def reasons(self, features: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        self.asked += len(features)
        return [[REASON, REASON] for _ in features]


def entities(count: int = 3) -> Entities:
    names = [f'e{i},"ß"\n' for i in range(count)]
    times = 1_772_366_400_000_001 + np.arange(count)
    return Entities(
        names, ["a"] * count, np.arange(count) + 3, times, times + 10**6, np.zeros((count, WORDS), np.int64)
    )


SCORES = np.array([[0.25, np.nan], [0.5, 1], [0.75, 2]], np.float32)


def write_all(path: Path, chunks: int = 1) -> Path:
    with writer(str(path), verdict_kinds()) as write:
        for _ in range(chunks):
            write(verdict_rows(entities(), SCORES, Judge()))
    return path


def test_columns_are_those_of_the_contract() -> None:
    named = "entity_id account_id n_exchanges first_seen last_seen score level reasons bundle_id"
    assert list(verdict_kinds()) == named.split()
    assert list(feature_kinds(NAMES)) == [*named.split()[:5], *NAMES]


def test_jsonl(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in write_all(tmp_path / "v.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "entity_id": 'e1,"ß"\n',
        "account_id": "a",
        "n_exchanges": 4,
        "first_seen": "2026-03-01T12:00:00.000002Z",
        "last_seen": "2026-03-01T12:00:01.000002Z",
        "score": 0.5,
        "level": "review",
        "reasons": [REASON, REASON],
        "bundle_id": "fp-1",
    }
    assert [row["level"] for row in rows] == ["allow", "review", "act"]


def test_reasons_are_worked_out_for_review_and_act_only() -> None:
    judge = Judge()
    rows = verdict_rows(entities(), SCORES, judge)
    assert [len(reasons) for reasons in rows["reasons"]] == [0, 2, 2]
    assert judge.asked == 2


@pytest.mark.parametrize("chunks", [1, 3])
def test_csv_says_what_jsonl_says(tmp_path: Path, chunks: int) -> None:
    lines = write_all(tmp_path / "v.jsonl", chunks).read_text().splitlines()
    with write_all(tmp_path / "v.csv", chunks).open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == len(lines) == 3 * chunks
    for told, line in zip(table, lines, strict=True):
        expected = json.loads(line)
        assert json.loads(told.pop("reasons")) == expected.pop("reasons")
        assert told == {name: str(value) for name, value in expected.items()}


@pytest.mark.parametrize("chunks", [1, 3])
def test_parquet_says_what_jsonl_says(tmp_path: Path, chunks: int) -> None:
    lines = write_all(tmp_path / "v.jsonl", chunks).read_text().splitlines()
    rows = pq.read_table(write_all(tmp_path / "v.parquet", chunks)).to_pylist()
    for row, line in zip(rows, lines, strict=True):
        expected = json.loads(line)
        for name in ("first_seen", "last_seen"):
            row[name] = row[name].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert row == expected


def test_missing_features_are_null_and_empty(tmp_path: Path) -> None:
    for suffix in (".jsonl", ".csv", ".parquet"):
        with writer(str(tmp_path / f"f{suffix}"), feature_kinds(NAMES)) as write:
            write(feature_rows(entities(), SCORES, NAMES))
    assert json.loads((tmp_path / "f.jsonl").read_text().splitlines()[0])["span"] is None
    with (tmp_path / "f.csv").open(newline="") as stream:
        assert [row["span"] for row in csv.DictReader(stream)] == ["", "1.0", "2.0"]
    column = pq.read_table(tmp_path / "f.parquet")["span"]
    assert column.null_count == 1
    assert column.to_pylist() == [None, 1.0, 2.0]


def test_json_has_no_infinity(tmp_path: Path) -> None:
    with writer(str(tmp_path / "f.jsonl"), feature_kinds(NAMES)) as write:
        write(feature_rows(entities(1), np.array([[np.inf, 1]], np.float32), NAMES))
    assert json.loads((tmp_path / "f.jsonl").read_text())["rate"] is None


def test_features_keep_all_their_bits(tmp_path: Path) -> None:
    values = np.array([[math.pi, 1e-30], [0.1, np.inf], [1e38, -0.0]], np.float32)
    with writer(str(tmp_path / "f.parquet"), feature_kinds(NAMES)) as write:
        write(feature_rows(entities(), values, NAMES))
    table = pq.read_table(tmp_path / "f.parquet")
    assert np.array_equal(np.stack([table[name].to_numpy() for name in NAMES], 1), values)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_file_is_complete_or_not_there(tmp_path: Path, suffix: str) -> None:
    """What was there stays when writing fails halfway, and nothing else is left behind."""
    path = tmp_path / f"v{suffix}"
    path.write_text("before")
    broken = verdict_rows(entities(), SCORES, Judge()) | {"level": ["allow"]}
    with (
        pytest.raises((ValueError, pa.ArrowInvalid), match=r"length|shorter"),
        writer(str(path), verdict_kinds()) as write,
    ):
        write(broken)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_no_rows_is_a_file_too(tmp_path: Path, suffix: str) -> None:
    with writer(str(tmp_path / f"v{suffix}"), verdict_kinds()):
        pass
    assert (tmp_path / f"v{suffix}").exists()
    if suffix == ".parquet":
        assert pq.read_table(tmp_path / "v.parquet").column_names == list(verdict_kinds())


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "v.jsonl")
    write_all(tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "v.jsonl").is_file()


def test_unknown_kinds_of_file_are_refused() -> None:
    with pytest.raises(FingerprintError, match=r"expected a name that ends in \.jsonl"), writer("v.xlsx", {}):
        pass


def test_standard_output_is_jsonl(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with writer("-", verdict_kinds()) as write:
        write(verdict_rows(entities(), SCORES, Judge()))
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["allow", "review", "act"]
