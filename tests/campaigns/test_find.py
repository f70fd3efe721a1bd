"""From traffic to campaigns: ids that stay, days that add up, and a state file that is whole or refused."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowd import DAY, HARVESTERS, MONDAY, after, crowd, days_of, written
from toy_bundle import toy_bundle

from fingerprint import Scorer
from fingerprint.campaigns import find as module
from fingerprint.campaigns.case_page import write_case
from fingerprint.campaigns.cases import read_case
from fingerprint.campaigns.find import Found, State, StateError, case_of, find
from fingerprint.kernels.layout import AT, WORDS

RING = [f"ring-{i}" for i in range(HARVESTERS)]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("bundles") / "toy"))


@pytest.fixture(scope="module")
def read(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> State:
    """The crowd, read at once; tests take a copy."""
    path = written(tmp_path_factory.mktemp("traffic") / "t.jsonl", crowd())
    return after(State(scorer.bundle_id), scorer, path)


def fresh(read: State) -> State:
    return State(read.bundle_id, read.accounts, read.windows, read.sample, {}, read.hours, read.recent, read.numbered)


def told(found: Found, state: State) -> dict[str, list[str]]:
    return {c.campaign_id: sorted(state.accounts[m] for m in c.members) for c in found.campaigns}


def test_the_ring_is_a_campaign_and_the_class_is_a_group_that_is_cleared(read: State, scorer: Scorer) -> None:
    state = fresh(read)
    found = find(state, scorer)
    assert list(told(found, state).values()) == [sorted(RING)]
    (campaign,) = found.campaigns
    assert (campaign.level, campaign.score) == ("act", pytest.approx(0.982, abs=0.001))
    assert ((campaign.membership > 0.5) & (campaign.membership <= 1)).all()  # few links are less than the median's
    assert campaign.membership.max() == 1
    groups = [{state.accounts[m].split("-")[0] for m in members} for members in found.groups]
    assert {"class"} in groups
    assert found.evidence is not None
    ring, pupils = groups.index({"ring"}), groups.index({"class"})
    assert found.evidence.overlap[[ring, pupils]].tolist() == [0, 1]
    assert found.evidence.ratio[ring] == pytest.approx(1, abs=0.3)
    assert found.evidence.p[ring] < 0.05 < found.evidence.p[pupils]
    assert state.campaigns.keys() == {campaign.campaign_id}


def test_the_same_state_gives_the_same_campaigns(read: State, scorer: Scorer) -> None:
    one, other = fresh(read), fresh(read)
    assert told(find(one, scorer), one) == told(find(other, scorer), other)
    again = find(one, scorer)
    assert told(again, one) == told(find(other, scorer), other)


def test_day_by_day_is_all_at_once(scorer: Scorer, read: State, tmp_path: Path) -> None:
    """Over saved states: the same windows and samples to the bit, and one id from the first day on."""
    path, ids = tmp_path / "state.npz", []
    for day, records in enumerate(days_of(crowd())):
        state = after(State.load(path, scorer), scorer, written(tmp_path / f"{day}.jsonl", records))
        ids += [c.campaign_id for c in find(state, scorer).campaigns]
        state.save(path)
    whole, daily = fresh(read), State.load(path, scorer)
    assert daily.accounts == whole.accounts
    assert daily.windows.dtype == whole.windows.dtype
    np.testing.assert_array_equal(daily.windows, whole.windows)
    assert daily.sample is not None
    assert whole.sample is not None
    for found, expected in zip(daily.sample, whole.sample, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert len(ids) == 3
    assert len(set(ids)) == 1
    at_once = find(whole, scorer)
    assert sorted(daily.campaigns[ids[0]]) == sorted(RING) == next(iter(told(at_once, whole).values()))


def same_state(one: State, other: State) -> None:
    """To the bit, all of it but the known campaigns."""
    assert one.accounts == other.accounts
    np.testing.assert_array_equal(one.windows, other.windows)
    assert one.sample is not None
    assert other.sample is not None
    pairs = [*zip(one.sample, other.sample, strict=True), *zip(one.hours, other.hours, strict=True)]
    pairs += list(zip(one.numbered, other.numbered, strict=True))
    pairs += list(zip(vars(one.recent).values(), vars(other.recent).values(), strict=True))
    for found, expected in pairs:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_a_day_that_is_read_again_changes_nothing(scorer: Scorer, tmp_path: Path) -> None:
    """The file is the same to the byte, and so are groups, ids and scores."""
    path, days = tmp_path / "state.npz", days_of(crowd())
    files = [written(tmp_path / f"{day}.jsonl", records) for day, records in enumerate(days)]
    state = State.load(path, scorer)
    for file in files:
        state = after(state, scorer, file)
        expected = find(state, scorer)
        state.save(path)
    before = path.read_bytes()
    for file in (files[2], files[0], files[2]):
        again = after(State.load(path, scorer), scorer, file)
        same_state(again, state)
        found = find(again, scorer)
        assert told(found, again) == told(expected, state)
        assert [c.score for c in found.campaigns] == [c.score for c in expected.campaigns]
        for members, others in zip(found.groups, expected.groups, strict=True):
            np.testing.assert_array_equal(members, others)
        again.save(path)
        assert path.read_bytes() == before


def test_days_that_overlap_are_all_at_once(scorer: Scorer, read: State, tmp_path: Path) -> None:
    """Each day's file begins with the last hours of the day before."""
    path, records = tmp_path / "state.npz", crowd()
    for day in range(3):
        begin, end = MONDAY + day * DAY, MONDAY + (day + 1) * DAY
        some = [r for r in records if begin - 6 * 3600 <= r["timestamp"] < end]
        after(State.load(path, scorer), scorer, written(tmp_path / f"{day}.jsonl", some)).save(path)
    same_state(State.load(path, scorer), fresh(read))


