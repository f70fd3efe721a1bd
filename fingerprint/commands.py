"""The commands: thin functions over the library. Data on standard output, everything else on standard error.

Known errors are one line and exit status 2; records that were not used are summarised and exit status 1; what nobody
thought of is for ``fingerprint.cli`` to report. Left out: training (``python -m training``).
"""

import importlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fingerprint import __version__
from fingerprint.assemble import HOLD, Assembler, Entities
from fingerprint.bundle import FILES, SIGNATURE, check_place, load, write
from fingerprint.calibrate import Judged, calibrated, sentence, small_accounts
from fingerprint.errors import FingerprintError, OutOfOrderError
from fingerprint.exchange import Names, NoNames
from fingerprint.features import FEATURES, compute
from fingerprint.head import Head
from fingerprint.policy import LEAST
from fingerprint.readers import Rejects, read
from fingerprint.recent import RECENT_US
from fingerprint.replay import replay
from fingerprint.scorer import Scorer
from fingerprint.scorer import verify as verify_bundle
from fingerprint.verdicts import feature_kinds, feature_rows, verdict_kinds, verdict_rows, writer

__all__ = [
    "EXAMPLES", "BundleOption", "By", "Out", "Tally", "app", "check_out", "finish", "needed", "one_line_errors",
    "progress", "say",
]  # fmt: skip

