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
# # Train and review
#
# A model is retrained, and somebody has to say whether it may take over. This notebook trains one on a small world,
# asks of it what a reviewer must ask, trains a second one that is worse on purpose, and lets the same questions tell
# the two apart.
#
# **All positives are simulated** and the world is small, so that this runs in a minute: intervals are wide, and they
# are the point. Figures of a full-sized run are in the [model card](../models/default/card.md). Everything is written
# to a temporary directory, the MLflow store too; in earnest it is `python -m training run`, and the store is yours.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from IPython.display import display

from fingerprint import Scorer
from fingerprint.bundle import load as load_bundle
from fingerprint.scorer import FAMILIES
from training.bootstrap import Bootstrap, interval
from training.config import load
from training.pipeline import run
from training.registry import promote
from training.world import make_world, origin
from training.world.audit import account_features
from training.world.settings import load as load_world

BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999"  # Okabe & Ito
plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
folder = Path(tempfile.mkdtemp())
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
world = folder / "world"
few = {"accounts": 1200, "volume.median": 40.0, "volume.largest": 200}  # rather many accounts than large ones
made = make_world(world, load_world("demo", None, few), workers=2)
print(f"{made.accounts:,} accounts, {made.exchanges:,} exchanges in 30 days, {made.campaigns} campaigns")

# %% [markdown]
# ## 1. A run
#
# One call: split, prompt heads, windows, tuning, training, calibration, evaluation, exact export, MLflow. With so few
# honest accounts one per cent of them is three or four, so that this run asks for rates that can be measured here: five
# per cent for `review`, one for `act`. A provider with more of them asks for less.

# %%
settings = {
    "tune.trials": 6,
    "tune.timeout_s": 30.0,
    "lightgbm.num_threads": 1,  # data this small gains nothing from more
    "thresholds.review": 0.05,
    "thresholds.act": 0.01,
    "evaluation.fprs": [0.05, 0.01],
    "evaluation.bootstrap": 200,
}
traffic, known = {"traffic": [world / "traffic"], "labels": world / "labels.csv"}, {"groups": world / "groups.csv"}
candidate = run(**traffic, **known, bundle=folder / "candidate", config=load(None, settings), origin=origin(world))
metrics, tables, scored = candidate.evaluation.metrics, candidate.evaluation.tables, candidate.evaluation.scored
store = candidate.tracked
print(f"version {store.version} is registered, in a run with everything below; ROC AUC {metrics['roc_auc']:.3f}")
print(f"export: {candidate.parity.rows:,} rows compared, {candidate.parity.decision_differences} decisions differ")

# %% [markdown]
# ## 2. Is the split honest?
#
# The first question, because every other figure hangs on it. What is operated together must stand on one side, test
# must come later than training, and some families must be in test alone: a provider meets harvests that nobody has
# trained on.

# %%
accounts = candidate.accounts
sides = {"train": BLUE, "calib": GREEN, "test": ORANGE}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=(1.5, 1))
middle = (pd.to_datetime(accounts["median_us"], unit="us") - pd.Timestamp("2026-03-01")).dt.total_seconds() / 86_400
cut = (pd.to_datetime(accounts.attrs["cut_us"], unit="us") - pd.Timestamp("2026-03-01")).total_seconds() / 86_400
lanes = {"train": accounts["split"] == "train", "calib": accounts["split"] == "calib"}
lanes["test, known family"] = (accounts["split"] == "test") & accounts["seen_family"]
lanes["test, new family"] = (accounts["split"] == "test") & ~accounts["seen_family"]
jitter = np.random.default_rng(0)
for row, mine in enumerate(lanes.values()):
    for label, colour, shift in ((0, BLUE, -0.17), (1, ORANGE, 0.17)):
        at = middle[mine & (accounts["label"] == label)]
        left.plot(at, row + shift + jitter.uniform(-0.13, 0.13, len(at)), "o", color=colour, ms=3, alpha=0.5, mew=0)
