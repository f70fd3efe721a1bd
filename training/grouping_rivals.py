"""Groups of accounts by known ideas: shared metadata, near-duplicate prompts, shared openings, the same hours.

    found = RIVALS["metadata"].run([Path("world/traffic")], most=25)

Each rival reads the traffic once, links accounts and takes connected components, as its source does; rows are
account_id, campaign_id, score (the share of the others in the group that the account is linked to itself). None is told
what harvesting looks like. Groups of fewer than `SMALLEST` accounts are dropped. Left out: judging (grouping).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import HashingVectorizer

from fingerprint.exchange import Names
from fingerprint.readers import Rejects, read
from training.dataset import sample_prompts
from training.grouping import FOUND

__all__ = [
    "RIVALS", "SMALLEST", "Rival", "co_timing", "links", "metadata", "near_duplicates", "read_metadata", "read_prompts",
    "read_slots", "read_times", "templates",
]  # fmt: skip

SMALLEST = 3
KINDS = ("payment_hash", "ip_prefix", "user_agent+ja4")
WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"  # Chinese and Japanese: a character is a word
SHINGLE, BANDS, ROWS, BYTES = 4, 8, 4, 1_000  # words a shingle; bands of rows of a signature; bytes read of a prompt
OPENING, CARRIED = 6, 2  # words of a prompt's masked opening, prompts of an account that carry it
SLOT_US = 300_000_000
BLOCK = 500  # accounts compared with all others at once


class Shown(NamedTuple):
    """Which account (its number in `accounts`) shows which value (a number), a row a pair; rows may repeat."""

    accounts: list[str]
    account: NDArray[np.int64]
    value: NDArray[np.int64]


class Prompts(NamedTuple):
    """Prompts of each account, a row each: those of `training.dataset.sample_prompts`, at most 48 an account."""

    accounts: list[str]
    account: NDArray[np.int64]
    prompt: list[str]


@dataclass(frozen=True)
class Rival:
    """`read` what it needs of traffic, `group` that; `settings` are those worth trying, by what is told of them."""

    title: str
    source: str
    made: str
    read: Callable[[Sequence[Path]], Any]
    group: Callable[..., pd.DataFrame]
    settings: Mapping[str, Mapping[str, float]]

    def run(self, traffic: Sequence[Path], **setting: float) -> pd.DataFrame:
        """Found rows of traffic (files or folders)."""
        return self.group(self.read(traffic), **setting)


def metadata(shown: Shown, *, most: int = 25) -> pd.DataFrame:
    """Components over payments, networks and client programs that at most `most` accounts share."""
    return _components(_incidence(shown, most), shown.accounts)


def near_duplicates(prompts: Prompts, *, most: int = 25, least: int = 2) -> pd.DataFrame:
    """Components over accounts with `least` or more bands of MinHash signatures in common that at most `most` share."""
    vectorizer = HashingVectorizer(
        ngram_range=(SHINGLE, SHINGLE), n_features=2**31 - 1, binary=True, norm=None, alternate_sign=False,
        token_pattern=WORD, dtype=np.float32,
    )  # fmt: skip
    account, value = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for at in range(0, len(prompts.prompt), 20_000):
        shingles = vectorizer.transform(prompts.prompt[at : at + 20_000])
        full = np.flatnonzero(np.diff(shingles.indptr))
        bands = _bands(shingles.indices, shingles.indptr[:-1][full]) if len(full) else np.empty((0, BANDS), np.int64)
        account.append(np.repeat(prompts.account[at : at + 20_000][full], BANDS))
        value.append(bands.ravel())
    shown = Shown(prompts.accounts, np.concatenate(account), np.concatenate(value))
    return _components(_incidence(shown, most), prompts.accounts, least)


def _bands(shingles: NDArray[np.int32], starts: NDArray[np.int32]) -> NDArray[np.int64]:
    """MinHash signatures as one number a band, int64[documents, BANDS]; equal bands, near-duplicate documents."""
    rng, known = np.random.default_rng(1), shingles.astype(np.uint64)
    factors = rng.integers(1, 2**62, (BANDS, ROWS, 2), dtype=np.uint64) | np.uint64(1)
    out = np.empty((len(starts), BANDS), np.int64)
    for band in range(BANDS):
        mixed = np.full(len(starts), band, np.uint64)
        for a, b in factors[band]:
            least = np.minimum.reduceat((known * a + b) >> np.uint64(20), starts)
            mixed = (mixed ^ least) * np.uint64(0x9E3779B97F4A7C15)
        out[:, band] = mixed.view(np.int64)
    return out


def templates(prompts: Prompts, *, most: int = 25, least: int = 1) -> pd.DataFrame:
    """Components over accounts with `least` or more masked openings in common, each carried by `CARRIED` or more of an
    account's prompts and by at most `most` accounts.

    An opening is the first `OPENING` words, digits masked; shorter prompts have none."""
    word = re.compile(WORD)
    openings = [word.findall(text[:400])[:OPENING] for text in prompts.prompt]
    told = pd.Series([re.sub(r"\d", "0", " ".join(o)).lower() if len(o) == OPENING else None for o in openings])
    pairs = pd.DataFrame({"account": prompts.account, "value": pd.factorize(told)[0]})
    counts = pairs[pairs["value"] >= 0].value_counts()
    kept = counts[counts >= CARRIED].index.to_frame(index=False)
    shown = Shown(prompts.accounts, kept["account"].to_numpy(np.int64), kept["value"].to_numpy(np.int64))
    return _components(_incidence(shown, most), prompts.accounts, least)


def co_timing(slots: Shown, *, alike: float = 0.3, least: int = 5) -> pd.DataFrame:
    """Components over accounts whose active slots have a Jaccard similarity of at least `alike`, `least` or more in
    common."""
    active = _incidence(slots, len(slots.accounts))
    size, parts = np.asarray(active.sum(axis=1)).ravel(), []
    for at in range(0, active.shape[0], BLOCK):
        common = (active[at : at + BLOCK] @ active.T).tocoo()
        jaccard = common.data / (size[common.row + at] + size[common.col] - common.data)
        near = (jaccard >= alike) & (common.data >= least)
        parts.append(np.stack([common.row[near] + at, common.col[near]]))
    row, col = np.concatenate(parts, axis=1) if parts else np.empty((2, 0), np.int64)
    count = len(slots.accounts)
    return _grouped(sparse.csr_array((np.ones(len(row), np.int32), (row, col)), shape=(count, count)), slots.accounts)


def _incidence(shown: Shown, most: int) -> Any:
    """Accounts by values, 1 where shown, of values that two to `most` accounts show."""
    pairs = pd.DataFrame({"account": shown.account, "value": shown.value}).drop_duplicates()
    shared = pairs.groupby("value")["account"].transform("size")
    pairs = pairs[shared.between(2, most)]
    code, values = pd.factorize(pairs["value"])
    shape = (len(shown.accounts), max(len(values), 1))
    return sparse.csr_array((np.ones(len(pairs), np.int32), (pairs["account"].to_numpy(), code)), shape=shape)


def _components(incidence: Any, accounts: list[str], least: int = 1) -> pd.DataFrame:
    """Groups of accounts that are linked by `least` or more values."""
    common = (incidence @ incidence.T).tocoo()
    near = common.data >= least
    row, col, shape = common.row[near], common.col[near], common.shape
    return _grouped(sparse.csr_array((np.ones(len(row), np.int32), (row, col)), shape=shape), accounts)


def _grouped(linked: Any, accounts: list[str]) -> pd.DataFrame:
    """Found rows of the connected components of `SMALLEST` accounts or more; the diagonal is no link."""
    _, group = connected_components(linked, directed=False)
    degree = np.asarray((linked > 0).sum(axis=1)).ravel() - (linked.diagonal() > 0)
    rows = pd.DataFrame({"account_id": accounts, "number": group, "degree": degree})
    rows["size"] = rows.groupby("number")["number"].transform("size")
    rows = rows[rows["size"] >= SMALLEST].sort_values(["size", "number", "account_id"], ascending=[False, True, True])
    rows["campaign_id"] = [f"g{code:05d}" for code in pd.factorize(rows["number"])[0]]
    return rows.assign(score=rows["degree"] / (rows["size"] - 1))[list(FOUND)].reset_index(drop=True)


def read_metadata(traffic: Sequence[Path]) -> Shown:
    """The values of `KINDS` that each account shows; Parquet alone, of traffic as the world writes it."""
    shown = links(traffic, KINDS)
    account, names = pd.factorize(shown["account_id"])
    return Shown(list(names), account.astype(np.int64), pd.factorize(shown["value"])[0].astype(np.int64))


def links(traffic: Sequence[Path], kinds: Sequence[str] = KINDS[:2]) -> pd.DataFrame:
    """account_id, value: what each account shows of `kinds`, told by kind, each once."""
    columns = ["account_id", "client.ip_prefix", "client.user_agent", "client.ja4", "account.payment_hash"]
    parts = [
        _flat(batch).melt("account_id", list(kinds), "kind").dropna().drop_duplicates()
        for path in _parquet(traffic)
        for batch in pq.ParquetFile(path).iter_batches(100_000, columns=columns)
    ]
    found = pd.concat(parts, ignore_index=True).drop_duplicates()
    return pd.DataFrame({"account_id": found["account_id"], "value": found["kind"] + " " + found["value"]})


def _flat(batch: Any) -> pd.DataFrame:
    """The metadata of a record batch as columns, each combination once."""
    client, owner = batch.column("client"), batch.column("account")
    rows = {name: client.field(name).to_pandas() for name in ("ip_prefix", "user_agent", "ja4")}
    rows |= {"account_id": batch.column("account_id").to_pandas(), "payment_hash": owner.field(0).to_pandas()}
    flat = pd.DataFrame(rows).drop_duplicates()
    return flat.assign(**{KINDS[2]: flat["user_agent"] + " " + flat["ja4"]})


def _parquet(traffic: Sequence[Path]) -> Iterator[Path]:
    for path in traffic:
        yield from sorted(path.rglob("*.parquet")) if path.is_dir() else [path]


def read_prompts(traffic: Sequence[Path]) -> Prompts:
    """Each account's sampled prompts, the first `BYTES` of each."""
    sample = sample_prompts(traffic)
    texts = [prompt[:BYTES].decode(errors="ignore") for prompt in sample.prompt]
    return Prompts(sample.accounts.items, sample.account.astype(np.int64), texts)


