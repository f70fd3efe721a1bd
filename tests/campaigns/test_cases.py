"""The case file: what is said follows from the numbers, no id breaks the page, nothing of others is overwritten."""

import dataclasses
import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fingerprint.campaigns.case_page import markdown, write_case
from fingerprint.campaigns.cases import (
    SCHEMA,
    Case,
    CaseError,
    DayHours,
    Evidence,
    Form,
    Member,
    Rhythm,
    read_case,
)
from fingerprint.campaigns.share_format import ShareError, form_signature, keyed_case
from fingerprint.campaigns.statements import statements
from fingerprint.kernels.layout import CAPABILITIES

FOUND = Evidence(
    pooled_score=0.99,
    pooled_exchanges=512,
    p_value=0.001,
    q_value=0.004,
    variance_ratio=1.05,
    overlap=0.01,
    starts_together=0.01,
    links={"head": 300, "tail": 290, "content": 40},
    without={"head": 0.9, "tail": 0.91, "content": 0.97},
)
FORMS = [
    Form("head", "0123456789abcdef", 25, 0.004, 1.1, 0.02),
    Form("head", "1123456789abcdef", 3, 0.2, None, None),
    Form("tail", "fedcba9876543210", 24, 0.004, float("nan"), 0.02),
]
START = 1_793_491_200_000_000  # 2026-11-01
DAY = 86_400_000_000
FILES = ["case.json", "case.md", "growth.png", "hours.png", "sharding.png", "timeline.png"]


def iso(time_us: int) -> str:
    return f"{np.datetime64(time_us, 'us')}"[:19] + "Z"


def case(accounts: int = 3, days: int = 10, **changes: Any) -> Case:
    members = [
        Member(f"account-{i}", i % 10 / 10, 0.9, 40 + i % 7, iso(START + i % days * DAY), iso(START + days * DAY))
        for i in range(accounts)
    ]
    alleged, against = statements(FOUND, FORMS, [member.score for member in members], review=0.5)
    made = Case(
        campaign_id="camp-1a2b3c4d5e6f",
        level="act",
        score=0.97,
        accounts=members,
        exchanges=sum(member.exchanges for member in members),
        first_seen=iso(START),
        last_seen=iso(START + days * DAY),
        capability={name: i / 66 for i, name in enumerate(CAPABILITIES)},
        rhythm=Rhythm(np.arange(24), {iso(START + i * DAY)[:10]: min(accounts, i + 1) for i in range(days)}),
        forms=FORMS,
        evidence=FOUND,
        alleged=alleged,
        against=against,
    )
    return dataclasses.replace(made, **changes)


def sample(accounts: int = 3, each: int = 8, days: int = 10) -> DayHours:
    rng = np.random.default_rng(7)
    account = np.repeat(np.arange(accounts, dtype=np.int32), each)
    time_us = START + rng.integers(0, days * DAY, len(account))
    return DayHours(account, time_us, rng.random(len(account)) < 0.8, rng.normal(size=(len(account), 2)))


def changed(**numbers: Any) -> Evidence:
    return dataclasses.replace(FOUND, **numbers)


def is_png(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG whose chunks are whole."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds = 8, []
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        assert zlib.crc32(body) == struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0]
        kinds.append(body[:4])
        at += 12 + size
    assert kinds[-1] == b"IEND"
    assert not {b"tEXt", b"iTXt", b"tIME"} & set(kinds)  # no date, no version
    return struct.unpack(">II", data[16:24])


def test_a_case_is_written_and_read_back(tmp_path: Path) -> None:
    """Every file is there and nothing else; the JSON is the case."""
    place = write_case(case(), sample(), tmp_path / "cases")
    assert place == tmp_path / "cases" / "camp-1a2b3c4d5e6f"
    assert sorted(path.name for path in place.iterdir()) == FILES
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    read = read_case(place)
    assert read == read_case(place / "case.json") == case().as_dict()
    assert read["schema"] == SCHEMA
    assert read["forms"][2]["variance_ratio"] is None
    assert list(json.loads((place / "case.json").read_text())) == sorted(read)


