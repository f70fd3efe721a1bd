"""The review page and its short form, from synthetic reviews."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from review_builder import FAMILIES, decision, found, honest, review

from training.review import Review
from training.review_page import ARTIFACT, html, markdown
from training.review_parts import SECTIONS
from training.review_plots import figures
from training.review_tables import number, ranged
from training.review_worst import worst

HOSTILE = '<script>alert(1)</script>|$x$`"&'
NOWHERE = pd.DataFrame()


class Outline(HTMLParser):
    """Tables and figures of each section, and every tag's balance."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: dict[str, int] = {}
        self.anchors: list[str] = []
        self.section = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "section":
            self.section = str(given["id"])
            self.tables[self.section] = 0
        self.tables[self.section] = self.tables.get(self.section, 0) + (tag == "table")
        self.anchors += [str(given["href"])[1:]] if tag == "a" else []
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def plotless(shown: Review) -> Review:
    """The same without what is drawn, which takes seconds."""
    gone = dict.fromkeys(("headline", "calibration", "early", "survival", "drift", "trials"), NOWHERE)
    empty = shown.contributions[:0]
    return replace(shown, **gone, found={}, honest={}, sample=empty.astype(np.float32), contributions=empty)


@pytest.fixture(scope="module")
def page() -> str:
    return html(review())


