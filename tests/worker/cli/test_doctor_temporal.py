"""Each problem of Temporal that `octy doctor` reports, provoked once, with its text."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.cli_rig import DENIED
from support.doctor_rig import fits
from support.temporal import Temporal, open_temporal
from support.until import until, until_async
from support.world import World
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesResponse
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskFailedRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.clock import uuid7
from octy_middleware.errors import ConfigurationError
from octy_worker.cli.doctor import temporal as looks
from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.problems import PROBLEMS
from octy_worker.cli.doctor.restored_backup import check_restored_backup
from octy_worker.cli.doctor.temporal import check_temporal
from octy_worker.domain.job_lease import JobLease
from octy_worker.errors import UnavailableError
from octy_worker.maintenance.restored.detection import JOB
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import main_queue, worker_identity, worker_release
from octy_worker.temporal.deployment import Version
from octy_worker.temporal.pollers import (
    TaskQueuePollers,
    clock_difference,
    fetch_pollers,
    other_releases,
    queues_without_pollers,
)
from octy_worker.temporal.schedules import ensure_schedules
from octy_workflows.messages import MaintenanceTask, maintenance_schedule_id
from octy_workflows.task_queues import all_task_queues

NOW = time.time()


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@dataclass(frozen=True)
class DoctorRig:
    """What a problem is provoked on."""

    world: World
    temporal: Temporal
    patch: pytest.MonkeyPatch
    installation: str

    def settings(self, **options: object) -> WorkerSettings:
        return self.world.worker_settings(**{"temporal_address": self.temporal.address, **options})

    @property
    def queue(self) -> str:
        return main_queue(self.settings(), self.installation)

    def look(self, **options: object) -> list[Check]:
        return check_temporal(self.settings(**options), self.installation)


def fails(status: RPCStatusCode) -> Callable[..., Any]:
    async def fail(*_: object) -> None:
        raise RPCError("no", status, b"")

    return fail


def refused_namespace(_ground: DoctorRig) -> list[Check]:
    service = SimpleNamespace(describe_namespace=fails(RPCStatusCode.PERMISSION_DENIED))
    return [asyncio.run(looks.check_namespace(SimpleNamespace(workflow_service=service), "octy"))]  # type: ignore[arg-type]


def attributes(answer: Callable[..., Any]) -> Callable[[DoctorRig], list[Check]]:
    client = SimpleNamespace(namespace="octy", operator_service=SimpleNamespace(list_search_attributes=answer))
    return lambda _ground: [asyncio.run(looks.check_search_attributes(client))]  # type: ignore[arg-type]


async def no_attributes(_request: object) -> ListSearchAttributesResponse:
    return ListSearchAttributesResponse()


async def other_types(_request: object) -> ListSearchAttributesResponse:
    return ListSearchAttributesResponse(custom_attributes={"OctyState": IndexedValueType.INDEXED_VALUE_TYPE_INT})


def silent_server(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr(looks, "fetch_pollers", fails(RPCStatusCode.UNAVAILABLE))
    return rig.look()


def poll_with_another_release(rig: DoctorRig) -> list[Check]:
    """Poll as a worker of another release does, until the doctor has run."""
    queue = rig.queue
    request = PollActivityTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name=queue), identity="7@old (octy 0.0.1, schema 0001)"
    )

    async def polling() -> bool:
        return any(each.pollers for each in await fetch_pollers(rig.temporal.client, queue))

    async def act() -> list[Check]:
        asking = asyncio.create_task(rig.temporal.client.workflow_service.poll_activity_task_queue(request))
        try:
            await until_async(polling)
            return await looks.check_workers(rig.temporal.client, queue)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    return rig.temporal.run(act())


def polled(seen: float, queues: int = 0, identity: str = "") -> list[TaskQueuePollers]:
    """Return Temporal's pollers of workers that polled at this time, on so many queues or on all."""
    names = all_task_queues("octy-x")
    alive = ((identity or worker_identity(), seen),)
    return [
        TaskQueuePollers(name, alive if number < (queues or len(names)) else ()) for number, name in enumerate(names)
    ]


