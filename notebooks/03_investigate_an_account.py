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
# # Investigate an account
#
# An account has been flagged. When did it become suspicious, why, what would an honest account of the same trade look
# like, who else sends the same, and what may be concluded? An analyst is followed twice: through an account of a
# campaign, and through an honest one that was flagged as well. Both are read with the same questions, because on the
# day nobody says which is which.
#
# **Everything here is simulated**: the traffic, the people, the campaigns. `fingerprint` sees the traffic alone; the
# simulator's labels choose the two accounts, colour some figures, where it is said, and are told at the end. The seed
# of this world was chosen so that an honest account is flagged (of four other seeds two had none, two had one or two).
# The shipped bundle has read text of these built-in families, so that what is found here flatters it;
# [docs/detection.md](../docs/detection.md) measures families it never read. No prompt is shown: none is kept.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import matplotlib.dates as dates
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from IPython.display import Image, Markdown, display
from matplotlib.colors import LogNorm

from fingerprint import Monitor, Scorer
from fingerprint.campaigns.figures import draw
from fingerprint.campaigns.find import State, case_of, find
from fingerprint.exchange import Names
from fingerprint.features import FEATURES, compute
from fingerprint.history import HORIZONS
from fingerprint.kernels.layout import CAPABILITIES
from fingerprint.readers import Rejects, read
from training.evaluate import clopper_pearson
from training.world import make_world
from training.world.settings import load

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999"  # Okabe & Ito
plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
folder = Path(tempfile.mkdtemp())
overrides = {
    "accounts": 500,
    "days": 14,
    "seed": 7,
    "volume.largest": 300,
    "kinds": {"human": 0.42, "automation": 0.28, "mixed": 0.0, "attack": 0.30},
    "campaigns": {"smallest": 3, "fewest": 8},  # nobody operates fewer than three accounts
    "evasions.identity": {"probability": 1.0, "low": 1.0, "high": 1.0},  # no network, client or payment in common
    "lookalikes.share": 0.5,  # half of the honest groups share text, for honest reasons
}
made = make_world(folder / "world", load("demo", None, overrides), workers=2)
print(f"{made.accounts:,} accounts, {made.exchanges:,} exchanges in 14 days, {made.campaigns} campaigns")

# %% [markdown]
# ## 1. The traffic as it was served
#
# Every request goes through the monitor in the order of time, as it would have in production. After each one the
# account's windows over four horizons (session, hour, day, month) are scored, and the highest of those that hold at
# least ten exchanges decides. A level rises at once and falls late, so that an account on the edge does not flicker.

# %%
scorer = Scorer.load()  # the bundle that ships with the package
monitor = Monitor(scorer)
records = pq.read_table(folder / "world" / "traffic").sort_by("timestamp").to_pylist()
verdicts = [monitor.observe(record) for record in records]
seen = pd.DataFrame(
    [(v.account_id, v.last_seen, v.score, v.level, v.window, v.n_exchanges) for v in verdicts],
    columns=["account", "time", "score", "level", "window", "exchanges"],
)
seen["number"] = seen.groupby("account").cumcount() + 1  # of the account's exchanges
counted = seen[seen["exchanges"] >= monitor.policy.least]
labels = pd.read_csv(folder / "world" / "labels.csv", dtype={"account_id": str}).set_index("account_id")
honest = labels.index[labels["label"] == 0]
flagged = seen[seen["level"] != "allow"].groupby("account")["number"].first()  # exchange of the first flag
acted = seen.loc[seen["level"] == "act", "account"].unique()
print(f"{len(flagged)} accounts were flagged: {len(acted)} reached act, {len(flagged) - len(acted)} review only")

# %% [markdown]
# ## 2. A dummy baseline
#
# Would something simpler have done? An analyst reads accounts one after another. Sorted by the highest score that an
# account ever had, by its exchanges, or by how alike its prompts are in form: how many of the first ones belong to a
# campaign? (Counted by label.)

# %%
assembler, names, keeper = State(scorer.bundle_id).assembler(scorer, Names())
for batch in read(folder / "world" / "traffic", accounts=names, sessions=Names(), rejects=Rejects()):
    assembler.add(batch)
