"""Analysts' verdicts: nothing is lost or doubled, what cannot be used is said, and labels follow from agreement."""

import json
from pathlib import Path

import pytest
from toy_run import CANARY

from training.feedback import COLUMNS, FeedbackError, Verdict, add, agreed, read_store

ROWS = "a,distillation,ann,2026-03-01T10:00:00Z\nb,benign,bob,1772442000\nc,unsure,ann,2026-03-01T10:00:00+01:00\n"
HEADER = ",".join(COLUMNS) + "\n"


def given(folder: Path, text: str, name: str = "verdicts.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def vote(account: str, decision: str, analyst: str, day: int = 1) -> Verdict:
    return Verdict(account, decision, analyst, f"2026-03-{day:02}T00:00:00.000000Z")


def test_verdicts_of_both_kinds_of_file_are_stored_alike(tmp_path: Path) -> None:
    """Times are brought to UTC, so that the same moment written in two ways is one verdict."""
    store = tmp_path / "feedback.jsonl"
    assert add(given(tmp_path, HEADER + ROWS), store).as_dict() == {"added": 3, "repeated": 0, "refused": {}}
    rows = [dict(zip(COLUMNS, line.split(","), strict=True)) for line in ROWS.splitlines()]
    rows[1] |= {"time": 1772442000}
    rows[2] |= {"time": "2026-03-01T09:00:00Z"}
    again = given(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "v.jsonl")
    assert add(again, store).as_dict() == {"added": 0, "repeated": 3, "refused": {}}
    assert read_store(store)[1] == Verdict("b", "benign", "bob", "2026-03-02T09:00:00.000000Z")


def test_the_store_only_grows(tmp_path: Path) -> None:
    store = tmp_path / "feedback.jsonl"
    add(given(tmp_path, HEADER + ROWS), store)
    before = store.read_bytes()
    more = HEADER + ROWS + "a,benign,ann,2026-03-02T10:00:00Z\na,benign,ann,2026-03-02T10:00:00Z\n"
    assert add(given(tmp_path, more), store).as_dict() == {"added": 1, "repeated": 4, "refused": {}}
    assert store.read_bytes().startswith(before)
    assert len(read_store(store)) == 4


def test_a_store_that_was_cut_after_a_verdict_goes_on_in_a_new_line(tmp_path: Path) -> None:
    store = tmp_path / "feedback.jsonl"
    add(given(tmp_path, HEADER + ROWS), store)
    store.write_bytes(store.read_bytes().rstrip(b"\n"))
    add(given(tmp_path, HEADER + "d,benign,ann,2026-03-02T10:00:00Z\n"), store)
    assert [verdict.account_id for verdict in read_store(store)] == ["a", "b", "c", "d"]


def test_refused_rows_are_counted_by_reason_and_the_rest_is_kept(tmp_path: Path) -> None:
    rows = [
        ",benign,ann,2026-03-01T10:00:00Z",
        f"a,{CANARY},ann,2026-03-01T10:00:00Z",
        "a,benign,,2026-03-01T10:00:00Z",
        "a,benign,ann,yesterday",
        "a,benign,ann,2026-03-01T10:00:00",
        "a,benign,ann,12",
        "a,benign",
    ]
    found = add(given(tmp_path, HEADER + ROWS + "\n".join(rows) + "\n"), tmp_path / "feedback.jsonl")
    assert found.added == 3
    assert found.as_dict()["refused"] == {
        "absurd_time:time": 1, "missing:account_id": 1, "missing:analyst": 2, "unknown:decision": 1,
        "unreadable_time:time": 2,
    }  # fmt: skip
    assert CANARY not in "".join(found.refused.summary())
    assert "verdicts.csv:6" in "".join(found.refused.summary()), "the line is told"


@pytest.mark.parametrize("line", ["[]", "{", "7", '{"account_id": 3}', '{"account_id": "a", "decision": ["benign"]}'])
def test_lines_that_are_no_verdict_are_refused(tmp_path: Path, line: str) -> None:
    file = given(tmp_path, line + "\n", "v.jsonl")
    assert add(file, tmp_path / "feedback.jsonl").refused.total == 1


def test_notes_and_other_columns_are_never_stored(tmp_path: Path) -> None:
    """They may hold prompt text."""
    row = {"account_id": "a", "decision": "benign", "analyst": "ann", "time": 1772442000, "note": CANARY, CANARY: 1}
    add(given(tmp_path, json.dumps(row) + "\n", "v.jsonl"), tmp_path / "feedback.jsonl")
    table = HEADER.strip() + f",note\nb,benign,ann,2026-03-01T10:00:00Z,{CANARY}\n"
    add(given(tmp_path, table), tmp_path / "feedback.jsonl")
    assert len(read_store(tmp_path / "feedback.jsonl")) == 2
    assert CANARY not in (tmp_path / "feedback.jsonl").read_text()


def test_a_damaged_store_is_not_added_to(tmp_path: Path) -> None:
    store = given(tmp_path, f'{{"account_id": "{CANARY}\n', "feedback.jsonl")
    with pytest.raises(FeedbackError, match=r"feedback.jsonl: expected a verdict on every line, line 1") as failed:
        add(given(tmp_path, HEADER + ROWS), store)
    assert CANARY not in str(failed.value)
    assert store.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("v.txt", "", "expected verdicts as .csv or .jsonl"),
        ("v.csv", "account_id,decision\n", "it lacks analyst, time"),
        ("v.csv", "", "it lacks account_id, decision, analyst, time"),
    ],
)
def test_files_that_are_no_verdicts(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(FeedbackError, match=told):
        add(given(tmp_path, text, name), tmp_path / "feedback.jsonl")
    assert not (tmp_path / "feedback.jsonl").exists()


def test_what_cannot_be_written_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "feedback.jsonl"
    add(given(tmp_path, HEADER + ROWS), store)
    before = store.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("training.feedback.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        add(given(tmp_path, HEADER + "d,benign,ann,2026-03-02T10:00:00Z\n"), store)
    assert store.read_bytes() == before


def test_agreement_is_the_weight_and_the_latest_decision_of_an_analyst_counts() -> None:
    found = agreed(
        [
            vote("one", "distillation", "ann"),
            vote("changed", "benign", "ann", 9),
            vote("changed", "distillation", "ann", 1),
            *(vote("most", "benign", name) for name in ("ann", "bob")),
            vote("most", "distillation", "cat"),
            vote("doubted", "distillation", "ann"),
            vote("doubted", "unsure", "bob"),
        ]
    ).set_index("account_id")
    assert found["label"].to_dict() == {"one": 1, "changed": 0, "most": 0, "doubted": 1}
    expected = {"one": 1, "changed": 1, "most": 2 / 3, "doubted": 1 / 1.5}
    assert found["weight"].to_dict() == pytest.approx(expected)


def test_ties_and_doubts_alone_decide_nothing() -> None:
    votes = [vote("tie", "benign", "ann"), vote("tie", "distillation", "bob"), vote("doubt", "unsure", "ann")]
    assert set(agreed(votes)["label"]) == {-1}
    assert len(agreed([])) == 0
