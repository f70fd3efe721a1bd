"""The commands about campaigns: find them, share one, match what another provider shared.

They need ``fingerprint[campaigns]`` (SciPy, scikit-network, matplotlib), sharing needs ``fingerprint[share]``; both are
imported when a command runs.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from fingerprint.assemble import HOLD
from fingerprint.commands import (
    EXAMPLES,
    BundleOption,
    By,
    Out,
    Tally,
    app,
    check_out,
    finish,
    needed,
    one_line_errors,
    progress,
    say,
)
from fingerprint.errors import FingerprintError, OutOfOrderError
from fingerprint.exchange import Batch, Names, NoNames
from fingerprint.readers import Rejects, read
from fingerprint.scorer import Scorer
from fingerprint.verdicts import writer

__all__: list[str] = []

_ROWS = {"account_id": "text", "campaign_id": "text", "score": "number"}
_MATCHES = {"account_id": "text", "campaign_id": "text", "carrying": "count", "share": "number"}
TrafficList = Annotated[list[str], typer.Argument(metavar="TRAFFIC...", help="Files or folders of exchange records.")]


def _read(traffic: list[str], state: Any, scorer: Scorer, bar: Progress, tally: Tally) -> Any:
    """The state after the traffic; read again, holding all of it, where it turns out to be out of order."""
    for hold in (HOLD, None):
        sessions, tally.rejects = NoNames(), Rejects()
        assembler, names, keeper = state.assembler(scorer, sessions, hold)
        reading = bar.add_task("reading: exchanges", total=None)
        try:
            for source in traffic:
                for batch in read(source, accounts=names, sessions=sessions, rejects=tally.rejects):
                    assembler.add(batch)
                    bar.advance(reading, len(batch.time_us))
        except OutOfOrderError:
            say("fingerprint: the traffic is not in the order of time, reading it again and holding all of it")
            continue
        windows = assembler.account_windows()
        tally.exchanges, tally.duplicates, tally.foreign = assembler.exchanges, assembler.duplicates, assembler.foreign
        tally.late, tally.belated, tally.newest_us = assembler.late, assembler.belated, state.recent.newest_us
        tally.entities = len(names.items)
        return state.after(names, windows, keeper)
    raise AssertionError("held traffic is in order")


def _check_places(traffic: list[str], *targets: object) -> None:
    """Refuse to write where the traffic is, and to read what cannot be read a second time."""
    if "-" in traffic:
        raise FingerprintError("this reads files and folders, not standard input: give a path")
    for source in traffic:
        for target in targets:
            if target is not None:
                check_out(source, str(target))


@app.command(
    epilog=EXAMPLES
    + "  fingerprint campaigns traffic/ --out campaigns.csv --cases cases\n"
    + "  fingerprint campaigns traffic/ --out campaigns.csv --cases cases --skeletons   # shows customers' wording\n"
    + "  fingerprint campaigns monday.parquet --state state.npz --out monday.csv   # then tuesday.parquet"
)
def campaigns(
    traffic: TrafficList,
    out: Out,
    cases: Annotated[Path | None, typer.Option("--cases", help="Folder for a case file of each campaign.")] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="File that carries what was read, and ids, from run to run; made if absent."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", help="File with a key, or env:NAME: case files hold keyed hashes (see share)."),
    ] = None,
    skeletons: Annotated[
        bool,
        typer.Option("--skeletons", help="Read again, and put the wording that the accounts share into case files."),
    ] = False,
    without: Annotated[
        str,
        typer.Option("--without", help="Kinds of links to leave out, such as payment,network,registered,times,list."),
    ] = "",
    bundle: BundleOption = None,
) -> None:
    """Find accounts that work together, and write which campaign each belongs to."""
    began, tally = time.perf_counter(), Tally()
    with one_line_errors():
        _check_places(traffic, out, cases, state)
        finder = needed("fingerprint.campaigns.find", "campaigns")
        needed("sknetwork.clustering", "campaigns")  # find imports it after the traffic was read
        files = needed("fingerprint.campaigns.case_page", "campaigns")
        keys = needed("fingerprint.campaigns.share_format", "campaigns")
        if cases:
            needed("fingerprint.campaigns.figures", "campaigns")
        elif key or skeletons:
            raise FingerprintError(f"{'--key' if key else '--skeletons'} is for case files: give --cases, too")
        secret = keys.read_key(key) if key else None
        left_out = [kind.strip() for kind in without.split(",") if kind.strip()]
        if unknown := sorted(set(left_out) - set(finder.KINDS)):
            raise FingerprintError(f"--without: expected {', '.join(finder.KINDS)}, got {', '.join(unknown)}")
        scorer = Scorer.load(bundle)
        before = finder.State.load(state, scorer) if state else finder.State(scorer.bundle_id)
        with writer(out, _ROWS) as write, progress() as bar:
            after = _read(traffic, before, scorer, bar, tally)
            grouping = bar.add_task("grouping: accounts", total=None)
            found = finder.find(after, scorer, without=left_out)
            bar.advance(grouping, len(after.accounts))
            for campaign in found.campaigns:
                ids = [after.accounts[member] for member in campaign.members]
                same = {"campaign_id": [campaign.campaign_id] * len(ids), "score": [campaign.score] * len(ids)}
                write({"account_id": ids, **same})
            if cases:
                made = [finder.case_of(campaign, found, after, scorer) for campaign in found.campaigns]
                if skeletons:
                    made = _with_skeletons(made, traffic, bar)
                writing = bar.add_task("writing: cases", total=None)
                for case, days in made:
                    files.write_case(keys.keyed_case(case, secret) if secret else case, days, cases)
                    bar.advance(writing)
        if state:
            after.save(state)
        _tell(found, tally, began)


def _with_skeletons(made: list[Any], traffic: list[str], bar: Progress) -> list[Any]:
    """The cases, each with what its figures need, with the wording of their forms, from the traffic read once more."""
    names, reading = Names(), bar.add_task("reading the wording of forms: exchanges", total=None)

    def batches() -> Iterator[Batch]:
        for source in traffic:
            for batch in read(source, accounts=names, sessions=NoNames(), rejects=Rejects()):
                yield batch
                bar.advance(reading, len(batch.time_us))

    adding = needed("fingerprint.campaigns.skeletons", "campaigns")
    told = adding.with_skeletons([case for case, _ in made], batches(), names)
    forms = [form for case in told for form in case.forms]
    shown = sum(form.skeleton is not None for form in forms)
    say(f"the wording of {shown:,} of {len(forms):,} forms is in the case files: text of customers, masked")
    return [(case, days) for case, (_, days) in zip(told, made, strict=True)]


def _tell(found: Any, tally: Tally, began: float) -> None:
    members = sum(len(campaign.members) for campaign in found.campaigns)
    acts = sum(campaign.level == "act" for campaign in found.campaigns)
    say(
        f"{len(found.groups):,} groups of linked accounts; {len(found.campaigns):,} campaigns of {members:,} accounts: "
        f"{len(found.campaigns) - acts:,} review, {acts:,} act"
    )
    finish(tally, By.account, began)


@app.command(
    epilog=EXAMPLES
    + "  fingerprint share cases/camp-1a2b3c4d5e6f --key key.hex --provider 'Example AI' --out shared.json"
)
def share(
    case: Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="A case folder, or its case.json.")],
    out: Annotated[Path, typer.Option("--out", help="STIX 2.1 bundle to write (.json).")],
    key: Annotated[str, typer.Option("--key", help="File with the key agreed with the other provider, or env:NAME.")],
    provider: Annotated[str, typer.Option("--provider", help="Who says so.")],
    tlp: Annotated[str, typer.Option("--tlp", help="clear, green, amber, amber+strict or red (TLP 2.0).")] = "amber",
    valid_days: Annotated[int, typer.Option("--valid-days", min=1, max=366, help="How long it is valid.")] = 90,
    accounts: Annotated[bool, typer.Option("--accounts", help="Also share account ids, as keyed hashes.")] = False,
) -> None:
    """Write a campaign's indicators as STIX 2.1: keyed signatures and bucketed facts, no prompt, no account id."""
    with one_line_errors():
        sharing = needed("fingerprint.campaigns.share", "share")
        keys = needed("fingerprint.campaigns.share_format", "share")
        found = needed("fingerprint.campaigns.cases", "campaigns").read_case(case)
        told = sharing.share(
            found,
            keys.read_key(key),
            provider=provider,
            tlp=tlp,
            valid_days=valid_days,
            now=datetime.now(UTC),
            accounts=accounts,
        )
        out.write_text(told, encoding="utf-8")
        told = f"{found['campaign_id']}, {len(found['forms']):,} indicators"
        say(f"{out}: {told}, valid for {valid_days} days, TLP:{tlp.upper()}")