def test_a_keyed_case_is_written_and_read_back(tmp_path: Path) -> None:
    """Signatures stand in place of hashes, in order of the signatures; a plain case does not name a key."""
    plain, key = case(), bytes(range(16))
    keyed = keyed_case(plain, key)
    read = read_case(write_case(keyed, sample(), tmp_path))
    assert read == keyed.as_dict()
    assert "keyed" not in plain.as_dict()
    expected = [form_signature(key, form.part, form.hash).hex() for form in plain.forms]
    assert sorted(form["hash"] for form in read["forms"]) == sorted(expected)
    assert [(-f["accounts"], f["part"], f["hash"]) for f in read["forms"]] == sorted(
        (-form.accounts, form.part, signature) for form, signature in zip(plain.forms, expected, strict=True)
    )
    page = (tmp_path / plain.campaign_id / "case.md").read_text()
    assert "Only hashes with a key are kept" in page
    assert "Only hashes are kept" in markdown(plain, {})
    assert not [form.hash for form in plain.forms if form.hash in page]
    assert keyed_case(plain, bytes(range(1, 17))).forms != keyed.forms
    with pytest.raises(ShareError, match="at least 16 bytes"):
        keyed_case(plain, b"short")


@pytest.mark.parametrize("keyed", [None, "", "secret words", "ab" * 8, 5])
def test_what_tells_of_no_key_is_refused(tmp_path: Path, keyed: Any) -> None:
    (tmp_path / "case.json").write_text(json.dumps(case().as_dict() | {"keyed": keyed}))
    with pytest.raises(CaseError, match=r"case\.(keyed|forms\[0\]\.hash): expected 32 hexadecimal digits"):
        read_case(tmp_path)


def test_numbers_of_numpy_become_plain() -> None:
    """What is computed with numpy can be put into a case as it is."""
    content = case(score=np.float32(0.5), exchanges=np.int64(3)).as_dict()
    assert (content["score"], content["exchanges"]) == (0.5, 3)
    assert type(content["rhythm"]["hour_of_day"][0]) is int


def test_the_page_has_every_section_in_order() -> None:
    """Both sides, what is aimed at, the evidence, forms, members, figures; an accusation is no proof."""
    page = markdown(case(60), {"timeline": "timeline.png", "growth": "growth.png"})
    sections = re.findall(r"^## (.*)$", page, re.M)
    assert sections == [
        "What is alleged", "What speaks against it", "Capability aimed at", "Evidence", "Shared forms", "Members",
        "Figures",
    ]  # fmt: skip
    assert page.startswith("# Campaign camp-1a2b3c4d5e6f\n\n**Level: act.** Score 0.97 for 60 accounts")
    assert "An accusation is not a proof." in page
    assert "![Timeline of accounts](timeline.png)" in page
    assert "| head | prompts begin alike | 300 | 0.90 |" in page
    assert "| tail | `fedcba9876543210` | 24 | 0.4 % | not measured | 0.02 |" in page
    shares = re.findall(r"^\| (\w+)(?:\\_\w+)* \| [\d.]+ % \|$", page, re.M)
    assert shares[:2] == ["support", "translation"]
    assert len(shares) == len(CAPABILITIES)


def test_the_page_shows_fifty_members_and_counts_the_rest() -> None:
    """The rest is in the JSON."""
    page = markdown(case(60), {})
    assert "`account-49`" in page
    assert "`account-50`" not in page
    assert "and 10 more in case.json" in page
    assert "more in case.json" not in markdown(case(50), {})


@pytest.mark.parametrize(
    "hostile",
    [
        "a|b", "a`b", "``` x", "a*b*_c_", "<script>alert(1)</script>", "<img src=x>", "a\nb\r\n# c", "[x](http://e.example)",
        "\\|", "\\`|`", "https://e.example", "a\u2028b", "\u202etxt", "\ud800", "", "x" * 5000, "![](x)", "\x00",
    ],
)  # fmt: skip
def test_no_account_id_breaks_the_page(hostile: str) -> None:
    """Its row keeps its seven cells, the id is one piece of code in it, and the page has no line more."""
    plain = case()
    members = [dataclasses.replace(plain.accounts[0], account_id=hostile), *plain.accounts[1:]]
    page, usual = markdown(dataclasses.replace(plain, accounts=members), {}), markdown(plain, {})
    rows = [a for a, b in zip(page.splitlines(), usual.splitlines(), strict=True) if a != b]
    assert len(rows) == 1
    cells = rows[0].split("|")
    assert len(cells) == 9
    assert re.fullmatch(r" (`[^`|<>*\[\]\n]+`|\(empty\)) ", cells[2])
    assert "\\" not in re.sub(r"\\u[0-9a-f]{4}", "", cells[2])
    assert len(cells[2]) < 500
    page.encode()


