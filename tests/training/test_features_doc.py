"""docs/features.md is made from the table and the code: every feature, with values that anybody can recompute."""

import re

import pytest
from builders import values_of

from fingerprint import FEATURES
from training.features_doc import CHAT, FAMILIES, HARVEST, render, worked_window


def rows() -> dict[str, list[str]]:
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", render(), re.M)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in found}


def test_a_row_for_every_feature_in_its_order() -> None:
    assert list(rows()) == [feature.name for feature in FEATURES]
    assert set(FAMILIES) == {feature.family for feature in FEATURES}


@pytest.mark.parametrize(("column", "exchanges"), [(3, CHAT), (4, HARVEST)])
def test_worked_values_are_computed(column: int, exchanges: list[dict]) -> None:
    values = values_of(worked_window(exchanges))
    for name, cells in rows().items():
        told = cells[column]
        if told == "missing":
            assert values[name] != values[name]
        else:
            assert float(told) == pytest.approx(values[name], rel=1e-3, abs=1e-6)


def test_the_worked_examples_show_what_they_are_for() -> None:
    """One template over many topics against a person's talk."""
    chat, harvest = values_of(worked_window(CHAT)), values_of(worked_window(HARVEST))
    assert harvest["form_over_content"] > chat["form_over_content"]
    assert harvest["skeleton_collision"] == 1
    assert harvest["output_per_input"] > chat["output_per_input"] + 2
    assert harvest["rate"] > chat["rate"]
    assert chat["follow_up_share"] > 0 == harvest["follow_up_share"]


def test_units_ranges_and_directions_are_those_of_the_table() -> None:
    found = rows()
    for feature in FEATURES:
        unit, bounds, missing, _, _, direction, why = found[feature.name]
        assert (unit, missing, why) == (feature.unit, feature.missing, feature.why)
        assert bounds == f"{feature.low:g} to {feature.high:g}"
        assert (direction == "+") == (feature.direction > 0)
