"""Who there is: groups, lives, evasions, clocks; before any text."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from worlds import plans_of

from training.world.account import Facts, told
from training.world.clocks import CLASSES
from training.world.plan import HABITS, Plan


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return plans_of({"accounts": 3000})


def test_kinds_have_their_shares_and_every_account_one_line(plans: list[Plan]) -> None:
    assert [p.index for p in plans] == list(range(3000))
    assert Counter(p.kind for p in plans) == {"human": 1080, "automation": 720, "mixed": 300, "attack": 900}


def test_volume_is_heavy_tailed_and_the_same_for_everybody(plans: list[Plan]) -> None:
    sizes = [np.array([p.q for p in plans if (p.kind == "attack") is side]) for side in (True, False)]
    assert all(60 < np.median(q) < 110 for q in sizes)
    assert min(p.q for p in plans) >= 10
    assert max(p.q for p in plans) > 400


def test_lives_lie_within_the_world(plans: list[Plan]) -> None:
    for p in plans:
        assert p.start >= 0
        assert p.span > 0
        assert p.start + p.span <= 30.001


def test_campaigns_probe_scale_up_and_replace_what_is_banned(plans: list[Plan]) -> None:
    phases = Counter(p.phase for p in plans if p.kind == "attack")
    assert set(phases) == {"probe", "scale", "standby", "steady"}
    campaigns = defaultdict(list)
    for p in plans:
        if p.kind == "attack":
            campaigns[p.group].append(p)
    for members in campaigns.values():
        free = [p for p in members if p.start > 0 and p.start + p.span < 29.999]  # the rest was moved back
        probes = [p for p in free if p.phase == "probe"]
        rest = [p for p in free if p.phase == "scale"]
        if probes and rest and not any(p.phase == "standby" for p in members):
            assert max(p.start for p in probes) <= min(p.start for p in rest) + 1e-6
        for number in {p.number for p in members}:
            line = sorted((p for p in members if p.number == number), key=lambda p: p.before)
            assert [p.phase == "standby" for p in line] == [False] + [True] * (len(line) - 1)
            assert [p.before for p in line[1:]] == list(np.cumsum([round(p.share * p.q) for p in line[:-1]]))


def test_honest_groups_also_start_together_and_are_replaced(plans: list[Plan]) -> None:
    groups = defaultdict(list)
    for p in plans:
        if p.kind != "attack":
            groups[p.group].append(p)
    assert any(len({m.number for m in g}) < len(g) for g in groups.values()), "rotated keys"
    large = [g for g in groups.values() if len(g) >= 6]
    spread = [np.ptp([m.start for m in g]) for g in large]
    assert min(spread) < 6 < max(spread)


def test_clock_classes_have_one_law_on_both_sides() -> None:
    plans = plans_of({"accounts": 20_000})
    for clock, share in CLASSES.items():
        for kinds in (("attack",), ("automation", "mixed")):
            of_kind = [p.clock for p in plans if p.kind in kinds]
            assert of_kind.count(clock) / len(of_kind) == pytest.approx(share, abs=0.06), (clock, kinds)


def test_evasions_have_their_probability_and_strength() -> None:
    plans = plans_of({"accounts": 3000, "evasions.relay": {"probability": 1.0, "low": 0.3, "high": 0.4}})
    attack = [p for p in plans if p.kind == "attack"]
    assert all(0.3 <= p.strength("relay") <= 0.4 for p in attack)
    assert 0 < sum(p.strength("split") > 0 for p in attack) < len(attack) / 3


def test_honest_groups_have_habits_by_the_law_of_evasions_and_labels_do_not_tell() -> None:
    certain = {"probability": 1.0, "low": 0.3, "high": 0.4}
    plans = plans_of({"accounts": 300, "evasions.identity": certain, "evasions.split": certain})
    honest = [p for p in plans if p.kind != "attack"]
    assert {name for p in honest for name, _ in p.evasions} == set(HABITS)
    assert all(0.3 <= p.strength("identity") <= 0.4 for p in plans)
    assert len({(p.group, p.evasions) for p in honest}) == len({p.group for p in honest}), "a group's, not an account's"
    facts = Facts("chat", "en", "pro", "new")
    evasions = {p.index: told(p, facts)[-3] for p in plans}
    assert {evasions[p.index] for p in honest} == {""}
    assert all("identity=0." in str(evasions[p.index]) for p in plans if p.kind == "attack")


def test_a_single_campaign_of_an_asked_size() -> None:
    settings = {
        "accounts": 500, "kinds": {"human": 0.0, "automation": 0.0, "mixed": 0.0, "attack": 1.0},
        "campaigns.single": True, "volume.attack_mean": 120.0,
    }  # fmt: skip
    plans = plans_of(settings)
    assert {p.group for p in plans} == {0}
    assert sum(p.q for p in plans) == 60_000
    assert len({p.family for p in plans}) > 3, "several goals, divided over the accounts"


def test_families_and_clients_can_be_chosen() -> None:
    plans = plans_of({"accounts": 400, "campaigns.families": ["boxed_math"], "campaigns.clients": ["metamath"]})
    assert {(p.family, p.client) for p in plans if p.kind == "attack"} == {("boxed_math", "metamath")}


def test_what_campaigns_share_can_be_switched_off() -> None:
    together, apart = (plans_of({"accounts": 3000, "campaigns.share_start": v}) for v in (True, False))
    for plans, phases in ((together, {"probe", "scale"}), (apart, set())):
        assert {p.phase for p in plans if p.kind == "attack"} & {"probe", "scale"} == phases
