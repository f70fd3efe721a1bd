"""How well accounts were grouped into campaigns: found rows beside what is true, as tables with intervals.

Found rows are what `fingerprint campaigns` writes (account_id, campaign_id, score); truth is labels.csv and groups.csv.
Everything here is a pure function of frames. Intervals (95 %) resample whole campaigns and honest groups. Left out: who
groups (the product, grouping_rivals) and the page (grouping_page).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.bootstrap import interval, resampled

__all__ = [
    "BY", "FOUND", "LEAST", "REAL", "SIZES", "STANDBY", "TEMPLATE", "Judged", "judge", "leak", "leak_by",
    "leak_by_size", "ratios", "share_found", "targets", "truth",
]  # fmt: skip

Floats = NDArray[np.float64]
FOUND = ("account_id", "campaign_id", "score")
LEAST = 5  # accounts of a campaign that is to be found, and of an honest group that counts as a look-alike
SIZES = {"5-9": (5, 9), "10-24": (10, 24), "25-99": (25, 99), "100-": (100, 2**62)}
SENT = {"1-24": (1, 24), "25-99": (25, 99), "100-399": (100, 399), "400+": (400, 2**62)}  # exchanges of an account
BY = ("size", "cover", "exchanges", "clock", "text", "metadata", "phase", "takeover", "evasion", "family")
STANDBY, TAKEN_OVER, NEVER = "standby", "with", "without"  # a phase; campaigns whose accounts are replaced, or not
SHARED, OWN = "shared", "its own"  # payment or network
CONFIDENCE, RESAMPLES = 0.95, 200
CONVICTED, CONVICTED_SHARE = 3, 0.2  # accounts, or share of accounts, in found groups that convict an honest group
TEMPLATE, REAL = "template", "real prompts"  # text of a campaign: a family of the grammar, or a source of prompts
WRAPPED, BARE = (TEMPLATE, "wrapped"), (REAL, "bare")  # what aims speak of; labels may tell it exactly
AIMED, LOWER, HARD = (25, 200), 0.5, (0.15, 0.3)  # sizes that leak is aimed at; harvesting shares that aims speak of


@dataclass(frozen=True)
class Judged:
    """`headline`: metric, value, low, high. `slices`: by, slice, campaigns, accounts, recall, low, high. `campaigns`,
    `groups` (found) and `honest`: a row each. `kinds`: honest accounts and groups by kind and family, `accounts`: a row
    an account with what `truth` knows, `found` (its found group) and `item` (to be found)."""

    headline: pd.DataFrame
    slices: pd.DataFrame
    campaigns: pd.DataFrame
    groups: pd.DataFrame
    honest: pd.DataFrame
    kinds: pd.DataFrame
    accounts: pd.DataFrame


def truth(
    labels: pd.DataFrame,
    groups: pd.DataFrame | None = None,
    *,
    templates: Collection[str] = (),
    links: pd.DataFrame | None = None,
    sent: pd.Series[int] | None = None,
) -> pd.DataFrame:
    """One row an account: account_id, label, kind, family, campaign ("" for none), group, size (accounts of its
    campaign), share and what is known of `BY`.

    `templates` names the families that are templates of the grammar; a column `text` of `labels` (template, wrapped or
    bare) goes before it: campaigns send the prompts of a source bare or wrapped, and their family does not say which.
    `links` (account_id, value: payments and networks) tells accounts that share one with another account of theirs,
    `sent` (by account_id) how many exchanges each sent. `evasion` holds a tuple of names.
    """
    known = labels[["account_id", "label", "kind", "family", "clock"]].copy()
    alone = labels["account_id"].where(labels["label"] == 1, "")
    known["campaign"] = labels["campaign_id"].replace("", np.nan).where(labels["label"] == 1).fillna(alone).astype(str)
    operated = labels["group"] if "group" in labels else known["campaign"]
    if groups is not None:
        operated = known["account_id"].map(groups.set_index("account_id")["group"])
    known["group"] = operated.replace("", np.nan).fillna(known["account_id"])
    attack = known["campaign"] != ""
    known["size"] = known.groupby("campaign")["account_id"].transform("size").where(attack, 0)
    known["share"] = pd.to_numeric(labels["share"], errors="coerce")
    known["cover"] = pd.Categorical(known["share"], ordered=True)
    by_family = pd.Series(np.where(known["family"].isin(list(templates)), TEMPLATE, REAL), known.index)
    known["text"] = labels.get("text", by_family)
    if links is not None:
        known["metadata"] = np.where(known["account_id"].isin(_linked(links, known)), SHARED, OWN)
    if sent is not None:
        known["exchanges"] = known["account_id"].map(sent).fillna(0).astype(int)
    if "phase" in labels:
        known["phase"] = labels["phase"].replace("", np.nan)
        replaced = (known["phase"] == STANDBY).groupby(known["campaign"]).transform("any")
        known["takeover"] = np.where(replaced, TAKEN_OVER, NEVER)
    if "evasions" in labels:
        known["evasion"] = labels["evasions"].fillna("").map(_evasions)
    return known


def _evasions(told: str) -> tuple[str, ...]:
    """Names of what labels tell as "paraphrase=0.4 relay=0.2"."""
    return tuple(part.partition("=")[0] for part in told.split()) or ("none",)


def _linked(links: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """Accounts that show a value that another account of their group shows."""
    shown = links[["account_id", "value"]].drop_duplicates().merge(known[["account_id", "group"]], on="account_id")
    return list(shown.loc[shown.duplicated(["group", "value"], keep=False), "account_id"])


def judge(
    found: pd.DataFrame, known: pd.DataFrame, *, least: int = LEAST, resamples: int = RESAMPLES, seed: int = 7
) -> Judged:
    """All tables of found rows; `known` is what `truth` gives, `least` the accounts of a campaign that is to be found.

    Accounts without a label are left out. Raises ValueError where an account is in two found groups.
    """
    rows = _placed(found, known, least)
    times = resampled((rows["label"] == 1).to_numpy(), rows["group"], resamples, seed)
    honest = _honest_groups(rows)
    return Judged(
        _headline(rows, times),
        _slices(rows, times),
        _campaigns(rows),
        _found_groups(rows),
        honest,
        _kinds(rows, honest, least),
        rows,
    )


def _placed(found: pd.DataFrame, known: pd.DataFrame, least: int) -> pd.DataFrame:
    """`known` with each account's found group, and how many of which accounts are in it."""
    if (twice := int(found["account_id"].duplicated().sum())) > 0:
        raise ValueError(f"expected each account in at most one found group, {twice} rows repeat an account")
    own = found[list(FOUND)].rename(columns={"campaign_id": "found"}).astype({"account_id": str, "found": object})
    rows = known.merge(own, on="account_id", how="left", validate="one_to_one").reset_index(drop=True)
    rows["attack"], rows["flagged"] = rows["label"] == 1, rows["found"].notna()
    rows["item"] = rows["attack"] & (rows["size"] >= least)
    rows["together"] = rows.groupby("found")["attack"].transform("size").fillna(0)
    rows["attackers"] = rows.groupby("found")["attack"].transform("sum").fillna(0)
    same = rows.groupby(["found", "campaign"])["attack"].transform("sum")
    rows["same"] = same.where(rows["attack"]).fillna(0)
    return rows


