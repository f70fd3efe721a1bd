"""A tiny world with a canary in its text, one training run on it, and a search for the canary."""

import base64
import io
import json
import logging
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

CANARY = "kestrel-quartz-40917"
SETTINGS = """
refit = true
[tune]
trials = 2
timeout_s = 30.0
[windows]
per_account = 1
[lightgbm]
trees = 40
[evaluation]
bootstrap = 20
"""
PARTS = Path(__file__).parents[1]


@dataclass
class Run:
    """What a training run left: ``root/world`` is its input, ``root/out`` everything that was written."""

    root: Path
    result: Any
    stdout: str
    stderr: str
    log: str
    warned: list[str]
    accounts: list[str]
    settings: Path
    said: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def bundle(self) -> Path:
        return self.out / "bundle"

    @property
    def traffic(self) -> Path:
        return self.root / "world" / "traffic"


def disguises(secret: str) -> list[bytes]:
    """The secret as it might be written: plain, in other encodings, base64 at each of three places, hexadecimal."""
    plain = secret.encode()
    coded = [base64.b64encode(b"\0" * shift + plain)[4 * (shift > 0) : -4] for shift in range(3)]
    coded += [code.replace(b"+", b"-").replace(b"/", b"_") for code in coded]
    return [plain, plain[::-1], plain.upper(), secret.encode("utf-16-le"), plain.hex().encode(), *coded]


def contents(path: Path) -> bytes:
    """The bytes of a file; of compressed tables the values in them too."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        plain = io.BytesIO()
        pq.write_table(pq.read_table(path), plain, compression="none", use_dictionary=False)
        data += plain.getvalue()
    return data


def leaks(folder: Path, secrets: list[str]) -> list[str]:
    """The files below a folder that hold a secret, or have it in their name."""
    marks = [mark for secret in secrets for mark in disguises(secret)]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        str(path.relative_to(folder))
        for path in files
        if any(mark in (data := str(path).encode() + contents(path)) or mark in data.lower() for mark in marks)
    ]


def plant(world: Path) -> None:
    """Rewrite a world's traffic, half as Parquet and half as JSONL, with the canary in what holds text."""
    (path,) = (world / "traffic").glob("*.parquet")
    table = pq.read_table(path)
    records, rng = table.to_pylist(), random.Random(3)
    for record in records:
        if rng.random() < 0.4:
            record["prompt"] = f"{CANARY} {record['prompt']} {CANARY}"
        if rng.random() < 0.2:
            record["system"] = f"{record['system']} {CANARY}"
        if rng.random() < 0.2:
            record["tools"] = [*(record["tools"] or []), CANARY]
    half = len(records) // 2
    pq.write_table(pa.Table.from_pylist(records[:half], table.schema), path)
    with (world / "traffic" / "second.jsonl").open("w") as stream:
        for i, record in enumerate(records[half:]):
            chat = [{"role": "system", "content": CANARY}, {"role": "user", "content": record["prompt"]}]
            talk = {"messages": chat, "prompt": None, "system": None} if i % 5 == 0 else {}
            stream.write(json.dumps(record | talk, default=lambda time: time.isoformat()) + "\n")


@contextmanager
def everything_said() -> Iterator[list[str]]:
    """All that is written to the process's own two streams, by C++ too, and all that is logged at any level."""
    log, root = io.StringIO(), logging.getLogger()
    handler, level, said = logging.StreamHandler(log), root.level, [""]
    fonts = logging.getLogger("matplotlib.font_manager")  # a thousand lines of scores
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        fonts.setLevel(logging.INFO)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield said
        finally:
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            root.removeHandler(handler)
            root.setLevel(level)
            fonts.setLevel(logging.NOTSET)
            file.seek(0)
            said[0] = file.read().decode("utf-8", "replace") + log.getvalue()


def toy_run(root: Path) -> Run:
    """``world`` and ``run`` of ``python -m training`` in this process, on three hundred accounts."""
    from training import pipeline
    from training.__main__ import app

    results: list[Any] = []
    settings = root / "settings.toml"
    settings.write_text(SETTINGS)
    (root / "out").mkdir()
    run = pipeline.run

    def kept(*arguments: Any, **named: Any) -> Any:
        results.append(run(*arguments, **named))
        return results[-1]

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")  # what other packages raise inside themselves is not ours to fix
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/out/mlflow.db")
        patch.setattr(pipeline, "run", kept)
        patch.setattr(tempfile, "tempdir", str(root / "out"))
        patch.chdir(root / "out")
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            made = CliRunner().invoke(
                app, ["world", "--out", str(root / "world"), "--accounts", "300", "--seed", "7", "--days", "20"]
            )
            assert made.exit_code == 0, made.output
        plant(root / "world")
        world = root / "world"
        arguments = ["--traffic", world / "traffic", "--labels", world / "labels.csv", "--groups", world / "groups.csv"]
        with everything_said() as said:
            done = CliRunner().invoke(
                app,
                [
                    "run",
                    *map(str, arguments),
                    *("--bundle", str(root / "out" / "bundle"), "--config", str(settings)),
                ],
            )
        assert done.exit_code == 0, (done.output, done.exception)
    with (root / "world" / "labels.csv").open() as stream:
        accounts = [line.split(",")[0] for line in stream.readlines()[1:]]
    own = [
        f"{w.filename}: {w.message}"
        for w in warned
        if Path(w.filename).is_relative_to(PARTS) and ".venv" not in w.filename
    ]
    return Run(root, results[0], done.stdout, done.stderr, said[0], own, accounts, settings, [made.stdout, made.stderr])
