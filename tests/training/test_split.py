"""The split: groups stay together, families held out are in test alone, and time parts test from the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.config import Split
from training.split import (
    LabelError,
    check_folds,
    nothing_held_out,
    read_labels,
    split_accounts,
    text_group,
    with_accounts,
)

DAY = 86_400_000_000
FAMILIES = {1: ["harvest", "judge", "rewrite", "glaive"], 0: ["chat", "ci", "labelling", "work:irc", "evenings:irc"]}


def labelled(accounts: int = 400, seed: int = 1) -> tuple[pd.DataFrame, dict[str, int]]:
    """Accounts in groups of up to five with one label and family, active at random days."""
    rng = np.random.default_rng(seed)
    group = np.arange(accounts) // rng.integers(1, 6)
    label = (rng.random(group.max() + 1) < 0.4).astype(int)
    family = np.array([rng.choice(FAMILIES[int(k)]) for k in label])
    table = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(accounts)],
            "label": label[group],
            "family": family[group],
            "campaign_id": [f"c{g}" if label[g] else "" for g in group],
            "share": np.where(label[group] == 1, 0.5, np.nan),
            "kind": np.where(label[group] == 1, "attack", "human"),
            "group": [f"g{g}" for g in group],
        }
    )
    return table, {name: int(rng.integers(0, 30 * DAY)) for name in table["account_id"]}


def split(seed: int = 3, **settings: Any) -> pd.DataFrame:
    table, times = labelled()
    return split_accounts(table, times, Split(**settings), 4, seed)


def test_every_account_is_on_one_side_and_each_side_has_both_labels() -> None:
    known = split()
    assert len(known) == 400
    assert set(known["split"]) == {"train", "calib", "test"}
    assert known.groupby("split")["label"].nunique().eq(2).all()


@pytest.mark.parametrize("seed", range(6))
def test_accounts_operated_together_stay_together(seed: int) -> None:
    known = split(seed)
    assert known.groupby("group")["split"].nunique().max() == 1


@pytest.mark.parametrize("seed", range(6))
def test_families_held_out_are_in_test_alone(seed: int) -> None:
    """At least one attack family, and honest workloads by the source of their text, whatever is done with it."""
    known = split(seed)
    unseen = known[~known["seen_family"]]
    assert set(unseen["split"]) == {"test"}
    assert (unseen["label"] == 1).any()
    trained_on = known.loc[known["split"] != "test", "text_group"]
    assert not set(trained_on) & set(unseen["text_group"])
    assert text_group(0, "work:irc") == text_group(0, "evenings:irc") != text_group(1, "irc")


def test_test_comes_after_the_cut_and_the_rest_before() -> None:
    known = split()
    cut = known.attrs["cut_us"]
    times = known.groupby("group")["median_us"].median()
    seen = known[known["seen_family"]].drop_duplicates("group")
    late = times[seen["group"]].to_numpy() > cut
    assert np.array_equal(late, (seen["split"] == "test").to_numpy())
    assert 0.2 < (known.loc[known["seen_family"], "split"] == "test").mean() < 0.4


def test_shares_of_calibration_and_training() -> None:
    known = split(train=0.3, calib=0.4, test=0.3)
    rest = known.loc[known["split"] != "test", "split"]
    assert (rest == "calib").mean() == pytest.approx(4 / 7, abs=0.12)


def test_the_same_seed_gives_the_same_split_and_another_another() -> None:
    assert split(3).equals(split(3))
    assert not split(3)["split"].equals(split(4)["split"])


def test_the_order_of_the_labels_changes_nothing() -> None:
    table, times = labelled()
    one = split_accounts(table, times, Split(), 4, 3).set_index("account_id")
    other = split_accounts(table.sample(frac=1, random_state=1), times, Split(), 4, 3).set_index("account_id")
    for column in ("split", "fold", "seen_family"):
        assert one[column].equals(other[column].reindex(one.index))


@pytest.mark.parametrize("seed", range(4))
def test_a_fold_holds_whole_groups_and_of_some_families_every_account(seed: int) -> None:
    """In the proportion in which test holds families out, so that both cases are met in training."""
    known = split(seed, unseen_families=0.4)
    assert set(known["fold"]) <= set(range(4))
    assert known.groupby("group")["fold"].nunique().max() == 1
    whole = known.groupby("text_group")["fold"].nunique() == 1
    assert 0 < whole.sum() < len(whole)
    assert not (split(seed, unseen_families=0.0).groupby("text_group")["fold"].nunique() == 1).any()


def test_families_kept_are_never_held_out() -> None:
    for seed in range(6):
        known = split(seed, unseen_families=0.6, keep=("harvest", "irc"))
        kept = known["family"].isin(["harvest", "work:irc", "evenings:irc"])
        assert known.loc[kept, "seen_family"].all()
        assert not known["seen_family"].all()


def test_accounts_without_exchanges_are_left_out() -> None:
    table, times = labelled()
    few = {name: time for name, time in times.items() if name != "a7"}
    assert "a7" not in set(split_accounts(table, few, Split(), 4, 3)["account_id"])
    with pytest.raises(LabelError, match="none of the labelled accounts"):
        split_accounts(table, {"stranger": 1}, Split(), 4, 3)


def test_labels_of_other_traffic_are_an_error_and_some_absent_accounts_are_none() -> None:
    table, times = labelled()
    strangers = table.assign(account_id=[f"s{name}" for name in table["account_id"]])
    assert len(split_accounts(pd.concat([table, strangers]), times, Split(), 4, 3)) == 400
    with pytest.raises(LabelError, match="only 20 of the labelled accounts has an exchange in the traffic, of 420"):
        split_accounts(pd.concat([table.head(20), strangers.head(400)]), times, Split(), 4, 3)


@pytest.mark.parametrize(("label", "name"), [(0, "honest"), (1, "distilling")])
def test_accounts_that_are_all_in_one_fold_are_too_few(label: int, name: str) -> None:
    """Without that fold there would be nothing of theirs to train a prompt head on."""
    known = split()
    check_folds(known)
    one = known.assign(fold=known["fold"].where(known["label"] != label, 2))
    with pytest.raises(LabelError, match=rf"\d+ {name} accounts in training are too few for the folds"):
        check_folds(one)


def test_too_few_accounts_say_what_is_needed() -> None:
    table, times = labelled()
    with pytest.raises(LabelError, match="at least 3 of each are needed"):
        split_accounts(table.head(8), times, Split(), 4, 3)


class TestLabels:
    """The table of labels, as users have it."""

    def read(self, folder: Path, text: str, groups: str | None = None) -> pd.DataFrame:
        (folder / "labels.csv").write_text(text)
        if groups is None:
            return read_labels(folder / "labels.csv")
        (folder / "groups.csv").write_text(groups)
        return read_labels(folder / "labels.csv", folder / "groups.csv")

    def test_two_columns_are_enough(self, tmp_path: Path) -> None:
        """Ids that look like numbers stay as they are written."""
        found = self.read(tmp_path, "account_id,label\n007,0\n1e5,1\n")
        assert found["account_id"].tolist() == ["007", "1e5"]
        assert found["kind"].tolist() == found["family"].tolist() == ["human", "attack"]
        assert found["campaign_id"].tolist() == ["", ""]
        assert found["group"].tolist() == ["007", "1e5"]
        assert found["share"].isna().all()

    def test_a_campaign_is_a_group_and_a_table_of_groups_comes_first(self, tmp_path: Path) -> None:
        text = "account_id,label,campaign_id\na,1,c\nb,1,c\nd,0,\ne,0,\n"
        assert self.read(tmp_path, text)["group"].tolist() == ["c", "c", "d", "e"]
        found = self.read(tmp_path, text, "account_id,group\nd,office\ne,office\na,x\n")
        assert found["group"].tolist() == ["x", "c", "office", "office"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("account,label\na,1\n", "lacks account_id"),
            ("account_id\na\n", "lacks label"),
            ("", "expected a CSV with columns account_id,label: No columns"),
            ("account_id,label\n", "it has no rows"),
            ("account_id,label\na,1\nb,0,x,y\n", "expected a CSV.*: Error tokenizing"),
            ("account_id,label\na,2\nb,0\n", "expected labels 0"),
            ("account_id,label\na,yes\nb,0\n", "got 'yes' for 1 accounts"),
            ("account_id,label,share\na,1,half\nb,0,\n", "expected shares from 0 to 1, or none, got 'half'"),
            ("account_id,label,share\na,1,7\nb,0,\n", "got '7'"),
            ("account_id,label\na,1\nb,\n", "expected labels 0"),
            ("account_id,label\na,1\na,0\nb,0\n", "1 accounts have both"),
            ("account_id,label,weight\na,1,0\nb,0,\n", "expected weights above 0, or none, got '0'"),
            ("account_id,label,weight\na,1,inf\nb,0,\n", "got 'inf'"),
            ("account_id,label,weight\na,1,much\nb,0,\n", "got 'much' for 1 accounts"),
            ("account_id,label\na,1\nb,1\n", "all labels are 1"),
        ],
    )
    def test_labels_that_cannot_be_used(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(LabelError, match=told) as failed:
            self.read(tmp_path, text)
        assert "\n" not in str(failed.value)
        assert "labels.csv: expected" in str(failed.value)

    @pytest.mark.parametrize(
        ("groups", "told"),
        [
            ("account_id,group\na,x\na,y\n", "1 rows repeat one"),
            ("account_id,team\na,x\n", "lacks group"),
            ("group\nx\n", "lacks account_id"),
            ("", "No columns"),
        ],
    )
    def test_groups_that_cannot_be_used(self, tmp_path: Path, groups: str, told: str) -> None:
        with pytest.raises(LabelError, match=f"groups.csv: expected .*{told}"):
            self.read(tmp_path, "account_id,label\na,1\nb,0\n", groups)

    def test_what_is_no_table_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00account\x81")
        for path in (tmp_path, tmp_path / "absent.csv", tmp_path / "binary.csv"):
            with pytest.raises(LabelError, match=r"expected a CSV with columns account_id,label: .+"):
                read_labels(path)

    def test_a_repeated_label_counts_once_and_is_counted(self, tmp_path: Path) -> None:
        """Other columns of the first row are kept."""
        found = self.read(tmp_path, "account_id,label,family\na,1,x\nb,0,\na,1,y\na,1,x\n")
        assert found["account_id"].tolist() == ["a", "b"]
        assert found["family"].tolist() == ["x", "human"]
        assert found.attrs["repeated"] == 2

    def test_labels_of_one_class_are_read_where_others_give_the_rest(self, tmp_path: Path) -> None:
        (tmp_path / "labels.csv").write_text("account_id,label\na,1\n")
        assert read_labels(tmp_path / "labels.csv", both=False)["label"].tolist() == [1]

    def test_accounts_that_are_added_are_like_those_of_a_plain_table(self, tmp_path: Path) -> None:
        labels = self.read(tmp_path, "account_id,label,lang\na,1,en\nb,0,\n")
        found = with_accounts(labels, ["c", "d"], 0, kind="human", family="human", groups={"d": "office"})
        plain = self.read(tmp_path, "account_id,label,lang\na,1,en\nb,0,\nc,0,\nd,0,\n", "account_id,group\nd,office\n")
        pd.testing.assert_frame_equal(found, plain)

    def test_further_columns_are_kept_for_evaluation_or_left_out(self, tmp_path: Path) -> None:
        """What a user's table calls split is not ours; a byte order mark is no part of a name."""
        columns = "account_id,label,kind,family,campaign_id,share,goal,client,clock,lang,phase,evasions,weight,split"
        rows = "NA,1,,evolved,c,0.5,reasoning,sdk,burst,zh,1,low_slow=0.4 identity=0.8,9,x\nb,0,,,,,,,,en,,,,y\n"
        found = self.read(tmp_path, f"\ufeff{columns}\n{rows}")
        assert "split" not in found
        assert found["weight"].tolist() == [9, 1]
        assert found["account_id"].tolist() == ["NA", "b"]
        assert found["lang"].tolist() == ["zh", "en"]
        assert found["evasions"].tolist() == ["low_slow=0.4 identity=0.8", ""]
        assert found["kind"].tolist() == ["attack", "human"]


def test_a_source_to_be_kept_is_never_held_out() -> None:
    for seed in range(12):
        known = split(seed, keep=("irc",), unseen_families=0.6)
        assert known.loc[known["text_group"] == "0:irc", "seen_family"].all()


def test_for_the_final_model_nothing_is_held_out_and_groups_and_folds_stay() -> None:
    known = split()
    final = nothing_held_out(known, Split(), 3)
    assert set(final["split"]) == {"train", "calib"}
    assert final["seen_family"].all()
    assert final.groupby("group")["split"].nunique().max() == 1
    assert final["fold"].equals(known["fold"])
    assert final.attrs["cut_us"] > max(labelled()[1].values())
    before = known["split"] != "test"
    assert final.loc[before, "split"].equals(known.loc[before, "split"]), "an account keeps its side"