def test_a_hostile_id_can_be_written(tmp_path: Path) -> None:
    """Even one that is no valid Unicode."""
    members = [dataclasses.replace(case().accounts[0], account_id="\ud800|")]
    place = write_case(dataclasses.replace(case(), accounts=members), sample(1), tmp_path)
    assert read_case(place)["accounts"][0]["account_id"] == "\ud800|"


def test_a_statement_is_text_on_the_page() -> None:
    """Nothing in it is mark-up."""
    page = markdown(case(against=["a | b\n# c <b> [x](y) *z*"]), {})
    assert "- a \\| b \\# c &lt;b&gt; \\[x\\](y) \\*z\\*\n" in page


def test_what_a_divided_list_is_alleged_to_be() -> None:
    """All of the allegations at once, each with its number."""
    alleged, against = statements(FOUND, FORMS, [0.1] * 12 + [0.9] * 13, review=0.5)
    assert alleged == [
        "25 accounts send prompts that begin alike; 0.4 % of the others do.",
        "24 accounts send prompts that end alike; 0.4 % of the others do.",
        "What they ask differs between accounts about as much as within one (ratio 1.05).",
        "The list is divided: 1 % of the prompts were sent by more than one account.",
        "Pooled, 512 exchanges score 0.99; 0.1 % of the accounts that nobody linked score as high as this group.",
        "They begin close in time: 1 % of sets of unrelated accounts begin this close.",
        "It does not hang on one kind of link: without any one of them it scores 0.90 or more.",
    ]
    assert against[0] == "12 of 25 members alone stay below review."
    assert [text.split(":")[0] for text in against[1:]] == [
        "Sharing alone is no guilt",
        "Honest vendors that label or translate for one customer look like this.",
        "Not checked",
    ]


@pytest.mark.parametrize(
    ("numbers", "gone", "against"),
    [
        (
            {"variance_ratio": 3.9},
            ["What they ask", "The list is divided"],
            "What they ask differs more between accounts",
        ),
        ({"variance_ratio": 1.31}, ["What they", "The list"], "What they ask differs more between accounts than"),
        ({"overlap": 0.4}, ["The list is divided"], "40 % of the prompts were sent by more than one account: a class"),
        ({"overlap": 0.1}, ["The list is divided"], None),
        (
            {"q_value": 0.2},
            ["Pooled"],
            "Chance is a possible explanation: of all groups that look as strong, up to 20 %",
        ),
        ({"pooled_score": 0.3}, ["Pooled"], "The pool itself stays below review: it scores 0.30"),
        ({"pooled_exchanges": 12}, ["Pooled, 512"], "The pool is small (12 exchanges)"),
        ({"starts_together": 0.4}, ["They begin close"], "They do not begin together: 40 %"),
        ({"links": {"head": 9, "tail": 0}}, ["It does not hang"], "The campaign rests on one kind of link only (head)"),
        (
            {"without": {"head": 0.2, "tail": 0.9, "content": 0.9}},
            ["It does not hang"],
            "The case rests on links by head",
        ),
        ({"without": {"head": 0.9}}, ["It does not hang"], None),
        ({"q_value": float("nan")}, ["Pooled"], "Not measured: q of the group."),
        ({"variance_ratio": None}, ["What they ask", "The list is divided"], "Not measured: variance ratio."),
    ],
)
def test_each_statement_follows_its_number(numbers: dict[str, Any], gone: list[str], against: str | None) -> None:
    """A number that does not allege says so; no other sentence changes."""
    usual = statements(FOUND, FORMS, [0.9], review=0.5)
    alleged, counter = statements(changed(**numbers), FORMS, [0.9], review=0.5)
    lost = [text for text in usual[0] if text not in alleged]
    assert len(lost) == len(gone)
    assert all(text.startswith(start) for text, start in zip(lost, gone, strict=True))
    new = [text for text in counter if text not in usual[1]]
    assert len(new) == (against is not None)
    assert against is None or new[0].startswith(against)