def test_every_section_has_a_table_and_an_entry_in_the_contents(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert outline.anchors == list(SECTIONS)
    assert all(outline.tables[anchor] > 0 for anchor in SECTIONS)


@pytest.mark.parametrize(("passed", "says"), [(True, "Passes the gate"), (False, "Refused by the gate")])
def test_both_forms_open_with_what_the_gate_says_and_why(passed: bool, says: str) -> None:
    judged = plotless(review(decision=decision(passed, "Because of gateway.")))
    assert f"<h1>{says}</h1>" in html(judged)
    first, reason = markdown(judged).splitlines()[:3:2]
    assert first.startswith(says)
    assert reason == "Because of gateway."


def test_a_failed_check_stands_before_those_that_pass() -> None:
    gate = html(plotless(review(decision=decision(passed=False)))).split('<section id="gate"')[1]
    assert gate.index('class="fails"') < gate.index('class="passes"')


def test_what_rests_on_positives_says_that_they_are_simulated(page: str) -> None:
    captions = re.findall(r"<caption>(.*?)</caption>", page)
    told = [caption for caption in captions if "simulated positives" in caption]
    assert {caption.split(",")[0] for caption in told} >= {
        "Figures of the whole test split", "Recall by family", "Recall by evasion", "Exchanges until the first flag",
        "Calibration by bin of the score", "Attack accounts of the lowest score", "Checks of the gate", "Trials",
    }  # fmt: skip
    assert not [caption for caption in told if caption.startswith("Honest")]
    drawn = figures(review())
    untold = {name for name, figure in drawn.items() if not _told(figure)}
    assert untold == {"drift", "shap_bar", *(name for name in drawn if name.startswith("honest_"))}


def _told(figure: Figure) -> bool:
    titles = [figure.get_suptitle(), *(axes.get_title(loc="left") for axes in figure.axes)]
    return any("simulated positives" in title for title in titles)


def test_markup_in_names_is_text_everywhere() -> None:
    rng = np.random.default_rng(0)
    names = (HOSTILE, *FAMILIES[1:])
    shown = review(
        found={"family": found(rng, names, champion=True)},
        honest={"workload": honest(rng, [HOSTILE] * 3, champion=True).assign(accounts=20)},
        decision=decision(False, HOSTILE),
        changed=pd.DataFrame([(HOSTILE, HOSTILE, HOSTILE)], columns=["what", "champion", "challenger"]),
        trained_on=pd.DataFrame({HOSTILE: [HOSTILE]}),
        features=(HOSTILE, *review().features[1:]),
    )
    shown = replace(shown, examples=shown.examples.assign(account_id=HOSTILE, reasons=[[HOSTILE]] * 8))
    page = html(shown)
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;alert(1)" in page
    assert re.search(r"(?<!\\)<", markdown(shown)) is None


def test_the_page_fetches_nothing_and_runs_nothing_but_its_own_script(page: str) -> None:
    assert "default-src 'none'" in page
    fetched = re.findall(r"""(?:src|href)="([^"#][^"]*)""", page)
    assert all(address.startswith("data:image/png;base64,") for address in fetched)
    assert "url(http" not in page


def test_the_same_review_gives_the_same_bytes_and_leaves_the_random_state_alone(page: str) -> None:
    np.random.seed(3)  # noqa: NPY002 the global state is what is tested
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert html(review()) == page
    assert np.random.random() == expected  # noqa: NPY002
    assert markdown(review()) == markdown(review())


def test_a_first_model_is_shown_alone() -> None:
    page = html(review(champion=False))
    assert "First model: there is no champion" in page
    outline = Outline(page)
    assert set(SECTIONS) - set(outline.anchors) == {"changed", "gate"}
    assert ">champion<" not in page
    assert "champion" not in markdown(review(champion=False)).partition("\n")[2]


def test_tables_may_be_empty_and_figures_unknown() -> None:
    bare = plotless(review(champion=False))
    bare = replace(bare, changed=NOWHERE, examples=NOWHERE, trained_on=NOWHERE, splits=NOWHERE, speed={}, parity={})
    bare = replace(bare, found={"family": NOWHERE}, honest={"workload": NOWHERE})
    assert figures(bare) == {}
    assert html(bare).count("Nothing to show.") > 8
    assert markdown(bare).startswith("First model")
    unknown = review()
    for kind in unknown.found:
        unknown.found[kind].loc[0, "recall_0.01":] = np.nan
    unknown.headline.loc[0, "value":] = np.nan
    assert "n/a" in html(unknown)
    assert "| n/a | n/a | n/a |" in markdown(unknown)


def test_the_description_keeps_its_limit_with_whole_tables_and_says_where_the_rest_is() -> None:
    rng = np.random.default_rng(1)
    many = review(
        found={"family": found(rng, [f"family_{i}_{'x' * 40}" for i in range(400)], champion=True)},
        changed=pd.DataFrame([(f"s{i}", i, "y" * 300) for i in range(50)], columns=["what", "champion", "challenger"]),
    )
    for most in (400, 1500, 3000, 5000):
        text = markdown(many, most)
        assert len(text) <= most
        assert text.startswith("Passes the gate: recall at 1.0% false positives, all families 32.2%")
        assert text.endswith(f"artifact `{ARTIFACT}` of the run.")
        for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
            assert len(widths) == 1
    assert "| recall at 1.0% false positives, all families |" in markdown(many)


def test_account_ids_stand_among_the_examples_and_nowhere_else() -> None:
    shown = plotless(review())
    shown = replace(shown, examples=shown.examples.assign(account_id="acct_canary"))
    before, _, rest = html(shown).partition('<section id="examples"')
    inside, _, after = rest.partition("</section>")
    assert inside.count("acct_canary") == len(shown.examples)
    assert "acct_canary" not in before + after + markdown(shown)


def test_where_it_is_worst_lists_only_what_is_worse_and_large_enough() -> None:
    table = pd.DataFrame({"slice": ["worse", "small", "same"], "accounts": [50, 5, 50], "windows": 90})
    for name, values in (("recall", [0.1, 0.1, 0.5]), ("low", [0.0, 0.0, 0.4]), ("high", [0.2, 0.2, 0.6])):
        table[f"{name}_0.01"] = values
        table[f"champion_{name}_0.01"] = {"recall": 0.5, "low": 0.4, "high": 0.6}[name]
    rows = worst(review(found={"family": table}, honest={})).rows
    assert rows["slice"].tolist() == ["family worse"]
    assert rows["difference"].tolist() == ["▼ -40.0 pp"]


def test_more_honest_accounts_flagged_is_worse() -> None:
    table = pd.DataFrame({"slice": ["gateway"], "seen_family": [True], "accounts": [50]})
    for side, at in (("", 0.3), ("champion_", 0.1)):
        for level in ("review", "act"):
            table[[f"{side}{level}", f"{side}{level}_low", f"{side}{level}_high"]] = [at, at - 0.05, at + 0.05]
    rows = worst(review(found={}, honest={"workload": table})).rows
    assert rows["difference"].tolist() == ["▼ +20.0 pp"]


def test_figures_are_told_as_what_they_are() -> None:
    assert number(float("inf")) == "never"
    assert number(float("nan")) == "n/a"
    assert ranged(0.25, 0.2, float("nan")) == "25.0%"
    assert ranged(0.25, 0.2, 0.3) == "25.0% (20.0% to 30.0%)"
