"""Skeletons of forms: common wording shows, what fewer than three accounts have never does, nor what is masked."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import exchange
from crowd import TEMPLATES, written
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cases import case, sample

from fingerprint.campaigns.case_page import markdown, write_case
from fingerprint.campaigns.cases import SKELETON, CaseError, Form, Member, read_case
from fingerprint.campaigns.share_format import keyed_case
from fingerprint.campaigns.skeletons import ACCOUNTS, MASK, PROMPTS, Prompt, skeleton, tokens_of, with_skeletons
from fingerprint.contribution import read_exchange
from fingerprint.exchange import Batch, Names
from fingerprint.head import Head
from fingerprint.kernels.layout import W
from fingerprint.readers import Rejects, read

CANARY = "zanzibarquokka"
TEXT = "Read the poem about {} and name its metre, then its author"


def prompts(*texts: tuple[int, str], part: str = "head") -> list[Prompt]:
    """Prompts of these accounts."""
    return [Prompt(account, i, tokens_of(text, part)) for i, (account, text) in enumerate(texts)]


def test_common_wording_shows_and_what_fills_it_does_not() -> None:
    shown = skeleton("head", prompts(*enumerate(TEXT.format(word) for word in ["rain", "old fog", "snow or ice"])))
    assert shown == f"Read the poem about {MASK} and name its metre, then its author"


def test_what_two_accounts_have_in_nearly_all_prompts_does_not_show() -> None:
    """Ten of twelve prompts are enough, two of three accounts are not."""
    shares = [0] * 5 + [1] * 5 + [2] * 2
    shown = skeleton("head", prompts(*((i, TEXT.format(CANARY if i < 2 else "storms") + " please") for i in shares)))
    assert shown == f"Read the poem about {MASK} and name its metre, then its author please"


def test_what_three_accounts_have_in_few_prompts_does_not_show() -> None:
    words = ["rain", "snow", "hail", "wind", CANARY, CANARY, CANARY, "fog", "sun", "ice"]  # the middle is compared with
    shown = skeleton("head", prompts(*((i, TEXT.format(word)) for i, word in enumerate(words))))
    assert shown is not None
    assert CANARY not in shown


def test_a_word_between_two_masks_does_not_show() -> None:
    """Short words meet by chance in what fills a template."""
    texts = [(i, f"Name the metre of {a} of {a} please now") for i, a in enumerate(["storms", "rivers", "meadows"])]
    assert skeleton("head", prompts(*texts)) == f"Name the metre of {MASK} please now"


@pytest.mark.parametrize("accounts", [[], [0], [0, 1] * 6])
def test_fewer_than_three_accounts_have_no_skeleton(accounts: list[int]) -> None:
    assert skeleton("head", prompts(*((i, TEXT) for i in accounts))) is None


def test_a_skeleton_without_a_word_is_none() -> None:
    assert skeleton("head", prompts(*((i, f"{word} ( ) 12") for i, word in enumerate(["rain", "fog", "sun"])))) is None


@pytest.mark.parametrize(
    "secret",
    [
        "40917", "kestrel-quartz-40917", "x²", "Ⅳ", "٣٤", "a.kestrel@quartz.example", "@kestrel",
        "https://quartz/kestrel;q?a=quartz", "www.quartz!kestrel", "quartz.example/kestrel;quartz",
        "sk-kestrel-quartz-kestrel-q", "kestrelquartzkestrelquartz", "naïvekestrelquartzkestrelquartz",
        '"kestrel quartz"', '"""kestrel "quartz" kestrel"""', "“kestrel quartz”", "„kestrel quartz“",
        "«kestrel quartz»", "「kestrel」", "'kestrel's quartz'", "\u2018kestrel quartz\u2019", "`kestrel`",
        "```\nkestrel `quartz`\n```", "\u202e",
    ],
)  # fmt: skip
def test_what_is_masked_never_shows_though_all_have_it(secret: str) -> None:
    shown = skeleton("head", prompts(*((i, f"Take this one here: {secret} and go on") for i in range(5))))
    assert shown == f"Take this one here: {MASK} and go on"


def test_a_quote_that_is_not_closed_hides_the_rest() -> None:
    for part in ("head", "tail"):
        many = prompts(*((i, f'Now read "{"kestrel " * 300}') for i in range(5)), part=part)
        assert "kestrel" not in (skeleton(part, many) or "")


@pytest.mark.parametrize("part", ["head", "tail"])
def test_a_skeleton_is_bounded(part: str) -> None:
    """A head keeps its start, a tail its end, and what was cut is masked, in a text without spaces too."""
    for text in ("alpha " + "beta, gamma " * 400 + "omega", "始" + "中間" * 900 + "終"):
        shown = skeleton(part, prompts(*((i, text) for i in range(3)), part=part))
        assert shown is not None
        assert len(shown) <= SKELETON
        assert (shown[0] == text[0], shown[-1] == text[-1]) == (part == "head", part == "tail")
        assert shown.count(MASK) == 1


def test_a_cut_beside_a_mask_is_one_mark() -> None:
    """Wherever the cut falls."""
    for part, size in itertools.product(("head", "tail"), range(1, 8)):
        rim, alphas = "a" * size, "alpha " * 66
        texts = [f"{rim} {alphas}{i} {alphas}{rim}" for i in range(3)]
        shown = skeleton(part, prompts(*enumerate(texts), part=part)) or ""
        assert f"{MASK}{MASK}" not in shown.replace(" ", "")


WORDS = st.lists(st.sampled_from(["ash", "birch", ","]), max_size=4)


@settings(max_examples=150, deadline=None)
@example([([], 1)] * 3)
@given(st.lists(st.tuples(WORDS, st.integers(1, 9)), min_size=3, max_size=5))
def test_no_word_shows_that_fewer_than_three_accounts_have(asked: list[tuple[list[str], int]]) -> None:
    """Whatever each asks, and however often."""
    texts = [(account, " ".join(words)) for account, (words, times) in enumerate(asked) for _ in range(times)]
    shown = (skeleton("head", prompts(*texts)) or "").split()
    for word in ("ash", "birch"):
        assert word not in shown or sum(word in words for words, _ in asked) >= ACCOUNTS


# ---- prompts are gathered from traffic


def traffic(path: Path, texts: list[tuple[str, str]]) -> tuple[Iterator[Batch], Names]:
    records = [exchange(exchange_id=f"e{i}", account_id=name, prompt=text) for i, (name, text) in enumerate(texts)]
    names = Names()
    return read(str(written(path, records)), accounts=names, sessions=Names(), rejects=Rejects()), names


def forms_of(text: str) -> list[Form]:
    when = read_exchange(exchange(prompt=text), Head.blank()).when[0]
    return [Form(part, f"{int(when[W[part]]) & (2**64 - 1):016x}", 3, 0.0, None, None) for part in ("head", "tail")]


def members(*names: str) -> list[Member]:
    return [dataclasses.replace(case().accounts[0], account_id=name) for name in names]


def test_prompts_of_members_with_the_form_count_alone(tmp_path: Path) -> None:
    """Strangers have the form, members send other things, one member sends most: head and tail show the template."""
    form = TEMPLATES["ring"]
    asked = [(f"m{i}", form.format(f"about {word} things")) for i, word in enumerate(["bees", "ants", "wasps"])]
    asked += [("m0", form.format(f"{CANARY} again and again")) for _ in range(40)]
    asked += [(f"stranger-{i}", form.replace("flawless worked", CANARY).format("bees")) for i in range(20)]
    asked += [(f"m{i % 3}", f"Something else of {CANARY} that is long enough to have a form of its own, too, or so it "
               "is thought by all") for i in range(9)]  # fmt: skip
    one = dataclasses.replace(case(), accounts=members("m0", "m1", "m2"), forms=forms_of(form.format("any of them")))
    (told,) = with_skeletons([one], *traffic(tmp_path / "t.jsonl", asked))
    head, tail = (shown.skeleton or "" for shown in told.forms)
    assert head.startswith("You are an expert author of flawless worked answers for students.")
    assert tail.endswith("Think about it step by step and then return the final answer as one JSON object.")
    assert CANARY not in head + tail
    assert dataclasses.replace(told, forms=one.forms) == one, "nothing else of the case changes"


def test_each_account_has_its_turn(tmp_path: Path) -> None:
    """Of many accounts one prompt each is compared, though one account comes first with hundreds."""
    word = {True: CANARY, False: "usual"}
    asked = [("m0", TEMPLATES["app"].replace("friendly", CANARY).format("soup")) for _ in range(300)]
    asked += [(f"m{i}", TEMPLATES["app"].replace("friendly", word[i == 0]).format("salad")) for i in range(PROMPTS)]
    text = TEMPLATES["app"].format("any")
    one = dataclasses.replace(case(), accounts=members(*(f"m{i}" for i in range(PROMPTS))), forms=forms_of(text)[1:])
    (told,) = with_skeletons([one], *traffic(tmp_path / "t.jsonl", asked))
    assert (told.forms[0].skeleton or "").startswith("Welcome to the usual kitchen helper")


def test_a_campaign_is_not_told_with_the_wording_of_another(tmp_path: Path) -> None:
    form = TEMPLATES["ring"]
    asked = [(f"{side}{i}", form.replace("{}", word + " {}").format("of it")) for side, word in
             (("a", "Apples are red"), ("b", "Bees can fly")) for i in range(3)]  # fmt: skip
    both = [
        dataclasses.replace(case(), accounts=members(*(f"{side}{i}" for i in range(3))), forms=forms_of(asked[0][1]))
        for side in "ab"
    ]
    one, other = with_skeletons(both, *traffic(tmp_path / "t.jsonl", asked))
    assert "Apples are red" in (one.forms[0].skeleton or "")
    assert "Bees can fly" in (other.forms[0].skeleton or "")


def test_without_traffic_of_members_there_is_no_skeleton(tmp_path: Path) -> None:
    one = dataclasses.replace(case(), accounts=members("gone"), forms=forms_of(TEMPLATES["ring"].format("x")))
    assert with_skeletons([one], *traffic(tmp_path / "t.jsonl", [("other", "hello")])) == [one]


# ---- what is written of them


def test_skeletons_are_written_and_read_back(tmp_path: Path) -> None:
    """In JSON and on the page, beside their hash or signature; a later case without them leaves none."""
    plain = case()
    forms = [dataclasses.replace(plain.forms[0], skeleton="Read # the | poem …"), *plain.forms[1:]]
    told = dataclasses.replace(plain, forms=forms)
    for one in (told, keyed_case(told, bytes(range(16)))):
        place = write_case(one, sample(), tmp_path / str(one.keyed))
        (form,) = (form for form in read_case(place)["forms"] if "skeleton" in form)
        assert form["skeleton"] == "Read # the | poem …"
        page = (place / "case.md").read_text()
        assert "## What the forms say\n\n**This is wording of customers**" in page
        assert f"\n- head `{form['hash']}`: Read \\# the \\| poem …\n" in page
    place = write_case(plain, sample(), tmp_path / "None")
    assert not any(b"poem" in path.read_bytes() for path in place.iterdir())
    assert "What the forms say" not in markdown(plain, {})


@pytest.mark.parametrize("wrong", ["", "x" * (SKELETON + 1), 5])
def test_a_skeleton_that_breaks_the_contract_is_refused(tmp_path: Path, wrong: object) -> None:
    forms = [dataclasses.replace(case().forms[0], skeleton=wrong)]  # type: ignore[arg-type]
    with pytest.raises(CaseError, match=r"forms\[0\]\.skeleton: expected 1 to 400 characters"):
        write_case(dataclasses.replace(case(), forms=forms), sample(), tmp_path)