def test_the_limits_of_statements() -> None:
    """On the limit itself: alike at 1.3, divided at 5 %, found at q 0.05."""
    alleged = str(statements(changed(variance_ratio=1.3, overlap=0.05, q_value=0.05))[0])
    assert "(ratio 1.30)" in alleged
    assert "divided: 5 %" in alleged
    assert "Pooled" in alleged


def test_a_common_form_speaks_against() -> None:
    """What a fifth of all accounts send links nobody; a form of one member is not shared."""
    common = [
        Form("head", "0123456789abcdef", 9, 0.2, None, None),
        Form("tail", "0123456789abcdef", 1, 0.0, None, None),
    ]
    alleged, against = statements(FOUND, common)
    assert against[0] == "Prompts that begin like this are common: 20 % of the other accounts send them."
    assert not any("alike" in text for text in alleged)


def test_members_who_all_reach_review() -> None:
    """Said only where the threshold is known."""
    assert "Each of the 2 members alone reaches review." in statements(FOUND, [], [0.5, 0.9], review=0.5)[0]
    assert "members alone" not in str(statements(FOUND, [], [0.1, 0.9]))


@pytest.mark.parametrize("share", [0.9951, 0.99999])
def test_a_share_is_never_rounded_to_all_or_nothing(share: float) -> None:
    """Nearly all is not all, and little is not nothing."""
    assert "over 99 %" in str(statements(changed(overlap=share)))
    assert "less than 0.01 %" in str(statements(changed(overlap=1 - share if share > 0.999 else 1e-6)))


def test_something_always_speaks_against() -> None:
    """Whatever the numbers, and without any."""
    nothing = dict.fromkeys(("pooled_score", "p_value", "q_value", "variance_ratio", "overlap"))
    for evidence in (FOUND, changed(**nothing, starts_together=None, links={}, without={})):
        assert any(text.startswith("Sharing alone is no guilt") for text in statements(evidence)[1])


@pytest.mark.parametrize("accounts", [3, 3000])
def test_figures_are_the_same_bytes_each_time(tmp_path: Path, accounts: int) -> None:
    """Valid PNGs about 900 pixels wide, without a date, at few and at many accounts."""
    first = write_case(case(accounts), sample(accounts), tmp_path / "a")
    second = write_case(case(accounts), sample(accounts), tmp_path / "b")
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for path in first.glob("*.png"):
        width, height = is_png(path.read_bytes())
        assert width == 900
        assert 250 <= height <= 800


def test_figures_of_little(tmp_path: Path) -> None:
    """No sampled exchange, none with a known content, one account on one day, a year: all can be drawn."""
    write_case(case(), sample(each=0), tmp_path / "none")
    few = sample()
    write_case(case(), dataclasses.replace(few, content=few.content * np.nan), tmp_path / "unknown")
    write_case(case(1, 1), sample(1, 1, 1), tmp_path / "one")
    write_case(case(5, 400), sample(5, 24, 400), tmp_path / "year")


def test_an_earlier_case_is_replaced_and_notes_stay(tmp_path: Path) -> None:
    """An analyst's own files beside it are not touched."""
    place = write_case(case(), sample(), tmp_path)
    (place / "notes.md").write_text("mine")
    write_case(case(level="review"), sample(), tmp_path)
    assert read_case(place)["level"] == "review"
    assert sorted(path.name for path in place.iterdir()) == sorted([*FILES, "notes.md"])
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


