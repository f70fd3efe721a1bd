"""The evaluation of groups, run as from the command line, on a small world; and the benchmark's copies."""

import json
from pathlib import Path

import numpy as np
import pytest

from fingerprint import Scorer
from fingerprint.campaigns.find import State, find
from fingerprint.exchange import Names
from fingerprint.kernels.layout import W
from fingerprint.readers import Rejects, read
from training.bench_groups import copied, measure
from training.grouping_days import by_day, rows_of
from training.grouping_report import report
from training.world import make_world
from training.world.settings import load

KINDS = {"human": 0.3, "automation": 0.3, "mixed": 0.0, "attack": 0.4}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 accounts in groups of up to twelve, of ten days."""
    folder = tmp_path_factory.mktemp("groups")
    asked = {"accounts": 240, "kinds": KINDS, "campaigns.fewest": 6, "campaigns.smallest": 4, "seed": 5}
    make_world(folder, load("tiny", overrides=asked))
    return folder


@pytest.fixture(scope="module")
def state(world: Path) -> State:
    scorer = Scorer.load()
    reader, names, keeper = State(scorer.bundle_id).assembler(scorer, Names())
    for batch in read(str(world / "traffic"), accounts=names, sessions=Names(), rejects=Rejects()):
        reader.add(batch)
    return State(scorer.bundle_id).after(names, reader.account_windows(), keeper)


def test_days_over_a_state_end_where_one_pass_ends(world: Path, state: State) -> None:
    """Ids are of the day that a campaign was first found on; members and scores are those of all traffic."""
    days = by_day([world / "traffic"], Scorer.load(), [2, 5])
    assert [day.accounts for day in days] == sorted(day.accounts for day in days)
    assert days[0].exchanges < days[1].exchanges < days[2].exchanges
    whole = rows_of(find(state, Scorer.load()), state)
    assert len(whole)
    last = days[-1].found
    assert set(map(tuple, last[["account_id", "score"]].to_numpy())) == set(
        map(tuple, whole[["account_id", "score"]].to_numpy())
    )


def test_a_page_with_the_product_and_all_rivals(world: Path, tmp_path: Path) -> None:
    files = [world / "traffic"], world / "labels.csv", world / "groups.csv"
    told = report(*files, tmp_path / "page.md", None, [3])
    json.dumps(told)
    page = (tmp_path / "page.md").read_text("utf-8")
    for part in ("Simulated positives", "## Aims, fingerprint", "near-duplicate prompts", "## Day by day", "seed 5"):
        assert part in page
    assert 0 <= told["headline"]["account precision"] <= 1
    assert "account precision" in told["aims"]


def test_copies_share_forms_by_twos_and_no_prompt(state: State) -> None:
    k = len(state.accounts)
    large = copied(state, 4 * k)
    assert len(large.accounts) == len(large.windows) == 4 * k
    assert large.sample is not None
    assert state.sample is not None
    which = large.sample.account // k
    forms = [set(large.sample.when[which == i, W["head"]]) - {0} for i in range(4)]
    assert forms[0] == forms[1] == set(state.sample.when[:, W["head"]]) - {0}
    assert not forms[0] & forms[2]
    prompts = [set(large.sample.when[which == i, W["prompt"]]) for i in range(2)]
    assert not prompts[0] & prompts[1]
    assert (np.diff(large.sample.account) >= 0).all()


def test_a_size_is_measured(state: State, tmp_path: Path) -> None:
    state.save(tmp_path / "state.npz")
    found = measure(tmp_path / "state.npz", 500, None)
    assert found["accounts"] == 500
    assert found["seconds"] > 0
    assert found["peak_gib"] > 0
