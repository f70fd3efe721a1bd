"""Processes that serve one log of exchanges beside its snapshots, until they are killed: see ``test_snapshot``.

For each line on standard input one is forked: ``serve`` until it is killed, or ``once`` to the end of the log.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from serving import rows_of, traffic

from fingerprint.stores.memory import MemoryStore

LOG = [(f"account {identity % 300}", identity, time) for identity, time in traffic(4000, 8, (1, 20))]


def say(**told: Any) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def serve(path: str, once: bool) -> None:
    store, done = MemoryStore(snapshot=path, every_s=0.05, hot=50), 0
    save = store.save

    def told(place: str | Path) -> None:
        """Says how many exchanges of the log a snapshot holds at least, when it is complete."""
        begun = done
        save(place)
        say(saved=begun)

    store.save = told  # type: ignore[method-assign]
    say(serving=os.getpid())
    for name, identity, time in LOG:
        store.add(name, identity, rows_of(identity, time))
        done += 1
    if not once:
        threading.Event().wait()
    store.close()


def main() -> None:
    MemoryStore().add("a", 1, rows_of(*LOG[0][1:]))  # compiled before the first is forked
    for line in sys.stdin:
        child = os.fork()
        if not child:
            serve(sys.argv[1], line == "once\n")
            os._exit(0)
        say(ended=os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
