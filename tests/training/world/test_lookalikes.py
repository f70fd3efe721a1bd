"""Honest groups that share text: each kind has the property it claims, and without them a world is as it was."""

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from real import CORPORA, needs_corpora

from training.world import LABELS, World, make_world, open_world
from training.world.account import one_account
from training.world.corpora import part_of
from training.world.lookalikes import LEAST, MAKERS, honest_text
from training.world.plan import Plan
from training.world.settings import load

ALL = {"accounts": 2400, "seed": 5, "campaigns.smallest": 5, "lookalikes.share": 1.0}
Groups = dict[str, list[list[Plan]]]


def commonprefix(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def opened(corpora: Path | None, **values: object) -> tuple[World, list[Plan]]:
    return open_world(load(None, None, ALL | values), corpora)


def grouped(plans: list[Plan]) -> Groups:
    """Groups of four accounts or more by look-alike."""
    groups: dict[int, list[Plan]] = defaultdict(list)
    for p in plans:
        groups[p.group].append(p)
    found: Groups = defaultdict(list)
    for group in groups.values():
        if len(group) >= 4:
            found[group[0].lookalike].append(group)
    return found


@pytest.fixture(scope="module", params=[None, pytest.param(CORPORA, marks=needs_corpora)], ids=["built in", "real"])
def both(request: pytest.FixtureRequest) -> tuple[World, Groups]:
    world, plans = opened(request.param)
    return world, grouped(plans)


def sent(world: World, p: Plan) -> list[str]:
    script = honest_text(world.texts, Random(f"{world.settings.seed}/account/{p.index}"), p, world.settings.seed)
    assert len(script) == len(script.caps) == len(script.fresh) == len(script.gaps) == p.q
    assert script.fresh[0]
    return [world.texts.pool.text(prompt) for prompt in script.prompts]


def some(both: tuple[World, Groups], name: str, kind: str = "") -> Iterator[list[list[str]]]:
    """What the members of a few groups of a look-alike send."""
    world, groups = both
    chosen = [g for g in groups[name] if kind in ("", g[0].kind)][:6]
    assert chosen
    for group in chosen:
        yield [sent(world, p) for p in group[:8]]


def test_every_honest_group_that_is_large_enough_is_one(both: tuple[World, Groups]) -> None:
    _, groups = both
    assert set(groups) == {*MAKERS, ""}
    assert {g[0].kind for g in groups[""]} == {"attack"}
    assert all(len({p.lookalike for p in g}) == 1 for of_kind in groups.values() for g in of_kind)


@pytest.mark.parametrize("name", ["app", "framework"])
def test_an_app_and_a_framework_put_one_text_around_requests_of_each_own(both: tuple[World, Groups], name: str) -> None:
    heads = []
    for members in some(both, name):
        everything = [prompt for prompts in members for prompt in prompts]
        head, tail = commonprefix(everything), commonprefix([prompt[::-1] for prompt in everything])
        heads.append(head + tail[::-1])
        assert len(heads[-1]) >= 12
        shared = [len(set(a) & set(b)) / min(len(set(a)), len(set(b))) for a, b in pairwise(members)]
        assert sum(shared) / len(shared) < 0.35, "own requests"
    assert len(set(heads)) == len(heads), "each group has its own"


def test_a_class_asks_one_sheet_in_its_own_orders(both: tuple[World, Groups]) -> None:
    for kind in ("human", "mixed"):
        for members in some(both, "classroom", kind):
            holders = Counter(prompt for prompts in members for prompt in set(prompts))
            sheet = [prompt for prompt, n in holders.items() if n >= 0.4 * len(members) and len(prompt) > 20]
            assert len(sheet) >= 5
            orders = {tuple(p for p in prompts if p in set(sheet)) for prompts in members}
            assert len(orders) > 1
            assert all(set(prompts) - set(sheet) for prompts in members if len(prompts) > 60), "and more of their own"


def test_a_release_is_measured_with_one_list_from_its_day_on(both: tuple[World, Groups]) -> None:
    world, groups = both
    for members in some(both, "release"):
        for a, b in pairwise(members):
            least = min(len(a), len(b))
            assert a[:least] == b[:least]
    for group in groups["release"]:
        assert all(0 <= p.start - world.calendar.release <= 2 for p in group)
        assert all(p.start + p.span <= world.settings.days for p in group)


def test_a_vendor_divides_one_list_without_repeating(both: tuple[World, Groups]) -> None:
    """A few texts stand twice in the lists themselves."""
    for members in some(both, "vendor"):
        everything = [prompt for prompts in members for prompt in prompts]
        assert len(set(everything)) >= 0.9 * len(everything)
        assert sum(len(set(a) & set(b)) for a, b in pairwise(members)) <= 0.05 * len(everything)


@needs_corpora
def test_a_vendor_has_one_template_while_its_list_lasts() -> None:
    world, plans = opened(CORPORA)
    lasting = [g for g in grouped(plans)["vendor"] if ":" in g[0].family and sum(p.q for p in g) < 1000]
    assert lasting
    for group in lasting[:5]:
        prompts = [prompt for p in group for prompt in sent(world, p)]
        whole = commonprefix(prompts) + commonprefix([p[::-1] for p in prompts])
        if max(p.before + p.q for p in group) * group[0].of < 1500:
            assert len(whole) >= 5


def test_accounts_of_a_vendor_that_take_over_go_on_in_the_list(both: tuple[World, Groups]) -> None:
    _, groups = both
    for group in groups["vendor"]:
        for number in {p.number for p in group}:
            line = sorted((p for p in group if p.number == number), key=lambda p: p.before)
            assert all(b.before == a.before + a.q for a, b in pairwise(line))


def test_a_company_puts_its_text_around_a_part(both: tuple[World, Groups]) -> None:
    for members in some(both, "company"):
        starts = Counter(prompt[:24] for prompts in members for prompt in set(prompts))
        common, _ = max(((s, sum(s == p[:24] for m in members for p in m)) for s in starts), key=lambda pair: pair[1])
        shares = [sum(prompt.startswith(common) for prompt in prompts) / len(prompts) for prompts in members]
        assert 0.1 < sum(shares) / len(shares) < 0.75


def test_a_gateway_deals_its_people_over_the_keys(both: tuple[World, Groups]) -> None:
    """No conversation of a person is at two keys, as no list is shared; what people like to ask is."""
    for members in some(both, "gateway"):
        sets = [{prompt for prompt in prompts if len(prompt) > 80} for prompts in members]
        for a, b in pairwise(sets):
            assert len(a & b) <= 0.5 * max(1, min(len(a), len(b)))


@needs_corpora
def test_people_of_a_gateway_are_seen_at_several_keys_with_different_requests() -> None:
    world, plans = opened(CORPORA)
    group = max((g for g in grouped(plans)["gateway"] if g[0].family == "gateway"), key=len)
    corpora = world.texts.corpora
    assert corpora is not None
    keys = {
        prompt: u.key for n in corpora.names("human") for u in corpora.honest_units(n) for prompt in u.prompts
        if len(prompt) > 80
    }  # fmt: skip
    seen = [{keys[prompt] for prompt in sent(world, p) if prompt in keys} for p in group[:6]]
    assert sum(map(len, seen)) > 0
    assert len(set.union(*seen)) >= 0.8 * sum(map(len, seen)), "dealt, not repeated"


@needs_corpora
def test_members_of_a_framework_have_sources_of_their_own_and_labels_name_them() -> None:
    _, plans = opened(CORPORA)
    groups = [g for g in grouped(plans)["framework"] if g[0].kind == "automation" and ":" in g[0].family]
    assert groups
    assert all(len({p.family for p in g}) > 1 for g in groups)
    assert all(len({p.family.partition(":")[0] for p in g}) == 1 for g in groups)


def test_without_look_alikes_nothing_is_drawn_elsewhere() -> None:
    """Whatever honest account is no look-alike is the same with and without them, and so are its bytes."""
    values = {"accounts": 300, "seed": 9, "campaigns.fewest": 4, "lookalikes.share": 1.0}
    with_, without = (open_world(load(None, None, values | more)) for more in ({}, {"lookalikes.share": 0.0}))
    assert any(p.lookalike for p in with_[1])
    assert not any(p.lookalike for p in without[1])
    kept = [(a, b) for a, b in zip(with_[1], without[1], strict=True) if not a.lookalike]
    assert all(a == b for a, b in kept)
    for a, b in [pair for pair in kept if pair[0].kind != "attack"][::20]:
        assert one_account(with_[0], a).equals(one_account(without[0], b))
    changed = {"release": ("start", "span"), "vendor": ("before",)}
    for a, b in zip(with_[1], without[1], strict=True):
        if a.lookalike:
            same = {name: getattr(b, name) for name in ("lookalike", *changed.get(a.lookalike, ()))}
            assert replace(a, **same) == b


def test_campaigns_stand_behind_software_as_well() -> None:
    """Beside look-alikes some campaigns have its text around what they harvest, all accounts of one the same; without
    look-alikes none has."""
    values = {"accounts": 300, "seed": 9, "campaigns.fewest": 4, "lookalikes.share": 1.0}
    with_, without = (open_world(load(None, None, values | more)) for more in ({}, {"lookalikes.share": 0.0}))
    changed: dict[int, set[bool]] = {}
    for a, b in zip(with_[1], without[1], strict=True):
        if a.kind == "attack" and a.index % 3 == 0:
            same = one_account(with_[0], a)["prompt"].equals(one_account(without[0], b)["prompt"])
            changed.setdefault(a.group, set()).add(not same)
    assert all(len(told) == 1 for told in changed.values())
    assert {True, False} == {told for group in changed.values() for told in group}


def test_small_groups_are_none() -> None:
    _, plans = open_world(load(None, None, {"accounts": 600, "campaigns.fewest": 4, "lookalikes.share": 1.0}))
    sizes = Counter(p.group for p in plans)
    assert {sizes[p.group] >= LEAST for p in plans if p.lookalike} == {True}
    assert not any(p.lookalike for p in plans if sizes[p.group] < LEAST)


def test_groups_tell_and_labels_and_logs_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"accounts": 120, "days": 10, "campaigns.smallest": 3, "campaigns.fewest": 3}
    with caplog.at_level(logging.DEBUG):
        for name, share in (("with", 1.0), ("without", 0.0)):
            make_world(tmp_path / name, load(None, None, settings | {"lookalikes.share": share}))
    assert not [r for r in caplog.records if r.name.startswith("training")]
    assert capfd.readouterr() == ("", "")
    tables = {}
    for name in ("with", "without"):
        with (tmp_path / name / "groups.csv").open(newline="", encoding="utf-8") as f:
            tables[name] = list(csv.reader(f))
        with (tmp_path / name / "labels.csv").open(newline="", encoding="utf-8") as f:
            assert tuple(next(csv.reader(f))) == LABELS
    assert tables["without"][0] == ["account_id", "group"]
    assert tables["with"][0] == ["account_id", "group", "lookalike"]
    assert [row[:2] for row in tables["with"]] == tables["without"]
    assert {row[2] for row in tables["with"][1:]} > {""}
    assert (tmp_path / "with" / "labels.csv").read_bytes().splitlines()[0] == ",".join(LABELS).encode()


