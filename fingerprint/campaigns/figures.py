"""The figures of a case, as PNG: timeline, day and hour, what is asked by account, growth.

Made without pyplot: no global state, no display, the same bytes for the same case. Members are shown by their number in
the table of the page, never by id. Colours are those of Okabe & Ito and cividis, which colour-blind readers can tell
apart. Left out: captions (``cases``). Needs matplotlib, of the extra ``[campaigns]``.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fingerprint.campaigns.cases import Case, DayHours

__all__ = ["draw"]

BLUE, ORANGE, GREY, PALE, INK = "#0072B2", "#D55E00", "#999999", "#CCCCCC", "#333333"
APART: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito
MARKS: Final = "osD^vp"
WIDTH, DPI = 9.0, 100  # inches and dots an inch: 900 pixels
LINES: Final = 200  # accounts in the timeline
DOTS: Final = 20_000  # dots in a scatter
COLUMNS: Final = 120  # days, or steps of several days, in the heat map

Days = NDArray[np.datetime64]


def draw(case: Case, days: DayHours) -> dict[str, bytes]:
    """PNG of every figure by name; ``days`` must fit the case (``DayHours.check``)."""
    with style.context("default", after_reset=True):
        made = {
            "timeline": _timeline(case, days),
            "hours": _hours(case, days),
            "sharding": _sharding(case, days),
            "growth": _growth(case, days),
        }
        return {name: _png(figure) for name, figure in made.items()}


def _timeline(case: Case, days: DayHours) -> Figure:
    """A line an account from first to last exchange, sorted by start, at most LINES of them."""
    first, last = (_times([getattr(m, at) for m in case.accounts]) for at in ("first_seen", "last_seen"))
    order = np.lexsort((last, first))
    shown = order[_evenly(len(order), LINES)]
    some = f"{len(shown):,} of {len(order):,} shown" if len(shown) < len(order) else f"all {len(order):,}"
    title = f"Accounts from first to last exchange ({some})"
    figure, axes = _axes(title, "day (UTC)", "account, by start", _tall(len(shown)))
    place = np.full(len(order), -1)
    place[shown] = np.arange(len(shown))
    ends = np.stack([date2num(first[shown]), date2num(last[shown])], axis=1)
    level = np.repeat(np.arange(len(shown))[:, None], 2, axis=1)
    lines = np.stack([ends, level], axis=2)
    axes.add_collection(LineCollection(list(lines), colors=PALE, linewidths=max(0.8, 5 - len(shown) / 12), zorder=1))
    size = float(np.clip(1200 / max(len(shown), 1), 3, 22))
    for shared, colour, mark, told in ((False, BLUE, "o", "no shared form"), (True, ORANGE, "D", "shared form")):
        rows = np.flatnonzero((days.shared == shared) & (place[days.account] >= 0))
        at = date2num(_moments(days.time_us[rows]))
        label = f"exchange, {told}"
        axes.scatter(
            at, place[days.account[rows]], s=size, c=colour, marker=mark, lw=0, alpha=0.9, label=label, zorder=3
        )
    _by_day(axes)
    axes.autoscale_view()
    axes.set_ylim(len(shown) - 0.4, -0.6)
    ticks = _evenly(len(shown), 6)
    axes.set_yticks(ticks, [f"{rank + 1:,}" for rank in _evenly(len(order), LINES)[ticks]])
    figure.legend(loc="outside lower center", ncols=2, frameon=False, markerscale=max(1.0, (30 / size) ** 0.5))
    return figure


def _hours(case: Case, days: DayHours) -> Figure:
    """Estimated exchanges by day and hour, beside all exchanges by hour."""
    day = _moments(days.time_us).astype("M8[D]")
    span = int((day.max() - day.min()).astype(int)) + 1 if len(day) else 1
    step = -(-span // COLUMNS)
    start = day.min() if len(day) else _times([case.first_seen]).astype("M8[D]")[0]
    grid = np.zeros((24, -(-span // step)))
    np.add.at(grid, (days.time_us // 3_600_000_000 % 24, (day - start).astype(int) // step), _weights(case, days))
    figure = Figure(figsize=(WIDTH, 4.4), dpi=DPI, layout="constrained")
    axes, side = figure.subplots(1, 2, sharey=True, width_ratios=(5, 1))
    unit = "an hour" if step == 1 else f"an hour of the day, {step} days"
    _dress(axes, "Exchanges by day and hour, estimated from the sample", "day (UTC)", "hour of the day (UTC)")
    left, right = date2num(start), date2num(start + np.timedelta64(grid.shape[1] * step, "D"))
    ink, place = np.where(grid > 0, grid, np.nan), (left, right, 24, 0)
    image = axes.imshow(ink, cmap="cividis_r", vmin=0, aspect="auto", extent=place, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.5, aspect=30)
    bar.set_label(f"exchanges {unit} (white: none seen)")
    bar.outline.set_visible(False)
    _dress(side, "All days", "exchanges", "")
    side.barh(np.arange(24) + 0.5, case.rhythm.hour_of_day, height=0.85, color=BLUE)
    side.xaxis.set_major_locator(MaxNLocator(nbins=2))
    side.xaxis.set_major_formatter(FuncFormatter(_short))
    side.tick_params(axis="y", left=False)
    axes.set_yticks(range(0, 25, 4))
    axes.set_ylim(24, 0)
    axes.grid(False)
    _by_day(axes)
    return figure


def _sharding(case: Case, days: DayHours) -> Figure:
    """What is asked, in two directions; the members with most dots in colours, everybody else grey."""
    figure, axes = _axes("", "what is asked, first direction (no unit)", "second direction (no unit)", 5.6)
    seen = np.isfinite(days.content).all(axis=1)
    rows, other = np.flatnonzero(seen & days.shared), np.flatnonzero(seen & ~days.shared)
    counts = np.bincount(days.account[rows], minlength=len(case.accounts))
    picked = sorted(int(i) for i in np.argsort(-counts, kind="stable")[: len(APART)] if counts[i])
    rest = rows[~np.isin(days.account[rows], picked)]
    _cloud(axes, days.content[other[_evenly(len(other), DOTS)]], PALE, "x", "no shared form")
    _cloud(axes, days.content[rest[_evenly(len(rest), DOTS)]], GREY, "o", "other members")
    for member, colour, mark in zip(picked, APART, MARKS, strict=False):
        own = days.content[rows[days.account[rows] == member]]
        _cloud(axes, own, colour, mark, f"member {member + 1:,}", 38)
    _title(axes, f"What is asked, by account ({len(rows):,} exchanges with a shared form)")
    if axes.collections:
        figure.legend(loc="outside right upper", frameon=False, title="exchanges of", alignment="left")
    return figure


def _cloud(axes: Axes, at: NDArray[np.floating[Any]], colour: str, mark: str, told: str, size: float = 0) -> None:
    """Dots at ``at[n, 2]``, of a size that so many can be seen at if none is given."""
    if len(at):
        area = size or float(np.clip(40_000 / len(at), 4, 22))
        edge: dict[str, Any] = {"lw": 0.8} if mark == "x" else {"lw": 0.5 if size else 0, "edgecolors": "white"}
        axes.scatter(at[:, 0], at[:, 1], s=area, c=colour, marker=mark, alpha=1 if size else 0.6, label=told, **edge)


def _growth(case: Case, days: DayHours) -> Figure:
    """Accounts that have begun and exchanges so far, by day, with the accounts that are active on each day."""
    figure = Figure(figsize=(WIDTH, 5.0), dpi=DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    begun = np.sort(_times([m.first_seen for m in case.accounts]).astype("M8[D]"))
    active = sorted(case.rhythm.accounts_by_day.items())
    on = np.array([day for day, _ in active], "M8[D]")
    day = _moments(days.time_us).astype("M8[D]")
    end = _times([case.last_seen]).astype("M8[D]")[0]
    every = np.concatenate([begun, on, day, [end]])
    calendar = np.arange(every.min(), every.max() + np.timedelta64(2, "D"), dtype="M8[D]")  # the end of the last day
    _dress(above, "Accounts so far, and those active on the day", "", "accounts")
    above.bar(on + np.timedelta64(12, "h"), [n for _, n in active], width=0.9, color=PALE, label="active on the day")
    above.plot(calendar, np.searchsorted(begun, calendar, "left"), color=BLUE, lw=2, label="begun so far")
    order = np.argsort(day, kind="stable")
    total = np.r_[0.0, np.cumsum(_weights(case, days)[order])]
    _dress(below, "Exchanges so far, estimated from the sample", "day (UTC)", "exchanges")
    below.plot(calendar, total[np.searchsorted(day[order], calendar, "left")], color=ORANGE, lw=2)
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
    _by_day(below)
    above.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False)
    return figure


def _weights(case: Case, days: DayHours) -> NDArray[np.float64]:
    """How many exchanges of its account each sampled one stands for."""
    sampled = np.bincount(days.account, minlength=len(case.accounts))
    exchanges = np.array([member.exchanges for member in case.accounts], float)
    return np.asarray((exchanges / np.maximum(sampled, 1))[days.account])


def _evenly(of: int, most: int) -> NDArray[np.int64]:
    """Up to ``most`` places among ``of``, first and last included, the same ones each time."""
    return np.unique(np.linspace(0, of - 1, min(of, most)).round().astype(np.int64)) if of else np.empty(0, np.int64)


def _times(iso: list[str]) -> Days:
    return np.array([text.removesuffix("Z") for text in iso], "M8[us]")


def _moments(time_us: NDArray[np.int64]) -> Days:
    return np.asarray(time_us, np.int64).astype("M8[us]")


def _tall(lines: int) -> float:
    return float(np.clip(2.0 + 0.12 * lines, 3.0, 7.5))


def _short(value: float, _: Any = None) -> str:
    """A count in few characters."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / min(size, {'k': 1e3}.get(sign, size)):,.4g}{sign}"
    return f"{value:,.0f}"


def _by_day(axes: Axes) -> None:
    axes.xaxis_date()
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK)


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    _title(axes, title)
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _axes(title: str, x: str, y: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    _dress(axes, title, x, y)
    return figure, axes


def _png(figure: Figure) -> bytes:
    """The bytes of a figure, without date or version in them."""
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()
