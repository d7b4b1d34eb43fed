"""Processes of threads at the same keys: every figure is as the reference policy says, for single batches too."""

import random

import pytest
from support.world import Keys, World

from octy_middleware import Outcome
from octy_middleware.http.client_address import network_of
from octy_middleware.http.event import AuthEvent, Description
from proofs.load.exactness import measure
from proofs.load.reference_policy import LoggedOutcome, ReferencePolicy


def test_processes_and_threads_at_the_same_keys_record_exactly(world: World) -> None:
    assert measure(world, processes=3, threads=12, requests=3000, cold=6, seed=7).faults == []


def _event(keys: Keys, number: int, *, right: bool) -> AuthEvent:
    outcome, source = (Outcome.ACCEPTED if right else Outcome.WRONG_SECRET), f"192.0.2.{number % 2}"
    return AuthEvent(
        outcome,
        1e9 + number,
        source,
        network_of(source),
        keys.public_key,
        description=Description(request_id=f"r{number}"),
    )


def _told(world: World, events: list[AuthEvent], sizes: list[int]) -> tuple[list[tuple], list[int]]:
    """Write the events in batches of these sizes; return incidents' failures and the policy's last growth."""
    writer, policy = world.outcome_writer(1e9), ReferencePolicy()
    for size in sizes:
        batch, events = events[:size], events[size:]
        writer.write(batch)
        policy.add(LoggedOutcome(str(e.outcome), e.at, e.source, e.public_key, e.request_id) for e in batch)
    rows = world.rows("SELECT failures FROM incident ORDER BY id")
    return rows, [told[-1] for told in policy.growth.values()]


@pytest.mark.parametrize(
    ("failures", "sizes"),
    [(45, [46]), (45, [19, 27]), (45, [41, 5]), (90, [91]), (90, [30, 61]), (90, [45, 46])],
)
def test_doubling_has_a_message_when_a_success_ends_the_streak_in_the_same_commit(
    world: World, failures: int, sizes: list[int]
) -> None:
    keys = world.register()
    events = [*(_event(keys, number, right=False) for number in range(failures)), _event(keys, failures, right=True)]
    rows, told = _told(world, events, sizes)
    assert rows == [(told[0],)]


@pytest.mark.parametrize("seed", range(8))
def test_messages_of_random_batches_are_as_the_reference_policy_says(world: World, seed: int) -> None:
    chance, keys = random.Random(seed), world.register()
    events = [_event(keys, number, right=chance.random() < 0.02) for number in range(400)]
    sizes = [chance.randrange(1, 60) for _ in range(60)]
    rows, told = _told(world, events, sizes)
    assert [row[0] for row in rows] == (told or [20])
