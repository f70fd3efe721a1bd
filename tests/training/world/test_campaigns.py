"""What attack accounts send: shards, recipes, probes, evasions of text."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from real import CORPORA, needs_corpora
from worlds import cover_units, opened

from training.world import World
from training.world.campaigns import GOALS, attack_text, families, goal
from training.world.clients import clients
from training.world.plan import Plan

PLAIN = Plan(
    0, "attack", "boxed_math", 1, 0, 1, "burst", "sdk_script", 200, 1.0, 1.0, 5.0, 0, "scale", ()
)  # fmt: skip


def prompts(world: World, plan: Plan, seed: int = 0) -> list[str]:
    script, marks = attack_text(world.texts, Random(f"{seed}/{plan.index}"), plan, 7, True)
    return [world.texts.pool.text(p) for p, mark in zip(script.prompts, marks, strict=True) if mark]


@pytest.fixture(scope="module")
def world() -> World:
    return opened()[0]


@pytest.fixture(scope="module")
def real() -> World:
    return opened(corpora=CORPORA)[0]


@pytest.mark.parametrize("client", sorted(clients()))
def test_every_client_harvests_every_kind_of_family(world: World, client: str) -> None:
    for family in ("boxed_math", "agent_traces", "translate_align", families(world.texts)[-1]):
        plan = replace(PLAIN, family=family, client=client, q=60)
        assert len(prompts(world, plan)) == 60


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 1.0])
def test_harvesting_takes_its_share(world: World, share: float) -> None:
    script, marks = attack_text(world.texts, Random(1), replace(PLAIN, share=share), 7, True)
    assert len(script) == 200
    assert sum(marks) == round(share * 200)


def test_accounts_of_a_campaign_share_templates_and_strangers_do_not(world: World) -> None:
    def forms(index: int, group: int, together: bool = True) -> set[str]:
        plan = replace(PLAIN, family="topic_tree", index=index, group=group)
        script, _ = attack_text(world.texts, Random(f"own {index}"), plan, 7, together)
        return {world.texts.pool.text(p)[:10] for p in script.prompts}

    shared = [forms(i, 3) for i in range(6)]
    assert all(a & b for a in shared for b in shared)
    alone = [forms(i, 3, together=False) for i in range(6)]
    assert len(set.union(*alone)) > len(set.union(*shared))


def test_paraphrase_uses_more_templates(world: World) -> None:
    def first_words(strength: float) -> int:
        used: set[str] = set()
        for i in range(12):
            plan = replace(
                PLAIN, family="list_synth", index=i, evasions=(("paraphrase", strength),) if strength else ()
            )
            used |= {" ".join(p.split()[:2]) for p in prompts(world, plan)}
        return len(used)

    assert first_words(1.0) > first_words(0.0)


def test_probes_try_several_techniques_first(world: World) -> None:
    kinds = [
        len({p.split()[0] for p in prompts(world, replace(PLAIN, q=60, phase=phase))}) for phase in ("probe", "scale")
    ]
    assert kinds[0] > kinds[1]


def test_repeats_of_a_recipe_are_sent(world: World) -> None:
    counts = Counter(prompts(world, replace(PLAIN, client="nemo_skills", family="instruction_pool", q=200)))
    assert counts.most_common(1)[0][1] >= 3
    assert Counter(prompts(world, replace(PLAIN, family="list_synth"))).most_common(1)[0][1] <= 5


def test_goals_come_from_what_is_asked(world: World) -> None:
    script, marks = attack_text(world.texts, Random(1), PLAIN, 7, True)
    assert goal(script, marks) == "reasoning"
    assert set(GOALS.values()) >= {"reasoning", "tools", "planning", "software", "grading", "cleaning"}


@needs_corpora
def test_shards_cover_a_list_without_overlap(real: World) -> None:
    """Whatever the way of sharding is, two accounts of a campaign hardly repeat each other's prompts."""
    overlaps = []
    for group in range(12):
        plans = [
            replace(PLAIN, family="gpteacher_toolformer", group=group, index=i, number=i, of=4, q=100) for i in range(4)
        ]
        sent = [set(prompts(real, p)) for p in plans]
        overlaps.append(len(sent[0] & sent[1]) / 100)
    assert sorted(overlaps)[len(overlaps) // 2] < 0.05


@needs_corpora
def test_an_heir_goes_on_where_the_banned_account_stopped(real: World) -> None:
    found = 0
    for group in range(12):
        first = replace(PLAIN, family="gpteacher_codegen", group=group, number=1, of=4, q=80)
        heir = replace(first, index=9, before=80, phase="standby")
        again = replace(first, index=9)
        if set(prompts(real, again, 1)) == set(prompts(real, first, 2)):
            found += 1
            assert not set(prompts(real, heir)) & set(prompts(real, first))
    assert found >= 3, "modulo, chunk and category shards are lists"


@needs_corpora
def test_trajectories_are_split_over_accounts(real: World) -> None:
    plan = replace(PLAIN, family="api_bank", client="toolbench", of=3, q=60)
    whole = prompts(real, plan)
    parts = [prompts(real, replace(plan, index=i, number=i, evasions=(("split", 1.0),))) for i in range(3)]
    units = {p: u.key for u in real.texts.corpora.harvest_units("api_bank") for p in u.prompts}  # type: ignore[union-attr]
    turns = [max(Counter(units[p] for p in sent if p in units).values()) for sent in (whole, *parts)]
    assert turns[0] > max(turns[1:])


@needs_corpora
def test_relayed_prompts_are_other_peoples(real: World) -> None:
    corpora = real.texts.corpora
    assert corpora is not None
    people = {p for u in cover_units(corpora) for p in u.prompts}
    plan = replace(PLAIN, family="seal_tools")
    counts = [
        sum(p in people for i in range(8) for p in prompts(real, replace(plan, index=i, evasions=relay)))
        for relay in ((), (("relay", 0.5),))
    ]
    assert counts[0] == 0
    assert counts[1] > 200