state = State(scorer.bundle_id).after(names, assembler.account_windows(), keeper)
features = pd.DataFrame(compute(state.windows), index=state.accounts, columns=[f.name for f in FEATURES])
orders = {
    "score": counted.groupby("account")["score"].max().reindex(state.accounts).fillna(0),
    "one rule: prompts of one form": features["form_similarity"].fillna(0),
    "volume: exchanges": seen.groupby("account").size().reindex(state.accounts),
}
attack = ~features.index.isin(honest)
first = np.arange(1, 101)
figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
axes.plot(first, first, color="black", lw=0.8, ls=":")
axes.plot(first, attack.mean() * first, color=GREY, lw=1)
axes.annotate("all of them", (80, 80), (4, -4), textcoords="offset points", va="top", fontsize=9)
axes.annotate("in any order", (100, 100 * attack.mean()), (0, 5), textcoords="offset points", ha="right")
for (name, value), colour, dash in zip(orders.items(), (ORANGE, BLUE, GREEN), ("-", "--", "-."), strict=True):
    hits = np.cumsum(attack[np.argsort(-value.to_numpy(), kind="stable")])[:100]
    axes.plot(first, hits, dash, color=colour, lw=2.4, label=f"sorted by {name}")
axes.set(xlabel="accounts read", ylabel="of these, accounts of campaigns", xlim=(0, 101), ylim=(0, 101))
axes.set_title("What an analyst gets for reading (simulated)")
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# ## 3. Two accounts
#
# **A** belongs to a campaign: of its accounts that reached `act` and stand in a found group, the one that took longest
# to be flagged. **B** is honest: of all honest accounts the one that scored highest. From here on both are read alike.

# %%
found = find(state, scorer)
owner = {state.accounts[m]: c for c in found.campaigns for m in c.members}
candidates = [name for name in acted if name in owner and name not in honest]
both = {"A": flagged[candidates].idxmax(), "B": orders["score"][honest].idxmax()}
course = {letter: seen[seen["account"] == account] for letter, account in both.items()}
reached = pd.concat(
    {letter: rows[rows["level"] != "allow"].drop_duplicates("level") for letter, rows in course.items()}
)
for (letter, _), at in reached.iterrows():
    rows = course[letter]
    days = (at["time"] - rows["time"].iloc[0]).total_seconds() / 86_400
    print(f"{letter}: {at['level']} at exchange {at['number']} of {len(rows)}, after {days:.1f} days ({at['window']})")

# %%
colours = dict(zip(HORIZONS, (PINK, GREEN, ORANGE, BLUE), strict=True))
marks = dict(zip(HORIZONS, "o^sD", strict=True))
figure, panels = plt.subplots(2, 1, figsize=(9, 6.4), sharey=True, layout="constrained")
for axes, (letter, rows) in zip(panels, course.items(), strict=True):
    rows = rows[rows["exchanges"] >= monitor.policy.least]
    axes.plot(rows["number"], rows["score"], color="#CCCCCC", lw=1, zorder=1)
    for horizon in HORIZONS:
        mine, mark = rows[rows["window"] == horizon], {"color": colours[horizon], "marker": marks[horizon]}
        axes.scatter(mine["number"], mine["score"], s=18, lw=0, zorder=2, label=f"window: {horizon}", **mark)
    for level, limit in (("review", scorer.review), ("act", scorer.act)):
        axes.axhline(limit, color="black", lw=0.8, ls="--")
        axes.annotate(level, (1.003, limit), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    for at in reached.loc[letter].itertuples():
        axes.plot(at.number, at.score, "o", ms=13, mfc="none", mec="black", mew=1.4)
    axes.set(yscale="logit", ylabel="score (0 to 1, log odds)", xlim=(0, None))
    axes.set_title(f"{letter}: the score that decides, after each exchange (rings: a level is reached)")
    axes.set_yticks([0.2, 0.5, 0.9, 0.99], ["0.2", "0.5", "0.9", "0.99"])
    axes.set_yticks([], minor=True)
panels[-1].set_xlabel("exchange of the account (windows of fewer than ten exchanges do not count)")
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, markerscale=1.6)
plt.show()

