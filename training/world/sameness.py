"""How much alike prompts are: lengths, compression, distinct n-grams; of a world, of corpora, of the built-in text.

Measured over windows of 100 prompts, because every such figure depends on how much text it sees. *Compression ratio*:
bytes after zlib (level 6) over bytes before; lower is more repetitive. *Distinct-n* (Li et al. 2016): different
n-grams over all n-grams, from one random stretch of 20 words of each prompt, so that long prompts do not count more
(words are letters and digits between others; Chinese and Japanese characters count one by one). *CV*: standard
deviation over mean of the lengths in characters. A table gives the median over windows. No text leaves this module.

    text_of_world(Path("world")); text_of_corpora(Path("corpora")); built_in()
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from training.world.corpora import MATERIAL, Corpora
from training.world.examples import members
from training.world.grammar import LANGUAGES, Grammar, Template, load_grammar, tables

__all__ = ["Sameness", "built_in", "by_role", "measure", "pairs", "text_of_corpora", "text_of_world"]

WINDOW = 100
STRETCH = 20
MOST = 6  # windows of a family or source
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+[\u0900-\u0963\w]*")
ROLES = {"attack": "attack", "automation": "automation", "mixed": "shared keys", "human": "people"}
SOURCE_ROLES = {"harvest": "attack", "automation": "automation", "human": "people"}
USES = ("train", "validate")
Progress = Callable[[str, int, int], None]


class Sameness(NamedTuple):
    """One window's figures: lengths in characters (10th, 50th, 90th percentile), their CV, and ratios of 0 to 1."""

    chars_p10: float
    chars_p50: float
    chars_p90: float
    cv: float
    compression: float
    distinct_1: float
    distinct_2: float
    distinct_3: float


def measure(prompts: Sequence[str]) -> Sameness:
    """The figures of one window of prompts."""
    sizes = np.array([len(p) for p in prompts], float)
    raw = "\n".join(prompts).encode("utf-8", "replace")
    rnd, seen = Random(len(raw)), [Counter[tuple[str, ...]]() for _ in range(3)]
    for prompt in prompts:
        words = _stretch(WORD.findall(prompt.lower()[:20_000]), rnd)
        for n, grams in enumerate(seen, 1):
            grams.update(zip(*(words[i:] for i in range(n)), strict=False))
    distinct = [len(grams) / max(grams.total(), 1) for grams in seen]
    low, middle, high = (float(v) for v in np.quantile(sizes, [0.1, 0.5, 0.9]))
    spread, small = float(sizes.std() / max(sizes.mean(), 1e-9)), len(zlib.compress(raw, 6)) / max(len(raw), 1)
    return Sameness(low, middle, high, spread, small, distinct[0], distinct[1], distinct[2])


def _stretch(words: list[str], rnd: Random) -> list[str]:
    first = int(rnd.random() * max(1, len(words) - STRETCH + 1))
    return words[first : first + STRETCH]


def table(groups: dict[tuple[str, str], list[list[str]]]) -> pd.DataFrame:
    """role, family, windows and the median of every figure over the group's windows."""
    rows = []
    for (role, family), windows in sorted(groups.items()):
        figures = np.array([measure(w) for w in windows])
        rows.append((role, family, len(windows), *np.median(figures, axis=0)))
    return pd.DataFrame(rows, columns=["role", "family", "windows", *Sameness._fields])


def by_role(families: pd.DataFrame) -> pd.DataFrame:
    """The middle family of each role, and the range of compression over its families (10th and 90th percentile)."""
    rows = []
    for role, part in families.groupby("role"):
        low, high = part["compression"].quantile([0.1, 0.9])
        rows.append((role, len(part), *part[list(Sameness._fields)].median(), low, high))
    extra = ["compression_p10", "compression_p90"]
    return pd.DataFrame(rows, columns=["role", "families", *Sameness._fields, *extra])


