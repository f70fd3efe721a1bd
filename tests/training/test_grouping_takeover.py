"""Takeovers after a ban, slices that labels tell and leak by them, where the answer is known by hand."""

import numpy as np
import pandas as pd
import pytest

from training.grouping import FOUND, Judged, judge, leak, leak_by, truth
from training.grouping_page import page
from training.grouping_takeover import sent_before, takeover

PHASES = {"e": "scale", "s": "standby", "f": "probe", "r": "standby", "u": "steady", "w": "standby", "h": "steady"}
CAMPAIGNS = {"t": "e0 e1 e2 s0 s1 s2", "v": "f0 f1 f2 r0 r1", "u": "u0 u1 u2 u3 u4", "few": "w0 w1 w2 w3"}
EVASIONS = {"t": "paraphrase=0.4 relay=0.2", "v": "relay=1", "u": "", "few": "split=1"}
RUNS = [(6, "s0"), (3, "e0"), (8, "s0 u0 u1 u2")]
PLACED = {"g1": "e0 s0 h0", "g2": "s1 s2 u0", "g3": "f0 r0 r1"}


def labels() -> pd.DataFrame:
    """Two campaigns with standby accounts, one without, one too small to be found, and a class of six."""
    rows = [
        (name, 1, "attack", "metamath", campaign, 1.0, "burst", PHASES[name[0]], EVASIONS[campaign])
        for campaign, names in CAMPAIGNS.items()
        for name in names.split()
    ]
    rows += [(f"h{i}", 0, "human", "chat", "", np.nan, "people", "steady", "") for i in range(6)]
    columns = ["account_id", "label", "kind", "family", "campaign_id", "share", "clock", "phase", "evasions"]
    return pd.DataFrame(rows, columns=columns)


def known(**more: object) -> pd.DataFrame:
    return truth(labels(), **more)  # type: ignore[arg-type]


def rows(**groups: str) -> pd.DataFrame:
    placed = [(name, group, 0.5) for group, names in groups.items() for name in names.split()]
    return pd.DataFrame(placed, columns=list(FOUND))


def judged(of: pd.DataFrame | None = None, **groups: str) -> Judged:
    return judge(rows(**groups), known() if of is None else of, resamples=30)


def exchanges() -> pd.DataFrame:
    """Four an account, an hour apart: of standby accounts from hour 4 on, of all others from 0."""
    sent = [(name, 4 * (PHASES[name[0]] == "standby") + i) for name in labels()["account_id"] for i in range(4)]
    return pd.DataFrame(sent, columns=["account_id", "time"])


def runs() -> list[tuple[object, pd.DataFrame]]:
    return [(moment, rows(g=names)) for moment, names in RUNS]


def test_truth_knows_takeovers_evasions_and_what_was_sent() -> None:
    of = known(sent=pd.Series({"e0": 24, "e1": 400})).set_index("account_id")
    assert of.loc[["e0", "s0", "u0", "w0", "h0"], "takeover"].tolist() == ["with", "with", "without", "with", "without"]
    assert of.loc[["e0", "u0"], "evasion"].tolist() == [("paraphrase", "relay"), ("none",)]
    assert of.loc[["e0", "e1", "e2"], "exchanges"].tolist() == [24, 400, 0]
    bare = truth(labels().drop(columns=["phase", "evasions"]))
    assert not {"phase", "takeover", "evasion", "exchanges"} & set(bare)
    assert set(judged(bare, g="e0 s0").slices["by"]) == {"size", "cover", "clock", "text", "family"}


def test_accounts_found_by_what_labels_tell() -> None:
    of = known(sent=pd.Series({"e0": 24, "e1": 25, "s0": 99, "s1": 100, "f0": 399, "r0": 400, "r1": 90_000}))
    slices = judged(of, **PLACED).slices.set_index(["by", "slice"])
    counts = ["campaigns", "accounts", "recall"]
    assert slices.loc[("phase", "probe"), counts].tolist() == [1, 3, pytest.approx(1 / 3)]
    assert slices.loc[("phase", "scale"), counts].tolist() == [1, 3, pytest.approx(1 / 3)]
    assert slices.loc[("phase", "standby"), counts].tolist() == [2, 5, 1], "the small campaign is not to be found"
    assert slices.loc[("phase", "steady"), counts].tolist() == [1, 5, 0.2]
    assert slices.loc[("takeover", "with"), counts].tolist() == [2, 11, pytest.approx(7 / 11)]
    assert slices.loc[("takeover", "without"), counts].tolist() == [1, 5, 0.2]
    assert slices.loc[("evasion", "relay"), counts].tolist() == [2, 11, pytest.approx(7 / 11)]
    assert slices.loc[("evasion", "paraphrase"), counts].tolist() == [1, 6, pytest.approx(4 / 6)]
    assert slices.loc[("evasion", "none"), counts].tolist() == [1, 5, 0.2]
    assert ("evasion", "split") not in slices.index
    assert slices.loc["exchanges"].index.tolist() == ["1-24", "25-99", "100-399", "400+"]
    assert slices.loc["exchanges", "accounts"].tolist() == [1, 2, 2, 2], "who sent nothing is in none"
    assert slices.loc["exchanges", "recall"].tolist() == [1, 0.5, 1, 1]