app = typer.Typer(
    name="fingerprint",
    help="Find distillation campaigns in the API traffic of large language models.",
    epilog="Exit status: 0 done; 1 some records were not used (told on stderr); 2 nothing was done; "
    "70 a fault of fingerprint itself (FINGERPRINT_DEBUG=1 shows where).",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class By(StrEnum):
    """What is judged."""

    session = "session"
    account = "account"


class Look(StrEnum):
    """How often honest traffic is looked at."""

    session = "session"
    account = "account"
    request = "request"


@dataclass
class Tally:
    """What went through, for the last line."""

    rejects: Rejects = field(default_factory=Rejects)
    exchanges: int = 0
    duplicates: int = 0
    foreign: int = 0
    late: int = 0
    belated: int = 0
    newest_us: int = 0  # of earlier runs
    entities: int = 0
    levels: Counter[str] = field(default_factory=Counter)

    def warnings(self) -> list[str]:
        """What is wrong with the input though no record was rejected for it."""
        told = []
        if self.foreign:
            dropped = f"dropped {self.duplicates:,} duplicates, {self.foreign:,} of them under another account_id"
            told.append(f"{dropped}: ids must be unique")
        if self.late:
            newest = f"{np.datetime64(self.newest_us, 'us').astype('M8[s]')}Z"
            told.append(
                f"did not use {self.late:,} late records, over {RECENT_US // 3_600_000_000} hours older than the "
                f"newest of earlier runs ({newest}): read before, or days are out of order"
            )
        if self.belated:
            told.append(
                f"used {self.belated:,} records that are older than what earlier runs read of their accounts: "
                "the gaps after them stay as they were"
            )
        return told

    def line(self, by: By) -> str:
        """One line of counts; of levels too where there are verdicts."""
        records = self.exchanges + self.duplicates + self.late + self.rejects.total
        levels = ", ".join(f"{self.levels[level]:,} {level}" for level in ("allow", "review", "act"))
        return (
            f"{records:,} records: {self.rejects.total:,} rejected, {self.duplicates:,} duplicates dropped"
            f"{f', {self.late:,} late' if self.late else ''}; "
            f"{self.entities:,} {by}s" + (f": {levels}" if self.levels else "")
        )


def say(line: str) -> None:
    """One line on standard error, whatever is in it."""
    one = " ".join(line.split())
    print("".join(c if c.isprintable() else "?" for c in one), file=sys.stderr, flush=True)


def needed(module: str, extra: str) -> Any:
    """A module of an extra, or of the package that imports one."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise FingerprintError(f"this needs {error.name}: pip install 'fingerprint[{extra}]'") from None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Known errors are one line and a status; so are Ctrl-C and a reader of our output that went away."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush there
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        say("fingerprint: stopped")
        raise typer.Exit(130) from None
    except (FingerprintError, OSError) as error:
        say(f"fingerprint: {error}")
        raise typer.Exit(2) from None


@contextmanager
def progress() -> Iterator[Progress]:
    """A spinner with counts, where standard error is a terminal."""
    columns = SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield bar


def _assembled(traffic: Sequence[str], by: By, head: Head, hold: int | None, bar: Progress, tally: Tally) -> Assembler:
    """All traffic read once."""
    accounts, sessions, tally.rejects = Names(), Names(), Rejects()
    assembler = Assembler(by.value, head, accounts, sessions, hold)
    reading = bar.add_task("reading: exchanges", total=None)
    for source in traffic:
        for batch in read(source, accounts=accounts, sessions=sessions, rejects=tally.rejects):
            assembler.add(batch)
            bar.advance(reading, len(batch.time_us))
    return assembler


def _entities(traffic: Sequence[str], by: By, head: Head, bar: Progress, tally: Tally) -> Iterator[Entities]:
    """Windows of all entities; what can be read again is first read in the hope that it is nearly in order."""
    again = all(Path(source).is_file() or Path(source).is_dir() for source in traffic)
    try:
        assembler = _assembled(traffic, by, head, HOLD if again else None, bar, tally)
    except OutOfOrderError:
        say("fingerprint: the traffic is not in the order of time, reading it again and holding all of it")
        assembler = _assembled(traffic, by, head, None, bar, tally)
    judging = bar.add_task(f"computing: {by}s", total=None)
    for entities in assembler.finish():
        yield entities
        tally.entities += len(entities.entity_id)
        bar.advance(judging, len(entities.entity_id))
    tally.exchanges, tally.duplicates, tally.foreign = assembler.exchanges, assembler.duplicates, assembler.foreign


def check_out(traffic: str, out: str) -> None:
    """Refuse to write over the traffic, or among it where the next run would read it."""
    source, target = Path(os.path.realpath(traffic)), Path(os.path.realpath(out))  # these take loops of links
    if out != "-" and traffic != "-" and source in (target, *target.parents):
        raise FingerprintError(f"--out {out}: this is where the traffic is read from, name another place")


def finish(tally: Tally, by: By, began: float) -> None:
    for line in (*tally.rejects.summary(), *tally.rejects.notices(), *tally.warnings()):
        say(line)
    say(f"{tally.line(by)} ({time.perf_counter() - began:.1f} s)")
    if tally.rejects.total or tally.late:
        raise typer.Exit(1)


Traffic = Annotated[
    str,
    typer.Argument(
        metavar="TRAFFIC",
        help="A file (.jsonl, .jsonl.gz, .jsonl.zst, .parquet), a directory of these, or - for stdin.",
    ),
]
ByOption = Annotated[By, typer.Option("--by", help="What is judged: each session or each account.")]
Out = Annotated[str, typer.Option("--out", help="A file (.jsonl, .csv, .parquet), or - for JSONL on stdout.")]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="A model bundle; the one that ships with fingerprint if not given.")
]
EXAMPLES = "\b\nExamples:\n"


@app.command(
    epilog=EXAMPLES
    + "  fingerprint score traffic.parquet --by account --out verdicts.csv\n"
    + "  zcat traffic.jsonl.gz | fingerprint score - --by session --out - | jq 'select(.level == \"act\")'"
)
def score(traffic: Traffic, by: ByOption, out: Out, bundle: BundleOption = None) -> None:
    """Write a verdict for each session or account: score, level, reasons."""
    began, tally = time.perf_counter(), Tally()
    with one_line_errors():
        check_out(traffic, out)
        scorer = Scorer.load(bundle)
        with writer(out, verdict_kinds()) as write, progress() as bar:
            for entities in _entities([traffic], by, scorer.head, bar, tally):
                rows = verdict_rows(entities, compute(entities.windows), scorer)
                write(rows)
                tally.levels.update(rows["level"])
        finish(tally, by, began)


@app.command(
    epilog=EXAMPLES
    + "  fingerprint features traffic.parquet --by account --out features.parquet\n"
    + "  fingerprint features traffic/ --by session --out - | head -1"
)
def features(traffic: Traffic, by: ByOption, out: Out, bundle: BundleOption = None) -> None:
    """Write the features of each session or account, as the model sees them."""
    began, tally, names = time.perf_counter(), Tally(), [feature.name for feature in FEATURES]
    with one_line_errors():
        check_out(traffic, out)
        head = load(bundle).head
        with writer(out, feature_kinds(names)) as write, progress() as bar:
            for entities in _entities([traffic], by, head, bar, tally):
                write(feature_rows(entities, compute(entities.windows), names))
        finish(tally, by, began)


def _share(level: str) -> Any:
    return typer.Option(f"--{level}", help=f"Share of honest accounts that may reach {level}.")


@app.command(
    epilog=EXAMPLES
    + "  fingerprint calibrate june.parquet july.parquet --out bundle\n"
    + "  fingerprint score august.parquet --by account --bundle bundle --out verdicts.csv"
)
def calibrate(
    benign: Annotated[list[str], typer.Argument(metavar="BENIGN...", help="Your own ordinary traffic, as for score.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.")],
    by: Annotated[
        Look,
        typer.Option("--by", help="Each session or account once, or as Monitor does: each account at every request."),
    ] = Look.account,
    bundle: BundleOption = None,
    least: Annotated[
        int, typer.Option("--least", min=1, help="With --by request: exchanges that a window needs (Policy.least).")
    ] = LEAST,
    review: Annotated[float, _share("review")] = 0.01,
    act: Annotated[float, _share("act")] = 0.001,
    confidence: Annotated[float, typer.Option("--confidence", help="With which the shares are promised.")] = 0.95,
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing when there are too few accounts to promise the shares.")
    ] = False,
) -> None:
    """Write a bundle with thresholds and baseline of your own ordinary traffic, and say what they promise."""
    began, tally = time.perf_counter(), Tally()
    with one_line_errors():
        if not (0 < act <= review < 1 and 0.5 <= confidence < 1):
            raise FingerprintError(
                "expected 0 < --act <= --review < 1 and --confidence from 0.5 to below 1, "
                f"got {act:g}, {review:g} and {confidence:g}"
            )
        for traffic in benign:
            check_out(traffic, str(out))
        check_place(out)
        scorer = Scorer.load(bundle)
        if out.resolve() == scorer.bundle.path.resolve():
            raise FingerprintError(f"--out {out}: this is the bundle that is read, name another place")
        if any(row.get("own_accounts") for row in scorer.bundle.manifest.get("training_data", ())):
            say(
                "this bundle was trained on ordinary traffic: give accounts that were not in it, or nothing is promised"
            )
        with progress() as bar:
            parts = list(_judged(benign, by, scorer, least, bar, tally))
        shares = {"review": review, "act": act}
        manifest, card, cuts = calibrated(scorer.bundle, parts, by.value, shares, confidence)
        told = [sentence(level, found, confidence) for level, found in cuts.items()]
        if strict and (broken := [line for line, found in zip(told, cuts.values(), strict=True) if not found.kept]):
            raise FingerprintError(f"--strict: nothing is written: {'; '.join(broken)}")
        contents = {name: (scorer.bundle.path / name).read_bytes() for name in FILES} | {"card.md": card.encode()}
        write(out, contents, manifest)
        told += [line] if (line := small_accounts(manifest["calibrated"])) else []
        print("\n".join([*told, f"{out}: bundle {load(out).bundle_id}"]))
        finish(tally, By.session if by is Look.session else By.account, began)


def _judged(
    benign: Sequence[str], by: Look, scorer: Scorer, least: int, bar: Progress, tally: Tally
) -> Iterator[Judged]:
    """Scores of honest windows; of each account the highest that it had at any request, where that is asked for."""
    if by is not Look.request:
        for entities in _entities(benign, By(by.value), scorer.head, bar, tally):
            rows = compute(entities.windows)
            facts = (entities.account_id, entities.n, entities.first_us, entities.last_us)
            yield Judged(*facts, rows, scorer.score(rows))
        return
    accounts, sessions, tally.rejects = Names(), NoNames(), Rejects()
    looking = bar.add_task("judging: requests", total=None)
    batches = (
        b for source in benign for b in read(source, accounts=accounts, sessions=sessions, rejects=tally.rejects)
    )
    found, tally.duplicates = replay(batches, accounts.items, scorer, least, lambda n: bar.advance(looking, n))
    tally.exchanges, tally.entities = int(bar.tasks[looking].completed) - tally.duplicates, len(accounts.items)
    yield found


@app.command(epilog=EXAMPLES + "  fingerprint verify\n  fingerprint verify models/default")
def verify(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="A model bundle; the one that ships if not given.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="It must be signed with the private key of this one (PEM).")
    ] = None,
) -> None:
    """Check a bundle: its files, its feature set, its operators, that the model runs, and its signature if asked."""
    with one_line_errors():
        found = verify_bundle(bundle)
        told = "; signed: --public-key checks by whom" if (found.path / SIGNATURE).exists() else ""
        if public_key is not None:
            needed("fingerprint.signing", "signing").check(found.path, public_key)
            told = f"; signed with the key of {public_key.name}"
        digests = ", ".join(sorted(found.manifest["files"]))
        print(f"{found.path}: bundle {found.bundle_id} is sound: {digests}; {len(FEATURES)} features{told}")


@app.command(
    epilog=EXAMPLES
    + "  openssl ecparam -name prime256v1 -genkey -noout -out key.pem\n"
    + "  openssl ec -in key.pem -pubout -out key.pub\n"
    + "  fingerprint sign bundle --key key.pem\n"
    + "  fingerprint verify bundle --public-key key.pub"
)
def sign(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A model bundle.")],
    key: Annotated[Path, typer.Option("--key", help="Your private elliptic-curve key (PEM).")],
) -> None:
    """Sign a bundle with your own key: model.sig beside its files, in the format of OpenSSF Model Signing."""
    with one_line_errors():
        found = needed("fingerprint.signing", "signing").sign(directory, key)
        print(f"{directory}: bundle {found} is signed: {directory / SIGNATURE}")


@app.command(
    epilog=EXAMPLES
    + "  fingerprint pull http://mlflow.internal:5000 bundle\n"
    + "  fingerprint pull sqlite:///mlflow.db bundle --alias challenger"
)
def pull(
    uri: Annotated[str, typer.Argument(metavar="MLFLOW_URI", help="Where models are registered.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle's folder; what is there is replaced.")],
    name: Annotated[str, typer.Option("--model", help="Name of the registered model.")] = "fingerprint",
    alias: Annotated[str, typer.Option("--alias", help="Which of its versions.")] = "champion",
) -> None:
    """Copy the bundle of a registered model from MLflow, verified and in one step; the old one is DIR.previous."""
    with one_line_errors():
        pulled = needed("fingerprint.delivery", "mlflow").pull(uri, directory, name, alias)
        told = "is new" if pulled.changed else "was there already"
        print(
            f"{directory}: bundle {pulled.bundle_id} {told}: {alias} of {name}, "
            f"version {pulled.version}, run {pulled.run_id}"
        )


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fingerprint {__version__}")
        raise typer.Exit


@app.callback(epilog=EXAMPLES + "  fingerprint score traffic.jsonl --by account --out -\n  fingerprint COMMAND --help")
def _fingerprint(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find distillation campaigns in the API traffic of large language models."""