# %% [markdown]
# A level is not a slope that an account climbs: it is a question of which window happens to hold much of what is
# suspicious. A short horizon sees a burst at once and forgets it; the month remembers, and dilutes. What an account was
# sent before its first flag has leaked, and no verdict brings it back.
#
# ## 4. When it works
#
# A cell is an hour of a day. People have nights and days off. Programs need not have any, honest ones neither.

# %%
start, grids = seen["time"].min().floor("D"), {}
for letter, rows in course.items():
    grids[letter] = np.zeros((24, 14))
    np.add.at(grids[letter], (rows["time"].dt.hour, (rows["time"] - start).dt.days), 1)
figure, panels = plt.subplots(1, 2, figsize=(10, 3.9), sharey=True, layout="constrained")
place = (*dates.date2num([start, start + pd.Timedelta(days=14)]), 24, 0)
scale = LogNorm(1, max(grid.max() for grid in grids.values()))
for axes, (letter, grid) in zip(panels, grids.items(), strict=True):
    ink = np.where(grid > 0, grid, np.nan)
    drawn = axes.imshow(ink, cmap="cividis_r", norm=scale, extent=place, aspect="auto")
    axes.xaxis_date()
    axes.xaxis.set_major_locator(dates.DayLocator(interval=3))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%d %b"))
    axes.set(yticks=range(0, 25, 4), xlabel="day (UTC)")
    axes.set_title(f"{letter}: {int(grid.sum())} exchanges on {(grid.sum(0) > 0).sum()} days")
panels[0].set_ylabel("hour of the day (UTC)")
bar = figure.colorbar(drawn, ax=panels, label="exchanges an hour (white: none)", ticks=[1, 3, 10, 30])
bar.ax.set_yticklabels(["1", "3", "10", "30"])
bar.ax.minorticks_off()
bar.outline.set_visible(False)
plt.show()

# %% [markdown]
# ## 5. Why it was flagged
#
# The reasons of the verdict with which each reached its highest level, strongest family first. Left: the value as a
# place in what honest traffic has, nine times in ten (the band; its tick is the median). A reason may lie *inside* the
# band: what is unusual then is the combination. Right: what the score would be if this feature were
# ordinary, or its whole family.

# %%
decided = {letter: reached.loc[letter].index[-1] for letter in both}
reasons = {letter: pd.DataFrame(verdicts[row].reasons) for letter, row in decided.items()}
size = {"figsize": (10.5, 6.4), "width_ratios": (2.2, 1), "sharex": "col", "layout": "constrained"}
figure, panels = plt.subplots(2, 2, **size)
for (left, right), (letter, rows) in zip(panels, reasons.items(), strict=True):
    now, at, width = verdicts[decided[letter]], np.arange(len(rows)), rows["high"] - rows["low"]
    value, typical = (rows["value"] - rows["low"]) / width, (rows["typical"] - rows["low"]) / width
    left.barh(at, 1, 0.5, color="#DDE8F0")
    left.vlines(typical, at - 0.25, at + 0.25, color=BLUE, lw=2)
    for x, y, told in zip(value, at, rows["value"], strict=True):
        left.plot(np.clip(x, -0.6, 1.9), y, "D" if -0.6 <= x <= 1.9 else "<" if x < 0 else ">", color=ORANGE, ms=8)
        left.annotate(f"{told:.3g}", (np.clip(x, -0.6, 1.9), y), (9, 0), textcoords="offset points", va="center")
    told = [f"{row.feature}\nhonest {row.low:.3g} to {row.high:.3g}" for row in rows.itertuples()]
    left.set_yticks(at, told, fontsize=9)
    left.set(ylim=(len(rows) - 0.5, -0.5), xlim=(-0.75, 2.2))
    left.set_title(f"{letter}: {now.level}, score {now.score:.3f}, {now.n_exchanges} exchanges ({now.window})")
    left.tick_params(axis="y", length=0)
    right.axvline(scorer.review, color="black", lw=0.8, ls="--")
    right.axvline(now.score, color=ORANGE, lw=2)
    right.plot(rows["without"], at, "o", color=BLUE, ms=8, label="this feature")
    right.plot(rows["family_without"], at, "s", color=GREY, ms=8, label="its family")
    right.set(ylim=(len(rows) - 0.5, -0.5), yticks=[], xscale="logit")
    right.set_title(f"{letter}: the score without")
