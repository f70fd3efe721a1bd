"""A world to time-ordered Parquet files of bounded size, with a bounded number of exchanges in memory.

Two passes over stretches of time. First every process builds its accounts, some hundred at a time, and appends
each one's rows to a file of their stretch; then each stretch is read back, put in order, its prompts are written
out, and it becomes one or more files of at most `rows_a_file` rows. What is in memory is a few hundred accounts and one
stretch a process. The files do not depend on the number of processes.
"""

import hashlib
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.world.account import EPOCH_US, Account, Facts, World, build, in_order, to_batch, with_prompts
from training.world.plan import Plan

CHUNK_ROWS = 60_000  # exchanges that a process builds before it writes them away
DAY_US = 86_400_000_000
Progress = Callable[[str, int, int], None]


@dataclass
class Written:
    """What was written, and what is known of each account once it was built."""

    exchanges: int = 0
    files: int = 0
    digest: str = ""
    facts: dict[int, Facts] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What every process knows."""

    world: World
    plans: list[Plan]
    spill: Path
    out: Path
    stretches: int


def write_traffic(out: Path, world: World, plans: list[Plan], workers: int, progress: Progress) -> Written:
    """Write the traffic of all accounts of the plan below `out`."""
    for old in out.glob("part-*.parquet"):
        old.unlink()
    total = sum(p.q for p in plans)
    stretches = max(1, -(-total // world.settings.rows_a_file))
    written = Written()
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".spill-") as spill:
        job = Job(world, plans, Path(spill), out, stretches)
        with _processes(job, workers) as run:
            for count, facts in run(_build_chunk, list(_chunks(plans))):
                written.exchanges += count
                written.facts |= facts
                progress("world", written.exchanges, total)
            digest, done = hashlib.sha256(), 0
            for rows, files, part in run(_write_stretch, list(range(stretches))):
                written.files += files
                done += rows
                digest.update(part)
                progress("write", done, total)
    _number(out)
    written.digest = digest.hexdigest()
    return written


JOB: Job | None = None


@contextmanager
def _processes(job: Job, workers: int) -> Iterator[Callable[[Callable[[Any], Any], list[Any]], Iterator[Any]]]:
    """A `map` over tasks, in order: in this process, or in forked ones that inherit the job."""
    global JOB
    JOB = job
    if workers == 1:
        yield lambda function, tasks: map(function, tasks)
        return
    pool: Executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    with pool:
        yield lambda function, tasks: pool.map(function, tasks)


def _chunks(plans: list[Plan]) -> Iterator[tuple[int, int]]:
    """Consecutive accounts with about `CHUNK_ROWS` exchanges."""
    first, rows = 0, 0
    for i, p in enumerate(plans):
        rows += p.q
        if rows >= CHUNK_ROWS or i == len(plans) - 1:
            yield first, i + 1
            first, rows = i + 1, 0


def _build_chunk(chunk: tuple[int, int]) -> tuple[int, dict[int, Facts]]:
    """Build accounts and put their rows by stretch of time into one file each."""
    assert JOB is not None
    plans = JOB.plans[chunk[0] : chunk[1]]
    accounts: list[Account] = [build(JOB.world, p) for p in plans]
    batch = to_batch(accounts)
    stamps = batch.column("timestamp").cast(pa.int64()).to_numpy()
    length = JOB.world.settings.days * DAY_US
    stretch = np.clip((stamps - EPOCH_US) * JOB.stretches // length, 0, JOB.stretches - 1)
    order = np.argsort(stretch, kind="stable")
    edges = np.searchsorted(stretch[order], np.arange(JOB.stretches + 1))
    ordered = batch.take(pa.array(order)) if JOB.stretches > 1 else batch
    for i in np.flatnonzero(np.diff(edges)):
        folder = JOB.spill / f"{i:05d}"
        folder.mkdir(exist_ok=True)
        part = ordered.slice(int(edges[i]), int(edges[i + 1] - edges[i]))
        with pa.OSFile(str(folder / f"{chunk[0]:08d}.arrow"), "wb") as sink:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.ipc.new_file(sink, part.schema, options=options) as writer:
                writer.write_batch(part)
    facts = {p.index: a.facts for p, a in zip(plans, accounts, strict=True)}
    return batch.num_rows, facts


def _write_stretch(number: int) -> tuple[int, int, bytes]:
    """One stretch of time as ordered files; gives rows, files and the digest of what is in them."""
    assert JOB is not None
    folder = JOB.spill / f"{number:05d}"
    if not folder.exists():
        return 0, 0, b""
    parts = [pa.ipc.open_file(pa.memory_map(str(f))).read_all() for f in sorted(folder.iterdir())]
    table = in_order(pa.concat_tables(parts))
    shutil.rmtree(folder)
    digest, most, files = hashlib.sha256(), JOB.world.settings.rows_a_file, 0
    for files, first in enumerate(range(0, len(table), most), 1):
        part = with_prompts(JOB.world, table.slice(first, most))
        pq.write_table(
            part, JOB.out / f"part-{number:05d}-{files:03d}.parquet", compression="zstd", compression_level=1
        )
        for column in ("exchange_id", "prompt"):
            for buffer in part.column(column).combine_chunks().buffers()[1:]:
                digest.update(buffer or b"")
        digest.update(part.column("timestamp").to_numpy().tobytes())
    return len(table), files, digest.digest()


def _number(out: Path) -> None:
    """The files in order of time as `part-00000.parquet`, `part-00001.parquet`, ..."""
    for i, file in enumerate(sorted(out.glob("part-*-*.parquet"))):
        file.rename(out / f"part-{i:05d}.parquet")
