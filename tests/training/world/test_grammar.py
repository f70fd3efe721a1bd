"""The built-in text: complete, varied, seeded, paired, and the same topics on both sides."""

import tomllib
import zlib
from collections import Counter
from importlib.resources import files
from random import Random

import pytest

from training.world.grammar import (
    CAPABILITIES,
    LANGUAGES,
    SLOT,
    Grammar,
    batch,
    conversation,
    hurried,
    labelled_prompts,
    load_grammar,
    tables,
)


@pytest.fixture(scope="module")
def g() -> Grammar:
    return load_grammar()


def pairs(lang: str) -> list[dict[str, str]]:
    return list(tomllib.loads((files("training") / "text" / "pairs" / f"{lang}.toml").read_text("utf-8"))["pair"])


def test_enough_pairs_capabilities_and_languages() -> None:
    counts = {lang: len(pairs(lang)) for lang in LANGUAGES}
    assert sum(counts.values()) >= 400
    assert min(counts.values()) >= 36
    for lang in LANGUAGES:
        assert {p["capability"] for p in pairs(lang)} == set(CAPABILITIES), lang


def test_every_harvest_prompt_has_a_twin_on_its_topic() -> None:
    """The twin is not the prompt, and most twins have the topic slots of theirs."""
    for lang in LANGUAGES:
        shared = 0
        for p in pairs(lang):
            assert p["harvest"] != p["honest"]
            slots = [{s.lstrip("@") for s in SLOT.findall(p[side]) if s[0] != "#"} for side in ("harvest", "honest")]
            shared += bool(slots[0] & slots[1]) or not slots[0]
        assert shared >= 0.75 * len(pairs(lang)), lang


def test_honest_and_harvest_requests_are_many(g: Grammar) -> None:
    for side in (g.harvest, g.honest):
        templates = [t for group in side.values() for t in group]
        assert len(templates) >= 400
        assert {t.capability for t in templates} == set(CAPABILITIES)
        assert {t.lang for t in templates} == set(LANGUAGES)
        assert len({(t.family, t.text) for t in templates}) == len(templates)
    assert len(g.harvest) >= 20


def test_every_slot_has_values(g: Grammar) -> None:
    texts = [t.text for side in (g.harvest, g.honest) for group in side.values() for t in group]
    texts += [v for values in [*g.values.values(), *g.follow.values()] for v in values]
    names = {s.lstrip("@") for text in texts for s in SLOT.findall(text) if s[0] != "#"}
    assert names <= set(g.values)


def test_only_a_bare_question_is_on_both_sides(g: Grammar) -> None:
    """The same question may be harvested and be part of a comparison: what the account does decides."""
    sides = [{t.text for group in side.values() for t in group} for side in (g.harvest, g.honest)]
    assert all(SLOT.fullmatch(text) for text in sides[0] & sides[1])


def test_words_that_give_harvesting_away_are_rare(g: Grammar) -> None:
    telling = ("dataset", "training data", "fine-tun", "student model", "distil")
    rates = []
    for side in (g.harvest, g.honest):
        texts = [t.text.lower() for group in side.values() for t in group if t.lang == "en"]
        rates.append(sum(any(word in text for word in telling) for text in texts) / len(texts))
    assert rates[0] <= 0.12
    assert rates[1] > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_filled_prompts_have_no_open_slot(g: Grammar, seed: int) -> None:
    for prompt, capability, _ in labelled_prompts(seed, 3000, g=g):
        assert not SLOT.search(prompt), prompt
        assert prompt.strip()
        assert capability in CAPABILITIES


def test_prompts_repeat_rarely_and_sides_are_even(g: Grammar) -> None:
    prompts = labelled_prompts(9, 4000, g=g)
    assert Counter(h for _, _, h in prompts) == {0: 2000, 1: 2000}
    assert len({p for p, _, _ in prompts}) > 0.85 * len(prompts)
    assert prompts == labelled_prompts(9, 4000)


def test_families_can_be_left_out(g: Grammar) -> None:
    known = {t.text for t in g.harvest["boxed_math"]}
    rnd = Random(0)
    some = {g.pool.text(g.fill(text, rnd))[:25] for text in known}
    assert not {p[:25] for p, _, h in labelled_prompts(3, 2000, exclude={"boxed_math"}, g=g) if h} >= some


def test_pinned_slots_stay_and_given_ones_are_used(g: Grammar) -> None:
    rnd, pinned, piece = Random(0), dict[str, int](), g.pool.add("GIVEN")
    told = [g.pool.text(g.fill("{@topic}|{topic}|{seed}", rnd, pinned, {"seed": [piece]})) for _ in range(8)]
    assert len({t.split("|")[0] for t in told}) == 1
    assert len({t.split("|")[1] for t in told}) > 1
    assert all(t.endswith("|GIVEN") for t in told)


def test_articles_follow_their_noun_in_english_only(g: Grammar) -> None:
    given = {"product": [g.pool.add("egg timer")], "es_city": [g.pool.add("Oaxaca")]}
    assert g.pool.text(g.fill("a {product}", Random(0), None, given)) == "an egg timer"
    assert g.pool.text(g.fill("voy a {es_city}", Random(0), None, given)) == "voy a Oaxaca"
    filled = {g.pool.text(g.fill("I am a {role}", Random(i))) for i in range(300)}
    assert not [f for f in filled if f.startswith(("I am a a", "I am a e", "I am a i", "I am a o"))]


def test_a_batch_keeps_one_language_and_few_templates(g: Grammar) -> None:
    for seed in range(20):
        client = batch(g, g.harvest["boxed_math"], Random(seed), most=3)
        assert 1 <= len(client.templates) <= 3
        assert len({t.lang for t in client.templates}) == 1


@pytest.mark.parametrize("lang", ["zh", "ja", "ru", "ar", "hi"])
def test_conversations_follow_up_in_the_same_language(g: Grammar, lang: str) -> None:
    prompts, _ = conversation(g, Random(4), "human_chat", lang, 5, 0.5)
    assert len(prompts) == 5
    assert not any(g.pool.text(p).isascii() for p in prompts)


def test_hurried_people_type_the_same_template_in_a_few_ways() -> None:
    ways = {hurried("Can you tell me about {topic} please?", style) for style in range(6)}
    assert 3 <= len(ways) <= 6
    assert all("{topic}" in way for way in ways)


def test_the_text_does_not_repeat_itself(g: Grammar) -> None:
    """Filled prompts of each side compress no better than lists of real prompts do (0.3 to 0.5)."""
    for harvest in (0, 1):
        prompts = [p for p, _, side in labelled_prompts(5, 1200, g=g) if side == harvest]
        blocks = ["\n".join(prompts[i : i + 100]).encode() for i in range(0, 600, 100)]
        ratio = sorted(len(zlib.compress(b, 9)) / len(b) for b in blocks)[3]
        assert ratio > 0.25, harvest


def test_the_tables_are_read_once() -> None:
    assert tables() is tables()
