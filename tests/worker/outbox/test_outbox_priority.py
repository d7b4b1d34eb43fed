"""Outbox messages are delivered by priority, and within one by account: many messages of one account delay no other."""

import asyncio
import time

import pytest
from support.cli_rig import open_incident
from support.relay_rig import RecordingClient, relay
from support.until import until_async
from support.world import World

from octy_middleware.domain.notices import create_notice
from octy_middleware.domain.outbox import MessageKind, Priority, enqueue
from octy_middleware.states import NoticeKind
from octy_worker.outbox.leases import Leases

MANY = 60  # more than a relay leases at once


def give_many(world: World, account_id: str, number: int = MANY) -> None:
    with world.database.write() as connection:
        for _ in range(number):
            create_notice(
                connection,
                NoticeKind.CONTACT_CHANGED,
                account_id,
                time.time(),
                {"old": "a@b.example", "new": "c@d.example"},
            )


class SlowClient(RecordingClient):
    """A Temporal that takes its time with everything but incidents."""

    async def start_workflow(self, run, argument, *, id, **options):  # noqa: A002
        if "incident" not in id:
            await asyncio.sleep(30)
        await super().start_workflow(run, argument, id=id, **options)


def test_incident_is_delivered_at_once_while_other_workflow_starts_hang(world: World) -> None:
    keys = world.register()
    give_many(world, keys.account_id)
    temporal_client = SlowClient()

    async def play() -> float:
        running = asyncio.create_task(relay(world, temporal_client).run())
        await asyncio.sleep(0.5)  # every delivery that others may have is under way by now
        began = time.monotonic()
        await asyncio.to_thread(open_incident, world, "attacked")
        await until_async(lambda: temporal_client.started, timeout=20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return time.monotonic() - began

    assert asyncio.run(play()) < 10
    assert "incident" in temporal_client.ids[0]


def test_notices_of_one_account_do_not_delay_the_first_of_another(world: World) -> None:
    eager, other = world.register("eager"), world.register("other")
    give_many(world, eager.account_id)
    give_many(world, other.account_id, 1)
    claimed = Leases(world.database, time.time, "one", 30.0).take([], {Priority.NOTICE: 2})
    owners = [
        world.rows("SELECT account_id FROM notice WHERE id = :id", id=message.subject_id)[0][0] for message in claimed
    ]
    assert owners == [eager.account_id, other.account_id]


@pytest.mark.sqlite
def test_idle_relay_takes_no_write_lock(world: World) -> None:
    claims = Leases(world.database, time.time, "one", 30.0)
    with world.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM outbox")
        assert claims.take([], dict.fromkeys(Priority, 8)) == []
        enqueue(connection, MessageKind.WEBHOOK_DUE, "w", time.time(), {"order": 1})
