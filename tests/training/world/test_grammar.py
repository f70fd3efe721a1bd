"""The built-in text: complete, varied, seeded, and the same topics on both sides."""

from collections import Counter
from random import Random

import pytest

from training.grammar import (
    CAPABILITIES,
    LANGUAGES,
    SLOT,
    batch,
    conversation,
    harvest_families,
    honest_workloads,
    labelled_prompts,
    load_grammar,
)


def test_enough_families_templates_and_languages() -> None:
    g = load_grammar()
    harvest = [t for ts in g.harvest.values() for t in ts]
    honest = [t for ts in g.honest.values() for t in ts]
    assert len(harvest_families()) >= 8
    assert len(honest_workloads()) >= 10
    assert len(harvest) >= 150
    assert len(honest) >= 200
    for side in (harvest, honest):
        assert {t.capability for t in side} == set(CAPABILITIES)
        assert {t.lang for t in side} == set(LANGUAGES)
        assert len({(t.family, t.text) for t in side}) == len(side)


def test_every_slot_has_values() -> None:
    g = load_grammar()
    texts = [t.text for side in (g.harvest, g.honest) for ts in side.values() for t in ts]
    texts += [v for values in [*g.slots.values(), *g.follow.values()] for v in values]
    names = {s.lstrip("@") for text in texts for s in SLOT.findall(text) if s[0] != "#"}
    assert names <= set(g.slots)


def test_no_template_is_on_both_sides() -> None:
    g = load_grammar()
    sides = [{t.text for ts in side.values() for t in ts} for side in (g.harvest, g.honest)]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_filled_prompts_have_no_open_slot(seed: int) -> None:
    for prompt, capability, _ in labelled_prompts(seed, 3000):
        assert not SLOT.search(prompt), prompt
        assert prompt.strip()
        assert capability in CAPABILITIES


def test_prompts_repeat_rarely_and_sides_are_even() -> None:
    prompts = labelled_prompts(9, 4000)
    assert Counter(h for _, _, h in prompts) == {0: 2000, 1: 2000}
    assert len({p for p, _, _ in prompts}) > 0.9 * len(prompts)
    assert prompts == labelled_prompts(9, 4000)


def test_pinned_slots_stay_and_given_ones_are_used() -> None:
    g, rnd, pinned = load_grammar(), Random(0), dict[str, str]()
    first = g.fill("{@topic}|{topic}|{seed}", rnd, pinned, {"seed": ["GIVEN {topic}"]})
    second = g.fill("{@topic}|{topic}|{seed}", rnd, pinned, {"seed": ["GIVEN {topic}"]})
    assert first.split("|")[0] == second.split("|")[0]
    assert first.endswith("|GIVEN {topic}")


def test_articles_follow_their_noun() -> None:
    g = load_grammar()
    assert g.fill("a {product}", Random(0), None, {"product": ["bike helmet"]}) == "a bike helmet"
    filled = {g.fill("I am a {role}", Random(i)) for i in range(200)}
    assert "I am an archivist in a small museum" in filled
    assert not [f for f in filled if " a a" in f]


def test_a_batch_keeps_one_language_and_few_templates() -> None:
    for seed in range(20):
        client = batch(load_grammar().harvest["boxed_math"], Random(seed), most=3)
        assert 1 <= len(client.templates) <= 3
        assert len({t.lang for t in client.templates}) == 1


def test_conversations_follow_up_in_the_same_language() -> None:
    prompts, capability = conversation(Random(4), "human_chat", "zh", 5, 0.5)
    assert len(prompts) == 5
    assert capability == "chat"
    assert not any(p.isascii() for p in prompts)