panels[1, 0].set_xticks([0, 1], ["5 %", "95 %"])
panels[1, 0].set_xlabel("place among honest windows (quantiles)")
panels[1, 1].set_xlabel("score (orange: with all, dashed: review)")
panels[1, 1].set_xticks([0.1, 0.5, 0.9, 0.99], ["0.1", "0.5", "0.9", "0.99"])
panels[1, 1].set_xticks([], minor=True)
panels[0, 1].legend(frameon=False, loc="center left", bbox_to_anchor=(0.1, 0.5), fontsize=9, handletextpad=0.1)
plt.show()
for letter, rows in reasons.items():
    print(f"{letter}: {rows['sentence'].iloc[0]}")

# %% [markdown]
# With ninety-nine features something is always unusual: the band leaves out one honest window in ten, feature by
# feature. A value outside the honest range is no evidence by itself. How many features of each account's whole history
# lie outside? (Colours by label.)

# %%
low, high = scorer.bundle.baseline[0], scorer.bundle.baseline[2]
outside = ((features < low) | (features > high)).sum(axis=1)
figure, axes = plt.subplots(figsize=(7.5, 3.3), layout="constrained")
bins, looks = np.arange(0, outside.max() + 3, 2), ({"histtype": "stepfilled", "alpha": 0.4}, {"histtype": "step"})
for mine, colour, name, look in ((~attack, BLUE, "honest", looks[0]), (attack, ORANGE, "campaign", looks[1])):
    share, label = np.full(mine.sum(), 100 / mine.sum()), f"{name} accounts ({mine.sum()})"
    axes.hist(outside[mine], bins, weights=share, color=colour, lw=2, label=label, **look)
for letter, account in both.items():
    axes.axvline(outside[account], color="black", lw=1)
    axes.annotate(f" {letter}", (outside[account], 1), xycoords=("data", "axes fraction"), va="top", weight="bold")
axes.set(xlabel=f"features outside the honest 5 to 95 % (of {len(FEATURES)})", ylabel="accounts, per cent")
axes.set_title("How unusual is unusual? (simulated)")
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(0.72, 0.6))
plt.show()

# %% [markdown]
# ## 6. Beside honest accounts of the same trade
#
# The fair comparison is not with everybody but with honest accounts that ask for the same: those whose prompts, as the
# prompt head reads them, aim most at the same capability. Does the account still stand out where the reasons point?
# (Honest by label; an analyst would take customers who are known.)

# %%
aim = features[[f"capability_{name}" for name in CAPABILITIES]].idxmax(axis=1).str.removeprefix("capability_")
figure, panels = plt.subplots(1, 2, figsize=(11, 3.8), sharex=True, layout="constrained")
jitter = np.random.default_rng(0)
for axes, (letter, account) in zip(panels, both.items(), strict=True):
    trade = (~attack) & (aim == aim[account]) & (features.index != account)
    shown = reasons[letter]["feature"].to_list()
    at = [features.columns.get_loc(name) for name in shown]
    place = (features[shown] - low[at]) / (high[at] - low[at])
    axes.axvspan(0, 1, color="#EEEEEE", zorder=0)
    for row, name in enumerate(shown):
        peers = place.loc[trade, name].clip(-0.6, 1.9)
        axes.plot(peers, row + jitter.uniform(-0.3, 0.3, len(peers)), "o", color=BLUE, ms=4, alpha=0.4, mew=0)
        axes.plot(np.clip(place.loc[account, name], -0.6, 1.9), row, "D", color=ORANGE, ms=9, mec="white")
    axes.set_yticks(range(len(shown)), shown)
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(-0.7, 2.0))
    axes.set_xticks([0, 1], ["5 %", "95 %"])
    axes.set_title(f"{letter} (orange) and {trade.sum()} honest accounts\nthat ask most for {aim[account]}")
