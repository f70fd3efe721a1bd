"""How accounts look in their records beside text and time: raw metadata, one row of numbers an account.

Beyond the product's features, which never hold who or what: the model, system prompt, tools, network, client and
plan that an account shows first, how many of each it has, its parameters, what is null, and how many other accounts
pay or come from the same place. For the leakage audit alone. System prompts are told by a hash. Left out: features
(the product's own), and what the numbers say about a side (audit).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["looks", "values"]

NAMED = ("model", "system", "tools", "asn", "user_agent", "ja4", "plan")  # first one seen, and how many
COUNTED = ("ip_prefix", "session_id", "max_tokens", "temperature")  # how many
SHARED = ("ip_prefix", "payment_hash")  # how many other accounts have the same
MEANS = ("max_tokens", "temperature", "n", "logprobs", "reasoning", "stream", "output_tokens", "n_messages")
TOKENS = ("max_tokens", "output_tokens")  # read as logarithms
LISTED = ("model", "system", "asn", "user_agent", "ja4", "plan", "max_tokens", "temperature", "n", "stop_reason",
          "logprobs", "reasoning", "stream")  # fmt: skip
STOPS = ("max_tokens", "tool_use", "refusal")
NEEDED = ("exchange_id", "account_id", "timestamp", "prompt")
DAY_US = 86_400e6


def looks(traffic: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Numbers of each account (indexed by id), and every value it shows: account_id, column, value."""
    table = _flat(traffic)
    ids = table.column("account_id").combine_chunks().dictionary_encode()
    code, names = ids.indices.to_numpy(), ids.dictionary.to_pylist()
    out: dict[str, Any] = {}
    seen = []
    for name in table.column_names:
        if name in NEEDED:
            continue
        column = table.column(name).combine_chunks()
        out[f"{name} null"] = _mean(column.is_null().to_numpy(zero_copy_only=False).astype(float), code, len(names))
        numbers, distinct = _coded(column)
        if name in (*NAMED, *COUNTED, *SHARED, *LISTED):
            pairs = pd.DataFrame({"account": code, "value": numbers}).drop_duplicates()
            out |= _counts(name, pairs[pairs["value"] >= 0], len(names))
            if name in LISTED or name == "tools":
                seen.append(_shown(name, pairs, distinct, names))
        if name in MEANS:
            out[f"{name} mean"] = _mean(_numbers(column, name in TOKENS), code, len(names))
    out |= {f"{stop} share": _mean(_is(table, stop), code, len(names)) for stop in STOPS}
    out["age"] = _age(table, code, len(names))
    out["exchanges"] = np.bincount(code, minlength=len(names))
    index = pd.Index(names, name="account_id")
    return pd.DataFrame(out, index=index).astype(float), pd.concat(seen, ignore_index=True)


def values(seen: pd.DataFrame, known: pd.DataFrame, fewest: int) -> pd.DataFrame:
    """Accounts of each side that show a value, for values of at least `fewest` groups, with the AUC of showing it."""
    shown = seen[seen["account_id"].isin(set(known.index))]
    shown = shown.assign(attack=shown["account_id"].map(known["label"]).to_numpy() == 1)
    shown["group"] = shown["account_id"].map(known["group"])
    counts = shown.groupby(["column", "value"]).agg(
        attack=("attack", "sum"), accounts=("attack", "size"), groups=("group", "nunique")
    ).reset_index()  # fmt: skip
    counts["honest"] = counts["accounts"] - counts["attack"]
    total = int((known["label"] == 1).sum()), int((known["label"] == 0).sum())
    counts["auc"] = 0.5 + (counts["attack"] / max(total[0], 1) - counts["honest"] / max(total[1], 1)).abs() / 2
    counts["one_sided"] = (counts["attack"] == 0) | (counts["honest"] == 0)
    kept = counts.loc[counts["groups"] >= fewest, ["column", "value", "attack", "honest", "groups", "auc", "one_sided"]]
    return kept.sort_values("auc", ascending=False, ignore_index=True)


