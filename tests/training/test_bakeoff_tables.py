"""What is made of made scores where the answer is known: the best setting is taken, and only of rivals."""

import pytest
from toy_bout import bout, windows

from training.bakeoff import BY_SIZE, Bout
from training.bakeoff_tables import QUARTER, choose, compare
from training.leaveout_tables import FPRS
from training.rivals import DETECTORS


def test_the_best_setting_scale_and_tail_of_each_rival_is_taken() -> None:
    settings, chosen = choose(windows())
    best = settings[settings["chosen"]].set_index("detector")
    assert best["recall"].drop(["mmd", "prada", "compression"]).eq(0).all()
    assert (best.loc["mmd", "setting"], best.loc["mmd", "recall"]) == ("better, high", 0.5)
    assert (best.loc["prada", "setting"], best.loc["prada", "recall"]) == ("W, low", 1.0)
    assert (best.loc["compression", "setting"], best.loc["compression", "recall"]) == (
        "zlib, by size, either tail",
        1.0,
    )
    assert not any(": " in column for column in chosen)
    pure = chosen["share"] == 1
    assert chosen.loc[pure, "prada"].min() > chosen.loc[chosen["label"] == 0, "prada"].max(), (
        "higher is more suspicious"
    )


def test_a_tail_that_the_source_settles_is_not_tried_the_other_way() -> None:
    settings, _ = choose(windows())
    tried = settings.groupby("detector")["setting"].agg(set)
    assert tried["mmd"] == {"good, high", f"good{BY_SIZE}, high", "better, high"}
    assert "good, either tail" not in tried["seat"], "without a middle there are no two tails"
    assert {"good, low", f"good{BY_SIZE}, either tail"} < tried["seat"]


def test_all_are_told_by_the_same_tables() -> None:
    tables = compare(bout(), resamples=20, seed=1)
    headline = tables["headline"].set_index(["detector", "fpr"])
    assert set(headline.index) == {(name, fpr) for name in DETECTORS for fpr in FPRS}
    first = headline.xs(FPRS[0], level="fpr")
    assert first.loc["content", ["recall", "pure_at_0.01", "quarter_at_0.01"]].tolist() == [0.5, 0.5, 0.5]
    assert first.loc["mmd", ["recall", "pure_at_0.01", "quarter_at_0.01"]].tolist() == [0.5, 1.0, 0.0]
    assert first["realised"].tolist() == pytest.approx([0.01] * len(DETECTORS))
    assert first.loc["content", "worst_at_0.01"] == pytest.approx(0.01)
    assert first.loc["content", "low"] < 0.5 < first.loc["content", "high"]
    assert set(tables["honest_by_workload"]["workload"]) == {"labelling", "judging"}
    assert tables["seconds"].set_index("detector")["seconds"].to_dict() == {"embedding": 1.0, "mmd": 2.0}


def test_a_cell_that_is_not_there_is_not_told() -> None:
    made = bout()
    some = made.windows[made.windows["share"] != QUARTER[0]]
    headline = compare(Bout(some, made.pooled, {}), resamples=20, seed=1)["headline"]
    assert "quarter_at_0.01" not in headline
    assert headline["pure_at_0.01"].notna().all()
