"""Temporal lost its state, SQL was restored, a message was set aside: what is open goes on, and nothing is sent twice."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Octy, fail, open_case
from support.world import World
from temporalio.client import Client
from upkeep_rig import Works, until

from octy_middleware.states import Answer
from octy_middleware.statements import run
from octy_worker import regenerations
from octy_worker.dev.processes import ProcessGroup, free_port
from octy_worker.dev.temporal_server import start_temporal
from octy_worker.schedules import ensure_schedules


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessGroup]:
    with ProcessGroup(tmp_path / "logs", dict(os.environ)) as group:
        yield group


@pytest.fixture
def file_world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, "sqlite")
    yield world
    world.close()


def lose_state(group: ProcessGroup, file: Path, port: int) -> None:
    """Kill the server, delete its file, start a new one at the same place."""
    group.stop()
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    start_temporal(group, file, port=port, ui_port=None)


def test_cases_go_on_where_they_were_after_temporal_lost_its_state(
    file_world: World, tmp_path: Path, group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One waits for its answer, one's new keys wait to be collected, one's old keys live out their overlap."""
    file, port = tmp_path / "temporal.db", free_port()
    start_temporal(group, file, port=port, ui_port=None)
    works = Works(file_world, monkeypatch, temporal_address=f"127.0.0.1:{port}", overlap=0.0)
    waiting, mailed = (open_case(file_world, name)[1] for name in ("waiting", "mailed"))
    state_of = "SELECT id FROM incident WHERE id = :id AND state = :state"

    async def before() -> str:
        async with works.run(await Client.connect(f"127.0.0.1:{port}")):
            await until(lambda: len(works.told.envelopes) == 2)
            works.answer(mailed, Answer.NOT_US)
            await until(lambda: works.rows(state_of, id=mailed, state="regenerating"))
            await until(lambda: any(".new_keys." in message for message in works.mails))
            await until(lambda: not works.rows("SELECT id FROM outbox WHERE delivered_at IS NULL"))
            return works.rows("SELECT regeneration_id FROM incident WHERE id = :id", id=mailed)[0][0]

    regeneration = asyncio.run(before())
    lose_state(group, file, port)
    octy = Octy({"OCTY_DATABASE_URL": file_world.url, "OCTY_TEMPORAL_ADDRESS": f"127.0.0.1:{port}"}, tmp_path)
    found = octy.process("incidents", "reconcile", "--dry-run", "--json").must(1).json
    assert (found["restarted"], found["looked_at"]) == (3, 3)
    assert not works.rows("SELECT id FROM outbox WHERE delivered_at IS NULL")  # nothing was changed

    async def after() -> None:
        client = await Client.connect(f"127.0.0.1:{port}")
        async with works.run(client):
            await ensure_schedules(client, works.settings)  # they were lost as well, and are due at once
            await until(lambda: works.rows("SELECT 1 FROM job WHERE name = 'reconciliation' AND finished_at > 0"))
            await until(lambda: not works.rows("SELECT id FROM outbox WHERE delivered_at IS NULL"))
            works.answer(waiting, Answer.IT_WAS_US)
            assert regenerations.collect(file_world.database, file_world.sealer, regeneration, 1, time.time())
            await until(lambda: len(works.rows("SELECT id FROM incident WHERE state = 'closed'")) == 2)

    asyncio.run(after())
    ends = dict(works.rows("SELECT id, resolution FROM incident"))
    assert ends == {waiting: "false_alarm", mailed: "regenerated"}
    assert set(works.mails.values()) == {1}
    found = octy.process("incidents", "reconcile", "--json").must().json
    assert (found["restarted"], found["ended"], found["unknown"]) == (0, 0, 0)
