"""The operator's own ordinary traffic in training: honest accounts, and copies that differ from them in text alone."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from builders import random_head
from toy_run import CANARY, SETTINGS, leaks, plant
from typer.testing import CliRunner
from worlds import opened

from fingerprint.assemble import Ordered
from fingerprint.bundle import load
from fingerprint.exchange import Names
from fingerprint.kernels.layout import MISSING, M, W
from training.config import Split
from training.dataset import Sample, contributions, sample_prompts
from training.own import FAMILY, SHARES, Own, read_own
from training.split import LabelError, read_labels, split_accounts
from training.world import make_world
from training.world.settings import load as world_settings
from training.world.write import write_traffic

WEEK_US = 7 * 86_400_000_000


class Joined(NamedTuple):
    """Contributions and accounts before and after."""

    before: Ordered
    accounts: pd.DataFrame
    after: Ordered
    names: Names
    table: pd.DataFrame

    def copies(self) -> pd.DataFrame:
        return self.table[self.table["kind"] == "injected"]

    def rows(self, name: str) -> Ordered:
        return self.after.take(self.after.account == self.names.code(name))


def ordinary(place: Path, accounts: int = 160) -> Path:
    """The honest accounts of another world."""
    world, plans = opened(accounts=accounts, seed=8)
    write_traffic(place, world, [plan for plan in plans if plan.kind != "attack"], 1, lambda stage, done, total: None)
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    make_world(root / "world", world_settings(None, None, {"accounts": 300, "seed": 7, "days": 20}))
    (root / "ordinary").mkdir()
    ordinary(root / "ordinary")
    return root


@pytest.fixture(scope="module")
def joined(place: Path) -> Joined:
    world, own = place / "world", read_own([place / "ordinary"])
    known = own.labelled(read_labels(world / "labels.csv", world / "groups.csv"))
    traffic = [world / "traffic", place / "ordinary"]
    own, sample = own.beside(sample_prompts(traffic))
    accounts = split_accounts(known, sample.median_us, Split(keep=(FAMILY,)), 4, 3)
    before, names = contributions(traffic, [random_head()], dict.fromkeys(accounts["account_id"], 0))
    after, table = own.joined(before, names, accounts, 5)
    return Joined(before, accounts, after, names, table)


def test_own_accounts_are_honest_and_split_like_everyone(joined: Joined) -> None:
    own = joined.accounts[joined.accounts["family"] == FAMILY]
    assert len(own) == 112
    assert set(own["label"]) == {0}
    assert own["seen_family"].all()
    assert set(own["split"]) == {"train", "calib", "test"}
    assert own["fold"].nunique() == 4
    assert own["group"].nunique() == len(own)


def test_copies_of_every_share_join_every_split(joined: Joined) -> None:
    copies = joined.copies()
    assert set(copies["label"]) == {1}
    assert set(copies["share"]) == set(SHARES)
    assert set(copies["split"]) == {"train", "calib", "test"}
    assert len(copies) > 80
    assert copies["account_id"].is_unique
    assert joined.table.attrs == joined.accounts.attrs


def test_a_copy_belongs_to_a_campaign_of_its_own_split_and_fold(joined: Joined) -> None:
    accounts = joined.accounts.set_index("account_id")
    for _, copy in joined.copies().iterrows():
        source = accounts.loc[copy["account_id"].removesuffix(" with harvesting")]
        assert copy["split"] == source["split"]
        assert copy["split"] == "test" or copy["fold"] == source["fold"]
        siblings = accounts[(accounts["group"] == copy["group"]) & (accounts["label"] == 1)]
        assert copy["split"] in set(siblings["split"])


def test_families_left_out_are_mixed_into_test_alone(joined: Joined) -> None:
    attack = joined.accounts[joined.accounts["label"] == 1]
    left_out = set(attack.loc[~attack["seen_family"], "family"])
    copies = joined.copies()
    assert left_out & set(copies.loc[copies["split"] == "test", "family"])
    assert not left_out & set(copies.loc[copies["split"] != "test", "family"])


def test_no_text_from_the_other_side_of_the_cut(joined: Joined) -> None:
    """Every prompt that a copy has and its account has not was sent on the split's side of the cut."""
    when, cut = joined.before.rows.when, joined.accounts.attrs["cut_us"]
    late = when[:, W["time_us"]] >= cut
    sides = {side: set(when[late == side, W["prompt"]]) for side in (False, True)}
    for _, copy in joined.copies().iterrows():
        rows = joined.rows(copy["account_id"]).rows.when
        assert set(rows[:, W["prompt"]]) <= sides[copy["split"] == "test"]
        assert ((rows[:, W["time_us"]] >= cut) == (copy["split"] == "test")).all()