def test_the_same_settings_make_the_same_look_alikes_whatever_the_processes(tmp_path: Path) -> None:
    values = {"accounts": 80, "seed": 4, "campaigns.smallest": 3, "campaigns.fewest": 3, "lookalikes.share": 1.0}
    told = [make_world(tmp_path / str(w), load(None, None, values), workers=w) for w in (1, 2)]
    assert told[0] == told[1]


@needs_corpora
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_preset_for_groups_can_be_of_one_part(part: str) -> None:
    _, plans = open_world(load("groups", None, {"accounts": 2000, "part": part}), CORPORA)
    assert Counter(p.kind for p in plans) == {"human": 800, "automation": 800, "attack": 400}
    assert {p.strength("identity") for p in plans} == {1.0}
    sizes = Counter(p.group for p in plans)
    assert sum(size < 5 for size in sizes.values()) <= 3, "what is left of a kind"
    kinds = {p.group: p.lookalike for p in plans if p.kind != "attack"}
    assert 0.3 < sum(map(bool, kinds.values())) / len(kinds) < 0.7
    sources = {p.family.partition(":")[2] for p in plans if p.lookalike == "framework"} - {""}
    assert {part_of(name) for name in sources} <= {part}
    excluded = next(iter(sorted(sources)), "gsm8k")
    _, fewer = open_world(load("groups", None, {"accounts": 600, "part": part, "exclude": [excluded]}), CORPORA)
    assert not any(p.family.endswith(f":{excluded}") for p in fewer)
