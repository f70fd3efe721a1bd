# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Investigate a campaign
#
# A campaign may hide by having many accounts, each of them too quiet to be flagged. This notebook follows an analyst
# from a provider's traffic to one case, and on to another provider: who is flagged alone, which accounts cannot be told
# apart, which groups of them score high, what one case says for and against itself, on which day it could have been
# known, and what of it can be shared.
#
# **Everything here is simulated**: the traffic, the people, the campaigns, and the honest groups that look like them.
# `fingerprint` sees the traffic alone; the simulator's labels are read only to explain what was found, and wherever
# they are it is said. The prompt head of the shipped bundle has learnt from families of built-in text such as this
# world's, so that recall here flatters it; [docs/detection.md](../docs/detection.md) measures families it never read.

# %%
# %matplotlib inline
import json
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from IPython.display import Image, Markdown, display

from fingerprint import Scorer
from fingerprint.campaigns.evidence import ACT, REVIEW
from fingerprint.campaigns.figures import draw
from fingerprint.campaigns.find import State, case_of, find
from fingerprint.campaigns.links import KINDS, MOST_RATIO
from fingerprint.campaigns.match import match, read_bundle
from fingerprint.campaigns.share import share
from fingerprint.exchange import Names
from fingerprint.kernels.layout import W
from fingerprint.readers import Rejects, read
from training.world import make_world, open_world
from training.world.account import one_account
from training.world.settings import load

folder = Path(tempfile.mkdtemp())
overrides = {
    "accounts": 1500,
    "days": 14,
    "seed": 11,
    "kinds": {"human": 0.42, "automation": 0.28, "mixed": 0.0, "attack": 0.30},  # groups are as large as kinds allow
    "evasions.identity": {"probability": 1.0, "low": 1.0, "high": 1.0},  # no network, client or payment in common
    "lookalikes.share": 0.5,  # half of the honest groups share text, for honest reasons
}
settings = load("demo", None, overrides)
made = make_world(folder / "world", settings, workers=2)
print(f"{made.accounts:,} accounts, {made.exchanges:,} exchanges, {made.campaigns} campaigns")
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999"  # Okabe & Ito

# %% [markdown]
# The analyst reads the traffic once. What is kept of an account is a window and a sample of at most 48 exchanges as
# numbers: hashes of how prompts begin and end, what they are about as 32 small integers, and when. No text.

# %%
scorer = Scorer.load()  # the bundle that ships with the package
assembler, names, keeper = State(scorer.bundle_id).assembler(scorer, Names())
for batch in read(folder / "world" / "traffic", accounts=names, sessions=Names(), rejects=Rejects()):
    assembler.add(batch)
state = State(scorer.bundle_id).after(names, assembler.account_windows(), keeper)
found = find(state, scorer)
ev, links = found.evidence, found.links

# the simulator's labels, to explain what was found: nothing above has seen them
truth = pd.read_csv(folder / "world" / "labels.csv", dtype={"account_id": str}).set_index("account_id")
truth = truth.join(pd.read_csv(folder / "world" / "groups.csv", dtype=str).set_index("account_id")).loc[state.accounts]
attack, operated = (truth["label"] == 1).to_numpy(), pd.factorize(truth["group"])[0]
print(f"{len(found.groups)} groups of linked accounts, {len(found.campaigns)} of them reach review")

# %% [markdown]
# ## 1. One account at a time
#
# The baseline is what there was before: each account's own score against the bundle's threshold. What lies left of the
# line is not looked at. (Colours by label.)

# %%
odds = np.log(found.own / (1 - found.own))
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
bins = np.linspace(odds.min(), odds.max(), 45)
for mine, colour, name, fill in ((~attack, BLUE, "honest", True), (attack, ORANGE, "attack", False)):
    axes.hist(
        odds[mine],
        bins,
        histtype="stepfilled" if fill else "step",
        color=colour,
        alpha=0.45 if fill else 1,
        lw=2,
        label=name,
    )
