"""Grouping judged where the answer is known by hand; each rival finds a planted group among accounts that are alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.grouping import FOUND, REAL, TEMPLATE, Judged, judge, leak, leak_by_size, targets, truth
from training.grouping_page import compete, page
from training.grouping_rivals import RIVALS, SMALLEST, Prompts, Shown, links, metadata, near_duplicates, read_times
from training.split import read_labels
from training.world import make_world
from training.world.settings import load

CAMPAIGNS = {"c1": "a0 a1 a2 a3 a4", "c2": "b0 b1 b2 b3 b4", "c3": "d0"}
ORGANISATIONS = {"class": [f"p{i}" for i in range(6)], "shop": [f"s{i}" for i in range(20)], "": ["x"]}


def labels() -> pd.DataFrame:
    """Two campaigns of five accounts, one of one; a class of six, a shop of twenty, somebody alone."""
    rows = [
        (
            name,
            1,
            "attack",
            {"c1": "json_pairs"}.get(campaign, "metamath"),
            campaign,
            0.25 if i == "4" else 1.0,
            "burst",
        )
        for campaign, names in CAMPAIGNS.items()
        for name, i in ((name, name[1]) for name in names.split())
    ]
    rows += [
        (name, 0, "mixed" if group else "human", group or "chat", "", np.nan, "people")
        for group, names in ORGANISATIONS.items()
        for name in names
    ]
    columns = ["account_id", "label", "kind", "family", "campaign_id", "share", "clock"]
    return pd.DataFrame(rows, columns=columns)


def known() -> pd.DataFrame:
    groups = pd.DataFrame(
        [(name, group or name) for group, names in ORGANISATIONS.items() for name in names]
        + [(name, f"group of {campaign}") for campaign, names in CAMPAIGNS.items() for name in names.split()],
        columns=["account_id", "group"],
    )
    return truth(labels(), groups, templates=["json_pairs"])


def rows(**groups: str) -> pd.DataFrame:
    """Found rows: group="accounts"."""
    placed = [(name, group, 0.5) for group, names in groups.items() for name in names.split()]
    return pd.DataFrame(placed, columns=list(FOUND))


def judged(**groups: str) -> Judged:
    return judge(rows(**groups), known(), resamples=30)


def values(result: Judged) -> dict[str, float]:
    return {str(name): float(value) for name, value in result.headline.set_index("metric")["value"].items()}


def test_truth_knows_campaigns_honest_groups_and_what_their_text_is() -> None:
    of = known().set_index("account_id")
    assert of.loc[["a0", "d0", "p0"], "size"].tolist() == [5, 1, 0]
    assert of.loc[["a0", "b0"], "text"].tolist() == [TEMPLATE, REAL]
    assert of["group"].nunique() == 6
    told = truth(labels().assign(text="bare"))
    assert set(told["text"]) == {"bare"}
    assert told.set_index("account_id").loc[["a0", "p0"], "group"].tolist() == ["c1", "p0"], "without groups.csv"
    unnamed = truth(labels().assign(campaign_id="")).set_index("account_id")
    assert unnamed.loc[["a0", "a1"], "campaign"].tolist() == ["a0", "a1"], "no campaign is known: one each"


def test_pairs_and_b_cubed_by_hand() -> None:
    """c1 in pieces of three and two, the latter with two of c2 and an honest account; b2 to b4 are not found."""
    result = judged(g1="a0 a1 a2", g2="a3 a4 b0 b1 x")
    got = values(result)
    assert got["account precision"] == pytest.approx(7 / 8)
    assert got["account recall"] == pytest.approx(7 / 10)
    assert got["pairwise precision"] == pytest.approx((3 + 1 + 1) / (3 + 6))
    assert got["pairwise recall"] == pytest.approx((3 + 1 + 1) / (10 + 10))
    p, r = (3 * 1 + 4 * 2 / 5) / 7, (3 * 3 / 5 + 4 * 2 / 5 + 3 * 1 / 5) / 10
    assert got["B-cubed precision"] == pytest.approx(p)
    assert got["B-cubed recall"] == pytest.approx(r)
    assert got["B-cubed F1"] == pytest.approx(2 * p * r / (p + r))
    assert got["campaigns with half their accounts found"] == pytest.approx(0.5)
    assert got["campaigns recovered"] == pytest.approx(0.5)
    assert result.groups.set_index("found").loc[["g1", "g2"], "purity"].tolist() == pytest.approx([1, 0.4])
    assert result.campaigns.set_index("campaign").loc["c1", ["found", "largest", "pieces"]].tolist() == [1, 0.6, 2]
    assert result.campaigns.set_index("campaign").loc["c2", ["found", "largest"]].tolist() == [0.4, 0.4]


def test_what_is_found_exactly_scores_one_and_nothing_found_scores_none() -> None:
    exact = judged(g1=CAMPAIGNS["c1"], g2=CAMPAIGNS["c2"])
    assert set(values(exact).values()) == {1.0}
    assert exact.headline[["low", "high"]].eq(1).all(axis=None)
    nothing = values(judged())
    assert (nothing["account recall"], nothing["B-cubed F1"], nothing["B-cubed recall"]) == (0, 0, pytest.approx(0.2))
    assert np.isnan(nothing["account precision"])
    everybody = values(judged(all=" ".join(known()["account_id"])))
    assert everybody["account recall"] == 1
    assert everybody["campaigns recovered"] == 0, "one group of everybody recovers nothing"
    with pytest.raises(ValueError, match="1 rows repeat"):
        judged(g1="a0 a1", g2="a0")


def test_accounts_found_by_what_they_are() -> None:
    of = judged(g1="a0 a1 a2 a4").slices.set_index(["by", "slice"])
    assert of.loc[("size", "5-9"), ["campaigns", "accounts", "recall"]].tolist() == [2, 10, 0.4]
    assert of.loc[("cover", 0.25), "recall"] == 0.5
    assert of.loc[("text", TEMPLATE), "recall"] == 0.8
    assert of.loc[("family", "metamath"), "recall"] == 0
    assert np.isnan(of.loc[("family", "metamath"), "low"]), "one campaign has no interval"
    assert of.loc[("clock", "burst"), "low"] == 0


def test_honest_groups_are_convicted_by_three_accounts_or_a_fifth() -> None:
    def convicted(names: str) -> set[str]:
        honest = judged(g=names).honest
        return set(honest.loc[honest["convicted"], "group"])

    assert convicted("p0 a0 a1") == set()
    assert convicted("p0 p1 a0") == {"class"}, "a third of six"
    assert convicted("s0 s1 a0") == set(), "a tenth of twenty"
    assert convicted("s0 s1 s2 a0") == {"shop"}
    kinds = judged(g="s0 s1 s2 x").kinds.set_index("family")
    assert kinds.loc["shop", ["accounts", "flagged", "groups", "convicted"]].tolist() == [20, 3, 1, 1]
    assert kinds.loc["chat", ["flagged", "groups", "convicted"]].tolist() == [1, 0, 0], "too small to look alike"


def test_leak_counts_what_is_sent_before_half_of_the_active_accounts_are_found() -> None:
    sent = [(name, hour) for name in CAMPAIGNS["c1"].split() for hour in range(10)]
    sent += [(name, 5 + hour) for name in CAMPAIGNS["c2"].split()[:4] for hour in range(10)]
    times = pd.DataFrame(sent, columns=["account_id", "time"])
    runs = [(6, rows(g="a0 a1 b0")), (3, rows(g="a0 a1")), (8, rows(g="a0 a1 a2 b0 b1")), (9, rows())]
    of = leak(runs, known(), times).set_index("campaign")
    assert of.loc["c1", ["exchanges", "found_at", "sent", "leak"]].tolist() == [50, 8, 40, 0.8]
    assert of.loc["c2", ["accounts", "found_at", "sent", "leak"]].tolist() == [4, 8, 12, 0.3]
    never = leak(runs[1:2], known(), times).set_index("campaign")
    assert never["leak"].tolist() == [1, 1]
    stamped = times.assign(time=pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(times["time"], unit="D"))
    moments = [(pd.Timestamp("2026-03-02", tz="UTC") + pd.Timedelta(days=day), found) for day, found in runs]
    assert leak(moments, known(), stamped)["leak"].tolist() == [0.8, 0.3]
    assert leak([], known(), stamped)["leak"].tolist() == [1, 1]


def test_leak_by_size_of_campaigns() -> None:
    made = pd.DataFrame(
        {"campaign": ["c1", "c2", "c3"], "accounts": [5, 30, 150], "exchanges": [10, 100, 900],
         "found_at": [np.nan, 1.0, 2.0], "sent": [10, 10, 45], "leak": [1.0, 0.1, 0.05]}
    )  # fmt: skip
    of = leak_by_size(made).set_index("size")
    assert of.loc["25-200", ["campaigns", "mean", "never"]].tolist() == [2, pytest.approx(0.075), 0]
    assert of.loc["25-200", "pooled"] == pytest.approx(0.055)
    assert of.loc["5-9", "never"] == 1


def test_aims_say_what_is_met_and_what_was_not_measured() -> None:
    found = judged(g1="a0 a1 a2 a3", g2="p0 p1 p2")
    of = targets(found, leak([], known(), pd.DataFrame({"account_id": ["a0"], "time": [1]}))).set_index("target")
    assert of.loc["account precision", "value"] == pytest.approx(4 / 7)
    assert of.loc["accounts found, cover <= 50 %, templated", ["value", "met"]].tolist() == [1, "yes"]
    assert of.loc["accounts found, cover <= 50 %", ["value", "met"]].tolist() == [0.5, "no"]
    assert of.loc["honest groups of 5 accounts or more convicted", ["value", "met"]].tolist() == [1, "no"]
    assert of.loc["leak, campaigns of 25-200 accounts, mean", "met"] == "not measured"


def test_the_page_says_what_it_rests_on() -> None:
    good, bad = judged(g1=CAMPAIGNS["c1"], g2=CAMPAIGNS["c2"]), judged(g="p0 p1 p2 a0")
    leaks = {"fingerprint": leak([], known(), pd.DataFrame({"account_id": ["a0"], "time": [1]}))}
    text = page({"fingerprint": good, "rival": bad}, leaks=leaks, made="A made world.")
    assert "**Simulated positives.**" in text
    assert "A made world." in text
    assert "| account precision | ≥ 0.98 | 1.000 (1.00 to 1.00) | 10 accounts | yes |" in text
    assert "| mixed | class | 1 | 0 (0) | 1 (3) |" in text
    assert "SynchroTrap" in text
    assert "nan" not in text.lower()


PLANTED = 5


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A tiny world in which every account is alone, except that five honest ones are made to send one template at the
    same times and to pay by one card. A client's JA4, which a few of so few accounts share by chance, is not logged."""
    out = tmp_path_factory.mktemp("alone")
    make_world(out, load("tiny", None, {"campaigns.largest": 1, "volume.median": 30.0, "volume.largest": 60}))
    path = out / "traffic" / "part-00000.parquet"
    table = pq.read_table(path)
    known = pd.read_csv(out / "labels.csv")
    counts = pd.Series(table.column("account_id").to_pylist()).value_counts()
    names = [n for n in known.loc[known["kind"] == "human", "account_id"] if counts[n] >= 25][:PLANTED]
    records = table.to_pylist()
    sent = dict.fromkeys(names, 0)
    for record in records:
        record["client"] = {**(record["client"] or {}), "ja4": None}
        if (name := record["account_id"]) in sent:
            sent[name] = i = sent[name] + 1
            record["prompt"] = (
                f"Rewrite exercise {i} of the harvest so that nobody can tell it apart, then solve it twice"
            )
            record["timestamp"] = records[0]["timestamp"] + pd.Timedelta(hours=i)
            record["account"] = {**(record["account"] or {}), "payment_hash": "card"}
    pq.write_table(pa.Table.from_pylist(records, table.schema), path)
    return out, sorted(names)


