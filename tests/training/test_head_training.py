"""The prompt head: trained on the runtime's own n-grams, rounded to eight bits, blind to the families left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import exchange

from fingerprint.contribution import read_exchange
from fingerprint.kernels.layout import CAPABILITIES, HEAD_OUTPUTS, LOG_ONE, SHARE_ONE
from fingerprint.kernels.text import GRAM_BUCKETS, T_CAPABILITY, T
from training.head import (
    fit_capability,
    fit_likeness,
    gram_counts,
    known_capabilities,
    make_head,
    train_heads,
)
from training.split import LabelError

HARVEST = ["explain step by step and return json reasoning", "generate ten varied instructions with solutions"]
CHAT = ["hi there, my bread is flat again", "what should we cook tonight my dear", "thanks, that helped a lot"]


def read(prompt: str, head):
    """Likeness in logits and the twelve shares, as serving reads them."""
    row = read_exchange(exchange(prompt=prompt), head).text[0]
    return row[T["likeness"]] / LOG_ONE, row[T_CAPABILITY:] / SHARE_ONE


def prompts(texts: list[str], copies: int = 12) -> list[bytes]:
    return [f"{text} {i}".encode() for i in range(copies) for text in texts]


@pytest.fixture(scope="module")
def capability():
    texts = {"reasoning": ["prove that the sum is even"], "translation": ["translate this sentence to French"]}
    rows = [(p, name) for name, some in texts.items() for p in prompts(some)]
    return fit_capability(gram_counts([p for p, _ in rows]), [name for _, name in rows])


@pytest.fixture(scope="module")
def likeness():
    rows = [(p, 1) for p in prompts(HARVEST)] + [(p, 0) for p in prompts(CHAT)]
    label = np.array([y for _, y in rows])
    return fit_likeness(gram_counts([p for p, _ in rows]), label, np.ones(len(rows)))


def test_counts_are_scaled_by_the_root_of_their_number() -> None:
    """Two grams a token, the lead and one at the end; repeats in one bucket add up."""
    counts = gram_counts([b"one two three", b"", b"same same same same"])
    assert counts.shape == (3, GRAM_BUCKETS)
    used = np.array([10, 1, 13])
    assert np.asarray(counts.sum(axis=1)).ravel() == pytest.approx(np.sqrt(used), rel=1e-5)
    assert counts[2].max() >= 3 / np.sqrt(13)


@pytest.mark.parametrize("prompt", [*HARVEST, *CHAT, "", "word " * 3000, "推理 を " * 900])
def test_the_runtime_computes_what_was_fitted(prompt: str, capability, likeness) -> None:
    """The product of counts and rounded weights is the runtime's logit, long prompts included."""
    head = make_head(capability, likeness)
    counts = gram_counts([prompt.encode()]).toarray().astype(float)[0]
    logits = head.bias + head.scale * (counts @ head.weights[:, :HEAD_OUTPUTS])
    found, shares = read(prompt, head)
    assert found == pytest.approx(np.clip(logits[-1], -8, 8), abs=0.02)
    softmax = np.exp(logits[:-1] - logits[:-1].max())
    assert shares == pytest.approx(softmax / softmax.sum(), abs=0.07)


def test_rounding_changes_logits_by_little(capability, likeness) -> None:
    head = make_head(capability, likeness)
    exact = gram_counts([p.encode() for p in HARVEST + CHAT]) @ likeness[0][0] + likeness[1][0]
    assert [read(p, head)[0] for p in HARVEST + CHAT] == pytest.approx(exact, abs=0.15)
    assert np.abs(head.weights).max() == 127
    assert (head.weights[:, HEAD_OUTPUTS:] == 0).all()


def test_likeness_tells_harvest_from_chat(capability, likeness) -> None:
    head = make_head(capability, likeness)
    assert min(read(p, head)[0] for p in HARVEST) > max(read(p, head)[0] for p in CHAT)


def test_both_classes_weigh_the_same() -> None:
    """A hundred times more honest prompts do not move a prompt that is in neither."""
    few = [(p, 1) for p in prompts(HARVEST)] + [(p, 0) for p in prompts(CHAT[:1], 24)]
    many = few + [(p, 0) for p in prompts(CHAT[:1], 24)] * 20
    logits = []
    for rows in (few, many):
        _, bias = fit_likeness(
            gram_counts([p for p, _ in rows]), np.array([y for _, y in rows]), np.full(len(rows), 1 / len(rows))
        )
        logits.append(float(bias[0]))
    assert logits[0] == pytest.approx(logits[1], abs=0.5)


def test_a_capability_without_examples_stays_improbable(capability, likeness) -> None:
    _, shares = read("prove that the sum is even", make_head(capability, likeness))
    assert shares[CAPABILITIES.index("reasoning")] > 0.5
    for name in set(CAPABILITIES) - {"reasoning", "translation"}:
        assert shares[CAPABILITIES.index(name)] < 0.05


