"""Which groups share a payment or a network."""

from collections import defaultdict

import pytest

from training.world import open_world
from training.world.account import build
from training.world.settings import load

SMALL = {"accounts": 480, "volume.median": 12.0, "volume.largest": 20, "campaigns.smallest": 6, "campaigns.fewest": 8,
         "evasions.identity.probability": 0.0, "seed": 3}  # fmt: skip


def sharing_groups(payment: bool | float, network: bool | float) -> dict[str, dict[str, set[int]]]:
    """Groups of two accounts or more of which any two share a payment, or a network, by side; and all of them."""
    asked = {"campaigns.share_payment": payment, "campaigns.share_network": network}
    world, plans = open_world(load("tiny", None, SMALL | asked))
    shown = defaultdict(list)
    for p in plans:
        shown["attack" if p.kind == "attack" else "honest", p.group].append(build(world, p).profile.identity)
    out: dict[str, dict[str, set[int]]] = {side: defaultdict(set) for side in ("attack", "honest")}
    for (side, group), identities in shown.items():
        if len(identities) > 1:
            out[side]["all"].add(group)
            for name, values in (
                ("payment", [{i.payment} for i in identities]),
                ("network", [{net for net, _ in i.networks} for i in identities]),
            ):
                if len(set.union(*values)) < sum(map(len, values)):
                    out[side][name].add(group)
    return out


@pytest.fixture(scope="module")
def always() -> dict[str, dict[str, set[int]]]:
    return sharing_groups(True, 1.0)


@pytest.mark.parametrize("side", ["attack", "honest"])
def test_payment_and_network_are_shared_with_a_probability(side: str, always: dict[str, dict[str, set[int]]]) -> None:
    most, some = always[side], sharing_groups(0.5, 1.0)[side]
    assert most["payment"] < most["all"], "some groups share nothing"
    assert some["all"] == most["all"]
    assert some["network"] == most["network"], "each is drawn by itself"
    assert some["payment"] < most["payment"]
    assert some["payment"]


def test_false_is_never_on_either_side() -> None:
    for of in sharing_groups(False, 0.0).values():
        assert len(of["all"]) > 3
        assert not of["payment"] | of["network"]