def test_a_copy_differs_from_its_account_in_text_alone(joined: Joined) -> None:
    for _, copy in joined.copies().iterrows():
        rows, source = joined.rows(copy["account_id"]), joined.rows(copy["account_id"].removesuffix(" with harvesting"))
        time = rows.rows.when[:, W["time_us"]]
        assert (np.diff(time) >= 0).all()
        at = np.flatnonzero(np.isin(source.identity, rows.identity))
        assert (source.identity[at] == rows.identity).all()
        assert (source.rows.meta[at] == rows.rows.meta).all()
        assert (source.rows.when[at, : W["prompt"]] == rows.rows.when[:, : W["prompt"]]).all()
        changed = (source.rows.text[at] != rows.rows.text).any(1)
        assert changed.mean() <= copy["share"] + 0.5 / len(rows.account)
        assert changed.any()
        if copy["share"] == 1:
            assert changed.mean() > 0.9


def test_the_accounts_themselves_stay_as_they_were(joined: Joined) -> None:
    kept = joined.after.take(slice(0, len(joined.before.account)))
    assert all((now == then).all() for now, then in zip(kept.rows, joined.before.rows, strict=True))
    assert (np.diff(joined.after.account) >= 0).all()


def small_sample(own_at: int) -> Sample:
    names = Names()
    for name in ("known", "mine"):
        names.code(name)
    account, time = np.array([0, 1], np.int32), np.array([10 * WEEK_US, own_at])
    return Sample(
        account, np.zeros(2, np.uint64), time, [b"", b""], {"known": 10 * WEEK_US, "mine": own_at}, names, 2, 0
    )


@pytest.mark.parametrize(("weeks", "moved"), [(10.2, 0), (9.6, 0), (62.3, -52), (3.1, 7)])
def test_own_traffic_is_moved_by_whole_weeks_to_the_labelled(weeks: float, moved: int) -> None:
    own, sample = Own([], frozenset({"mine"})).beside(small_sample(int(weeks * WEEK_US)))
    assert own.shift_us == moved * WEEK_US
    assert sample.median_us == {"known": 10 * WEEK_US, "mine": int(weeks * WEEK_US) + moved * WEEK_US}
    assert sample.time_us.tolist() == list(sample.median_us.values())


def test_an_accounts_age_moves_with_it(place: Path, joined: Joined) -> None:
    own = Own([], frozenset(joined.accounts.loc[joined.accounts["family"] == FAMILY, "account_id"]), 3 * WEEK_US)
    names = Names()
    for name in joined.names.items[: len(joined.accounts)]:
        names.code(name)
    copied = Ordered(*joined.before[:3], type(joined.before.rows)(*(part.copy() for part in joined.before.rows)))
    moved, _ = own.joined(copied, names, joined.accounts[joined.accounts["label"] == 0].copy().pipe(with_cut), 5)
    mine = np.array([name in own.accounts for name in names.items])[joined.before.account]
    hours, age = W["time_us"], M["created_hour"]
    known = joined.before.rows.meta[:, age] != MISSING
    assert (moved.rows.when[:, hours] - joined.before.rows.when[:, hours] == 3 * WEEK_US * mine).all()
    assert (moved.rows.meta[:, age] - joined.before.rows.meta[:, age] == 3 * 168 * (mine & known)).all()


def with_cut(accounts: pd.DataFrame) -> pd.DataFrame:
    accounts.attrs["cut_us"] = 0
    return accounts


def test_an_account_with_a_label_is_not_ordinary_traffic(place: Path) -> None:
    labels = read_labels(place / "world" / "labels.csv")
    with pytest.raises(LabelError, match="accounts without a label, 1 have one"):
        Own([], frozenset({labels["account_id"].iloc[0], "mine"})).labelled(labels)


def test_ordinary_traffic_without_labelled_traffic() -> None:
    with pytest.raises(LabelError, match="one of them has no exchange"):
        Own([], frozenset({"known", "mine"})).beside(small_sample(0))


@pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
def test_a_run_with_own_traffic_writes_a_bundle_and_no_text(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.__main__ import app

    world, out = place / "world", tmp_path / "out"
    mine = tmp_path / "mine" / "traffic"
    mine.mkdir(parents=True)
    plant(ordinary(mine).parent)
    (tmp_path / "settings.toml").write_text(SETTINGS.replace("trials = 2", "trials = 0").replace("refit = true", ""))
    out.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{out}/mlflow.db")
    monkeypatch.chdir(out)
    arguments = ["--traffic", world / "traffic", "--labels", world / "labels.csv", "--groups", world / "groups.csv"]
    arguments += ["--benign", mine, "--config", tmp_path / "settings.toml", "--bundle", out / "bundle"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        done = CliRunner().invoke(app, ["run", *map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    data = {row["name"]: row for row in load(out / "bundle").manifest["training_data"]}
    assert sum(data["traffic and labels"]["accounts"].values()) == 300 + 112
    assert data["traffic and labels"]["own_accounts"] == 112
    assert leaks(mine.parent, [CANARY])
    assert leaks(out, [CANARY]) == []