figure.supxlabel("place among all honest windows (quantiles); whole history of each account", fontsize=10)
plt.show()

# %% [markdown]
# ## 7. Whom it is grouped with
#
# Accounts that cannot be told apart in what they send are linked, linked accounts form groups, and groups are scored
# by the mean of their members' log odds. Numbers stand for members; the account in question is named.

# %%
linked = {
    letter: np.unique(np.concatenate([links[1 - k][links[k] == number] for k in (0, 1)]))
    for letter, account in both.items()
    for number, links in [(state.accounts.index(account), (found.links.a, found.links.b))]
}
for letter, account in both.items():
    campaign, at = owner.get(account), state.accounts.index(account)
    told = f"of group {found.evidence.group[at]}" if found.evidence.group[at] >= 0 else "of no group"
    told += f", which is campaign {campaign.campaign_id}" if campaign else ", of no campaign"
    print(f"{letter}: linked with {len(linked[letter])} accounts, {told}; own score {found.own[at]:.3f}")
campaign = owner[both["A"]]
case, days = case_of(campaign, found, state, scorer)
pictures = draw(case, days)
display(Image(pictures["timeline"], width=760), Image(pictures["sharding"], width=760))

# %%
figure, axes = plt.subplots(figsize=(8.5, 3.4), layout="constrained")
neighbours = {
    f"campaign of A\n({len(case.accounts)} accounts)": (campaign.members, case.score),
    f"linked with B\n({len(linked['B'])} accounts)": (linked["B"], None),
}
for row, ((members, group), letter) in enumerate(zip(neighbours.values(), both, strict=True)):
    scores = found.own[members]
    axes.plot(scores, row + jitter.uniform(-0.2, 0.2, len(scores)), "o", color=GREY, ms=7, alpha=0.7, mew=0)
    own = found.own[state.accounts.index(both[letter])]
    axes.plot(own, row, "D", color=ORANGE, ms=10, mec="white")
    axes.annotate(letter, (own, row), (0, 11), textcoords="offset points", ha="center", weight="bold")
    if group:
        axes.plot(group, row, "|", color="black", ms=40, mew=2)
