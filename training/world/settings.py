"""The settings of a world: frozen sections with defaults, presets, and overrides from one TOML file.

settings = load(preset="train", path=Path("world.toml"), overrides={"accounts": 2000})
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from training.config import check, plain, settings

WORLD_PARTS = ("all", "train", "validation", "test")


@dataclass(frozen=True)
class Kinds:
    """Shares of accounts: people, honest programs, shared keys, and accounts of campaigns."""

    human: float = 0.36
    automation: float = 0.24
    mixed: float = 0.10
    attack: float = 0.30

    def __post_init__(self) -> None:
        parts = tuple(asdict(self).values())
        check(all(p >= 0 for p in parts) and abs(sum(parts) - 1) < 1e-9, "kinds", "shares that add up to 1", parts)


@dataclass(frozen=True)
class Volume:
    """Exchanges of an account: a lognormal law, the same for everybody; `daily` is the median pace a day.

    A share `busy` of the accounts has many instead, uniform in logs from `busy_least` to `largest`, for worlds that
    long windows are measured in. `attack_mean` above 0 scales the accounts of campaigns to this many exchanges each,
    on average.
    """

    median: float = 78.0
    sigma: float = 0.95
    smallest: int = 10
    largest: int = 800
    daily: float = 26.0
    busy: float = 0.0
    busy_least: int = 400
    attack_mean: float = 0.0

    def __post_init__(self) -> None:
        check(0 < self.smallest <= self.median <= self.largest, "volume", "smallest <= median <= largest", self)
        check(min(self.sigma, self.daily) > 0, "volume", "sigma and daily above 0", self)
        check(0 <= self.busy <= 1, "volume.busy", "a share of accounts, 0 to 1", self.busy)
        check(0 < self.busy_least <= self.largest or not self.busy, "volume.busy_least", "at most largest", self)


@dataclass(frozen=True)
class Campaigns:
    """Campaigns: sizes up to `largest` accounts (or one `single` campaign of all), and what their accounts share.

    Sizes follow a Pareto law from `smallest` on, for honest groups as well, and no group has more than one part in
    `fewest` of the smallest kind of accounts.
    `probe` is the share of accounts that compare techniques before the rest scales up; `standby` and `reaim` are
    probabilities that banned accounts are replaced and that a new model is taken up within a day. What is shared
    can be switched off one by one; payment and network are shared with a probability (true is 1, false is 0) drawn for
    each group, honest ones as well, so that neither tells who attacks. `families` and `clients` keep only those named.
    """

    smallest: int = 1
    largest: int = 40
    fewest: int = 20
    single: bool = False
    probe: float = 0.05
    standby: float = 0.25
    reaim: float = 0.5
    share_payment: bool | float = True
    share_network: bool | float = True
    share_templates: bool = True
    share_start: bool = True
    families: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self.largest >= 1, "campaigns.largest", "1 or more", self.largest)
        check(1 <= self.smallest <= self.largest, "campaigns.smallest", "1 to campaigns.largest", self.smallest)
        check(self.fewest >= 1, "campaigns.fewest", "1 or more", self.fewest)
        for name in ("probe", "standby", "reaim", "share_payment", "share_network"):
            check(0 <= getattr(self, name) <= 1, f"campaigns.{name}", "0 to 1", getattr(self, name))


@dataclass(frozen=True)
class Evasion:
    """How likely a campaign is to use an evasion, and how strongly: a strength from `low` to `high`."""

    probability: float = 0.15
    low: float = 0.2
    high: float = 1.0

    def __post_init__(self) -> None:
        parts = (self.probability, self.low, self.high)
        check(all(0 <= p <= 1 for p in parts) and self.low <= self.high, "evasions", "0 <= low <= high <= 1", parts)


@dataclass(frozen=True)
class Evasions:
    """What a campaign may do to hide. Each may be combined with every other; a strength of 0 does nothing.

    cover: accounts' harvesting share, `shares` drawn by `weights`, the rest is other people's traffic.
    low_slow: pace divided by up to 10. identity: accounts that share neither network, client nor payment.
    paraphrase: own wordings and several template families. split: trajectories dealt over sessions and accounts.
    relay: real users' prompts in place of own ones. human_clock: accounts at a person's hours and pace.
    parameters: random request parameters.
    """

    shares: tuple[float, ...] = (0.05, 0.10, 0.25, 0.50, 1.0)
    weights: tuple[float, ...] = (0.14, 0.16, 0.2, 0.2, 0.3)
    low_slow: Evasion = field(default_factory=Evasion)
    identity: Evasion = field(default_factory=lambda: Evasion(0.4, 0.5, 1.0))
    paraphrase: Evasion = field(default_factory=lambda: Evasion(0.2))
    split: Evasion = field(default_factory=lambda: Evasion(0.1, 0.5, 1.0))
    relay: Evasion = field(default_factory=lambda: Evasion(0.08, 0.1, 0.5))
    human_clock: Evasion = field(default_factory=lambda: Evasion(0.2, 0.5, 1.0))
    parameters: Evasion = field(default_factory=Evasion)

    def __post_init__(self) -> None:
        check(len(self.shares) == len(self.weights) > 0, "evasions.shares", "as many weights", self.shares)
        check(all(0 < s <= 1 for s in self.shares), "evasions.shares", "above 0, at most 1", self.shares)

    def named(self) -> dict[str, Evasion]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("shares", "weights")}


@dataclass(frozen=True)
class Events:
    """What happens to everybody: model releases (at parts of the days), outages, holidays, one price change."""

    releases: tuple[float, ...] = (0.4,)
    outages: int = 2
    holidays: int = 2
    price_change: bool = True

    def __post_init__(self) -> None:
        check(all(0 < r < 1 for r in self.releases), "events.releases", "between 0 and 1", self.releases)
        check(min(self.outages, self.holidays) >= 0, "events", "counts of 0 or more", self)


@dataclass(frozen=True)
class Lookalikes:
    """Honest groups that share text as campaigns do: `share` of those of at least three accounts."""

    share: float = 0.0

    def __post_init__(self) -> None:
        check(0 <= self.share <= 1, "lookalikes.share", "a share of honest groups, 0 to 1", self.share)


@dataclass(frozen=True)
class WorldSettings:
    """All settings of a world. The same settings and corpora give the same bytes.

    `part` is which source families of text may occur: worlds of different parts share none. `exclude` leaves
    families, workloads' sources and built-in structures out by name. `uses` are the uses of corpora allowed; `own_text`
    adds the whole prompts of `training/text/own` to them.
    """

    accounts: int = 400
    days: int = 30
    seed: int = 7
    part: str = "all"
    uses: tuple[str, ...] = ("train",)
    own_text: bool = False
    exclude: tuple[str, ...] = ()
    built_in: float = 0.25
    rows_a_file: int = 200_000
    kinds: Kinds = field(default_factory=Kinds)
    volume: Volume = field(default_factory=Volume)
    campaigns: Campaigns = field(default_factory=Campaigns)
    evasions: Evasions = field(default_factory=Evasions)
    events: Events = field(default_factory=Events)
    lookalikes: Lookalikes = field(default_factory=Lookalikes)

    def __post_init__(self) -> None:
        check(self.accounts >= 8, "accounts", "at least 8 accounts", self.accounts)
        check(2 <= self.days <= 365, "days", "2 to 365", self.days)
        check(0 <= self.seed < 2**31, "seed", "0 to 2^31 - 1", self.seed)
        check(self.part in WORLD_PARTS, "part", f"one of {WORLD_PARTS}", self.part)
        check(0 <= self.built_in <= 1, "built_in", "a share of groups, 0 to 1", self.built_in)
        check(self.rows_a_file >= 1000, "rows_a_file", "1000 or more", self.rows_a_file)

    def as_dict(self) -> dict[str, Any]:
        """The settings as nested plain values."""
        return {key: plain(value) for key, value in asdict(self).items()}


PRESETS: dict[str, dict[str, object]] = {
    "tiny": {"accounts": 120, "days": 10, "volume.largest": 200},
    "demo": {"accounts": 3000},
    "train": {"accounts": 8000, "seed": 20261123, "lookalikes.share": 0.5},
    "evaluate": {
        "accounts": 6000, "seed": 20261125, "uses": ("train", "validate"),
        "kinds": {"human": 0.33, "automation": 0.22, "mixed": 0.09, "attack": 0.36},
        "volume": {"daily": 220.0, "largest": 3000, "busy": 0.14, "busy_least": 1600},
        "evasions.weights": (0.2, 0.2, 0.2, 0.2, 0.2),
    },
    "groups": {
        "accounts": 10_000, "days": 14, "seed": 20261127, "uses": ("train", "validate"),
        "kinds": {"human": 0.4, "automation": 0.4, "mixed": 0.0, "attack": 0.2},
        "volume": {"median": 100.0, "daily": 20.0},
        "campaigns": {"smallest": 5, "largest": 200, "fewest": 10},
        "evasions": {"shares": (0.05, 0.1, 0.2, 0.5, 1.0), "weights": (0.08, 0.12, 0.25, 0.25, 0.3)},
        "evasions.identity": {"probability": 1.0, "low": 1.0, "high": 1.0},
        "lookalikes.share": 0.5,
    },
    "reported-campaign": {
        "accounts": 25_000, "days": 45, "rows_a_file": 500_000,
        "kinds": {"human": 0.0, "automation": 0.0, "mixed": 0.0, "attack": 1.0},
        "volume": {
            "median": 1000.0, "sigma": 0.5, "smallest": 60, "largest": 6000, "attack_mean": 1152.0,
        },
        "campaigns.single": True, "campaigns.largest": 25_000, "campaigns.standby": 0.0,
    },
}  # fmt: skip


def load(
    preset: str | None = None, path: Path | None = None, overrides: Mapping[str, object] | None = None
) -> WorldSettings:
    """A preset's settings, then those of the TOML file `path`, then `overrides` by dotted key.

    Raises ConfigError for an unknown preset or setting, a wrong type or a value out of range.
    """
    check(preset is None or preset in PRESETS, "preset", f"one of {', '.join(PRESETS)}", preset)
    return settings(WorldSettings, path, overrides, base=PRESETS[preset] if preset else None)


def with_benign(multiple: float, accounts: int) -> dict[str, object]:
    """Settings that put `multiple` times as many honest accounts around `accounts` of a campaign."""
    honest = Kinds()
    scale = multiple / (1 - honest.attack) / (1 + multiple)
    parts = {name: getattr(honest, name) * scale for name in ("human", "automation", "mixed")}
    kinds = parts | {"attack": 1 - sum(parts.values())}
    return {"accounts": round(accounts * (1 + multiple)), "kinds": kinds}