def read_times(traffic: Sequence[Path]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Accounts, and of each exchange the number of its account and its time (microseconds UTC)."""
    accounts, owner, time = Names(), [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for path in traffic:
        for batch in read(path, accounts=accounts, sessions=Names(), rejects=Rejects()):
            owner.append(batch.account.astype(np.int64))
            time.append(batch.time_us)
    return accounts.items, np.concatenate(owner), np.concatenate(time)


def read_slots(traffic: Sequence[Path]) -> Shown:
    """The five-minute slots that each account sent anything in."""
    accounts, owner, time = read_times(traffic)
    return Shown(accounts, owner, time // SLOT_US)


RIVALS = {
    "metadata": Rival(
        "shared metadata", "folklore; the shared payments and networks that providers report",
        "components over payment hashes, network prefixes and pairs of user agent and JA4 that few accounts share",
        read_metadata, metadata, {f"at most {most} accounts": {"most": most} for most in (10, 25, 250)},
    ),
    "near_duplicates": Rival(
        "near-duplicate prompts", "Broder 1997",
        f"MinHash of shingles of {SHINGLE} words, {BANDS} bands of {ROWS} (half of the pairs with a resemblance of "
        "about 0.54 meet), at most 48 prompts an account; components over bands that few accounts share",
        read_prompts, near_duplicates,
        {f"{least} bands in common, each of at most {most} accounts": {"least": least, "most": most}
         for least in (2, 16, 64) for most in (25, 250)},
    ),
    "templates": Rival(
        "shared openings", "hashed templates, folklore of abuse teams",
        f"the first {OPENING} words with digits masked, carried by {CARRIED} or more of an account's prompts (at most "
        "48 are read) and by few accounts; components",
        read_prompts, templates,
        {f"{least} in common, each of at most {most} accounts": {"least": least, "most": most}
         for least in (1, 2) for most in (10, 25, 250)},
    ),
    "co_timing": Rival(
        "the same hours", "SynchroTrap, Cao et al., CCS 2014",
        "Jaccard similarity of the five-minute slots that two accounts are active in, 5 or more in common; components, "
        "which are SynchroTrap's single linkage cut at one height; without its constraint of one target object",
        read_slots, co_timing, {f"similarity {alike}": {"alike": alike} for alike in (0.15, 0.3, 0.5)},
    ),
}  # fmt: skip