axes.axvline(np.log(scorer.review / (1 - scorer.review)), color="black", lw=1)
axes.annotate("review  ", (np.log(scorer.review / (1 - scorer.review)), axes.get_ylim()[1] * 0.93), ha="right")
shown = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99])
shown = shown[(np.log(shown / (1 - shown)) > odds.min()) & (np.log(shown / (1 - shown)) < odds.max())]
axes.set_xticks(np.log(shown / (1 - shown)), [f"{s:g}" for s in shown])
axes.set(
    xlabel="the account's own score (log odds, 0 to 1)", ylabel="accounts", title="Who is flagged alone (simulated)"
)
axes.legend(frameon=False, loc="upper left")
alone = found.own >= scorer.review
print(f"{alone.sum()} accounts reach review: {(alone & attack).sum()} attack, {(alone & ~attack).sum()} honest")
print(f"{(~alone & attack).sum()} of {attack.sum()} attack accounts ({1 - alone[attack].mean():.0%}) stay below it")

# %% [markdown]
# ## 2. Links: who cannot be told apart
#
# Two accounts are linked if their prompts begin alike, end alike, or are about the same, *and* what fills them differs
# between the two no more than within one: the variance ratio is 1 on average where both draw from one list, and a link
# needs at most 1.5. Pairs above that are not kept, so the curves end there. How often is a pair linked at all, and how
# close are the linked ones? (Pairs sorted by label.)