def text_of_world(world: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Figures of every family of a world from windows of single accounts; of attacks, accounts that only harvest.

    Families without an account of 100 exchanges get windows over several accounts.
    """
    labels = members(world)
    labels = labels[(labels["kind"] != "attack") | (labels["share"] == "1")]
    labels = labels.assign(role=labels["kind"].map(ROLES))
    labels = labels.sort_values(["role", "family", "exchanges"], kind="stable")
    chosen = labels.groupby(["role", "family"]).tail(MOST)
    prompts = _prompts(world / "traffic", chosen["account_id"].tolist())
    groups = {}
    parts = list(chosen.groupby(["role", "family"]))
    for i, (key, part) in enumerate(parts, 1):
        windows = _windows([prompts[name] for name in part["account_id"]])
        if windows:
            groups[str(key[0]), str(key[1])] = windows
        if progress:
            progress("text", i, len(parts))
    return table(groups)


def _prompts(traffic: Path, accounts: list[str]) -> dict[str, list[str]]:
    """Prompts of some accounts in order of time, at most those of some windows each."""
    out: dict[str, list[str]] = {name: [] for name in accounts}
    for file in sorted(traffic.glob("*.parquet")):
        rows = pq.read_table(file, columns=["account_id", "prompt"], filters=[("account_id", "in", accounts)])
        for name, prompt in zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True):
            if len(out[name]) < MOST * WINDOW:
                out[name].append(prompt)
    return out


def _windows(accounts: list[list[str]]) -> list[list[str]]:
    """Windows inside single accounts, one an account at first; else of all prompts together."""
    inside = [prompts[at : at + WINDOW] for at in (0, WINDOW) for prompts in accounts if len(prompts) >= at + WINDOW]
    whole = [prompt for prompts in accounts for prompt in prompts]
    return (inside or [whole[i : i + WINDOW] for i in range(0, len(whole) - WINDOW + 1, WINDOW)])[:MOST]


def text_of_corpora(directory: Path, progress: Progress | None = None) -> pd.DataFrame:
    """Figures of every source of a corpora directory that holds whole prompts, in the order of its file."""
    corpora = Corpora(directory, USES)
    names = [n for n in corpora.sources if n not in MATERIAL and n != "eval_templates"]
    groups = {}
    for i, name in enumerate(names, 1):
        prompts = [p for u in corpora.units(name) for p in u.prompts]
        starts = np.linspace(0, max(len(prompts) - WINDOW, 0), MOST).astype(int)
        windows = [prompts[s : s + WINDOW] for s in sorted(set(starts.tolist())) if len(prompts) >= WINDOW]
        if windows:
            groups[SOURCE_ROLES[corpora.sources[name].role], name] = windows
        if progress:
            progress("text", i, len(names))
    return table(groups)


def built_in(progress: Progress | None = None) -> pd.DataFrame:
    """Figures of the built-in text by side, family and language: every template filled in turn, 200 prompts each."""
    g = load_grammar()
    sides = [("attack", g.harvest), ("honest", g.honest)]
    rows, done, total = [], 0, sum(len(side) for _, side in sides)
    for role, side in sides:
        for family, templates in sorted(side.items()):
            for lang in LANGUAGES:
                own = [t for t in templates if t.lang == lang]
                if own:
                    rows.append((role, family, lang, len(own), *_filled(g, own)))
            done += 1
            if progress:
                progress("text", done, total)
    return pd.DataFrame(rows, columns=["role", "family", "lang", "templates", *Sameness._fields])


def _filled(g: Grammar, templates: list[Template]) -> Iterable[float]:
    rnd = Random(f"{templates[0].family}/{templates[0].lang}")
    prompts = [g.pool.text(g.fill(templates[i % len(templates)].text, rnd)) for i in range(2 * WINDOW)]
    halves = [measure(prompts[a:b]) for a, b in pairwise(range(0, 2 * WINDOW + 1, WINDOW))]
    return tuple(float(v) for v in np.median(np.array(halves), axis=0))


def pairs() -> pd.DataFrame:
    """Counts of harvest templates by capability and language; each is one half of a pair with an honest twin."""
    harvest, _, _ = tables()
    known = pd.DataFrame([(t.capability, t.lang) for group in harvest.values() for t in group])
    counts = pd.crosstab(known[0].rename("capability"), known[1].rename("lang"))
    counts = counts.reindex(columns=[lang for lang in LANGUAGES if lang in counts])
    counts["all"] = counts.sum(axis=1)
    return pd.DataFrame(counts.reset_index())
