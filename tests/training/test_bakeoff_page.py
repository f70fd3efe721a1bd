"""The page says what its tables hold: ranks, cells, settings, the published figures."""

from pathlib import Path

import pandas as pd
import pytest
from toy_bout import bout

from training.bakeoff_page import figure, write
from training.bakeoff_tables import compare
from training.leaveout import VARIANTS
from training.rivals import DETECTORS


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, float]]:
    out = tmp_path_factory.mktemp("page") / "bakeoff.md"
    told = write(bout(), compare(bout(), resamples=20, seed=1), out, "World: made by hand.")
    return out.read_text(), out.with_suffix(""), told


def test_detectors_are_ranked_and_the_product_is_marked(page: tuple[str, Path, dict[str, float]]) -> None:
    text, _, told = page
    assert list(told.values()) == sorted(told.values(), reverse=True)
    rows = [line for line in text.splitlines() if line.startswith("| ")][1 : 1 + len(DETECTORS)]
    assert rows[0].startswith("| PRADA | Juuti et al. 2019 | prompts | 1.00 (1.00 to 1.00) | 1.00% | 1.00 ")
    ours = [row for row in rows if row.startswith("| **fingerprint")]
    assert len(ours) == len(VARIANTS)
    assert all("| 0.50 (" in row for row in ours)
    assert any(row.startswith("| MMD to honest prompts |") and row.endswith("| 2.0 |") for row in rows)


def test_the_page_says_what_was_chosen_and_that_it_flatters(page: tuple[str, Path, dict[str, float]]) -> None:
    text, _, _ = page
    assert "World: made by hand." in text
    assert "| W, low | 1.000 |" in text
    assert "a favour to the rivals" in text
    assert "| 100 prompts | 0.90 (paper 1.00) |" in text
    assert "40 attack windows of 40 accounts in 1 families, 200 honest windows" in text


def test_every_table_is_beside_the_page(page: tuple[str, Path, dict[str, float]]) -> None:
    _, folder, told = page
    names = {"headline", "by_share_and_size", "by_share", "honest_by_workload", "settings", "seconds", "pooled"}
    assert {path.stem for path in folder.glob("*.csv")} == names
    headline = pd.read_csv(folder / "headline.csv").query("fpr == 0.01").set_index("detector")["recall"]
    assert headline.to_dict() == pytest.approx(told)
    assert (folder / "recall.png").stat().st_size > 1000


def test_the_figure_names_the_product_and_the_best_rivals() -> None:
    drawn = figure(compare(bout(), resamples=20, seed=1))
    bars, lines = drawn.axes
    assert len(bars.patches) == len(lines.lines) == len(DETECTORS)
    assert bars.get_yticklabels()[0].get_text() == "PRADA"
    legend = [text.get_text() for text in lines.get_legend().get_texts()]
    assert {"PRADA", *(DETECTORS[variant].title for variant in VARIANTS)} <= set(legend)
    assert "simulated positives" in drawn.get_suptitle()