left.axvline(cut, color="black", lw=1, ls="--")
left.annotate(" cut in time", (cut, -0.5), va="center", fontsize=9)
left.set_yticks(range(4), [f"{name} ({mine.sum()})" for name, mine in lanes.items()])
left.set(ylim=(3.5, -0.7), xlabel="median time of the account's exchanges (day of the world)")
left.set_title("Accounts by split: honest (blue) and attack (orange)")
counts = tables["splits"].pivot(index="split", columns="kind", values="windows").reindex(list(sides))
for shift, kind, colour in ((-0.2, "benign", BLUE), (0.2, "attack", ORANGE)):
    bars = right.barh(np.arange(3) + shift, counts[kind], 0.38, color=colour)
    right.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
right.set_yticks(range(3), list(sides))
right.set(ylim=(2.6, -0.6), xlabel="windows", xlim=(0, 1.2 * counts.max().max()), title="Windows by split")
plt.show()
together = accounts.groupby("group")["split"].nunique()
families = accounts.groupby("text_group")["seen_family"].first()
print(f"{(together > 1).sum()} of {len(together)} groups stand on two sides")
print(f"{(~families).sum()} of {len(families)} sources of text are in test alone")

# %% [markdown]
# ## 3. What did tuning do?
#
# Trials are judged by recall over attack families that the trial has not seen, never on test; one that falls behind on
# the first of them is pruned. The best one is taken only if it beats the default by more than families scatter, so
# that tuning may leave everything as it was. (The table is the artifact `tables/trials.csv` of the run.)

# %%
(every,) = [pd.read_csv(file) for file in folder.glob(f"mlartifacts/{store.run_id}/artifacts/tables/trials.csv")]
trials = every[every["state"] == "COMPLETE"]
print(f"{len(trials)} trials were completed, {len(every) - len(trials)} pruned")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
left.plot(trials["number"], trials["recall"], "o", color=BLUE, ms=7)
left.plot(0, trials["recall"][0], "D", color=ORANGE, ms=10, label="the default")
left.step(trials["number"], trials["recall"].cummax(), where="post", color=GREY, lw=1.5, label="best so far")
left.set(xlabel="trial", ylabel="mean recall at 1 %\nover families left out", title="Trials in their order")
size = trials["trees"] * trials["num_leaves"]
right.plot(size, trials["recall"], "o", color=BLUE, ms=7)
right.plot(size[0], trials["recall"][0], "D", color=ORANGE, ms=10)
right.set(xlabel="leaves of all trees, at most", title="Does size pay?")
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()
chosen = candidate.model.params
taken = "the default" if chosen.learning_rate == trials["learning_rate"][0] else "a trial"
print(f"taken: {taken}, {chosen.trees} trees of at most {chosen.num_leaves} leaves")

# %% [markdown]
# ## 4. Is it better than something dumb?
#
# Recall at five per cent false positives, by the attacker's share of the window, each beside the dummy: the volume of
# the account. Accounts count once each; intervals resample whole campaigns and honest groups.

# %%
volume = pq.read_table(world / "traffic", columns=["account_id"])["account_id"].to_pandas().value_counts()
scored["volume"] = scored["account_id"].map(volume).astype(float)
rates = {"fprs": (0.05,), "resamples": 200, "confidence": 0.95, "seed": 1}
drawn = {
    "the model": (Bootstrap(scored, **rates), BLUE, "o"),
    "exchanges": (Bootstrap(scored, **rates, score="volume"), GREY, "s"),
}
figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for shift, (name, (boot, colour, mark)) in zip((-0.1, 0.1), drawn.items(), strict=True):
    table = boot.table(["attacker_share"])
    value, at = 100 * table["recall_at_fpr_0.05"], np.arange(len(table)) + shift
    error = np.abs([value - 100 * table["low_0.05"], 100 * table["high_0.05"] - value])
    axes.errorbar(at, value, error, fmt=mark, color=colour, capsize=3, ms=7, lw=1.6, label=f"sorted by {name}")