# %%
pair = pd.DataFrame({"a": links.a, "b": links.b, "kind": links.kind, "ratio": links.ratio})
same, guilty = operated[links.a] == operated[links.b], attack[links.a] & attack[links.b]
pair["who"] = np.select(
    [same & guilty, same, guilty], ["one campaign", "one honest group", "two campaigns"], "strangers"
)
sizes = truth.groupby("group")["label"].agg(["size", "max"])
inside = (sizes["size"] * (sizes["size"] - 1) // 2).groupby(sizes["max"]).sum()
attackers, everybody = attack.sum() * (attack.sum() - 1) // 2, len(attack) * (len(attack) - 1) // 2
pairs = pd.Series({"one campaign": inside[1], "one honest group": inside[0], "two campaigns": attackers - inside[1]})
pairs["strangers"] = everybody - pairs.sum()
linked = pair.drop_duplicates(["a", "b"])["who"].value_counts().reindex(pairs.index, fill_value=0)

paint = dict(zip(pairs.index, (ORANGE, BLUE, PINK, GREY), strict=True))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", width_ratios=(1, 1.3))
share_linked = 100 * linked / pairs
left.barh(pairs.index[::-1], share_linked[::-1], color=[paint[who] for who in pairs.index[::-1]])
for row, who in enumerate(pairs.index[::-1]):
    told = f"{share_linked[who]:.2g} %  ({linked[who]:,} of {pairs[who]:,})"
    left.text(share_linked[who] * 1.15, row, told, va="center", fontsize=9)
left.set(xscale="log", xlim=(0.01, 30_000), xlabel="pairs that are linked, per cent (logarithmic)", title="How often")
left.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
left.xaxis.set_minor_locator(plt.NullLocator())
left.spines[["top", "right"]].set_visible(False)
for (who, colour), dash in zip(paint.items(), ("-", "--", "-.", ":"), strict=True):
    ratio = np.sort(pair.loc[pair["who"] == who, "ratio"])
    name = f"{who} ({len(ratio):,} links)"
    right.plot(ratio, np.arange(1, len(ratio) + 1) / len(ratio), dash, color=colour, lw=2, label=name)
right.axvline(1, color="black", lw=0.6)
right.set(xlabel="variance ratio (between accounts / within one, no unit)", ylabel="share of links at most")
right.set_title("How close")
right.set(xlim=(0, MOST_RATIO), ylim=(0, 1))
right.legend(frameon=False, fontsize=9, loc="upper left")
by_kind = pd.crosstab(pair["who"], pair["kind"].map(dict(enumerate(KINDS))))
by_kind = by_kind.reindex(index=pairs.index, columns=list(KINDS), fill_value=0)
display(by_kind)

# %% [markdown]
# A pair of one campaign is linked many times more often than two strangers. But there are so many more pairs of
# strangers that they make most of the links, and an honest group that shares its text for an honest reason is linked as
# closely as a campaign is: links say *together*, never *guilty*. So a group is made only where many heavy links meet,
# and then it is judged by what it does.
#
# ## 3. Groups: size and score
#
# A group's score is the mean of its members' log odds: one loud member convicts nobody, and many that are each a little
# suspicious are suspicious together. (Colours by label: whose accounts are most of the group's.)

# %%
rows = []
for members in found.groups:
    biggest, most = Counter(operated[members]).most_common(1)[0]
    who = truth.iloc[members[operated[members] == biggest][0]]
    guilty = attack[members].mean()
    kind = "mostly attack" if guilty > 0.5 else "some attack" if guilty else "honest"
    rows.append((kind, len(members), most / len(members), who["family"], who["lookalike"], found.own[members].max()))
groups = pd.DataFrame(rows, columns=["who", "accounts", "of one operator", "family", "look-alike", "highest own score"])
groups = groups.assign(score=ev.score, pooled=ev.pooled, q=ev.q, ratio=ev.ratio, overlap=ev.overlap)

figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
looks = {"honest": (BLUE, "o"), "some attack": (GREEN, "s"), "mostly attack": (ORANGE, "D")}
spread = np.random.default_rng(0).uniform(-0.25, 0.25, len(groups))
for who, (colour, mark) in looks.items():
    mine = groups["who"] == who
    axes.scatter(
        groups["accounts"][mine] + spread[mine],
        groups["score"][mine],
        c=colour,
        marker=mark,
        s=34,
        alpha=0.75,
        lw=0,
        label=f"{who} ({mine.sum()})",
    )
for level, name in ((REVIEW, "review"), (ACT, "act")):
    axes.axhline(level, color="black", lw=0.8)
    axes.text(groups["accounts"].max() + 0.6, level, f" {name}", va="bottom", ha="right")
near = groups[groups["who"] == "honest"].nlargest(6, "score")
axes.set(
    yscale="logit",
    xlabel="accounts of the group",
    ylabel="score of the group (0 to 1, log odds)",
    title="Every group of linked accounts (simulated)",
)
axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
axes.yaxis.set_minor_formatter(lambda value, _: "")
for number, row in near.head(3).iterrows():
    axes.annotate(
        row["family"],
        (row["accounts"] + spread[number], row["score"]),
        (8, -3),
        textcoords="offset points",
        fontsize=9,
        color=BLUE,
    )
axes.legend(frameon=False, loc="lower right", title="accounts (by label)")
over = groups[groups["score"] >= REVIEW]
told = over["who"].value_counts()
print(f"{len(over)} groups reach review: " + ", ".join(f"{n} {who}" for who, n in told.items()))
print(f"{(groups['score'] < REVIEW).sum()} groups are linked and not convicted")
lone = attack[ev.group < 0]
loose = np.isin(ev.group, groups.index[groups["who"] == "some attack"])
print(f"attack accounts: {lone.sum()} in no group, {attack[loose].sum()} in groups that are mostly honest")
print(f"{len(lone)} accounts are in no group ({lone.mean():.0%} of them attack): p and q compare a group with these")

# %% [markdown]
# What does it cost? The honest way to compare is at one price: for as many honest accounts as a level of groups
# accuses, how many attack accounts would a lower threshold of the account's own score have found? (Labels.)

# %%
score_of = np.where(ev.group >= 0, ev.score[ev.group], 0.0)
rows = {}
for level, limit in (("act", ACT), ("review", REVIEW)):
    inside = score_of >= limit
    wrong = (~attack & inside).sum()
    threshold = np.sort(found.own[~attack])[::-1][wrong]
    rows[f"groups at {level}"] = ((~attack & inside).sum(), (attack & inside).sum(), (attack & inside & ~alone).sum())
    cheap = found.own > threshold
    rows[f"alone, own score above {threshold:.2f}"] = (wrong, (attack & cheap).sum(), (attack & cheap & ~alone).sum())
rows[f"alone at review ({scorer.review:.2f})"] = ((~attack & alone).sum(), (attack & alone).sum(), 0)
either = alone | (score_of >= REVIEW)
rows["either at review"] = ((~attack & either).sum(), (attack & either).sum(), (attack & either & ~alone).sum())
display(pd.DataFrame(rows, index=["honest accounts accused", "attack accounts found", "of these below review alone"]).T)

# %% [markdown]
# Groups reach accounts that nobody sees alone. But they are not free: in a world this small, with campaigns of a
# handful of accounts, a lower threshold would find more attack accounts for the same number of honest ones. Many attack
# accounts are in no group, and loose groups of strangers take others in, where the mean clears them. What a group adds
# that no threshold does is *together*: one case to look at in place of many, with a form, a rhythm and a list that can
# be checked. Which honest groups come nearest, and why do they stop where they do?

# %%
near.drop(columns="who").round(2)

# %% [markdown]
# The column `look-alike` says (by label) what an honest group shares its text as. People of one company or users of one
# app, who send a fixed text around each request, are nearest or over the line: the fixed text reads like a template, so
# that each of them scores high already, mostly below review alone, and the mean of a group has no other threshold for
# them. What keeps the other honest groups out is not that they are not linked (ratio near 1: they are) but that their
# members' own scores are low. A group that goes over is a false accusation, and nothing in the traffic says so. Note
# `q` too: it compares a group with accounts that nobody linked. Many of those are attackers in this world of 30 %
# attack, so that it is large for everybody here, and each case will say that chance is possible.

# %%
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
picked = [*near.head(4).index[::-1], *groups[groups["who"] == "mostly attack"].nlargest(4, "accounts").index]
for row, number in enumerate(picked):
    colour, mark = looks[groups.loc[number, "who"]]
    own = np.sort(found.own[found.groups[number]])
    axes.plot(own, np.full(len(own), row), mark, color=colour, ms=6, alpha=0.6, mew=0)
    axes.plot(groups.loc[number, "score"], row, "|", color="black", ms=22, mew=2)
axes.axvline(REVIEW, color="black", lw=0.8, ls="--")
axes.axvline(scorer.review, color="black", lw=0.8)
axes.text(REVIEW, len(picked) - 0.4, "review of a group", ha="center", va="bottom", fontsize=9)
axes.text(scorer.review, len(picked) - 0.4, "review of an account", ha="center", va="bottom", fontsize=9)
axes.set_yticks(range(len(picked)), [f"{groups.loc[n, 'family']} ({groups.loc[n, 'who']})" for n in picked])
axes.set(
    xscale="logit",
    xlabel="own score of each member; bar: the group's (0 to 1, log odds)",
    ylim=(-0.6, len(picked) + 0.3),
)
axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
axes.xaxis.set_minor_formatter(lambda value, _: "")
axes.set_title("Honest groups that come nearest, and the largest of the campaigns (by label)", pad=12)
plt.show()

# %% [markdown]
# ## 4. One case
#
# Of the campaigns at level act, the one that most of whose accounts nobody would have seen alone, as an analyst gets
# it. The command line writes the same as a folder (`fingerprint campaigns TRAFFIC --out rows.csv --cases cases`).

# %%
campaign = max((c for c in found.campaigns if c.level == "act"), key=lambda c: (~alone[c.members]).sum())
case, days = case_of(campaign, found, state, scorer)
size = f"{len(case.accounts)} accounts, {case.exchanges:,} exchanges, {len(case.forms)} forms"
print(f"{case.campaign_id}: {case.level}, score {case.score:.2f}; {size}")
print(f"alone, {sum(m.score < scorer.review for m in case.accounts)} of its accounts stay below review")
pictures = draw(case, days)
display(Image(pictures["timeline"], width=760), Image(pictures["hours"], width=760))

# %%
display(Image(pictures["sharding"], width=760), Image(pictures["growth"], width=760))

# %% [markdown]
# In the timeline, accounts that begin together or take over from one another speak for one operator. In the heat map, a
# missing night speaks for a person, though many honest programs run through too. In the third figure one mixed cloud
# says that the members ask for parts of one list. And growth is steep where a campaign scales up, as it is where a
# product is released. None of it is proof; the case says so itself, from its numbers:

# %%
both = {"What is alleged": case.alleged, "What speaks against it": case.against}
Markdown("\n\n".join(f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in both.items()))

# %%
inside = truth.iloc[campaign.members]  # by label: what an analyst never gets to see
main = inside.loc[inside["label"] == 1, "group"].mode()[0]
of_main = (inside["group"] == main).sum()
print(f"in truth: {inside['label'].sum()} of {len(inside)} are attack accounts, {of_main} of one operator")
print(f"that operator has {(truth['group'] == main).sum()} accounts: the others were not tied in")
inside.groupby(["kind", "family"]).agg(accounts=("label", "size"), harvesting_share=("share", "median"))

# %% [markdown]
# ## 5. Day by day
#
# Nobody waits a fortnight. The same calls, day after day over a state: what was kept of the days before is carried on,
# and a campaign keeps its id while it grows.

# %%
table = pq.read_table(folder / "world" / "traffic")
on = table["timestamp"].to_numpy().astype("M8[D]")
calendar = np.unique(on)
day_state, ids, history = State(scorer.bundle_id), {}, []
for day in calendar:
    pq.write_table(table.filter(on == day), folder / "day.parquet")
    assembler, names, keeper = day_state.assembler(scorer, Names())
    for batch in read(folder / "day.parquet", accounts=names, sessions=Names(), rejects=Rejects()):
        assembler.add(batch)
    day_state = day_state.after(names, assembler.account_windows(), keeper)
    today = find(day_state, scorer)
    flagged = {day_state.accounts[i] for i in np.flatnonzero(today.own >= scorer.review)}
    tied = {day_state.accounts[m]: c.campaign_id for c in today.campaigns for m in c.members}
    history.append((day, set(day_state.accounts), flagged, tied))
print(f"{len(today.campaigns)} campaigns on the last day, {len(found.campaigns)} from the whole at once")
print(f"{len(day_state.campaigns)} ids were given in all: groups come, grow and go")

# %%
ours = {state.accounts[m] for m in campaign.members}
sent = pd.DataFrame({"account": table["account_id"].to_pandas(), "day": on})
per_day = sent[sent["account"].isin(ours)].groupby("day").size().reindex(calendar, fill_value=0)
growth = pd.DataFrame(
    [(len(ours & seen), len(ours & set(tied)), len(ours & flagged)) for _, seen, flagged, tied in history],
    index=calendar, columns=["seen", "in a found campaign", "flagged alone"],
)  # fmt: skip
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
number = np.arange(1, len(calendar) + 1)
for name, colour, dash, wide in (
    ("seen", "#CCCCCC", "-", 8),
    ("in a found campaign", ORANGE, "-", 2.4),
    ("flagged alone", BLUE, "--", 2.4),
):
    left.step(number, growth[name], dash, where="mid", color=colour, lw=wide, label=name)
left.set(xlabel="day", ylabel="accounts of the case", title=f"How {case.campaign_id} grows", ylim=(0, None))
left.legend(frameon=False, loc="center right")
known_from = growth["in a found campaign"] >= 3
leaked = per_day[: int(np.argmax(known_from)) + 1].sum() if known_from.any() else per_day.sum()
early = ~known_from.cummax().shift(fill_value=False)
right.bar(
    number[early], per_day[early], color=ORANGE, hatch="//", edgecolor="white", label="until the day it was first found"
)
right.bar(number[~early], per_day[~early], color=GREY, label="later: could have been stopped")
right.set(xlabel="day", ylabel="exchanges of the case a day", title="What leaked")
right.set_ylim(0, 1.3 * per_day.max())
right.legend(frameon=False, loc="upper right")
part = f"{leaked:,} of {per_day.sum():,} exchanges ({leaked / per_day.sum():.0%})"
print(f"first found (three accounts of the case) on day {int(np.argmax(known_from)) + 1}; until then {part}")

# %% [markdown]
# And all campaigns of at least five accounts, by label: what part of a campaign's exchanges was answered by the evening
# on which three of its accounts were first in found groups, or three were first flagged alone? What never is found
# leaks whole. The two curves do not accuse equally many honest accounts (part 3), so the distance between them is not
# what groups gain.

# %%
sent["campaign"] = sent["account"].map(truth["group"].where(truth["label"] == 1))
sizes = truth[truth["label"] == 1].groupby("group").size()
large = sizes.index[sizes >= 5]
counts = (
    sent.groupby(["campaign", "day"]).size().unstack(fill_value=0).reindex(columns=calendar, fill_value=0).loc[large]
)
owner = truth["group"]
held = {"in a found group: at least 3 accounts": {}, "flagged alone: at least 3 accounts": {}}
for at, (_, _, flagged, tied) in enumerate(history):
    for name, some in zip(held, (tied, flagged), strict=True):
        for group, accounts in Counter(owner[list(some)]).items():
            if accounts >= 3:
                held[name].setdefault(group, at)
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (name, first), colour, dash in zip(held.items(), (ORANGE, BLUE), ("-", "--"), strict=True):
    answered = counts.cumsum(axis=1).to_numpy() / counts.sum(axis=1).to_numpy()[:, None]
    leak = np.sort([answered[row, first[group]] if group in first else 1.0 for row, group in enumerate(counts.index)])
    axes.step(
        100 * np.r_[0, leak, 1],
        100 * np.r_[0, np.arange(1, len(leak) + 1) / len(leak), 1],
        dash,
        where="post",
        color=colour,
        lw=2.4,
        label=name,
    )
    print(
        f"{name}: {sum(g in first for g in counts.index)} of {len(counts)} campaigns, median leak {np.median(leak):.0%}"
    )
axes.set(
    xlabel="exchanges answered by that evening, per cent of the campaign's",
    ylabel="campaigns, per cent at most",
    xlim=(0, 101),
    ylim=(0, 101),
)
axes.set_title("What leaked before it could be known (simulated)")
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# ## 6. Sharing
#
# Another provider may serve the same operator. What is shared is a STIX 2.1 bundle: per form a signature keyed with a
# secret of the sharing group, and a coarse profile. Whoever has no key can look for nothing in it.

# %%
key = b"a key that the sharing group agreed"
now = datetime.fromisoformat(case.last_seen)
bundle = share(case.as_dict(), key, provider="Example AI", tlp="amber", valid_days=90, now=now, accounts=False)
objects = json.loads(bundle)["objects"]
prompts = {text[:40] for text in table["prompt"].to_pylist() if text and len(text) >= 40}
print(f"{len(bundle.encode()):,} bytes, {len(objects)} objects: {dict(Counter(o['type'] for o in objects))}")
print(f"account ids in it: {sum(m.account_id in bundle for m in case.accounts)} of {len(case.accounts)}")
print(f"beginnings of prompts in it: {sum(text in bundle for text in prompts)} of {len(prompts):,}")
print(f"hashes of forms in the clear: {sum(form.hash in bundle for form in case.forms)} of {len(case.forms)}")
known = read_bundle(bundle.encode(), key, now=now)
for name, value in known.profile._asdict().items():
    print(f"    {name}: {value}")

# %% [markdown]
# The receiver: another provider with traffic of its own, simulated from another seed. First as it is: an unrelated
# world, in which every match is false, be it of an honest account or of another campaign. Then with a few new accounts
# of the same operator, built with the case's own templates.

# %%
other = replace(settings, accounts=900, seed=23)
make_world(folder / "other", other, workers=2)
world, plans = open_world(settings, None)
relocated = [replace(p, index=100_000 + p.index) for p in plans if f"group_{p.group:05d}" == main]
(folder / "relocated").mkdir()
for i, plan in enumerate(relocated):
    pq.write_table(one_account(world, plan), folder / "relocated" / f"part-{i}.parquet")

matched, carried = {}, {}
for name, sources in {
    "an unrelated world": ["other/traffic"],
    "the operator is there too": ["other/traffic", "relocated"],
}.items():
    assembler, names, keeper = State(scorer.bundle_id).assembler(scorer, Names(), None)
    for source in sources:
        for batch in read(folder / source, accounts=names, sessions=Names(), rejects=Rejects()):
            assembler.add(batch)
    assembler.account_windows()
    sample = keeper.finish()
    fit = match(known, sample.when[:, W["head"]], sample.when[:, W["tail"]], sample.account, key)
    labels = pd.read_csv(folder / "other" / "labels.csv", dtype={"account_id": str}).set_index("account_id")["label"]
    who = (
        labels.reindex([names.items[code] for code in fit.account])
        .map({0: "honest", 1: "another campaign"})
        .fillna("the operator")
    )
    share_carrying = pd.Series(fit.share, index=who)
    carried[name] = share_carrying
    hit = np.isin(fit.account, fit.matched)
    matched[name] = who[hit].value_counts().to_dict() | {
        "accounts": len(who),
        "by chance, at most": round(fit.by_chance, 1),
    }
of = f"accounts that match {known.campaign_id}"
columns = ["accounts", "the operator", "another campaign", "honest", "by chance, at most"]
display(pd.DataFrame(matched).T.reindex(columns=columns).fillna(0).rename_axis(of))
print(f"the operator has {len(relocated)} accounts there")

# %%
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
shares, jitter = carried["the operator is there too"], np.random.default_rng(0)
for row, (who, colour, mark) in enumerate(
    (("honest", BLUE, "o"), ("another campaign", PINK, "s"), ("the operator", ORANGE, "D"))
):
    mine = shares[shares.index == who].to_numpy()
    axes.plot(100 * mine, row + jitter.uniform(-0.28, 0.28, len(mine)), mark, color=colour, ms=5, alpha=0.6, mew=0)
axes.set_yticks(
    range(3), [f"{who} ({(shares.index == who).sum()})" for who in ("honest", "another campaign", "the operator")]
)
axes.set(
    xlabel="sampled exchanges that carry a shared signature, per cent of the account's",
    xlim=(-2, 102),
    ylim=(-0.5, 2.5),
)
axes.set_title("The receiver's accounts, by label (simulated)")
plt.show()

# %% [markdown]
# What travels is only how prompts begin and end. An operator who keeps the templates is met again at once; one who
# rewrites them is not met at all. A match is a lead: the receiver must look at what those accounts do, as in parts 3
# and 4, before it says anything about them. The figure `by chance` is an upper bound, from how common the forms are
# among the sender's own other accounts. The simulator writes all its built-in text from one stock of templates, so that
# strangers can carry the same one; how much real templates vary has not been measured here.
#
# ## 7. Before anybody acts
#
# An accusation is not a proof. A case says that accounts work together and that what they ask looks like harvesting. It
# cannot say who they are or whether they may. Ask first:
#
# - **Who are they?** One known customer with many keys, a reseller, a gateway, a class? Are payments, contracts, a
#   support ticket on file? The case has looked at none of them.
# - **What is it for?** Labelling, translating, evaluating, test data of a vendor all look like this. Distillation
#   itself may be allowed: by a contract, for research, of one's own outputs.
# - **Which honest group would look the same?** Remember those over the line in part 3, and read the lines of the case
#   under *what speaks against it*.
# - **Who is in it by mistake?** A member with low membership and a low score of its own may be tied in by cover
#   traffic. Act on members, not on ids of groups.
# - **Does it hang on one thing?** One kind of link, one form, one day, a small pool.
# - **What happens if this is wrong?** Somebody who pays is locked out. Choose what can be undone: ask, watch, slow
#   down; then, with a person's decision, more.
# - **Who can answer back?** The customer should learn what is alleged, and somebody else than the accuser should read
#   the reply.
#
# ## Caveat
#
# All campaigns, people and look-alikes are simulated, with one grammar of built-in text and operators of at most about
# twenty accounts; part of what was found is found because the bundle knows such text. Three accounts are the least that
# can be a group: a campaign of one or two is left to part 1. An attack share of 30 % is far from any provider's: at a
# rarer rate fewer of the convicted groups would be guilty, with the very same honest groups over the line.