for level, limit in (("review", scorer.review), ("act", scorer.act)):
    axes.axvline(limit, color="black", lw=0.8, ls="--")
    axes.annotate(level, (limit, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
axes.set_yticks(range(2), list(neighbours))
axes.set(xscale="logit", ylim=(1.6, -0.6), xlabel="score of each account's whole history (bar: of the group)")
axes.set_xticks([0.1, 0.5, 0.9, 0.99], ["0.1", "0.5", "0.9", "0.99"])
axes.set_xticks([], minor=True)
axes.set_title("The company that they keep", pad=16)
plt.show()

# %% [markdown]
# Dots far from the bar are members whom the group carries along: tied in by a form that strangers share, or by cover
# traffic. Who stands alone has no company that speaks for or against it.
#
# ## 8. For and against
#
# The case of the campaign says itself what is alleged and what speaks against it, from its numbers. A lone account has
# no such page: there the analyst writes it, and the questions are the same.

# %%
parts = {"What is alleged of A's campaign": case.alleged, "What speaks against it": case.against}
told = [f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines) for title, lines in parts.items()]
display(Markdown("\n\n".join(told)))
facts = {
    letter: {
        "highest level": course[letter]["level"][decided[letter]],
        "share of its verdicts at review or act": f"{(course[letter]['level'] != 'allow').mean():.0%}",
        "score of its whole history": f"{found.own[state.accounts.index(account)]:.3f}",
        "highest score while served": f"{orders['score'][account]:.3f}",
        "exchanges before the first flag": int(flagged[account]) - 1,
        "features outside the honest range": f"{outside[account]} (honest median {outside[~attack].median():.0f})",
        "families that the score rests on": ", ".join(reasons[letter]["family"].unique()),
        "score without the first of them": f"{reasons[letter]['family_without'].iloc[0]:.2f}",
        "accounts that it is linked with": len(linked[letter]),
        "in a found campaign": "yes" if account in owner else "no",
    }
    for letter, account in both.items()
}
pd.DataFrame(facts)

# %% [markdown]
# And in truth, which an analyst never gets to see:

# %%
truth = labels.loc[list(both.values()), ["label", "kind", "family", "client", "clock", "share", "evasions"]]
display(truth.set_axis(list(both), axis=0).T)
members = labels.loc[[m.account_id for m in case.accounts], "label"]
print(f"A's campaign: {members.sum()} of {len(members)} accounts are of campaigns (by label)")

# %% [markdown]
# ## 9. What a flag is worth
#
# Three accounts in ten attack in this world, in no provider's. The share of flagged accounts that are guilty falls with
# the share of accounts that attack at all, at the very same rates. The rates are those of this world, at any time; the
# band is the exact interval of the honest accounts' rate (Clopper & Pearson), and for few flagged it is wide. Where one
# and the same honest account reaches both levels, `act` looks no safer than `review`: a single account decides.

# %%
prevalence = np.logspace(-4, np.log10(0.5), 100)
figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for level, accounts, colour, dash in (("review", flagged.index, BLUE, "--"), ("act", acted, ORANGE, "-")):
    wrong, right = honest.isin(accounts), attack[features.index.isin(accounts)].sum() / attack.sum()
    rates = (wrong.mean(), *(float(edge) for edge in clopper_pearson(wrong.sum(), len(wrong), 0.95)))
    guilty = [prevalence * right / (prevalence * right + (1 - prevalence) * rate) for rate in rates]
    axes.fill_between(prevalence, guilty[2], guilty[1], color=colour, alpha=0.15, lw=0)
    axes.plot(prevalence, guilty[0], dash, color=colour, lw=2.4, label=f"{level} or more")
    print(f"{level} or more: {right:.0%} of attack accounts, {wrong.sum()} of {len(wrong)} honest ones")
axes.axvline(attack.mean(), color="black", lw=0.8, ls=":")
axes.annotate("this world ", (attack.mean(), 0.02), ha="right", fontsize=9)
axes.set(xscale="log", xlabel="accounts that attack, share of all", ylabel="flagged accounts that are guilty")
axes.set(xlim=(1e-4, 0.5), ylim=(0, 1.02), title="The same detector where campaigns are rarer (simulated)")
axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2%}" if value < 0.001 else f"{value:.1%}")
axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
axes.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# ## 10. What not to conclude
#
# An accusation is not a proof.
#
# - **Not from the level.** B reached one as A did. `act` says that few honest accounts of the kinds in training score
#   so high; a customer of a new kind is of none of them.
# - **Not from the reasons.** They say what moved the model. Judging, labelling and test data are written as a harvest
#   is written, and the figure in part 5 reads alike for both.
# - **Not from the hours.** Programs run at night, honest ones too, and a campaign may keep a person's hours.
# - **Not from the company.** A link says that two accounts send text of one make. One firm with many keys does that.
# - **Not from silence.** Most attack accounts in part 2 are never flagged; that an account is at `allow` clears nobody.
# - **Not what it is for.** Distillation may be allowed: by a contract, for research, of one's own outputs. The score
#   knows nothing of contracts.
#
# So ask first: who is the customer, what have they told you, would somebody else who reads the same pages say the same?
# Begin with what can be undone (ask, watch, slow down), leave the rest to a person who decides with the customer's
# answer before them, and write down what would have changed your mind.
#
# ## Caveat
#
# All positives are simulated, with one grammar of built-in text that the bundle's prompt head has learnt from, and two
# accounts are two accounts: they show how to read, not how often it ends well. How often is in
# [docs/detection.md](../docs/detection.md); what the reasons agree with is in [docs/reasons.md](../docs/reasons.md);
# the campaign behind an account is followed in [03_investigate_a_campaign](03_investigate_a_campaign.ipynb).
