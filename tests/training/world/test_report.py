"""The world's report: everything it promises is on the page, and no prompt is."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from training.__main__ import app
from training.world import make_world, report
from training.world.examples import FIRST, census, members
from training.world.page import CLOCK_TARGET, render, table
from training.world.report import Report, clock_traffic, rebuilt, write_report
from training.world.settings import load

SECTIONS = (
    "What misses its target", "Clocks beside real traces", "Text beside real prompts", "Leakage audit", "Who is in it",
    "The built-in text, reviewed for sameness", "Size and speed", "Determinism", "Examples",
)  # fmt: skip
MEASURED = [{"run": "tiny", "exchanges": 9000, "seconds": 1.5, "peak memory MB": 210}]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    make_world(out, load("tiny"))
    return out


@pytest.fixture(scope="module")
def page(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("docs")
    (out / "measured.json").write_text(json.dumps(MEASURED))
    return out / "world.md", write_report(world, out / "world.md", measured=out / "measured.json")


def test_the_page_holds_every_section_and_its_plots(page: tuple[Path, Report]) -> None:
    text = page[0].read_text("utf-8")
    for title in SECTIONS:
        assert f"## {title}" in text
    for name in page[1].figures:
        plot = page[0].parent / "world" / f"{name}.png"
        assert f"(world/{name}.png)" in text
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert plot.stat().st_size < 150_000
    assert "| tiny | 9,000 | 1.500 | 210 |" in text


def test_the_page_tells_the_digest_and_that_accounts_can_be_built_alone(world: Path, page: tuple[Path, Report]) -> None:
    described = json.loads((world / "world.json").read_text("utf-8"))
    assert described["digest"] in page[0].read_text("utf-8")
    assert page[1].rebuilt == (report.REBUILT, report.REBUILT)


def test_a_changed_file_is_noticed(world: Path, tmp_path: Path) -> None:
    """The oracle of the check above: one field of one exchange of each account."""
    described = json.loads((world / "world.json").read_text("utf-8"))
    rows = pq.read_table(world / "traffic")
    (tmp_path / "traffic").mkdir()
    column = rows.column_names.index("output_tokens")
    changed = rows.set_column(column, rows.schema.field(column), pd.Series(range(len(rows))).to_numpy()[None])
    pq.write_table(changed, tmp_path / "traffic" / "part-00000.parquet")
    same, of = rebuilt(tmp_path, described, None) or (-1, -1)
    assert same < of == report.REBUILT


def test_no_prompt_is_on_the_page(world: Path, page: tuple[Path, Report]) -> None:
    text = page[0].read_text("utf-8")
    rows = pq.read_table(world / "traffic", columns=["prompt", "system"])
    prompts = {p for column in rows.columns for p in column.to_pylist() if p and len(p) > 24}
    assert len(prompts) > 1000
    assert not [p for p in prompts if p in text]


def test_every_population_client_and_evasion_has_an_example(world: Path, page: tuple[Path, Report]) -> None:
    labels = members(world)
    tables = census(labels)
    shown = {(e.what, e.name) for e in page[1].examples}
    enough = census(labels[labels["exchanges"] >= FIRST])
    for what in ("population", "client", "evasion"):
        assert {(what, str(name)) for name in enough[what][what]} <= shown
    assert all(len(e.lines) == 1 + FIRST for e in page[1].examples)
    assert tables["population"]["accounts"].sum() == len(labels) == 120
    assert tables["population"]["exchanges"].sum() == labels["exchanges"].sum() > 0


def test_an_evasion_is_shown_where_it_is_used(page: tuple[Path, Report]) -> None:
    evading = [e for e in page[1].examples if e.what == "evasion" and e.name not in ("cover", "standby")]
    assert evading
    assert all(f"{e.name}=" in e.about for e in evading)


def test_clocks_that_miss_their_target_are_told(page: tuple[Path, Report]) -> None:
    """A line at the top for each, a mark in the table, and a plot a role."""
    rows = pd.DataFrame(
        {"role": ["people", "coding"], "statistic": "cv", "distance": [0.1, 0.4], "ratio": [CLOCK_TARGET - 0.1, 4.0]}
    )
    text = render(replace(page[1], clocks=rows), {"clocks_coding": "world/clocks_coding.png"})
    assert "- clock of coding, cv: 4.0 times the yardstick" in text
    assert "- clock of people" not in text
    assert text.count("**missed**") == 1
    assert "](world/clocks_coding.png)" in text
    assert set(page[1].clocks["role"]) >= {"people", "service"}


def test_peoples_clocks_are_those_of_people(world: Path) -> None:
    traffic, kind = clock_traffic(world), members(world).set_index("account_id")["kind"]
    owners = traffic.groupby("account_id")["clock"].first()
    assert set(kind[owners[owners == "people"].index]) == {"human"}
    assert {"attack", "automation", "mixed"} <= set(kind[owners[owners != "people"].index])


def test_tables_are_markdown() -> None:
    lines = table(pd.DataFrame({"name": ["a|b", "c"], "count": [1200, 7], "share": [0.25, float("nan")]}))
    assert lines == ["| name | count | share |", "|---|---:|---:|", "| a\\|b | 1,200 | 0.250 |", "| c | 7 | - |"]


def test_the_verb_writes_the_page_and_tells_figures(world: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["world-report", str(world), "--out", str(tmp_path / "docs" / "world.md")])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == {"report", "auc", "leaks"}
    assert "auditing for leaks" in result.stderr
    assert (tmp_path / "docs" / "world" / "leaks.png").is_file()