def test_a_day_in_the_wrong_place_is_not_read(scorer: Scorer, tmp_path: Path) -> None:
    first, second, third = days_of(crowd())
    state = after(State(scorer.bundle_id), scorer, written(tmp_path / "1.jsonl", first))
    state = after(state, scorer, written(tmp_path / "3.jsonl", third))
    second = [r for r in second if r["timestamp"] < third[-1]["timestamp"] - DAY]
    same_state(after(state, scorer, written(tmp_path / "2.jsonl", second)), state)


def test_an_id_stays_when_members_join(scorer: Scorer, tmp_path: Path) -> None:
    """Eight new accounts of the same list on the second day."""
    first = [r for r in crowd(1, harvesters=20) if r["account_id"] not in {f"ring-{i}" for i in range(12, 20)}]
    late = [r for r in crowd(1, harvesters=20) if r["account_id"] in {f"ring-{i}" for i in range(12, 20)}]
    state = after(State(scorer.bundle_id), scorer, written(tmp_path / "1.jsonl", first))
    ((known, members),) = told(find(state, scorer), state).items()
    assert len(members) == 12
    state = after(state, scorer, written(tmp_path / "2.jsonl", late))
    ((now, members),) = told(find(state, scorer), state).items()
    assert (now, len(members)) == (known, 20)


# ---- names


def named(campaigns: dict[str, str], *groups: str) -> list[str]:
    """The ids of groups of one-letter accounts beside known campaigns of such."""
    accounts = sorted(set("".join((*campaigns.values(), *groups))))
    state = State("b", accounts, campaigns={name: list(members) for name, members in campaigns.items()})
    return module._names(state, [np.array([accounts.index(c) for c in sorted(group)]) for group in groups])


def test_a_new_group_gets_a_new_id_that_follows_from_its_members() -> None:
    (one,), (again,), (other,) = named({}, "abc"), named({"camp-1": "xyz"}, "cba"), named({}, "abd")
    assert one == again != other
    assert one.startswith("camp-")
    assert len(one) == 17


