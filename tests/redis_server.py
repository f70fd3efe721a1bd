"""A Redis server that a test starts, kills and starts again; socket and files are in a directory of the test."""

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import redis
from builders import exchanges, random_head

from fingerprint.contribution import Contributions, read_exchange
from fingerprint.history import History
from fingerprint.kernels.layout import W

BINARY = shutil.which("redis-server")
START_US = 1_780_000_000_000_000
_POOL = [read_exchange(record, random_head()) for record in exchanges(64, seed=3)]


class Server:
    """``options`` are lines of the server's configuration as command line arguments."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory, self.socket, self.options = directory, directory / "s", options
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **client: str) -> "Server":
        assert BINARY
        port = [] if "--port" in self.options else ["--port", "0"]
        fixed = [*port, "--unixsocket", str(self.socket), "--dir", str(self.directory), "--save", ""]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen([BINARY, *fixed, *self.options], stdout=log, stderr=log)
        for _ in range(500):
            time.sleep(0.02)
            with suppress(redis.ConnectionError), self.client(**client) as one:
                if one.ping():
                    return self
        self.kill()
        raise AssertionError((self.directory / "log").read_text())

    def client(self, **options: str) -> redis.Redis:
        return redis.Redis.from_url(self.url, **options)

    def kill(self) -> None:
        """As a crash does it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def row(number: int, us: int | None = None) -> tuple[int, Contributions]:
    """Identity and contribution of exchange ``number``: one every 0.7 s, or at ``us`` after the start."""
    rows = Contributions(*(part.copy() for part in _POOL[number % len(_POOL)]))
    rows.when[0, W["time_us"]] = START_US + (number * 700_000 if us is None else us)
    return (number + 1) * 0x9E3779B97F4A7C15 % 2**64, rows


def history(numbers: "list[int] | range") -> History:
    """What one process has that saw these in this order."""
    one = History()
    for number in numbers:
        one.add(*row(number))
    return one


def same(windows: "np.ndarray | None", other: History) -> bool:
    return windows is not None and bool(np.array_equal(windows, other.windows))