def facts(families: list[tuple[str, int, int]]) -> pd.DataFrame:
    """A row a prompt: family, label and fold; one account each."""
    return pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(len(families))],
            "label": [label for _, label, _ in families],
            "share": np.nan,
            "text_group": [name for name, _, _ in families],
            "fold": [fold for _, _, fold in families],
        }
    )


def test_a_head_has_never_seen_the_family_of_its_fold(capability) -> None:
    """A word that only one family uses is evidence for every head but the one of its fold."""
    families = [("alpha", 1, 0), ("beta", 1, 1), ("chat", 0, 0), ("talk", 0, 1)]
    words = {"alpha": "zygote", "beta": "quasar", "chat": "bread", "talk": "garden"}
    rows = [family for family in families for _ in range(12)]
    texts = [f"{words[name]} {words[name]} item number {i % 5}".encode() for i, (name, _, _) in enumerate(rows)]
    labelled = ([b"prove it", b"translate it"] * 4, ["reasoning", "translation"] * 4)
    steps: list[tuple[int, int]] = []
    heads = list(train_heads(texts, facts(rows), labelled, 2, lambda done, total: steps.append((done, total))))
    assert len(heads) == 3
    assert steps == [(0, 3), (1, 3), (2, 3)]
    scores = np.array([[read(f"{word} {word}", head)[0] for word in ("zygote", "quasar")] for head in heads])
    assert scores[2].min() > 1, "the head of the bundle knows both"
    assert scores[1, 0] > 1
    assert scores[0, 1] > 1
    assert scores[0, 0] < 0.6
    assert scores[1, 1] < 0.6


def test_own_traffic_outweighs_other_honest_text(capability) -> None:
    """What two own accounts say counts as honest although ten times as many harvesters say it too."""
    scores = {}
    for name in ("0:own", "0:shop"):
        rows = [("1:alpha", 1, 1)] * 20 + [("0:chat", 0, 1)] * 20 + [(name, 0, 1)] * 2
        texts = [b"quasar nebula"] * 20 + [b"bread and butter"] * 20 + [b"quasar nebula"] * 2
        labelled = ([b"prove it", b"translate it"] * 4, ["reasoning", "translation"] * 4)
        *_, head = train_heads(texts, facts(rows), labelled, 0, lambda done, total: None)
        scores[name] = read("quasar nebula", head)[0]
    assert scores["0:own"] < 0.5 < scores["0:shop"]


def test_a_label_of_little_weight_teaches_little(capability) -> None:
    """The same prompts of ten harvesters and ten honest accounts: the side whose labels weigh more wins."""
    texts = [b"quasar nebula"] * 20 + [b"bread and butter"] * 20
    table = facts([("1:alpha", 1, 1), ("0:chat", 0, 1)] * 20)
    labelled = ([b"prove it", b"translate it"] * 4, ["reasoning", "translation"] * 4)
    disputed = np.arange(40) < 20
    scores = {}
    for label in (0, 1):
        weighted = table.assign(weight=np.where(disputed & (table["label"] != label), 0.1, 1.0))
        *_, head = train_heads(texts, weighted, labelled, 0, lambda done, total: None)
        scores[label] = read("quasar nebula", head)[0]
    assert scores[0] < 0.5 < scores[1]


def test_a_fold_that_leaves_one_label_alone_is_named() -> None:
    rows = [("alpha", 1, 0), ("chat", 0, 1)] * 6
    labelled = ([b"prove it", b"translate it"] * 4, ["reasoning", "translation"] * 4)
    with pytest.raises(LabelError, match="fold 0 leaves"):
        list(train_heads([b"x"] * 12, facts(rows), labelled, 2, lambda done, total: None))


def test_known_capabilities_leave_families_for_test_alone_out() -> None:
    """The built-in prompts alone, and without a family fewer or others."""
    texts, names = known_capabilities(None, set(), 1)
    assert len(texts) == len(names) > 1000
    assert set(names) <= set(CAPABILITIES)
    assert len(set(names)) >= 10
    assert all(isinstance(text, bytes) for text in texts[:50])
    assert known_capabilities(None, set(), 1) == (texts, names)


@pytest.mark.parametrize(
    ("held_out", "gone"),
    [
        (set(), set()),
        ({"glaive"}, {"glaive_en", "glaive_zh"}),
        ({"metamath"}, {"metamath_backward", "gsm8k"}),
        ({"gsm8k"}, {"gsm8k"}),
        ({"seal_tools", "irc"}, {"seal_tools", "seal_tools_full", "irc"}),
    ],
)
def test_sources_of_a_family_for_test_alone_teach_no_capability(
    held_out: set[str], gone: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A family of the corpora may be put together from sources of other names."""
    sources = {"glaive_en", "glaive_zh", "metamath_backward", "gsm8k", "seal_tools", "seal_tools_full", "irc"}
    found = [(f"prompt of {source}", "reasoning", 1, source) for source in sorted(sources)]
    monkeypatch.setattr("training.head.corpora.labelled_prompts", lambda *rest, **named: found)
    texts, _ = known_capabilities(tmp_path, held_out, 1)
    left = {text.decode().removeprefix("prompt of ") for text in texts} & sources
    assert left == sources - gone