def test_two_known_campaigns_that_merge_keep_the_id_of_the_larger() -> None:
    assert named({"camp-1": "abc", "camp-2": "defgh"}, "abcdefgh") == ["camp-2"]


def test_of_a_campaign_that_splits_the_larger_part_keeps_the_id() -> None:
    small, large = named({"camp-1": "abcdefgh"}, "abc", "defgh")
    assert large == "camp-1" != small


def test_a_few_accounts_in_common_are_not_the_same_campaign() -> None:
    assert named({"camp-1": "abcdefghij"}, "ijklmnopqr")[0] != "camp-1"
    assert named({"camp-1": "abcdefghij"}, "ghijklmnop")[0] == "camp-1"


def test_a_part_that_is_the_campaign_of_the_first_day_does_not_get_its_id_a_second_time() -> None:
    """The id of a new group follows from its members: these were the founders of the campaign that split."""
    (founded,) = named({}, "abc")
    ids = named({founded: "abcdefgh"}, "abc", "defgh")
    assert len(set(ids)) == 2


def test_an_id_does_not_go_back_to_a_campaign_that_was_merged_away(scorer: Scorer, read: State) -> None:
    """After a merge the id that stayed has all members, those of the one that went too."""
    state = fresh(read)
    state.campaigns = {"camp-aaaaaa": RING[:5], "camp-bbbbbb": RING[5:]}
    assert list(told(find(state, scorer), state)) == ["camp-bbbbbb"]
    # the seven that gave the id its name leave: those who are left are still the same campaign
    left = [np.array([state.accounts.index(name) for name in RING[:5]])]
    assert module._names(state, left) == ["camp-bbbbbb"]
    order = {"camp-bbbbbb": RING[5:], "camp-aaaaaa": RING[:5]}
    state = fresh(read)
    state.campaigns = order
    assert list(told(find(state, scorer), state)) == ["camp-bbbbbb"]
    assert module._names(state, left) == ["camp-bbbbbb"]


# ---- little traffic


def test_without_traffic_nothing_is_found_and_the_state_can_be_kept(scorer: Scorer, tmp_path: Path) -> None:
    state = after(State(scorer.bundle_id), scorer, None)
    assert find(state, scorer)[:2] == ([], [])
    state.save(tmp_path / "s.npz")
    kept = State.load(tmp_path / "s.npz", scorer)
    assert (kept.accounts, kept.sample, kept.windows.shape) == ([], None, (0, WORDS))
    again = after(kept, scorer, written(tmp_path / "u.jsonl", crowd()[:9]))
    assert len(again.accounts) > 1


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_little_traffic_is_no_campaign(scorer: Scorer, tmp_path: Path, count: int) -> None:
    state = after(State(scorer.bundle_id), scorer, written(tmp_path / "t.jsonl", crowd()[:count]))
    assert find(state, scorer).campaigns == []


def test_a_day_without_traffic_changes_nothing(scorer: Scorer, read: State) -> None:
    state = after(fresh(read), scorer, None)
    assert state.accounts == read.accounts
    np.testing.assert_array_equal(state.windows, read.windows)


def test_an_account_of_duplicates_only_is_nobody(scorer: Scorer, tmp_path: Path) -> None:
    """Its records were dropped, so its window is empty: it is not scored, and it is in no campaign."""
    records = crowd()
    copies = [record | {"account_id": "copy", "timestamp": record["timestamp"]} for record in records[:50]]
    state = after(State(scorer.bundle_id), scorer, written(tmp_path / "t.jsonl", records + copies))
    found, copy = find(state, scorer), state.accounts.index("copy")
    assert state.windows[copy, AT["n"]] == 0
    assert found.own[copy] == 0
    assert list(told(found, state).values()) == [sorted(RING)]


# ---- cases


