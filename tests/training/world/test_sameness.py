"""Figures of sameness: known answers, order of real sources, and no text in what comes out."""

from pathlib import Path

import pytest
from real import CORPORA, needs_corpora

from training.world import make_world
from training.world.grammar import load_grammar
from training.world.sameness import Sameness, built_in, by_role, measure, pairs, text_of_corpora, text_of_world
from training.world.settings import load


def test_one_prompt_again_and_again_is_all_the_same() -> None:
    same = measure(["Translate this sentence into German, please."] * 100)
    assert same.cv == 0
    assert same.compression < 0.05
    assert same.distinct_1 == pytest.approx(6 / 600)
    assert same.chars_p50 == 44


def test_different_words_are_all_different() -> None:
    other = measure([f"w{i} x{i} y{i} z{i}" for i in range(100)])
    assert (other.distinct_1, other.distinct_2, other.distinct_3) == (1, 1, 1)


def test_chinese_is_read_by_character_and_hindi_by_word() -> None:
    assert measure(["你好你好"]).distinct_1 == 0.5
    assert measure(["हिन्दी हिन्दी"]).distinct_1 == 0.5


def test_long_prompts_count_no_more_than_a_stretch() -> None:
    short, long = [f"w{i} " * 5 for i in range(99)], ["again " * 5000]
    assert measure(short + long).distinct_1 == pytest.approx(100 / (99 * 5 + 20))


def test_a_world_is_measured_by_role_and_family(tmp_path: Path) -> None:
    make_world(tmp_path, load("tiny", None, {"accounts": 150}))
    table = text_of_world(tmp_path)
    assert {"people", "automation", "attack"} <= set(table["role"])
    assert table[list(Sameness._fields)].notna().all(axis=None)
    roles = by_role(table).set_index("role")
    assert roles.loc["people", "compression"] > roles.loc["automation", "compression"]


def test_the_built_in_text_is_reviewed_by_family_and_language() -> None:
    table, grammar = built_in(), load_grammar()
    assert set(table.loc[table["role"] == "attack", "family"]) == set(grammar.harvest)
    assert (table["compression"].between(0, 1)).all()
    assert table["templates"].sum() == sum(len(v) for side in (grammar.harvest, grammar.honest) for v in side.values())


def test_pairs_are_counted() -> None:
    counts, grammar = pairs(), load_grammar()
    assert counts["all"].sum() == sum(map(len, grammar.harvest.values()))
    assert set(counts.columns) <= {"capability", "all", "en", "zh", "ja", "es", "de", "fr", "ru", "ar", "hi"}


@needs_corpora
def test_real_sources_have_the_figures_known_of_them() -> None:
    """Compression ratios as they were measured before: tool prompts 0.10, evolved and maths 0.3 to 0.4, Alpaca 0.46."""
    table = text_of_corpora(CORPORA).set_index("family")["compression"]
    assert table["gpteacher_toolformer"] == pytest.approx(0.10, abs=0.02)
    assert table["gsm8k"] == pytest.approx(0.39, abs=0.02)
    assert table["alpaca"] == pytest.approx(0.46, abs=0.02)
    assert table["banking_intents"] == pytest.approx(0.30, abs=0.03)