@app.command(epilog=EXAMPLES + "  fingerprint match shared.json traffic/ --key key.hex --out matches.csv")
def match(
    shared: Annotated[Path, typer.Argument(metavar="SHARED", help="Another provider's STIX 2.1 bundle.")],
    traffic: TrafficList,
    key: Annotated[str, typer.Option("--key", help="File with the key agreed with the other provider, or env:NAME.")],
    out: Out,
    bundle: BundleOption = None,
) -> None:
    """Find accounts that fit another provider's indicators, and say how many would by chance."""
    began, tally = time.perf_counter(), Tally()
    with one_line_errors():
        _check_places(traffic, out)
        sharing = needed("fingerprint.campaigns.match", "share")
        keys = needed("fingerprint.campaigns.share_format", "share")
        finder = needed("fingerprint.campaigns.find", "campaigns")
        agreed = keys.read_key(key)
        with shared.open("rb") as handle:
            known = sharing.read_bundle(handle.read(keys.BUNDLE_BYTES + 1), agreed, now=datetime.now(UTC))
        scorer = Scorer.load(bundle)
        with writer(
            out, {"account_id": "text", "campaign_id": "text", "carrying": "count", "share": "number"}
        ) as write:
            with progress() as bar:
                after = _read(traffic, finder.State(scorer.bundle_id), scorer, bar, tally)
            rows = after.sample
            fit = sharing.match(known, rows.when[:, 3], rows.when[:, 4], rows.account, agreed)
            fits = fit.carrying >= fit.least
            names = [after.accounts[code] for code in fit.account[fits]]
            same = {"campaign_id": [known.campaign_id] * len(names)}
            write({"account_id": names, **same, "carrying": fit.carrying[fits], "share": fit.share[fits]})
        say(f"{len(names):,} of {len(after.accounts):,} accounts fit; by chance at most {fit.by_chance:.3g} would")
        finish(tally, By.account, began)