def test_a_case_tells_what_was_found(read: State, scorer: Scorer, tmp_path: Path) -> None:
    state = fresh(read)
    found = find(state, scorer)
    case, days = case_of(found.campaigns[0], found, state, scorer)
    assert (case.campaign_id, case.level, case.exchanges) == (found.campaigns[0].campaign_id, "act", 240)
    assert [m.account_id for m in case.accounts] == [state.accounts[m] for m in found.campaigns[0].members]
    assert sum(case.rhythm.hour_of_day) == 240
    assert case.rhythm.accounts_by_day == {f"2026-03-0{day}": HARVESTERS for day in (2, 3, 4)}
    assert {form.part for form in case.forms} == {"head", "tail"}
    assert {(form.accounts, form.overlap) for form in case.forms} == {(HARVESTERS, 0.0)}
    assert [form.of_traffic for form in case.forms] == [0, 0]  # nobody outside sends it
    assert len(days.account) == 240
    assert days.shared.all()
    content = read_case(write_case(case, days, tmp_path))
    assert content["evidence"]["pooled_exchanges"] == 240


def test_a_case_of_a_class_that_is_convicted_says_what_speaks_against_it(scorer: Scorer, tmp_path: Path) -> None:
    """All send the same: the variance between accounts is nothing, and rounding must not make it less."""
    records = [r | {"logprobs": True} for r in crowd()]
    state = after(State(scorer.bundle_id), scorer, written(tmp_path / "t.jsonl", records))
    found = find(state, scorer)
    number = [state.accounts[c.members[0]].split("-")[0] for c in found.campaigns].index("class")
    case, days = case_of(found.campaigns[number], found, state, scorer)
    assert {form.overlap for form in case.forms} == {1.0}
    assert any("a class or an evaluation would look like this" in line for line in case.against)
    write_case(case, days, tmp_path)


def test_the_variance_ratio_of_a_form_is_never_below_nothing() -> None:
    from crowd import drawn, sample_of

    for seed in range(40):
        content = np.tile(drawn(1, 7, seed)[1], (5, 1))
        ratio, overlap = module._of_form(
            sample_of(np.repeat(np.arange(5), 7), content, prompt=np.tile(np.arange(7), 5))
        )
        assert ratio is not None
        assert 0 <= ratio < 1e-6
        assert overlap == 1


# ---- the file


@pytest.fixture
def saved(read: State, scorer: Scorer, tmp_path: Path) -> Path:
    state = fresh(read)
    find(state, scorer)
    state.save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def refused(path: Path, scorer: Scorer) -> str:
    with pytest.raises(StateError) as caught:
        State.load(path, scorer)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_what_was_saved_is_loaded(saved: Path, read: State, scorer: Scorer) -> None:
    state = State.load(saved, scorer)
    assert (state.accounts, state.bundle_id) == (read.accounts, read.bundle_id)
    assert [sorted(members) for members in state.campaigns.values()] == [sorted(RING)]
    np.testing.assert_array_equal(state.windows, read.windows)
    assert list(saved.parent.iterdir()) == [saved], "nothing else is left"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused(saved: Path, scorer: Scorer, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    assert "expected a state of fingerprint campaigns" in refused(saved, scorer)


def test_a_flipped_bit_anywhere_is_refused_or_in_no_data(saved: Path, read: State, scorer: Scorer) -> None:
    data, rng = saved.read_bytes(), np.random.default_rng(0)
    for at in rng.integers(0, len(data), 40):
        saved.write_bytes(data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :])
        try:
            state = State.load(saved, scorer)
        except StateError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            np.testing.assert_array_equal(state.windows, read.windows)


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_are_refused(saved: Path, scorer: Scorer, seed: int) -> None:
    start = (b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"\x80\x04", b"{}", b"\x1f\x8b")[
        seed
    ]
    saved.write_bytes(start + np.random.default_rng(seed).bytes(3000))
    refused(saved, scorer)


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("bomb",)