@pytest.mark.parametrize("name", sorted(RIVALS))
def test_each_rival_finds_the_planted_group_and_leaves_the_rest_alone(alone: tuple[Path, list[str]], name: str) -> None:
    world, planted = alone
    setting = {"templates": {"least": 1, "most": 10}, "near_duplicates": {"least": 32, "most": 25}}.get(name, {})
    found = RIVALS[name].run([world / "traffic"], **setting)
    assert list(found) == list(FOUND)
    of = found.set_index("account_id")["campaign_id"]
    assert of[planted].nunique() == 1
    group = of[planted[0]]
    assert sorted(of[of == group].index) == planted
    assert found.loc[found["campaign_id"] == group, "score"].tolist() == [1.0] * PLANTED
    assert len(found) - PLANTED <= 12, "a tenth of the accounts"
    assert found["campaign_id"].value_counts().min() >= SMALLEST


def test_all_rivals_are_judged_and_the_best_setting_is_told(alone: tuple[Path, list[str]]) -> None:
    world, _ = alone
    of = truth(read_labels(world / "labels.csv", world / "groups.csv"), links=links([world / "traffic"]))
    assert set(of["metadata"]) == {"its own"}
    results, tried = compete([world / "traffic"], of, resamples=3)
    assert set(results) == {rival.title for rival in RIVALS.values()}
    assert tried.groupby("rival")["chosen"].sum().eq(1).all()
    accounts, owner, time = read_times([world / "traffic"])
    assert set(accounts) == set(of["account_id"])
    assert len(owner) == len(time) > 0


def test_values_that_many_share_and_pairs_link_nobody() -> None:
    names = [f"a{i}" for i in range(9)]
    common = Shown(names, np.arange(9), np.zeros(9, np.int64))
    assert len(metadata(common, most=8)) == 0
    assert len(metadata(common, most=9)) == 9
    assert len(metadata(Shown(names, np.array([0, 1]), np.array([5, 5])))) == 0
    chain = metadata(Shown(names, np.array([0, 1, 1, 2]), np.array([5, 5, 6, 6])))
    assert chain.set_index("account_id")["score"].to_dict() == {"a0": 0.5, "a1": 1.0, "a2": 0.5}


def test_prompts_too_short_for_a_shingle_link_nobody() -> None:
    short = Prompts(["a", "b", "c"], np.arange(3), ["hello", "hello", "hello there"])
    assert len(near_duplicates(short)) == 0