def other_clock(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr(looks, "now", lambda: NOW)
    return [looks.check_clock(polled(NOW + seconds)) for seconds in (3600, -3600)]


def some_queues(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr(looks, "now", lambda: NOW)
    queues = polled(NOW, 2)
    return [looks.check_polling(queues, queues[0].queue)]


def paused(rig: DoctorRig) -> list[Check]:
    async def act() -> None:
        await ensure_schedules(rig.temporal.client, rig.settings(), rig.installation)
        handle = rig.temporal.client.get_schedule_handle(maintenance_schedule_id(rig.queue, MaintenanceTask.RETENTION))
        await handle.pause()

    rig.temporal.run(act())
    return rig.look()


def failing_workflow_task(rig: DoctorRig) -> list[Check]:
    """Have a workflow whose task failed twice, as with a worker that can't replay it."""
    client, queue = rig.temporal.client, rig.queue
    poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), identity="w")

    async def act() -> None:
        await client.start_workflow("some", id=f"octy-{rig.installation}-incident-1", task_queue=queue)
        for _ in range(2):
            task = await client.workflow_service.poll_workflow_task_queue(poll)
            failed = RespondWorkflowTaskFailedRequest(namespace="default", task_token=task.task_token, cause=1)  # type: ignore[arg-type]
            await client.workflow_service.respond_workflow_task_failed(failed)

        async def listed() -> bool:  # lists are eventually consistent
            return bool([each async for each in client.list_workflows(f"TaskQueue = '{queue}'")])

        await until_async(listed)

    rig.temporal.run(act())
    return rig.look()


def restored(rig: DoctorRig) -> list[Check]:
    """Have a workflow run whose row is not in the database."""
    workflow_id = f"octy-{rig.installation}-incident-{uuid7(time.time())}"
    rig.temporal.run(rig.temporal.client.start_workflow("KeyIncidentWorkflow", id=workflow_id, task_queue="nobody"))

    def problem() -> Check | None:  # lists are eventually consistent
        found = check_restored_backup(rig.settings(), rig.installation)
        return None if found.state is State.OK else found

    return [until(problem)]


def lost_keys(rig: DoctorRig) -> list[Check]:
    lease = JobLease(rig.world.database, JOB, time.time)
    lease.take()
    lease.begin("", time.time())
    lease.finish('{"lost_keys":2}')
    return [check_restored_backup(rig.settings(), rig.installation)]


def version(*known: Version) -> Callable[[DoctorRig], list[Check]]:
    async def versions(*_: object) -> list[Version]:
        return list(known)

    def provoke(rig: DoctorRig) -> list[Check]:
        rig.patch.setattr(looks, "known_versions", versions)
        settings = rig.settings(temporal_deployment="octy")
        return [asyncio.run(looks.check_version(rig.temporal.client, settings))]

    return provoke


PROVOKED: dict[str, Callable[[DoctorRig], list[Check]]] = {
    "temporal-refused": lambda rig: rig.look(temporal_address="nonsense"),
    "temporal-unreachable": lambda rig: rig.look(temporal_address=DENIED),
    "temporal-call-failed": silent_server,
    "namespace-missing": lambda rig: rig.look(temporal_namespace="elsewhere"),
    "namespace-refused": refused_namespace,
    "search-attributes-refused": attributes(other_types),
    "search-attributes-unreadable": attributes(fails(RPCStatusCode.UNAVAILABLE)),
    "search-attributes-missing": attributes(no_attributes),
    "worker-missing": lambda rig: rig.look(),
    "task-queues-not-polled": some_queues,
    "worker-releases-differ": poll_with_another_release,
    "temporal-clock-differs": other_clock,
    "version-not-current": version(Version("9.9.9", current=True, drainage="")),
    "version-none-current": version(Version("9.9.9", current=False, drainage="")),
    "schedules-missing": lambda rig: rig.look(),
    "schedules-paused": paused,
    "workflow-tasks-failing": failing_workflow_task,
    "database-restored": restored,
    "restored-keys-lost": lost_keys,
}


def raises(error: Exception) -> Callable[..., Any]:
    async def fail(*_: object) -> None:
        raise error

    return fail


