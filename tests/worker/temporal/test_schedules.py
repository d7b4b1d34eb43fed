"""Schedules of maintenance: created once, updated with the settings, left paused, recreated after a loss."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from support.temporal import Temporal, open_temporal
from support.until import until_async
from support.world import INSTALLATION, World
from temporalio.client import ScheduleDescription, ScheduleOverlapPolicy
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.keys.keychain import Keychain
from octy_worker.settings import WorkerSettings
from octy_worker.temporal import schedules
from octy_worker.temporal.client import connect, main_queue
from octy_worker.temporal.codec import key_id_of
from octy_worker.temporal.schedules import ensure_schedules, maintain_schedules, planned_schedules
from octy_worker.temporal.search_attributes import TYPES, missing_attributes
from octy_workflows.messages import MaintenanceTask, maintenance_schedule_id

DIGEST_TO = "support@octy.example"


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@pytest.fixture
def settings(tmp_path, request: pytest.FixtureRequest) -> Iterator[WorkerSettings]:
    world = World(tmp_path)
    yield world.worker_settings(
        temporal_task_queue=request.node.name, support_digest_to=DIGEST_TO, support_digest_hour=7
    )
    world.close()


async def described(temporal: Temporal, settings: WorkerSettings, task: MaintenanceTask) -> ScheduleDescription:
    schedule_id = maintenance_schedule_id(main_queue(settings, INSTALLATION), task)
    return await temporal.client.get_schedule_handle(schedule_id).describe()


def test_each_maintenance_task_has_a_schedule_that_skips_overlaps(temporal: Temporal, settings: WorkerSettings) -> None:
    async def act() -> None:
        await ensure_schedules(temporal.client, settings, INSTALLATION)
        found = {task: await described(temporal, settings, task) for task in MaintenanceTask}
        due = {
            task: [(each.every, each.offset or timedelta()) for each in found[task].schedule.spec.intervals]
            for task in found
        }
        assert due == {
            MaintenanceTask.RETENTION: [(timedelta(days=1), timedelta())],
            MaintenanceTask.RECONCILIATION: [(timedelta(hours=1), timedelta())],
            MaintenanceTask.DIGEST: [(timedelta(days=1), timedelta(hours=7))],
        }
        assert {one.schedule.policy.overlap for one in found.values()} == {ScheduleOverlapPolicy.SKIP}
        assert DIGEST_TO not in str(found)

        async def started() -> bool:
            return (await described(temporal, settings, MaintenanceTask.RECONCILIATION)).info.num_actions > 0

        await until_async(started)
        assert (await described(temporal, settings, MaintenanceTask.DIGEST)).info.num_actions == 0

    temporal.run(act())


def test_schedules_set_the_search_attributes(temporal: Temporal, settings: WorkerSettings) -> None:
    """Without them no task of a workflow ends: a Temporal that lost its state learns them while the worker runs."""

    async def act() -> None:
        assert await missing_attributes(temporal.client) == list(TYPES)
        keeping = asyncio.create_task(maintain_schedules(temporal.client, settings, INSTALLATION))

        async def registered() -> bool:
            return not await missing_attributes(temporal.client)

        await until_async(registered)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    temporal.run(act())


def test_second_worker_leaves_schedules_unchanged(
    temporal: Temporal, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act() -> None:
        await ensure_schedules(temporal.client, settings, INSTALLATION)
        before = [(await described(temporal, settings, task)).info.last_updated_at for task in MaintenanceTask]
        await asyncio.gather(*(ensure_schedules(temporal.client, settings, INSTALLATION) for _ in range(4)))
        assert [(await described(temporal, settings, task)).info.last_updated_at for task in MaintenanceTask] == before

    temporal.run(act())


def test_changed_settings_update_a_schedule_and_keep_it_paused(temporal: Temporal, settings: WorkerSettings) -> None:
    async def act() -> None:
        await ensure_schedules(temporal.client, settings, INSTALLATION)
        handle = temporal.client.get_schedule_handle(
            maintenance_schedule_id(main_queue(settings, INSTALLATION), MaintenanceTask.RETENTION)
        )
        await handle.pause(note="while the disk is moved")
        changed = settings.model_copy(update={"retention_interval": 3600.0})
        await ensure_schedules(temporal.client, changed, INSTALLATION)
        found = (await handle.describe()).schedule
        assert [each.every for each in found.spec.intervals] == [timedelta(hours=1)]
        assert (found.state.paused, found.state.note) == (True, "while the disk is moved")

    temporal.run(act())


def test_schedule_input_is_encrypted_again_when_keys_change(temporal: Temporal, settings: WorkerSettings) -> None:
    """Each round is started with it: under a key that is gone, there would be no more rounds."""

    async def act() -> None:
        k1 = Keychain({"k1": b"\x01" * 32})
        for keys, name in ((None, None), (k1, "k1"), (Keychain({**k1, "k2": b"\x02" * 32}), "k2"), (None, None)):
            own = settings.model_copy(update={"temporal_keys": keys, "temporal_address": temporal.address})
            await ensure_schedules(await connect(own), own, INSTALLATION)
            found = await described(temporal, settings, MaintenanceTask.RECONCILIATION)
            assert [key_id_of(payload) for payload in found.schedule.action.args] == [name]

    temporal.run(act())


def test_disabled_task_has_no_schedule_and_a_deleted_schedule_is_recreated(
    temporal: Temporal, settings: WorkerSettings
) -> None:
    async def act() -> None:
        await ensure_schedules(temporal.client, settings, INSTALLATION)
        off = settings.model_copy(update={"support_digest_to": "", "temporal_search_attributes": "off"})
        keeping = asyncio.create_task(maintain_schedules(temporal.client, off, INSTALLATION, interval=0.05))
        await until_async(lambda: is_gone(MaintenanceTask.DIGEST))
        lost = maintenance_schedule_id(main_queue(settings, INSTALLATION), MaintenanceTask.RECONCILIATION)
        await temporal.client.get_schedule_handle(lost).delete()
        await until_async(lambda: exists(MaintenanceTask.RECONCILIATION))
        keeping.cancel()
        assert isinstance((await asyncio.gather(keeping, return_exceptions=True))[0], asyncio.CancelledError)

    async def exists(task: MaintenanceTask) -> bool:
        try:
            await described(temporal, settings, task)
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND  # noqa: PT017
            return False
        return True

    async def is_gone(task: MaintenanceTask) -> bool:
        return not await exists(task)

    temporal.run(act())


def test_outage_of_temporal_is_logged_once_while_schedules_wait(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = []

    async def away(*_: object) -> None:
        looks.append(1)
        if len(looks) > 3:
            raise asyncio.CancelledError
        raise RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")

    monkeypatch.setattr(schedules, "ensure_search_attributes_and_schedules", away)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(maintain_schedules(None, settings, INSTALLATION, interval=0.0))  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        "schedules: not checked: UNAVAILABLE; next try in 0 s"
    ]


def test_schedule_that_can_not_be_deleted_is_an_error(settings: WorkerSettings) -> None:
    class Client:
        async def create_schedule(self, *_schedule: object, **_options: object) -> None: ...

        def get_schedule_handle(self, _schedule_id: str) -> SimpleNamespace:
            async def delete() -> None:
                raise RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")

            return SimpleNamespace(delete=delete)

    no_digest = settings.model_copy(update={"support_digest_to": ""})
    with pytest.raises(RPCError, match="connection refused"):
        asyncio.run(ensure_schedules(Client(), no_digest, INSTALLATION))  # type: ignore[arg-type]


def test_digest_address_is_validated(tmp_path) -> None:
    world = World(tmp_path)
    with pytest.raises(ValueError, match="needs a mail address") as fault:
        world.worker_settings(support_digest_to="not an address")
    assert "not an address" not in str(fault.value)
    assert planned_schedules(world.worker_settings())[MaintenanceTask.DIGEST] is None
    assert DIGEST_TO not in repr(world.worker_settings(support_digest_to=DIGEST_TO))
    world.close()