def _flat(traffic: Path) -> pa.Table:
    """The records without their prompts, structs as columns, tools as one string."""
    names = [n for n in pq.read_schema(sorted(traffic.glob("*.parquet"))[0]).names if n != "prompt"]
    table = pq.read_table(traffic, columns=names).flatten()
    table = table.rename_columns([name.rpartition(".")[2] for name in table.column_names])
    joined = pc.binary_join(table.column("tools").combine_chunks(), ", ")
    return table.set_column(table.column_names.index("tools"), "tools", joined)


def _coded(column: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[Any]]:
    """Numbers of the values in their sorted order, -1 for null, and the values."""
    encoded = column.dictionary_encode()
    kinds = encoded.dictionary.to_pylist()
    rank = np.empty(len(kinds) + 1, np.int64)
    order = sorted(range(len(kinds)), key=lambda i: kinds[i])
    rank[order], rank[-1] = np.arange(len(kinds)), -1
    return rank[encoded.indices.fill_null(-1).to_numpy()], [kinds[i] for i in order]


def _counts(name: str, pairs: pd.DataFrame, accounts: int) -> dict[str, Any]:
    """How many values an account shows; which it shows first; how many other accounts show the same."""
    out: dict[str, Any] = {}
    if name in NAMED or name in COUNTED:
        out[f"{name} count"] = np.bincount(pairs["account"], minlength=accounts)
    if name in NAMED:
        first = np.full(accounts, np.nan)
        first[pairs["account"].to_numpy()[::-1]] = pairs["value"].to_numpy()[::-1]
        out[f"{name} first"] = first
    if name in SHARED:
        others = pairs.groupby("value")["account"].transform("size") - 1
        out[f"{name} others"] = others.groupby(pairs["account"]).max().reindex(range(accounts)).to_numpy()
    return out


def _shown(name: str, pairs: pd.DataFrame, distinct: list[Any], names: list[str]) -> pd.DataFrame:
    """Which account shows which value of a column, as text; a null is a value too."""
    told = [*(_told(name, value) for value in distinct), "none"]
    rows = [(names[a], name, told[v]) for a, v in zip(pairs["account"], pairs["value"], strict=True)]
    if name == "tools":
        rows = [(account, name, tool or "empty") for account, _, tools in rows for tool in tools.split(", ")]
    return pd.DataFrame(rows, columns=["account_id", "column", "value"]).drop_duplicates()


def _told(name: str, value: object) -> str:
    """A value in a report; a system prompt is text and is told by its hash."""
    return f"#{hashlib.sha256(str(value).encode()).hexdigest()[:6]}" if name == "system" else str(value)


def _numbers(column: pa.Array, tokens: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values as floats, NaN for null; token counts as logarithms (base 2)."""
    out = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    return np.log2(np.maximum(out, 1)) if tokens else out


def _mean(value: np.ndarray[Any, Any], code: np.ndarray[Any, Any], accounts: int) -> np.ndarray[Any, Any]:
    known = ~np.isnan(value)
    count = np.bincount(code[known], minlength=accounts)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(code[known], value[known], accounts) / np.where(count, count, np.nan))


def _is(table: pa.Table, stop: str) -> np.ndarray[Any, Any]:
    found = pc.equal(table.column("stop_reason"), stop).combine_chunks()
    return np.asarray(found.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _age(table: pa.Table, code: np.ndarray[Any, Any], accounts: int) -> np.ndarray[Any, Any]:
    """Days from an account's creation to its first exchange here."""
    first = np.full(accounts, np.inf)
    np.minimum.at(first, code, table.column("timestamp").cast(pa.int64()).to_numpy().astype(float))
    born = table.column("created_at").cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy()
    return np.asarray((first - _mean(np.asarray(born, np.float64), code, accounts)) / DAY_US)
