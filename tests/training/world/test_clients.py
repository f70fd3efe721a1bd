"""The table of client programs."""

import json
from collections import Counter
from random import Random

from real import CORPORA, needs_corpora

from training.world.clients import Client, clients, draw_client
from training.world.metadata import draw_profile, sharing

STAGES = {"bare", "ask", "prefix", "judge", "make", "answer", "fix", "turns"}


def test_every_client_has_a_recipe_of_known_stages_and_a_pace() -> None:
    assert len(clients()) >= 26
    for client in clients().values():
        assert client.recipe
        assert {stage for stage, _ in client.recipe} <= STAGES
        assert client.order in ("each", "pass")
        assert client.flow.workers >= 1
        assert client.weight > 0
        assert all(t is not None and 0 <= t <= 2 for t in client.temperature)


def test_clients_are_drawn_by_weight_or_from_those_named() -> None:
    rnd = Random(1)
    drawn = Counter(draw_client(rnd).name for _ in range(4000))
    assert set(drawn) == set(clients())
    assert drawn.most_common(1)[0][0] == "sdk_script"
    assert {draw_client(rnd, ("s1", "camel")).name for _ in range(50)} == {"s1", "camel"}


def test_programs_with_a_system_prompt_send_one_more_often() -> None:
    """Half of the accounts have their client's parameters, the others those of any program."""
    assert {client.system for client in clients().values()} == {True, False}

    def sent(client: Client) -> float:
        alone = sharing(Random(0), 1.0)
        own, group = ([Random(f"{name} {i}") for i in range(500)] for name in ("own", "group"))
        drawn = [draw_profile(*pair, "api", "burst", client, alone, 0.0) for pair in zip(own, group, strict=True)]
        return sum(profile.request.system is not None for profile in drawn) / len(drawn)

    with_one, without = (clients()[name] for name in ("openthoughts", "thinking_traces"))
    assert with_one.system
    assert not without.system
    assert sent(with_one) > sent(without) + 0.15


@needs_corpora
def test_as_many_clients_as_were_measured() -> None:
    measured = json.loads((CORPORA / "pipelines" / "client_profiles.json").read_text("utf-8"))
    assert len(clients()) >= len(measured)
