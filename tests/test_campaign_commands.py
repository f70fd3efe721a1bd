"""The commands about campaigns: rows, cases and a state that carry no text, and errors of one line with status 2."""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from toy_bundle import toy_bundle
from toy_run import leaks
from typer.testing import CliRunner

import fingerprint.campaign_commands
from fingerprint.campaigns.share_format import check_tag, form_signature
from fingerprint.commands import app

sys.path.insert(0, str(Path(__file__).parent / "campaigns"))
from crowd import HARVESTERS, TEMPLATES, crowd, days_of, written

CANARY = "kestrel-quartz-40917"
KEY, OTHER = "00112233445566778899aabbccddeeff", "ff112233445566778899aabbccddeeff"
RING = {f"ring-{i}" for i in range(HARVESTERS)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("traffic") / "t.jsonl", crowd())


def run(*arguments: object, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def refused(*arguments: object, stdin: str | None = None) -> str:
    """The one line that a command said before it ended with status 2."""
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("fingerprint: ")
    return line


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def campaigns(traffic: Path, bundle: Path, out: Path, *options: object) -> list[dict[str, Any]]:
    result = run("campaigns", traffic, "--out", out, "--bundle", bundle, *options)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    return rows_of(out)


def test_a_row_for_every_member(tmp_path: Path, traffic: Path, bundle: Path) -> None:
    """The same in every format: account, campaign and its score; honest groups and people have none."""
    found = {kind: campaigns(traffic, bundle, tmp_path / f"c.{kind}") for kind in ("csv", "jsonl", "parquet")}
    for rows in found.values():
        assert [list(row) for row in rows] == [["account_id", "campaign_id", "score"]] * HARVESTERS
        assert {row["account_id"] for row in rows} == RING
        assert len({row["campaign_id"] for row in rows}) == 1
        assert [float(row["score"]) for row in rows] == pytest.approx([0.982] * HARVESTERS, abs=0.001)
    ids = [[(row["account_id"], row["campaign_id"]) for row in rows] for rows in found.values()]
    assert ids[0] == ids[1] == ids[2]


def test_rows_go_to_standard_output_and_counts_to_standard_error(traffic: Path, bundle: Path) -> None:
    result = run("campaigns", traffic, "--out", "-", "--bundle", bundle)
    assert {json.loads(line)["account_id"] for line in result.stdout.splitlines()} == RING
    told = result.stderr.splitlines()
    assert "1 campaigns of 12 accounts: 0 review, 1 act" in told[0]
    assert told[1].startswith("1,520 records: 0 rejected, 0 duplicates dropped; 76 accounts (")


def test_cases_and_state_are_written(tmp_path: Path, traffic: Path, bundle: Path) -> None:
    rows = campaigns(traffic, bundle, tmp_path / "c.csv", "--cases", tmp_path / "cases", "--state", tmp_path / "s.npz")
    (folder,) = (tmp_path / "cases").iterdir()
    assert folder.name == rows[0]["campaign_id"]
    case = json.loads((folder / "case.json").read_text())
    assert [member["account_id"] for member in case["accounts"]] == [row["account_id"] for row in rows]
    assert {"case.json", "case.md", "timeline.png"} <= {path.name for path in folder.iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.csv", "cases", "s.npz"]
    again = campaigns(traffic, bundle, tmp_path / "d.csv", "--cases", tmp_path / "cases")
    assert again == rows
    assert list((tmp_path / "cases").iterdir()) == [folder], "a case is written over"


def test_a_campaign_keeps_its_id_from_day_to_day(tmp_path: Path, bundle: Path) -> None:
    found = [
        campaigns(
            written(tmp_path / f"{day}.jsonl", records), bundle, tmp_path / f"{day}.csv", "--state", tmp_path / "s"
        )
        for day, records in enumerate(days_of(crowd()))
    ]
    assert len({row["campaign_id"] for rows in found for row in rows}) == 1
    whole = campaigns(written(tmp_path / "all.jsonl", crowd()), bundle, tmp_path / "all.csv")
    assert {row["account_id"] for row in found[-1]} == {row["account_id"] for row in whole} == RING


def test_kinds_of_links_are_left_out(tmp_path: Path, traffic: Path, bundle: Path) -> None:
    """By text alone the ring is found; by metadata and time alone, which nobody shares, nothing is."""
    out = tmp_path / "rows.csv"
    signs, text = "payment, network,registered,times,list,course", "head,tail,content"
    run("campaigns", traffic, "--out", out, "--bundle", bundle, "--without", signs)
    assert {row["account_id"] for row in rows_of(out)} == RING
    run("campaigns", traffic, "--out", out, "--bundle", bundle, "--without", text)
    assert rows_of(out) == []
    assert "got colour" in refused("campaigns", traffic, "--out", out, "--bundle", bundle, "--without", "tail,colour")


def test_several_files_and_folders_are_one_traffic(tmp_path: Path, traffic: Path, bundle: Path) -> None:
    (tmp_path / "day").mkdir()
    first, second, third = days_of(crowd())
    written(tmp_path / "day" / "1.jsonl", first)
    written(tmp_path / "day" / "2.jsonl", second)
    out, last = tmp_path / "c.csv", written(tmp_path / "3.jsonl", third)
    result = run("campaigns", tmp_path / "day", last, "--out", out, "--bundle", bundle)
    assert result.exit_code == 0
    assert rows_of(out) == campaigns(traffic, bundle, tmp_path / "d.csv")


def test_traffic_out_of_order_is_read_again(
    tmp_path: Path, traffic: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint.campaign_commands, "HOLD", 100)
    records = crowd()
    early, late = written(tmp_path / "1.jsonl", records[:700]), written(tmp_path / "2.jsonl", records[700:])
    out = tmp_path / "c.csv"
    result = run("campaigns", late, early, "--out", out, "--bundle", bundle)
    assert "reading it again" in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[2].startswith("1,520 records: 0 rejected, 0 duplicates")
    assert {row["account_id"] for row in rows_of(out)} == RING


def test_a_day_given_twice_is_told_and_changes_nothing(tmp_path: Path, bundle: Path) -> None:
    """All of it is known: duplicates, and nothing that was not used."""
    records, state, out = days_of(crowd())[0], tmp_path / "s.npz", tmp_path / "c.csv"
    day, count = written(tmp_path / "t.jsonl", records), len(records)
    rows, before = campaigns(day, bundle, out, "--state", state), state.read_bytes()
    result = run("campaigns", day, "--out", out, "--bundle", bundle, "--state", state)
    assert result.exit_code == 0
    *_, last = result.stderr.splitlines()
    assert last.startswith(f"{count} records: 0 rejected, {count} duplicates dropped; 76 accounts (")
    assert (rows_of(out), state.read_bytes()) == (rows, before)


def test_days_in_the_wrong_order_are_told_and_exit_status_1(tmp_path: Path, bundle: Path) -> None:
    state, out, days = tmp_path / "s.npz", tmp_path / "c.csv", days_of(crowd())
    first, second, third = (written(tmp_path / f"{day}.jsonl", records) for day, records in enumerate(days))
    count, newest = len(days[0]), datetime.fromtimestamp(int(days[1][-1]["timestamp"]), UTC)
    campaigns(second, bundle, out, "--state", state)
    before = state.read_bytes()
    result = run("campaigns", first, "--out", out, "--bundle", bundle, "--state", state)
    assert (result.exit_code, state.read_bytes()) == (1, before)
    *_, why, last = result.stderr.splitlines()
    assert why == (
        f"did not use {count} late records, over 24 hours older than the newest of earlier runs "
        f"({newest:%Y-%m-%dT%H:%M:%SZ}): read before, or days are out of order"
    )
    assert last.startswith(f"{count} records: 0 rejected, 0 duplicates dropped, {count} late; 76 accounts (")
    result = run("campaigns", first, third, "--out", out, "--bundle", bundle, "--state", state)
    assert result.exit_code == 1
    assert f"{count + len(days[2]):,} records: 0 rejected, 0 duplicates dropped, {count} late" in result.stderr


def test_records_that_come_a_little_late_are_used_and_told(tmp_path: Path, bundle: Path) -> None:
    state, out, records = tmp_path / "s.npz", tmp_path / "c.csv", days_of(crowd())[0]
    early, late = written(tmp_path / "1.jsonl", records[:200] + records[300:]), tmp_path / "2.jsonl"
    campaigns(early, bundle, out, "--state", state)
    result = run("campaigns", written(late, records[200:300]), "--out", out, "--bundle", bundle, "--state", state)
    assert result.exit_code == 0
    *_, why, last = result.stderr.splitlines()
    assert "records that are older than what earlier runs read of their accounts: the gaps after them stay" in why
    assert last.startswith("100 records: 0 rejected, 0 duplicates dropped; ")


def test_rejected_records_are_exit_status_1(tmp_path: Path, bundle: Path) -> None:
    path = written(tmp_path / "t.jsonl", [*crowd(), {"odd": 1}])
    result = run("campaigns", path, "--out", tmp_path / "c.csv", "--bundle", bundle, "--state", tmp_path / "s.npz")
    assert result.exit_code == 1
    assert len(rows_of(tmp_path / "c.csv")) == HARVESTERS
    assert (tmp_path / "s.npz").exists()


def test_little_traffic_gives_a_table_without_rows(tmp_path: Path, bundle: Path) -> None:
    for count in (1, 5):
        path = written(tmp_path / "t.jsonl", crowd()[:count])
        for kind in ("csv", "parquet", "jsonl"):
            assert campaigns(path, bundle, tmp_path / f"c.{kind}", "--cases", tmp_path / "cases") == []
    assert not (tmp_path / "cases").exists()


def test_without_a_record_nothing_is_written(tmp_path: Path, bundle: Path) -> None:
    path = written(tmp_path / "t.jsonl", [])
    refused("campaigns", path, "--out", tmp_path / "c.csv", "--bundle", bundle, "--state", tmp_path / "s.npz")
    assert list(tmp_path.iterdir()) == [path]


# ---- what is refused


@pytest.mark.parametrize("option", ["--out", "--cases", "--state"])
def test_nothing_is_written_among_the_traffic(tmp_path: Path, bundle: Path, option: str) -> None:
    (tmp_path / "day").mkdir()
    path = written(tmp_path / "day" / "t.jsonl", crowd()[:50])
    before = path.read_bytes()
    for target in (path, tmp_path / "day" / "new.jsonl"):
        options = {"--out": tmp_path / "c.csv", option: target}
        said = refused(
            "campaigns", tmp_path / "day", "--bundle", bundle, *(part for pair in options.items() for part in pair)
        )
        assert "where the traffic is read from" in said
    assert [path] == list((tmp_path / "day").iterdir())
    assert path.read_bytes() == before


def test_matches_are_not_written_among_the_traffic(tmp_path: Path, bundle: Path) -> None:
    path, key = written(tmp_path / "t.jsonl", crowd()[:50]), tmp_path / "key"
    key.write_text(KEY)
    before = path.read_bytes()
    said = refused("match", tmp_path / "shared.json", path, "--key", key, "--out", path, "--bundle", bundle)
    assert "where the traffic is read from" in said
    assert path.read_bytes() == before


def test_standard_input_is_refused(tmp_path: Path, bundle: Path) -> None:
    """It cannot be read a second time."""
    said = refused("campaigns", "-", "--out", tmp_path / "c.csv", "--bundle", bundle, stdin="{}")
    assert "not standard input: give a path" in said
    key = tmp_path / "key"
    key.write_text(KEY)
    said = refused(
        "match", "shared.json", "-", "--key", key, "--out", tmp_path / "c.csv", "--bundle", bundle, stdin="{}"
    )
    assert "not standard input: give a path" in said
    assert list(tmp_path.iterdir()) == [key]


@pytest.mark.parametrize("missing", ["scipy", "sknetwork", "matplotlib"])
def test_a_missing_extra_is_told_before_anything_is_read(
    tmp_path: Path, traffic: Path, bundle: Path, missing: str
) -> None:
    """In a process of its own, where the import fails as if nothing were installed."""
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from fingerprint.cli import main
main()
"""
    options = [
        "--out",
        tmp_path / "c.csv",
        "--cases",
        tmp_path / "cases",
        "--bundle",
        bundle,
        "--state",
        tmp_path / "s.npz",
    ]
    arguments = [sys.executable, "-c", code, "campaigns", str(traffic), *map(str, options)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    (said,) = result.stderr.splitlines()
    assert f"needs {missing}" in said
    assert said.endswith("pip install 'fingerprint[campaigns]'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "noise", "folder"])
def test_a_damaged_state_is_one_line_and_stays(tmp_path: Path, traffic: Path, bundle: Path, damage: str) -> None:
    state = tmp_path / "s.npz"
    campaigns(traffic, bundle, tmp_path / "c.csv", "--state", state)
    data = {"cut": state.read_bytes()[:-100], "noise": b"\x07" * 99, "folder": b""}[damage]
    state.unlink()
    state.mkdir() if damage == "folder" else state.write_bytes(data)
    said = refused("campaigns", traffic, "--out", tmp_path / "d.csv", "--bundle", bundle, "--state", state)
    assert "expected a state of fingerprint campaigns" in said
    assert not (tmp_path / "d.csv").exists()
    assert state.is_dir() or state.read_bytes() == data


# ---- share and match


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, traffic: Path, bundle: Path) -> Path:
    """A folder with a key and what was shared of the ring."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "key").write_text(KEY)
    (folder / "other").write_text(OTHER)
    (row, *_) = campaigns(traffic, bundle, folder / "c.csv", "--cases", folder / "cases")
    case = folder / "cases" / row["campaign_id"]
    out = folder / "shared.json"
    result = run("share", case, "--key", folder / "key", "--provider", "Example AI", "--out", out)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert row["campaign_id"] in result.stderr
    return folder


def test_the_same_template_is_found_at_another_provider(tmp_path: Path, shared: Path, bundle: Path) -> None:
    """Other accounts, other items; who never sends the template is not told at all."""
    path = written(tmp_path / "t.jsonl", [r | {"account_id": f"other-{r['account_id']}"} for r in crowd(5)])
    out = tmp_path / "m.jsonl"
    result = run("match", shared / "shared.json", path, "--key", shared / "key", "--out", out, "--bundle", bundle)
    assert result.exit_code == 0
    rows = rows_of(out)
    assert {row["account_id"] for row in rows} == {f"other-{name}" for name in RING}
    assert {(row["carrying"], row["share"]) for row in rows} == {(20, 1.0)}
    assert len({row["campaign_id"] for row in rows}) == 1
    assert result.stderr.startswith("12 of 76 accounts fit; by chance at most ")


def test_another_template_matches_nobody(tmp_path: Path, shared: Path, bundle: Path) -> None:
    path = written(
        tmp_path / "t.jsonl",
        crowd(
            6,
            template="Please sort these: {} "
            + TEMPLATES["ring"][:60]
            + " and no more of it than that, thanks a lot for it",
        ),
    )
    out = tmp_path / "m.csv"
    result = run("match", shared / "shared.json", path, "--key", shared / "key", "--out", out, "--bundle", bundle)
    assert (result.exit_code, rows_of(out)) == (0, [])
    assert result.stderr.startswith("0 of 76 accounts fit")


def test_a_wrong_key_is_one_line(tmp_path: Path, traffic: Path, shared: Path, bundle: Path) -> None:
    out = tmp_path / "m.csv"
    said = refused(
        "match", shared / "shared.json", traffic, "--key", shared / "other", "--out", out, "--bundle", bundle
    )
    assert "key" in said
    assert OTHER not in said
    assert not out.exists()


@pytest.mark.parametrize("content", ["", "short", "abc"])
def test_a_key_that_is_none_is_one_line(tmp_path: Path, shared: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    (case,) = (shared / "cases").iterdir()
    refused("share", case, "--key", tmp_path / "key", "--provider", "X", "--out", tmp_path / "s.json")
    refused("share", case, "--key", tmp_path / "none", "--provider", "X", "--out", tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


def test_what_is_no_case_or_no_bundle_is_one_line(tmp_path: Path, traffic: Path, shared: Path, bundle: Path) -> None:
    refused("share", tmp_path, "--key", shared / "key", "--provider", "X", "--out", tmp_path / "s.json")
    (case,) = (shared / "cases").iterdir()
    refused(
        "match", case / "case.json", traffic, "--key", shared / "key", "--out", tmp_path / "m.csv", "--bundle", bundle
    )
    refused(
        "match", tmp_path / "none", traffic, "--key", shared / "key", "--out", tmp_path / "m.csv", "--bundle", bundle
    )
    assert list(tmp_path.iterdir()) == []


# ---- cases that are keyed


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, traffic: Path, bundle: Path) -> Path:
    """The same ring, its case written with the key."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "key").write_text(KEY)
    (folder / "other").write_text(OTHER)
    campaigns(traffic, bundle, folder / "c.csv", "--cases", folder / "cases", "--key", folder / "key")
    return folder


def test_a_keyed_case_is_the_case_but_for_its_hashes(locked: Path, shared: Path) -> None:
    """No hash of the plain case is in any of its files; the same key gives the same ones."""
    (one,), (other,) = (locked / "cases").iterdir(), (shared / "cases").iterdir()
    found, plain = (json.loads((case / "case.json").read_text()) for case in (one, other))
    hashes = [form.pop("hash") for form in plain["forms"]]
    assert [form.pop("part") for form in found["forms"]] == [form.pop("part") for form in plain["forms"]]
    assert [len(form.pop("hash")) for form in found["forms"]] == [32] * len(hashes)
    assert found.pop("keyed") == check_tag(bytes.fromhex(KEY)).hex()
    assert found == plain
    assert leaks(one, hashes) == []
    assert leaks(other, hashes) == ["case.json", "case.md"]
    assert leaks(locked / "cases", [KEY]) == []


def test_a_keyed_case_is_shared_with_its_key(tmp_path: Path, locked: Path, shared: Path, bundle: Path) -> None:
    """What is shared is the same as of the plain case, and is found at the other provider."""
    (case,) = (locked / "cases").iterdir()
    out = tmp_path / "s.json"
    result = run("share", case, "--key", locked / "key", "--provider", "Example AI", "--out", out)
    assert result.exit_code == 0
    patterns = [
        sorted(item["pattern"] for item in json.loads(path.read_text())["objects"] if item["type"] == "indicator")
        for path in (out, shared / "shared.json")
    ]
    assert patterns[0] == patterns[1] != []
    path = written(tmp_path / "t.jsonl", crowd(5))
    result = run("match", out, path, "--key", locked / "key", "--out", tmp_path / "m.csv", "--bundle", bundle)
    assert result.exit_code == 0
    assert {row["account_id"] for row in rows_of(tmp_path / "m.csv")} == RING


def test_a_keyed_case_is_not_shared_with_another_key(tmp_path: Path, locked: Path) -> None:
    (case,) = (locked / "cases").iterdir()
    said = refused("share", case, "--key", locked / "other", "--provider", "X", "--out", tmp_path / "s.json")
    assert "keyed with another key" in said
    assert "fingerprint campaigns" in said
    assert list(tmp_path.iterdir()) == []


def test_a_key_for_cases_is_checked_before_anything_is_read(
    tmp_path: Path, traffic: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (tmp_path / "key").write_text("short")
    options = ["--out", tmp_path / "c.csv", "--bundle", bundle]
    for key in (tmp_path / "key", tmp_path / "none", "env:NO_SUCH_KEY"):
        said = refused("campaigns", traffic, *options, "--cases", tmp_path / "cases", "--key", key)
        assert "key" in said
    assert "--cases" in refused("campaigns", traffic, *options, "--key", tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


# ---- privacy


WORD = "zanzibarquokka"
SHARED = "Think about it step by step"


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """Cases with skeletons, keyed and plain, and all else that a run writes; two accounts of the ring have a word."""
    folder = tmp_path_factory.mktemp("worded")
    records = crowd()
    for record in records:
        if record["account_id"] in ("ring-0", "ring-1"):
            record["prompt"] = record["prompt"].replace("flawless", f"flawless {WORD}")
    (folder / "out").mkdir()
    (folder / "key").write_text(KEY)
    asks = {"plain": [], "shown": ["--skeletons"], "keyed": ["--skeletons", "--key", folder / "key"]}
    for name, options in asks.items():
        rows, state, cases = (folder / "out" / f"{name}{end}" for end in (".csv", ".npz", ""))
        asked = ["--out", rows, "--state", state, "--cases", cases, "--bundle", bundle, *options]
        result = run("campaigns", written(folder / "t.jsonl", records), *asked)
        assert result.exit_code == 0
        (folder / "out" / f"{name}.txt").write_text(result.output + result.stderr)
    return folder


def test_skeletons_show_what_the_ring_shares(worded: Path) -> None:
    """In case.json and case.md alone, at the hash that the case has without them, or at its signature."""
    files = leaks(worded / "out", [SHARED])
    assert [name.rpartition("/")[2] for name in files] == ["case.json", "case.md"] * 2
    assert {name.partition("/")[0] for name in files} == {"keyed", "shown"}
    (plain,), (shown,), (keyed,) = ((worded / "out" / name).iterdir() for name in ("plain", "shown", "keyed"))
    cases = [json.loads((case / "case.json").read_text()) for case in (plain, shown, keyed)]
    wording = [{form["hash"]: form.pop("skeleton", None) for form in case["forms"]} for case in cases]
    assert cases[0] == cases[1], "nothing else of the case changes"
    assert any(SHARED in (text or "") for text in wording[1].values())
    parts = {form["hash"]: form["part"] for form in cases[0]["forms"]}
    key = bytes.fromhex(KEY)
    assert wording[2] == {form_signature(key, parts[digits], digits).hex(): t for digits, t in wording[1].items()}
    assert "forms is in the case files: text of customers, masked" in (worded / "out" / "shown.txt").read_text()


def test_a_word_of_two_accounts_is_in_no_file(worded: Path) -> None:
    assert leaks(worded / "out", [WORD]) == []
    assert leaks(worded, [WORD]) == ["t.jsonl"]


def test_rows_state_and_figures_are_the_same_with_skeletons(worded: Path) -> None:
    for end in (".csv", ".npz"):
        assert (worded / "out" / f"shown{end}").read_bytes() == (worded / "out" / f"plain{end}").read_bytes()
    (plain,), (shown,) = ((worded / "out" / name).iterdir() for name in ("plain", "shown"))
    differ = {path.name for path in plain.iterdir() if path.read_bytes() != (shown / path.name).read_bytes()}
    assert differ == {"case.json", "case.md"}


def test_skeletons_are_not_shared(worded: Path, tmp_path: Path) -> None:
    """The patterns are those of a case without them, and no word of them is in the file."""
    told = []
    for name in ("plain", "shown", "keyed"):
        (case,) = (worded / "out" / name).iterdir()
        out = tmp_path / f"{name}.json"
        result = run("share", case, "--key", worded / "key", "--provider", "X", "--out", out, "--accounts")
        assert result.exit_code == 0
        told.append(sorted(i["pattern"] for i in json.loads(out.read_text())["objects"] if "pattern" in i))
    assert told[0] == told[1] == told[2]
    assert leaks(tmp_path, [SHARED, "flawless", "students", '"skeleton"']) == []


def test_skeletons_without_cases_are_refused(tmp_path: Path, traffic: Path, bundle: Path) -> None:
    said = refused("campaigns", traffic, "--out", tmp_path / "c.csv", "--bundle", bundle, "--skeletons")
    assert said.endswith("--skeletons is for case files: give --cases, too")
    assert list(tmp_path.iterdir()) == []


def test_no_text_leaves(tmp_path: Path, bundle: Path) -> None:
    """A canary in all text but account ids is in no output: rows, cases, state, what is shared, what is said."""
    records = [
        r
        | {
            "prompt": f"{r['prompt']} {CANARY}" if i % 2 else f"{CANARY} {r['prompt']}",
            "system": f"be {CANARY}",
            "session_id": f"{CANARY}-{i % 7}",
            "exchange_id": f"{CANARY}-{i}",
            "model": CANARY,
            "tools": [CANARY],
            "stop_reason": CANARY,
            "client": {"user_agent": CANARY, "ip_prefix": CANARY, "ja4": CANARY},
            "account": {"plan": CANARY, "payment_hash": CANARY},
        }
        for i, r in enumerate(crowd())
    ]
    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    path = written(tmp_path / "in" / "t.jsonl", [*records, {"prompt": CANARY}, records[0] | {"account_id": "again"}])
    (out / "key").write_text(KEY)
    said = []
    for kind in ("csv", "jsonl", "parquet"):
        options = ["--cases", out / "cases", "--state", out / f"{kind}.npz", "--bundle", bundle]
        result = run("campaigns", path, "--out", out / f"c.{kind}", *options)
        assert result.exit_code == 1, "one record was rejected"
        said.append(result.stderr)
    assert {row["account_id"] for row in rows_of(out / "c.csv")} == RING
    (case,) = (out / "cases").iterdir()
    told = run("share", case, "--key", out / "key", "--provider", "X", "--out", out / "s.json", "--accounts")
    result = run("match", out / "s.json", path, "--key", out / "key", "--out", out / "m.csv", "--bundle", bundle)
    assert {row["account_id"] for row in rows_of(out / "m.csv")} == RING
    assert leaks(tmp_path / "in", [CANARY]) == ["t.jsonl"]
    assert leaks(out, [CANARY]) == []
    for text in (*said, told.output, result.output):
        assert CANARY not in text
    for name in RING:
        assert name not in (out / "s.json").read_text()
        assert not any(name in text for text in (*said, told.output, result.stderr))
    assert KEY not in (out / "s.json").read_text()
