"""MMD, SEAT and PRADA where the answer is known."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import shapiro

from training.embedding import fit_embedding
from training.rivals_text import FACTORS, RATES, fit_encoder, fit_mmd, perturbed, prada, radii, similar

Vectors = npt.NDArray[np.float32]


def unit(rng: np.random.Generator, count: int, centre: float = 0.0, dimensions: int = 16) -> Vectors:
    vectors = rng.normal(size=(count, dimensions))
    vectors[:, 0] += centre
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_mmd_is_what_its_formula_says() -> None:
    rng = np.random.default_rng(1)
    reference, window = unit(rng, 60), unit(rng, 20, 1.0)
    mmd = fit_mmd(reference)
    assert mmd.bandwidth == pytest.approx(np.median(cdist(reference, reference)[np.triu_indices(60, 1)]), rel=1e-4)
    found = mmd.statistic(window @ window.T, mmd.cross(window))
    for k, factor in enumerate(FACTORS):
        kernels = [
            np.exp(-(cdist(a, b) ** 2) / (2 * (factor * mmd.bandwidth) ** 2))
            for a, b in ((window, window), (reference, reference), (window, reference))
        ]
        own = [(kernel.sum() - len(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in kernels[:2]]
        assert found[k] == pytest.approx(sum(own) - 2 * kernels[2].mean(), abs=1e-5)


def test_mmd_of_the_same_law_is_nothing_and_grows_with_the_attackers_share() -> None:
    rng = np.random.default_rng(2)
    mmd = fit_mmd(unit(rng, 500))
    means = []
    for share in (0.0, 0.25, 0.5, 1.0):
        count = int(100 * share)
        windows = [np.concatenate([unit(rng, count, 2.0), unit(rng, 100 - count)]) for _ in range(40)]
        means.append(np.mean([mmd.statistic(window @ window.T, mmd.cross(window)) for window in windows], axis=0))
    assert (np.abs(means[0]) < 0.02 * means[-1]).all()
    assert (np.diff(means, axis=0) > 0).all()


def test_prada_tells_a_law_that_is_not_normal() -> None:
    """Benign queries: distances nearly normal. An attack: most queries are small steps from one that was sent."""
    rng = np.random.default_rng(4)
    natural = unit(rng, 200, dimensions=64)
    steps = natural[:100] + 0.02 * unit(rng, 100, dimensions=64)
    mixed = np.concatenate([natural[:100], steps / np.linalg.norm(steps, axis=1, keepdims=True)])
    assert prada(natural @ natural.T) > 0.95
    assert prada(mixed @ mixed.T) < 0.8


def test_prada_grows_its_set_as_in_the_paper() -> None:
    """A plain copy of the algorithm: distances to the set, which takes what is farther than mean less deviation."""
    window = unit(np.random.default_rng(5), 60)
    chosen, taken, threshold, distances = [0], [0.0], 0.0, []
    for i in range(1, len(window)):
        nearest = min(float(np.linalg.norm(window[i] - window[j])) for j in chosen)
        distances.append(nearest)
        if nearest > threshold:
            chosen.append(i)
            taken.append(nearest)
            threshold = max(threshold, float(np.mean(taken) - np.std(taken)))
    assert len(chosen) < len(window), "some are too near to be taken"
    inside = np.array(distances)
    inside = inside[np.abs(inside - inside.mean()) <= 3 * inside.std()]
    assert prada(window @ window.T) == pytest.approx(shapiro(inside).statistic, abs=1e-4)


def test_prada_of_one_prompt_repeated_departs_from_nothing() -> None:
    window = np.repeat(unit(np.random.default_rng(6), 1), 30, axis=0)
    assert prada(window @ window.T) == 1.0


def test_seat_counts_prompts_with_an_earlier_similar_one() -> None:
    """Three prompts far apart, then the second again exactly, then one near the third."""
    near = np.array([0, 0, 10.1])
    window = np.stack([[10, 0, 0], [0, 10, 0], [0, 0, 10], [0, 10, 0], near]).astype(np.float32)
    assert similar(window, np.array([0.0, 0.05, 0.2, 99.0])).tolist() == [0.2, 0.2, 0.4, 0.8]


def test_seats_radius_is_that_of_pairs_of_different_accounts() -> None:
    rng = np.random.default_rng(7)
    encoded = rng.normal(size=(300, 8)).astype(np.float32)
    account = np.arange(300) // 2
    encoded[1::2] = encoded[::2]  # an account repeats itself
    found = radii(encoded, account)
    distance = cdist(encoded, encoded)[np.triu(account[:, None] != account)]
    np.testing.assert_allclose(found, np.quantile(distance, RATES), rtol=1e-3)
    assert (distance <= found[1]).mean() == pytest.approx(RATES[1], rel=0.1)
    assert found[0] > 0, "repetitions of one account are no reason to narrow it"


def test_seats_encoder_holds_copies_together_better_than_the_embedding() -> None:
    """Distance to a perturbed copy, in units of the distance to other prompts, which have topics, on new prompts."""
    rng = np.random.default_rng(8)
    words = [bytes(rng.choice(list(b"abcdefghijklmnop"), 6).tolist()) for _ in range(300)]
    topics = np.reshape(words[:160], (20, 8))
    prompts = [b" ".join([*rng.choice(topics[i % 20], 8, False), *rng.choice(words[160:], 6)]) for i in range(900)]
    embed = fit_embedding(prompts, 1)
    encoder = fit_encoder(prompts[:700], embed, rng)
    plain, copies = embed(prompts[700:]), embed([perturbed(prompt, rng) for prompt in prompts[700:]])

    def told(a: Vectors, b: Vectors) -> float:
        return float(np.linalg.norm(a - b, axis=1).mean() / cdist(a, a)[np.triu_indices(len(a), 1)].mean())

    assert told(encoder(plain), encoder(copies)) < 0.97 * told(plain, copies)


def test_a_perturbed_copy_has_words_of_its_prompt_only() -> None:
    rng = np.random.default_rng(9)
    prompt = b" ".join(b"word%d" % i for i in range(200))
    copy = perturbed(prompt, rng).split(b" ")
    assert set(copy) < set(prompt.split(b" "))
    assert 150 < len(copy) < 190
    assert copy != sorted(copy, key=lambda word: int(word[4:])), "some have changed places"
    assert perturbed(b"one", rng) == b"one"