axes.axhline(5, color="black", lw=0.8, ls=":")
axes.annotate("a coin", (1.003, 5), xycoords=("axes fraction", "data"), va="center", fontsize=9)
told = zip(table["attacker_share"], table["accounts"], strict=True)
axes.set_xticks(range(len(table)), [f"{share:.0%}\n{count} accounts" for share, count in told])
axes.set(xlabel="part of the window that harvests", ylabel="attack windows found, per cent", ylim=(0, None))
axes.set_title("Recall at 5 % false positives (test, simulated)")
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# Read it share by share, with the accounts below each: the left end, where most of what is sent is cover, is where a
# mean over all shares hides most and where a small test has least to say.
#
# ## 5. Whom does it accuse wrongly?
#
# Honest accounts of test that reach a level at any time, by workload, at the thresholds that were fixed on the
# calibration split. Rates are of few accounts, so intervals are exact (Clopper & Pearson) and most of them are long: no
# flag among eight accounts is no proof of anything. New workloads are marked.

# %%
honest = tables["benign_workloads"].sort_values(["review_fpr", "accounts"], ascending=[False, False]).head(14)
new = set(scored.loc[~scored["seen_family"].astype(bool), "family"])
figure, axes = plt.subplots(figsize=(8.5, 5), layout="constrained")
for shift, level, colour, mark in ((-0.16, "review", BLUE, "o"), (0.16, "act", ORANGE, "D")):
    rate, at = 100 * honest[f"{level}_fpr"], np.arange(len(honest)) + shift
    error = np.abs([rate - 100 * honest[f"{level}_low"], 100 * honest[f"{level}_high"] - rate])
    axes.errorbar(rate, at, xerr=error, fmt=mark, color=colour, capsize=2, ms=5, lw=1.4, label=f"reach {level}")
axes.axvline(5, color="black", lw=0.8, ls=":")
place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
axes.annotate("asked of review", (5, 1), (0, 3), ha="center", fontsize=9, **place)
names = [f"{row.family}{' (new)' if row.family in new else ''}, {row.accounts}" for row in honest.itertuples()]
axes.set_yticks(range(len(honest)), names)
axes.set(ylim=(len(honest) - 0.4, -0.8), xlim=(-1, 101), xlabel="honest accounts, per cent (95 % interval)")
axes.set_title("False positives by workload (test; number of accounts)", pad=20)
axes.legend(frameon=False, loc="lower right")
plt.show()
reached = [f"{metrics[f'account_fpr_at_{level}']:.1%} reach {level}" for level in ("review", "act")]
print(f"all honest accounts: {', '.join(reached)}")

# %% [markdown]
# ## 6. Does a score mean what it says?
#
# Of windows with a score near 0.7, seven in ten should be attack, at the share of attack that test has. It is checked
# here for the windows of each tenth of the scores; the size of a dot is their weight.

# %%
figure, axes = plt.subplots(figsize=(5, 4.4), layout="constrained")
bins = tables["calibration"]
axes.plot([0, 1], [0, 1], ":", color="black", lw=0.8)
axes.plot(bins["predicted"], bins["observed"], color=BLUE, lw=1.2)
area = 20 + 600 * bins["weight"] / bins["weight"].sum()
axes.scatter(bins["predicted"], bins["observed"], area, color=BLUE, alpha=0.7)
axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="mean score", ylabel="observed share of attack")
axes.set_title(f"Calibration on test (expected error {metrics['ece']:.3f})")
plt.show()
share = {name: accounts.loc[accounts["split"] == name, "label"].mean() for name in ("calib", "test")}
print("accounts that attack: " + ", ".join(f"{part:.0%} of {name}" for name, part in share.items()))

# %% [markdown]
# A curve below the diagonal says that scores promise too much on test. Two causes are known here: test has another
# share of attack than the accounts that the calibrator learnt from, and families that the model has never met. In
# earnest the share is far smaller still, so that a score orders accounts and is no probability of guilt.
#
# ## 7. What does it rest on?
#
# For each account of test, its whole history is scored by the exported bundle, then once more with each family of
# features set to what honest traffic usually has. How far do the log odds fall? A reviewer looks for a family that
# should not matter: a model that lives on `client` or `request` has learnt how the simulator dresses its attackers.

