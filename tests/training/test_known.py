"""Who is known to be what: labels, analysts' decisions, and accounts with traffic alone."""

import json
from pathlib import Path

import pytest

from training.feedback import COLUMNS
from training.known import Known, read_known
from training.split import LabelError
from training.unlabelled import Unlabelled

LABELS = "account_id,label,weight,family,campaign_id\na,1,2,evolved,c\nb,1,,evolved,c\nd,0,,chat,\n"
GROUPS = "account_id,group\nn,office\nd,office\nb,crew\n"


def known(
    folder: Path, labels: str = LABELS, votes: dict[str, str] | None = None, mode: Unlabelled = Unlabelled.drop
) -> Known:
    """``votes``: account and analyst ("a ann") to decision."""
    (folder / "labels.csv").write_text(labels)
    (folder / "groups.csv").write_text(GROUPS)
    votes_of = [(*who.split(), said) for who, said in (votes or {}).items()]
    lines = [json.dumps(dict(zip(COLUMNS, (a, said, who, 1772442000), strict=True))) for a, who, said in votes_of]
    (folder / "feedback.jsonl").write_text("".join(f"{line}\n" for line in lines))
    store = folder / "feedback.jsonl" if votes else None
    return read_known(folder / "labels.csv", folder / "groups.csv", store, mode)


def test_accounts_without_a_label_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    found = known(tmp_path).met(["a", "b", "d", "n", "m"])
    assert found.accounts["account_id"].tolist() == ["a", "b", "d"]
    assert found.counts["without_label"] == 2
    assert "2 accounts of the traffic have no label: left out" in found.sentences()
    assert found.never_held_out() == ()


@pytest.mark.parametrize("mode", [Unlabelled.benign, Unlabelled.weighted])
def test_or_they_are_honest_and_of_their_group(tmp_path: Path, mode: Unlabelled) -> None:
    found = known(tmp_path, mode=mode).met(["a", "b", "n", "m"])
    new = found.accounts.set_index("account_id").loc[["m", "n"]]
    assert new["label"].tolist() == [0, 0]
    assert set(new["kind"]) == set(new["family"]) == {"unlabelled"}
    assert new["group"].tolist() == ["m", "office"]
    assert found.never_held_out() == ("unlabelled",)
    assert found.counts["without_traffic"] == 1
    assert "1 labelled accounts have no exchange in the traffic: left out" in found.sentences()


def test_a_decision_gives_an_account_its_label_and_weight(tmp_path: Path) -> None:
    votes = {"n ann": "benign", "n bob": "unsure", "m ann": "distillation"}
    found = known(tmp_path, votes=votes)
    rows = found.accounts.set_index("account_id")
    assert rows.loc["n", ["label", "weight", "kind", "family", "group"]].tolist() == [
        0, pytest.approx(2 / 3), "human", "feedback", "office",
    ]  # fmt: skip
    assert rows.loc["m", ["label", "kind", "family", "campaign_id"]].tolist() == [1, "attack", "feedback", ""]
    assert rows.loc["a", "weight"] == 2
    assert {key: found.counts[key] for key in ("decided", "overruled", "tied")} == {
        "decided": 2,
        "overruled": 0,
        "tied": 0,
    }
    assert found.never_held_out() == ("feedback",)


def test_a_decision_overrules_the_label_and_a_tie_does_not(tmp_path: Path) -> None:
    votes = {"a ann": "benign", "d ann": "distillation", "d bob": "benign", "b ann": "distillation"}
    found = known(tmp_path, votes=votes)
    rows = found.accounts.set_index("account_id")
    assert rows.loc["a", ["label", "weight", "family", "campaign_id", "group"]].tolist() == [0, 1, "feedback", "", "c"]
    assert rows.loc["b", ["label", "family", "campaign_id", "group"]].tolist() == [1, "evolved", "c", "crew"]
    assert rows.loc["d", ["label", "family"]].tolist() == [0, "chat"]
    assert {key: found.counts[key] for key in ("decided", "overruled", "tied")} == {
        "decided": 2,
        "overruled": 1,
        "tied": 1,
    }


POSITIVES, NEGATIVES = "account_id,label\na,1\nb,1\n", "account_id,label\na,0\nb,0\n"


def test_attackers_alone_are_enough_where_the_others_count_as_honest(tmp_path: Path) -> None:
    assert set(known(tmp_path, POSITIVES, mode=Unlabelled.benign).accounts["label"]) == {1}
    assert set(known(tmp_path, POSITIVES, {"n ann": "benign"}).accounts["label"]) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "mode", "told"),
    [
        (POSITIVES, Unlabelled.drop, "all labels are 1: label some of the others, or say --unlabelled benign"),
        (NEGATIVES, Unlabelled.drop, "expected honest and distilling accounts, all labels are 0"),
        (NEGATIVES, Unlabelled.weighted, "expected distilling accounts, all labels are 0"),
    ],
)
def test_one_class_alone_is_an_error(tmp_path: Path, labels: str, mode: Unlabelled, told: str) -> None:
    with pytest.raises(LabelError, match=told):
        known(tmp_path, labels, mode=mode)