def failing_schedules(rig: DoctorRig) -> list[Check]:
    handle = SimpleNamespace(describe=fails(RPCStatusCode.UNAVAILABLE))
    client = SimpleNamespace(get_schedule_handle=lambda _id: handle)
    return [asyncio.run(looks.check_schedules(client, rig.settings(), rig.queue))]  # type: ignore[arg-type]


def failing_list(rig: DoctorRig) -> list[Check]:
    async def listed(*_: object, **__: object) -> AsyncIterator[object]:
        raise RPCError("no", RPCStatusCode.UNAVAILABLE, b"")
        yield

    client = SimpleNamespace(list_workflows=listed)
    return [asyncio.run(looks.check_workflow_tasks(client, rig.installation))]  # type: ignore[arg-type]


def described(status: RPCStatusCode) -> Any:
    """Return a client that lists one workflow and describes none."""

    async def listed(*_: object, **__: object) -> AsyncIterator[object]:
        yield SimpleNamespace(id="octy-1", run_id="r")

    handle = SimpleNamespace(describe=fails(status))
    return SimpleNamespace(list_workflows=listed, get_workflow_handle=lambda *_, **__: handle)


def failing_description(rig: DoctorRig) -> list[Check]:
    return [asyncio.run(looks.check_workflow_tasks(described(RPCStatusCode.UNAVAILABLE), rig.installation))]


def test_workflow_that_has_ended_meanwhile_does_not_fail() -> None:
    found = asyncio.run(looks.check_workflow_tasks(described(RPCStatusCode.NOT_FOUND), "i"))
    assert (found.state, found.found) == (State.OK, "none fails in the 1 newest running workflows")


def test_workers_are_not_looked_for_without_the_installations_id(tmp_path: Path, temporal: Temporal) -> None:
    world = World(tmp_path)
    found = check_temporal(world.worker_settings(temporal_address=temporal.address), None)
    world.close()
    assert {check.name for check in found if check.state is State.UNCHECKED} == {
        "worker",
        "worker releases",
        "Temporal's clock",
        "schedules",
        "workflow tasks",
    }


def failing_versions(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr(looks, "known_versions", fails(RPCStatusCode.UNAVAILABLE))
    settings = rig.settings(temporal_deployment="octy")
    return [asyncio.run(looks.check_version(rig.temporal.client, settings))]


def unreachable(error: Exception) -> Callable[[DoctorRig], list[Check]]:
    """Return what is said when the client can't be made although something listens at the address."""

    def provoke(rig: DoctorRig) -> list[Check]:
        rig.patch.setattr(looks, "open_client", raises(error))
        return rig.look()

    return provoke


FURTHER: list[tuple[str, Callable[[DoctorRig], list[Check]]]] = [
    ("temporal-call-failed", failing_schedules),
    ("temporal-call-failed", failing_list),
    ("temporal-call-failed", failing_description),
    ("temporal-call-failed", failing_versions),
    ("temporal-refused", unreachable(ConfigurationError("no key → set one"))),
    ("temporal-refused", unreachable(UnavailableError("it speaks no TLS → set TEMPORAL_TLS"))),
]
"""Further ways to a problem that is provoked above."""


@pytest.mark.parametrize(("code", "provoke"), [*PROVOKED.items(), *FURTHER])
def test_doctor_reports_each_temporal_problem_with_its_text(
    tmp_path: Path,
    temporal: Temporal,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    provoke: Callable[[DoctorRig], list[Check]],
) -> None:
    world = World(tmp_path)
    try:
        found = [check for check in provoke(DoctorRig(world, temporal, monkeypatch, f"i-{code}")) if check.code == code]
    finally:
        world.close()
    assert found
    for check in found:
        assert check.state is State.PROBLEM
        assert fits(PROBLEMS[code], check)


def test_doctor_reports_no_problem_for_a_worker_of_this_release() -> None:
    assert worker_release() in worker_identity()
    alive = polled(NOW - 60)
    assert (queues_without_pollers(alive, NOW), other_releases(alive, NOW), clock_difference(alive, NOW)) == (
        [],
        {},
        0.0,
    )
    dead = polled(NOW - 80, identity="1@h")
    assert len(queues_without_pollers(dead, NOW)) == len(dead)
    assert other_releases(dead, NOW) == {}
    assert other_releases(polled(NOW, identity="1@h"), NOW) == {"1@h": "unknown"}