@pytest.mark.parametrize("taken", ["file", "empty", "other files", "damaged", "another case", "link"])
def test_what_is_not_the_case_is_not_overwritten(tmp_path: Path, taken: str) -> None:
    """The error says so, and all is as it was."""
    place, other = tmp_path / "camp-1a2b3c4d5e6f", tmp_path / "other"
    if taken == "file":
        place.write_text("mine")
    elif taken == "link":
        place.symlink_to(write_case(case(), sample(), other))
    elif taken == "another case":
        write_case(case(campaign_id="camp-000000000000"), sample(), other).rename(place)
    else:
        place.mkdir()
        if taken != "empty":
            (place / ("case.json" if taken == "damaged" else "thesis.tex")).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CaseError, match="exists and is not a case of this campaign: move it away") as error:
        write_case(case(), sample(), tmp_path)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"campaign_id": "../up"}, "case.campaign_id: expected an id like camp-1a2b3c4d5e6f, got text"),
        ({"level": "allow"}, "case.level: expected 'review' or 'act', got text"),
        ({"score": 1.5}, "case.score: expected a number from 0 to 1, got 1.5"),
        ({"score": float("nan")}, "case.score: expected a number from 0 to 1, got null"),
        ({"capability": {}}, "case.capability: fields are missing: reasoning, "),
        ({"rhythm": Rhythm([1] * 23, {})}, "hour_of_day: expected 24 whole numbers, got a list"),
        ({"rhythm": Rhythm([1] * 24, {"2026-02-30": 1})}, "expected a day like 2026-11-01 as name 1, got another"),
    ],
)
def test_a_case_that_breaks_the_contract_is_not_written(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """The error says where, and nothing appears."""
    with pytest.raises(CaseError, match=re.escape(told)):
        write_case(case(**changes), sample(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Account numbers beyond the members, arrays of several lengths."""
    with pytest.raises(CaseError, match="expected account numbers from 0 to 2"):
        write_case(case(), sample(4), tmp_path)
    with pytest.raises(CaseError, match="expected shapes"):
        write_case(case(), dataclasses.replace(sample(), shared=np.ones(1, bool)), tmp_path)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """No trace of temporary names."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseError, match="cannot write the case: Not a directory"):
        write_case(case(), sample(), tmp_path / "file")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["schema"], "fingerprint-case/2", "expected schema 'fingerprint-case/1', got 'fingerprint-case/2'"),
        (["schema"], "secret words", "got another or none"),
        (["accounts", 1, "exchanges"], True, "case.accounts[1].exchanges: expected a whole number from 0, got 1"),
        (["accounts", 1], "secret words", "case.accounts[1]: expected an object, got text"),
        (["accounts"], {}, "case.accounts: expected a list, got an object"),
        (["first_seen"], "2026-13-01T00:00:00Z", "case.first_seen: expected a time like"),
        (["forms", 0, "hash"], "secret words", "case.forms[0].hash: expected 16 hexadecimal digits, got text"),
        (["evidence", "p_value"], 2, "case.evidence.p_value: expected a number from 0 to 1, or null, got 2"),
        (["evidence", "links"], {"secret words": 1}, "case.evidence.links: expected a kind of link as name 1"),
        (["evidence", "q_value"], ..., "case.evidence: fields are missing: q_value"),
        (["against"], ..., "case: fields are missing: against"),
    ],
)
def test_reading_says_what_is_wrong_where(tmp_path: Path, path: list[Any], value: Any, told: str) -> None:
    """By place and kind, never with text of the file."""
    content = case().as_dict()
    inner: Any = content
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    file = tmp_path / "case.json"
    file.write_text(json.dumps(content))
    with pytest.raises(CaseError, match=re.escape(told)) as error:
        read_case(file)
    assert "secret words" not in str(error.value)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"schema": NaN}', b"[" * 100_000])
def test_what_is_no_case_is_refused(tmp_path: Path, damage: bytes) -> None:
    """One error for whatever else is there."""
    file = tmp_path / "case.json"
    file.write_bytes(damage)
    with pytest.raises(CaseError, match="expected"):
        read_case(tmp_path)
    with pytest.raises(CaseError, match="cannot read the case"):
        read_case(tmp_path / "none.json")


def test_matplotlib_is_loaded_only_to_draw() -> None:
    """Reading cases needs no extra, and drawing no pyplot."""
    check = "import sys, fingerprint.campaigns.cases as c; assert 'matplotlib' not in sys.modules"
    check += "; import fingerprint.campaigns.figures; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[2])


def test_without_matplotlib_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is written."""
    monkeypatch.delitem(sys.modules, "fingerprint.campaigns.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CaseError, match=r"figures need matplotlib: pip install 'fingerprint\[campaigns\]'"):
        write_case(case(), sample(), tmp_path)
    assert not list(tmp_path.iterdir())
