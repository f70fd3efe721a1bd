"""How the time and memory of grouping grow with accounts: one world's state, copied with other content and other forms.

    python -m training bench-groups --traffic world/traffic --accounts 25000,50000,100000,250000

Each copy is a world of its own: content turned, other payments and addresses, registered at other times, the slots of
an hour in another order, every second one with other forms, so that two copies share each form.
Each size is a process of its own, whose peak memory is read. Left out: reading traffic (`bench`).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from fingerprint.campaigns.find import State, find
from fingerprint.campaigns.hours import SLOTS, Hours
from fingerprint.campaigns.sample import FACTS, Sample
from fingerprint.exchange import NoNames
from fingerprint.kernels.layout import AT, MISSING, W
from fingerprint.readers import Rejects, read
from fingerprint.scorer import Scorer
from training.world.page import table

__all__ = ["bench_groups", "copied", "measure"]


def copied(state: State, accounts: int, seed: int = 0) -> State:
    """A state of so many accounts, made of copies of this one."""
    assert state.sample is not None
    rng, one, k = np.random.default_rng(seed), state.sample, len(state.accounts)
    parts, hours = [], []
    for number in range(-(-accounts // k)):
        signs, turn = rng.choice(np.array([-1, 1], np.int8), 32), rng.permutation(32)
        when = one.when.copy()
        for part in ("head", "tail"):
            form = when[:, W[part]]
            form[form != 0] ^= np.int64(number // 2) << np.int64(40)
        when[:, W["prompt"]] ^= np.int64(number) << np.int64(40)
        facts = one.facts.copy()
        for part in ("ip", "payment"):
            value = facts[:, FACTS.index(part)]
            value[value != MISSING] ^= rng.integers(2**31, dtype=np.int32)
        created = facts[:, FACTS.index("created_hour")]
        created[created != MISSING] -= rng.integers(24 * 365, dtype=np.int32)
        content, mine = one.content[:, turn] * signs, one.account + np.int32(number * k)
        parts.append(one._replace(account=mine, when=when, content=content, facts=facts))
        order = enumerate(rng.permutation(SLOTS))
        slots = np.bitwise_or.reduce([(state.hours.slots >> old & 1) << new for new, old in order])
        hours.append(
            state.hours._replace(account=state.hours.account + np.int32(number * k), slots=slots.astype(np.int16))
        )
    sample = Sample.concat(parts)
    kept = sample.take(np.flatnonzero(sample.account < accounts))
    windows = np.concatenate([state.windows] * len(parts))[:accounts]
    active = Hours(*(np.concatenate(columns) for columns in zip(*hours, strict=True)))
    active = active.take(active.account < accounts)
    return State(state.bundle_id, [f"a{i}" for i in range(accounts)], windows, kept, hours=active)


def measure(state: Path, accounts: int, bundle: Path | None) -> dict[str, float]:
    """Seconds to group a state of so many accounts, campaigns, exchanges in its windows, and peak memory in GiB."""
    scorer = Scorer.load(bundle)
    one = State.load(state, scorer)
    find(one, scorer)  # compiles
    one.campaigns, large = {}, copied(one, accounts)
    del one
    began = perf_counter()
    found = find(large, scorer)
    seconds = perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30
    counts = {"exchanges": int(large.windows[:, AT["n"]].sum()), "groups": len(found.groups)}
    return {"accounts": accounts, **counts, "campaigns": len(found.campaigns), "seconds": seconds, "peak_gib": peak}


def bench_groups(traffic: Sequence[Path], accounts: Sequence[int], bundle: Path | None) -> str:
    """A table of every size, with seconds for each 1,000 accounts."""
    scorer = Scorer.load(bundle)
    state = State(scorer.bundle_id)
    reader, names, keeper = state.assembler(scorer, NoNames())
    for path in traffic:
        for batch in read(path, accounts=names, sessions=NoNames(), rejects=Rejects()):
            reader.add(batch)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.npz"
        state.after(names, reader.account_windows(), keeper).save(file)
        rows = []
        for size in accounts:
            command = [
                sys.executable,
                "-m",
                "training.bench_groups",
                str(file),
                str(size),
                *([str(bundle)] if bundle else []),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
    found = pd.DataFrame(rows)
    found["ms_an_account"] = 1000 * found["seconds"] / found["accounts"]
    return "\n".join(table(found.astype(dict.fromkeys(("accounts", "exchanges", "groups", "campaigns"), int))))


if __name__ == "__main__":
    _, file_, size_, *bundle_ = sys.argv
    print(json.dumps(measure(Path(file_), int(size_), Path(bundle_[0]) if bundle_ else None)))