# %%
scorer = Scorer.load(candidate.bundle)
test = accounts[accounts["split"] == "test"].set_index("account_id")
features = account_features(world / "traffic", load_bundle(candidate.bundle).head).reindex(test.index)
rows = features.to_numpy(np.float32)
own = pd.Series(scorer.score(rows), test.index)
falls = pd.DataFrame([scorer.falls(row).family for row in rows], test.index, list(FAMILIES))
groups = {
    "attack, highest tenth": test["label"].eq(1) & (own >= own[test["label"] == 1].quantile(0.9)),
    "attack, the others": test["label"].eq(1) & (own < own[test["label"] == 1].quantile(0.9)),
    "honest, highest tenth": test["label"].eq(0) & (own >= own[test["label"] == 0].quantile(0.9)),
    "honest, the others": test["label"].eq(0) & (own < own[test["label"] == 0].quantile(0.9)),
}
mean = pd.DataFrame({f"{name} ({mine.sum()})": falls[mine].mean() for name, mine in groups.items()}).T
figure, axes = plt.subplots(figsize=(10, 3.2), layout="constrained")
most = mean.abs().to_numpy().max()
shown = axes.imshow(mean, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
for (i, j), value in np.ndenumerate(mean.to_numpy()):
    axes.text(j, i, f"{value:+.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 * most else "black")
axes.set_xticks(range(len(mean.columns)), mean.columns)
axes.set_yticks(range(len(mean)), mean.index)
axes.spines[:].set_visible(False)
axes.tick_params(length=0)
axes.set_title("What the score of an account falls by, without a family (log odds, mean)")
figure.colorbar(shown, ax=axes, label="log odds").outline.set_visible(False)
plt.show()
for name, label in (("the honest account with the highest score", 0), ("the attack account with the highest score", 1)):
    highest = own[test["label"] == label].idxmax()
    (reasons,) = scorer.reasons(features.loc[[highest]].to_numpy(np.float32))
    print(f"{name} ({own[highest]:.2f}): {reasons[0]['sentence']}")

# %% [markdown]
# ## 8. A second model, worse on purpose
#
# Eight trees of two leaves, no tuning, the same world, the same split: what a slip in the settings might leave. Each
# tree asks one question and none can combine two. It trains without a complaint, its export is exact, and it is
# registered as the next version. Before that the candidate becomes the champion: there is none yet, so the gate holds
# it to its own limits alone.

# %%
first = promote(load(None, settings), folder / "first")
print(f"version {first.candidate.version} is champion: {first.moved}; {first.decision.reason}")
tiny = {"tune.trials": 0, "lightgbm.trees": 8, "lightgbm.num_leaves": 2}
careless = load(None, settings | tiny)
worse = run(**traffic, **known, bundle=folder / "worse", config=careless, origin=origin(world))
assert (worse.evaluation.scored["account_id"].to_numpy() == scored["account_id"].to_numpy()).all()
names = {
    "roc_auc": "ROC AUC", "pr_auc": "PR AUC", "brier": "Brier score", "ece": "calibration error",
    "recall_at_fpr_0.05": "recall at 5 % false positives", "recall_at_review": "recall at review",
    "account_fpr_at_review": "honest accounts at review",
}  # fmt: skip
both = pd.DataFrame({"candidate": metrics, "worse": worse.evaluation.metrics}).loc[list(names)]
display(both.set_axis(list(names.values())).round(3))
print(f"version {worse.tracked.version}: export differs in {worse.parity.decision_differences} decisions")

# %% [markdown]
# Single figures tempt one to read differences that are chance, and one or another may even point the wrong way. Both
# were measured on the same windows, so the difference itself can be resampled: whole campaigns and honest groups are
# drawn, and both models meet the same draw.

# %%
boots = [Bootstrap(result.evaluation.scored, **rates) for result in (candidate, worse)]
attack = boots[0].attack
slices = {"all families": np.ones(len(attack), bool), "known families": attack["seen_family"].to_numpy(bool)}
slices["new families"] = ~slices["known families"]
for part in sorted(attack["attacker_share"].unique()):
    slices[f"{part:.0%} harvest"] = (attack["attacker_share"] == part).to_numpy()
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for row, mine in enumerate(slices.values()):
    one, two = (100 * boot.recalls(mine.astype(np.int64) - 1, 1, 0.05) for boot in boots)
    (low,), (high,) = interval(one - two, 0.95)
    clear = low > 0 or high < 0
    axes.plot([low, high], [row, row], color=BLUE if clear else GREY, lw=2.5, solid_capstyle="butt")
    axes.plot((one - two)[0, 0], row, "o", color=BLUE if clear else GREY, ms=8)
axes.axvline(0, color="black", lw=0.8)
sizes = [attack.loc[mine, "account_id"].nunique() for mine in slices.values()]
axes.set_yticks(range(len(slices)), [f"{name} ({size})" for name, size in zip(slices, sizes, strict=True)])
axes.set(ylim=(len(slices) - 0.5, -0.5), xlabel="candidate less worse, percentage points (95 % interval, paired)")
axes.set_title("Difference in recall at 5 % false positives (grey: may be none)")
plt.show()

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for result, name, colour, dash in ((candidate, "candidate", BLUE, "-"), (worse, "worse", ORANGE, "--")):
    part = result.evaluation.scored
    score = np.sort(part["score"])
    left.step(score, np.arange(1, len(score) + 1) / len(score), dash, color=colour, lw=2, label=name)
    bins = result.evaluation.tables["calibration"]
    right.plot(bins["predicted"], bins["observed"], "o" + dash, color=colour, lw=1.5, label=name)
    print(f"{name}: {part['score'].round(6).nunique():,} different scores of {len(part):,} windows")
left.set(xlabel="score", ylabel="windows of test, share at most", title="Scores that a model can give")
right.plot([0, 1], [0, 1], ":", color="black", lw=0.8)
right.set(xlabel="mean score", ylabel="observed share of attack", title="Calibration", xlim=(0, 1), ylim=(0, 1))
left.legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# A model of few scores has few places for a threshold: at a low rate it flags a whole step of the left curve or nobody.
# It may look as well calibrated as the other, because calibration does not ask whether a score tells anything apart.
# And where a row of the differences is grey, this test cannot say which model is better there: in earnest one asks for
# more accounts, not for another figure.
#
# ## 9. What the gate says
#
# `python -m training promote` compares a candidate with the champion on accounts that neither was trained on, resampled
# together, overall and in every slice with enough accounts. What is worse beyond noise is refused, with the reason; the
# same is on the review page of the run (`review/review.html`) and in the version's description.

# %%
gate = promote(careless, folder / "second")
print(f"version {gate.candidate.version} is champion: {gate.moved}; {gate.decision.reason}")
checks = gate.decision.rows.dropna(subset="difference")
shown = checks[checks["slice"] == ""].iloc[::-1]
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
for row, check in enumerate(shown.to_dict("records")):
    colour = GREY if check["passed"] else ORANGE
    axes.plot([check["low"], check["high"]], [row, row], color=colour, lw=2.5, solid_capstyle="butt")
    axes.plot(check["difference"], row, "o", color=colour, ms=8)
axes.axvline(0, color="black", lw=0.8)
axes.set_yticks(range(len(shown)), shown["check"].tolist())
axes.set(xlabel="worse less champion", title="What the gate compared (orange: refused)")
plt.show()
display(checks.loc[~checks["passed"].astype(bool), ["check", "slice", "champion", "challenger", "limit"]].head(8))
display(worse.review.changed)

# %% [markdown]
# ## 10. What a reviewer must ask
#
# - **Was anything measured on what was trained on?** Groups on one side, test after training, new families in test.
# - **Is it better than volume, and than the model that serves?** On the same windows, with the interval of the
#   difference. "May be none" is a reason to keep what serves.
# - **Where is it worse?** Low shares, short windows, new families; the mean hides them.
# - **Who is accused wrongly?** Which workloads, languages, plans, new customers; and how few accounts the answer rests
#   on.
# - **What does it rest on?** A family that only a simulator would give away is a leak, however good the figures are.
# - **Does a score mean the same as before?** Thresholds in use elsewhere move with calibration.
# - **Is what is exported what was measured?** Zero differing decisions, the same hashes, the speed.
# - **What was it trained on?** Sources, dates, licences, the share of simulated positives: the card lists them.
#
# A reviewer reads all of this on the review page in MLflow; the command that opens it is `Tracked.ui_command`. The gate
# only refuses what is worse beyond noise: whether a model that passes should serve is the reviewer's to say.
#
# ## Caveat
#
# One small world, one seed, simulated attackers who were written by the people who wrote the detector. What is found
# here says how to review, not how well a model finds real campaigns: nobody's public data can say that.
