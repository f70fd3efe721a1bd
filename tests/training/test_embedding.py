"""The hashed embedding: unit length, nearer for shared words, and less so for words that everyone uses."""

import numpy as np

from training.embedding import DIMENSIONS, fit_embedding

COMMON = [b"please tell me about the " + word for word in (b"tides", b"taxes", b"gears", b"moons", b"roses", b"bread")]


def test_vectors_have_unit_length_and_depend_on_the_prompt_alone() -> None:
    embed = fit_embedding(COMMON, 1)
    vectors = embed([*COMMON, b"", b"\n \t"])
    assert vectors.shape == (len(COMMON) + 2, DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(embed(COMMON[2:3])[0], vectors[2])


def test_shared_words_bring_prompts_together_and_rare_ones_count_more() -> None:
    embed = fit_embedding(COMMON * 20, 1)
    asked, about, other = embed([b"please tell me about the tides", b"when do the tides turn", b"solve x + y = 3"])
    assert asked @ about > asked @ other + 0.05
    rare = embed([b"tides", b"please", b"please tides"])
    assert rare[0] @ rare[2] > rare[1] @ rare[2] + 0.05, "everyone says please"