def _headline(rows: pd.DataFrame, times: Floats) -> pd.DataFrame:
    """Every figure with its interval.

    B-cubed is Bagga & Baldwin's (1998), averaged over attack accounts of campaigns to be found: precision over those in
    a found group, the honest members of which count against it (an account left out would be a singleton of precision
    1, which flatters whoever finds nothing); recall over all of them, those left out being singletons. Pairs are those
    of attack accounts. A campaign is recovered when half of it is in one found group that is mostly its accounts.
    """
    values = {name: _ratio(times, *parts) for name, parts in _parts(rows).items()}
    for kind in ("pairwise", "B-cubed"):
        p, r = np.nan_to_num(values[f"{kind} precision"]), np.nan_to_num(values[f"{kind} recall"])
        f1 = np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0)
        values[f"{kind} F1"] = np.where(np.isnan(values[f"{kind} recall"]), np.nan, f1)
    return _told(pd.DataFrame({"metric": list(values)}), np.column_stack(list(values.values())), "value")


def ratios(
    rows: pd.DataFrame,
    parts: Mapping[str, tuple[pd.Series[Any], pd.Series[Any]]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 7,
) -> pd.DataFrame:
    """metric, campaigns, accounts (those the denominator counts), value, low, high of sums over sums.

    `rows` are `Judged.accounts`, `parts` a numerator and a denominator an account. One campaign has no interval.
    """
    times = resampled(rows["attack"].to_numpy(), rows["group"], resamples, seed)
    values = [_ratio(times, top, bottom) for top, bottom in parts.values()]
    counted = [rows[bottom > 0] for _, bottom in parts.values()]
    out = pd.DataFrame({"metric": list(parts), "campaigns": [own["campaign"].nunique() for own in counted]})
    out = _told(out.assign(accounts=[len(own) for own in counted]), np.column_stack(values), "value")
    out[["low", "high"]] = out[["low", "high"]].where(out["campaigns"] > 1)
    return out


def _parts(rows: pd.DataFrame) -> dict[str, tuple[pd.Series[float], pd.Series[float]]]:
    """Metrics as two columns over accounts: their sums, each account weighted, are numerator and denominator."""
    attack, flagged, item, one = rows["attack"], rows["flagged"], rows["item"], rows["size"].clip(lower=1)
    hit, caught = attack & flagged, item & flagged
    half = caught.groupby(rows["campaign"]).transform("mean") >= LOWER
    own = rows["same"].where(2 * rows["same"] > rows["together"], 0).groupby(rows["campaign"]).transform("max") / one
    parts = {
        "account precision": (hit, flagged),
        "account recall": (caught, item),
        "campaigns with half their accounts found": ((item & half) / one, item / one),
        "campaigns recovered": ((item & (own >= LOWER)) / one, item / one),
        "pairwise precision": ((rows["same"] - 1).where(hit, 0), (rows["attackers"] - 1).where(hit, 0)),
        "pairwise recall": ((rows["same"] - 1).where(caught, 0), (one - 1).where(item, 0)),
        "B-cubed precision": ((rows["same"] / rows["together"]).where(caught, 0), caught),
        "B-cubed recall": ((rows["same"].clip(lower=1) / one).where(item, 0), item),
    }
    return {name: (top.astype(float), bottom.astype(float)) for name, (top, bottom) in parts.items()}


def _ratio(times: Floats, top: pd.Series[float], bottom: pd.Series[float]) -> Floats:
    """float64[1 + resamples]; NaN where there is nothing to divide by."""
    sums, mass = times @ top.to_numpy(np.float64), times @ bottom.to_numpy(np.float64)
    return np.divide(sums, mass, out=np.full_like(mass, np.nan), where=mass > 0)


def _told(out: pd.DataFrame, values: Floats, name: str) -> pd.DataFrame:
    """`out` with the values of its rows (float64[1 + resamples, rows]) and their intervals."""
    low, high = interval(values, CONFIDENCE) if values.size else np.empty((2, 0))
    return out.assign(**{name: values[0], "low": low, "high": high})


def share_found(judged: Judged, where: pd.Series[bool], *, resamples: int = RESAMPLES, seed: int = 7) -> pd.DataFrame:
    """One row: campaigns, accounts, recall, low, high of the accounts to be found that `where` marks."""
    rows = judged.accounts
    times = resampled(rows["attack"].to_numpy(), rows["group"], resamples, seed)
    return _recalls(rows[rows["item"] & where].assign(slice="all"), times, "slice")


def _slices(rows: pd.DataFrame, times: Floats) -> pd.DataFrame:
    """Account recall by everything in `BY` that is known."""
    banded = {name: _bands(rows[name], bands) for name, bands in (("size", SIZES), ("exchanges", SENT)) if name in rows}
    items = rows.assign(**banded)[rows["item"]]
    parts = [_recalls(items.explode(by), times, by).assign(by=by) for by in BY if by in items]
    out = pd.concat(parts, ignore_index=True)
    return out[["by", "slice", "campaigns", "accounts", "recall", "low", "high"]]


def _bands(values: pd.Series[int], bands: Mapping[str, tuple[int, int]]) -> pd.Series[Any]:
    """The band of each value, in order; none below the first."""
    first, *_ = (low for low, _ in bands.values())
    edges = [0, *(high for _, high in bands.values())]
    return pd.cut(values.where(values >= first), edges, labels=list(bands))


def _recalls(items: pd.DataFrame, times: Floats, by: str) -> pd.DataFrame:
    """Recall of accounts by a column; `times` are the weights of all accounts, by the index of `items`. One campaign
    alone has no interval."""
    known = items.dropna(subset=by)
    sliced = known.groupby(by, observed=True)
    out = sliced.agg(campaigns=("campaign", "nunique"), accounts=("account_id", "size"))
    out = out.reset_index(names="slice")
    marks = np.eye(len(out))[sliced.ngroup().to_numpy(np.int64)]
    weight = times[:, known.index.to_numpy()]
    mass, caught = weight @ marks, weight @ (marks * known["flagged"].to_numpy(float)[:, None])
    out = _told(out, np.divide(caught, mass, out=np.full_like(mass, np.nan), where=mass > 0), "recall")
    out[["low", "high"]] = out[["low", "high"]].where(out["campaigns"] > 1)
    return out.astype({"slice": object})


def _campaigns(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a campaign to be found: share of it `found`, `largest` share in one found group, `pieces` it lies in."""
    sliced = rows[rows["item"]].groupby("campaign")
    out = sliced.agg(
        accounts=("account_id", "size"), found=("flagged", "mean"), pieces=("found", "nunique"), most=("same", "max"),
        family=("family", "first"), text=("text", "first"), share=("share", "mean"),
    )  # fmt: skip
    out["largest"] = out.pop("most") / out["accounts"]
    return out.reset_index()


def _found_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a found group: `purity` is the share of its largest campaign, `attack` that of attack accounts."""
    sliced = rows[rows["flagged"]].groupby("found")
    out = sliced.agg(
        accounts=("account_id", "size"), attack=("attack", "mean"), most=("same", "max"), score=("score", "max")
    )
    out["purity"] = out.pop("most") / out["accounts"]
    return out.reset_index()


def _honest_groups(rows: pd.DataFrame) -> pd.DataFrame:
    """A row an honest group: accounts, flagged ones, and whether it is convicted (`CONVICTED`)."""
    sliced = rows[~rows["attack"]].groupby("group")
    out = sliced.agg(
        kind=("kind", "first"), family=("family", "first"), accounts=("account_id", "size"), flagged=("flagged", "sum")
    )
    share = out["flagged"] / out["accounts"]
    out["convicted"] = (out["flagged"] >= CONVICTED) | (share >= CONVICTED_SHARE)
    return out.reset_index()


def _kinds(rows: pd.DataFrame, honest: pd.DataFrame, least: int) -> pd.DataFrame:
    """Honest accounts and those flagged, groups of `least` accounts and those convicted, by kind and family."""
    keys = ["kind", "family"]
    out = rows[~rows["attack"]].groupby(keys).agg(accounts=("account_id", "size"), flagged=("flagged", "sum"))
    large = honest[honest["accounts"] >= least].groupby(keys)
    counts = large.agg(groups=("group", "size"), convicted=("convicted", "sum"))
    out = out.join(counts).fillna(0).astype(int).reset_index()
    return out.sort_values(["convicted", "flagged", "accounts"], ascending=False, ignore_index=True)


def leak(
    runs: Sequence[tuple[object, pd.DataFrame]], known: pd.DataFrame, times: pd.DataFrame, *, least: int = LEAST
) -> pd.DataFrame:
    """What each campaign sent before it was found: a row each with accounts, exchanges, found_at, sent, leak (a share).

    `runs` are (moment, found rows of the traffic before it); `times` has account_id and time, a row an exchange, with
    moments of the same type. A campaign is found at the first moment at which at least half of its accounts that were
    active by then are in found groups; one never found has leaked everything and has no `found_at`.
    """
    items = known.loc[(known["label"] == 1) & (known["size"] >= least), ["account_id", "campaign"]]
    sent = times[["account_id", "time"]].merge(items, on="account_id")
    first = sent.groupby(["campaign", "account_id"])["time"].min().reset_index()
    out = sent.groupby("campaign").agg(exchanges=("time", "size"), accounts=("account_id", "nunique"))
    seen: dict[str, object] = {}
    for moment, found in sorted(runs, key=lambda run: run[0]):  # type: ignore[arg-type,return-value]
        active = first[first["time"] < moment]
        share = active["account_id"].isin(found["account_id"]).groupby(active["campaign"]).mean()
        seen = dict.fromkeys(share.index[share >= LOWER], moment) | seen
    out["found_at"] = pd.Series(seen, dtype=sent["time"].dtype).reindex(out.index)
    at = sent["campaign"].map(out["found_at"])
    out["sent"] = (at.isna() | (sent["time"] < at)).groupby(sent["campaign"]).sum()
    out["leak"] = out["sent"] / out["exchanges"]
    return out.reset_index()


def leak_by_size(leaks: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 7) -> pd.DataFrame:
    """By size of campaign, and for those aimed at: campaigns, mean leak with its interval, median, share never found
    and share of all their exchanges."""
    sizes = {**SIZES, "-".join(map(str, AIMED)): AIMED}
    own = {name: leaks[leaks["accounts"].between(low, high)] for name, (low, high) in sizes.items()}
    return _leaked(own, "size", resamples, seed)


def leak_by(
    leaks: pd.DataFrame, known: pd.DataFrame, by: str, *, resamples: int = RESAMPLES, seed: int = 7
) -> pd.DataFrame:
    """The same by slices of campaigns, `by` takeover, evasion (a campaign may be in several) or metadata (shared where
    any two accounts share); empty where `known` does not tell."""
    if by not in known:
        return _leaked({}, "slice", resamples, seed)
    of = known.loc[known["campaign"].isin(leaks["campaign"]), ["campaign", by]].explode(by).drop_duplicates()
    if by == "metadata":
        of = of.sort_values(by, key=lambda told: told == OWN).drop_duplicates("campaign")
    own = {str(name): leaks[leaks["campaign"].isin(held)] for name, held in of.groupby(by)["campaign"]}
    return _leaked(own, "slice", resamples, seed)


def _leaked(parts: Mapping[str, pd.DataFrame], key: str, resamples: int, seed: int) -> pd.DataFrame:
    """A row for each part of what `leak` gives that holds any campaign; one alone has no interval."""
    rng, rows = np.random.default_rng(seed), []
    for name, own in parts.items():
        if len(own):
            share = own["leak"].to_numpy()
            means = share[rng.integers(0, len(own), (resamples, len(own)))].mean(axis=1)
            ends = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if len(own) > 1 else (np.nan,) * 2
            never, pooled = own["found_at"].isna().mean(), own["sent"].sum() / own["exchanges"].sum()
            rows.append((name, len(own), share.mean(), *ends, np.median(share), never, pooled))
    return pd.DataFrame(rows, columns=[key, "campaigns", "mean", "low", "high", "median", "never", "pooled"])


def targets(judged: Judged, leaks: pd.DataFrame | None = None, *, least: int = LEAST) -> pd.DataFrame:
    """What is aimed for: target, aim, value, low, high, n (what was measured) and met (yes, no, not measured)."""
    share, text = judged.accounts["share"], judged.accounts["text"]
    precision = judged.headline.set_index("metric").loc["account precision"]
    flagged = int(judged.accounts["flagged"].sum())
    rows: list[tuple[object, ...]] = [
        ("account precision", ">= 0.98", precision["value"], precision["low"], precision["high"], f"{flagged} accounts")
    ]
    easy = share >= LOWER
    wanted = {
        "accounts found, cover <= 50 %": (easy, 0.9),
        "accounts found, cover <= 50 %, templated": (easy & text.isin(WRAPPED), 0.9),
        "accounts found, cover about 80 % (harvesting 15-30 %)": (share.between(*HARD), 0.6),
        "accounts found, cover <= 50 %, bare (families of real prompts)": (easy & text.isin(BARE), 0.6),
    }
    for name, (where, aim) in wanted.items():
        got = share_found(judged, where)
        for _, row in got.iterrows():
            n = f"{row['accounts']} accounts of {row['campaigns']} campaigns"
            rows.append((name, f">= {aim:.2f}", row["recall"], row["low"], row["high"], n))
        if got.empty:
            rows.append((name, f">= {aim:.2f}", np.nan, np.nan, np.nan, "none"))
    alike = judged.honest[judged.honest["accounts"] >= least]
    convicted = float(alike["convicted"].sum()) if len(alike) else np.nan
    rows.append((f"honest groups of {least} accounts or more convicted", "<= 0", convicted, np.nan, np.nan,
                 f"{len(alike)} groups"))  # fmt: skip
    if leaks is not None:
        own = leak_by_size(leaks).set_index("size").reindex(["-".join(map(str, AIMED))]).iloc[0]
        n = "none" if np.isnan(own["campaigns"]) else f"{own['campaigns']:.0f} campaigns"
        rows.append(("leak, campaigns of 25-200 accounts, mean", "<= 0.10", own["mean"], own["low"], own["high"], n))
    out = pd.DataFrame(rows, columns=["target", "aim", "value", "low", "high", "n"])
    met = [_met(str(aim), float(value)) for aim, value in zip(out["aim"], out["value"], strict=True)]
    return out.assign(met=met)


def _met(aim: str, value: float) -> str:
    sign, _, bound = aim.partition(" ")
    if np.isnan(value):
        return "not measured"
    return "yes" if (value >= float(bound) if sign == ">=" else value <= float(bound)) else "no"