def test_a_takeover_is_recognised_in_one_group_with_an_earlier_account() -> None:
    """s0 is with e0, r0 and r1 with f0; s1 and s2 are with each other and a stranger."""
    of = takeover(judged(**PLACED), resamples=30).set_index("metric")
    counts = ["campaigns", "accounts", "value"]
    assert of.loc["earlier accounts found", counts].tolist() == [2, 6, pytest.approx(2 / 6)]
    assert of.loc["standby accounts found", counts].tolist() == [2, 5, 1]
    together = of.loc["standby accounts in one group with an earlier account"]
    assert together[counts].tolist() == [2, 5, 0.6]
    assert together[["low", "high"]].tolist() == pytest.approx([1 / 3, 1]), "one campaign drawn twice, or the other"
    assert len(of) == 3, "nothing is known of time"


def test_one_campaign_has_no_interval_and_none_no_rows() -> None:
    one = known()[lambda of: of["campaign"] != "v"]
    of = takeover(judged(one, g="e0 s0"), resamples=30)
    assert of["value"].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert of[["low", "high"]].isna().all(axis=None)
    assert takeover(judged(known()[lambda of: of["campaign"].isin(["u", "few"])], g="u0 w0")).empty
    assert takeover(judged(truth(labels().drop(columns="phase")), g="e0 s0")).empty


def test_what_accounts_sent_before_they_are_found_themselves() -> None:
    sent = sent_before(runs(), exchanges()).set_index("account_id")
    assert sent.loc["e0", ["exchanges", "found_at", "sent"]].tolist() == [4, 3, 3], "later runs do not matter"
    assert sent.loc["s0", ["exchanges", "found_at", "sent"]].tolist() == [4, 6, 2]
    assert sent.loc["u0", ["found_at", "sent"]].tolist() == [8, 4], "found after its last exchange"
    assert sent.loc["s1", "sent"] == 4
    assert np.isnan(sent.loc["s1", "found_at"])
    of = takeover(judged(**PLACED), sent.reset_index(), resamples=30).set_index("metric")["value"]
    assert of["sent by earlier accounts before they are found themselves"] == pytest.approx((3 + 5 * 4) / 24)
    assert of["sent by standby accounts before they are found themselves"] == pytest.approx((2 + 4 * 4) / 20)
    start = pd.Timestamp("2026-03-02", tz="UTC")
    stamped = exchanges().assign(time=lambda of: start + pd.to_timedelta(of["time"], unit="h"))
    moments = [(start + pd.Timedelta(hours=moment), found) for moment, found in RUNS]
    again = sent_before([(moment, rows(g=names)) for moment, names in moments], stamped)
    assert again["sent"].tolist() == sent["sent"].tolist()
    assert sent_before([], stamped)["sent"].eq(4).all()


def test_leak_by_what_is_known_of_campaigns() -> None:
    """By hour 8 most accounts of u are found, when all is sent; of t at hour 2, when 6 of 24 are sent."""
    links = pd.DataFrame(
        [("f0", "card"), ("r1", "card"), ("u0", "net"), ("e0", "net")], columns=["account_id", "value"]
    )
    of = known(links=links)
    leaks = leak([*runs(), (2, rows(g="e0 e1"))], of, exchanges())
    assert leaks.set_index("campaign")["leak"].to_dict() == {"t": 0.25, "u": 1, "v": 1}
    by = {name: leak_by(leaks, of, name).set_index("slice") for name in ("takeover", "evasion", "metadata")}
    told = ["campaigns", "mean", "median", "never"]
    assert by["takeover"].loc["with", told].tolist() == [2, 0.625, 0.625, 0.5]
    assert by["takeover"].loc["with", "pooled"] == pytest.approx((6 + 20) / 44)
    assert by["takeover"].loc["without", told].tolist() == [1, 1, 1, 0]
    assert np.isnan(by["takeover"].loc["without", "low"])
    assert by["evasion"]["campaigns"].to_dict() == {"none": 1, "paraphrase": 1, "relay": 2}
    assert by["evasion"].loc["relay", "mean"] == 0.625
    assert by["metadata"]["campaigns"].to_dict() == {"its own": 2, "shared": 1}, "t and u share with each other"
    assert by["metadata"].loc["its own", "mean"] == 0.625
    assert leak_by(leaks, known(), "metadata").empty


def test_the_page_tells_takeovers_beside_rivals() -> None:
    of = known(sent=exchanges()["account_id"].value_counts())
    results = {"fingerprint": judged(of, **PLACED), "rival": judged(of, g="e0 u0 s1")}
    leaks, sent = {"fingerprint": leak(runs(), of, exchanges())}, {"fingerprint": sent_before(runs(), exchanges())}
    text = page(results, leaks=leaks, sent=sent)
    assert "| standby accounts in one group with an earlier account | 2 | 5 | 0.600 (0.33 to 1.00) | 0.200" in text
    assert "| sent by standby accounts before they are found themselves | 2 | 5 | 0.900 (0." in text
    for part in ("| standby | 2 | 5 |", "| relay | 2 | 11 |", "| takeover: without | 1 |", "| evasion: none | 1 |"):
        assert part in text
    assert "| 1-24 | 3 | 16 |" in text
    assert "nan" not in text.lower()
    bare = page({"fingerprint": judged(truth(labels().drop(columns=["phase", "evasions"])), **PLACED)})
    assert "Takeover" not in bare