def test_a_pickle_is_refused_and_not_run(saved: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain, and as an array of objects in a file that is else as it should be."""
    monkeypatch.chdir(saved.parent)
    with np.load(saved) as parts:
        content = dict(parts)
    saved.write_bytes(pickle.dumps(_Bomb()))
    refused(saved, scorer)
    bomb = np.empty(1, object)
    bomb[0] = _Bomb()
    for name in ("told", "windows", "sample_when"):
        np.savez(saved, **(content | {name: bomb}))
        refused(saved, scorer)
    assert not (saved.parent / "bomb").exists()


def changed(path: Path, **parts: Any) -> Path:
    with np.load(path) as held:
        content = dict(held) | parts
    np.savez(path, **{name: part for name, part in content.items() if part is not None})
    return path


def test_parts_that_do_not_fit_each_other_are_refused(saved: Path, scorer: Scorer) -> None:
    data = saved.read_bytes()
    with np.load(io.BytesIO(data)) as held:
        content = dict(held)
    wrong: list[dict[str, Any]] = [
        {"windows": None},
        {"windows": content["windows"][1:]},
        {"windows": content["windows"].astype(np.float64)},
        {"sample_account": content["sample_account"] + 1000},
        {"sample_account": content["sample_account"][1:]},
        {"sample_identity": content["sample_identity"].astype(np.int64)},
        {"sample_when": content["sample_when"][:, :3]},
        {"sample_content": None},
        {"sample_facts": content["sample_facts"][:, 1:]},
        {"sample_facts": content["sample_facts"].astype(np.int64)},
        {"hours_account": content["hours_account"] - 1},
        {"hours_account": content["hours_account"] + 1000},
        {"hours_hour": content["hours_hour"][1:]},
        {"hours_slots": content["hours_slots"].astype(np.int32)},
        {"hours_slots": None},
        {"recent_time_us": None},
        {"recent_time_us": content["recent_time_us"][1:]},
        {"recent_time_us": content["recent_time_us"][0]},
        {"recent_time_us": content["recent_time_us"] * np.arange(len(content["recent_time_us"]))},
        {"recent_account": content["recent_account"] + 1000},
        {"recent_account": content["recent_account"] - 1000},
        {"recent_identity": content["recent_identity"][::-1]},
        {"recent_identity": content["recent_identity"].astype(np.int64)},
        {"told": np.frombuffer(b"[]", np.uint8)},
        {"told": np.frombuffer(b"{}", np.uint8)},
        {"told": np.frombuffer(b"[" * 100_000, np.uint8)},
        {"told": np.frombuffer(b"\xff\xfe", np.uint8)},
    ]
    for parts in wrong:
        saved.write_bytes(data)
        refused(changed(saved, **parts), scorer)


def test_another_archive_is_refused(saved: Path, scorer: Scorer) -> None:
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("told.npy", "hello")
    refused(saved, scorer)


def test_a_folder_is_refused(scorer: Scorer, tmp_path: Path) -> None:
    refused(tmp_path, scorer)


def test_a_state_of_another_bundle_is_refused_with_both_names(saved: Path, scorer: Scorer) -> None:
    state = State.load(saved, scorer)
    state.bundle_id = "fp-000000000000"
    state.save(saved)
    message = refused(saved, scorer)
    assert "fp-000000000000" in message
    assert scorer.bundle_id in message


def test_a_state_of_another_layout_is_refused(saved: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LAYOUT", "another-layout")
    assert "another-layout" in refused(saved, scorer)


def test_a_state_from_before_facts_and_hours_is_refused_as_another_layout(saved: Path, scorer: Scorer) -> None:
    with np.load(saved) as parts:
        told = json.loads(parts["told"].tobytes())
    old = told | {"layout": "-".join(told["layout"].split("-")[:3])}
    gone = dict.fromkeys(["sample_facts", "hours_account", "hours_hour", "hours_slots"])
    changed(saved, told=np.frombuffer(json.dumps(old).encode(), np.uint8), **gone)
    message = refused(saved, scorer)
    assert f"got {scorer.bundle_id} and {old['layout']}: start again from the traffic" in message


def test_a_save_that_fails_leaves_the_old_state(saved: Path, read: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(handle: Any, **parts: Any) -> None:
        handle.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        fresh(read).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
