"""Temporal: server, namespace, search attributes, workers, clock, schedules and stuck workflows. Reads only."""

import asyncio
import socket
from collections.abc import Sequence

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.errors import ConfigurationError
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, passed, unchecked
from octy_worker.cli.doctor.network import TIMEOUT, error_text
from octy_worker.cli.doctor.problems import problem, problem_of
from octy_worker.errors import UnavailableError
from octy_worker.settings import WorkerSettings
from octy_worker.temporal import search_attributes
from octy_worker.temporal.access import open_client
from octy_worker.temporal.client import main_queue, permission_advice, worker_release
from octy_worker.temporal.deployment import known_versions
from octy_worker.temporal.pollers import (
    TaskQueuePollers,
    clock_difference,
    fetch_pollers,
    other_releases,
    queues_without_pollers,
)
from octy_worker.temporal.schedules import planned_schedules
from octy_worker.temporal_connection import TemporalConnection
from octy_workflows.messages import maintenance_schedule_id

_ATTRIBUTES, _WORKER, _RELEASES, _CLOCK = "search attributes", "worker", "worker releases", "Temporal's clock"
_SCHEDULES, _TASKS = "schedules", "workflow tasks"
_OF_INSTALLATION = (_WORKER, _RELEASES, _CLOCK, _SCHEDULES, _TASKS)  # of one installation
_OF_NAMESPACE = (_ATTRIBUTES, *_OF_INSTALLATION)  # of a namespace
_CLOCKS_DIFFER = 120.0  # seconds; a worker without work polls every 60
_MAX_WORKFLOWS = 200  # workflows, the newest
_FAILING_FROM = 3  # of one workflow task: once may be a worker that was stopped
_CONCURRENT_CALLS = 20  # calls


def check_temporal(settings: WorkerSettings, installation: str | None) -> list[Check]:
    """Check the server, the namespace, and this installation's workers, schedules and workflows.

    `installation`: its id; None when it could not be read from the database.
    """
    return asyncio.run(_check_temporal(settings, installation))


async def _check_temporal(settings: WorkerSettings, installation: str | None) -> list[Check]:
    unavailable = [unchecked(name, "Temporal is not available") for name in ("namespace", *_OF_NAMESPACE)]
    try:
        connection = settings.temporal_connection()
        client = await open_client(settings)
    except UnavailableError as error:
        return [_unreachable_problem(connection, error), *unavailable]
    except ConfigurationError as error:
        return [problem_of("temporal-refused", error), *unavailable]
    found = passed("Temporal", _description(connection))
    namespace = await check_namespace(client, connection.namespace)
    if namespace.code:  # pragma: no cover - coverage loses track after an RPCError in a coroutine
        why = "the namespace is not available"
        return [found, namespace, *(unchecked(name, why) for name in _OF_NAMESPACE)]
    searchable = settings.temporal_search_attributes == "auto"
    attributes = (
        await check_search_attributes(client)
        if searchable
        else passed(_ATTRIBUTES, "off: OCTY_TEMPORAL_SEARCH_ATTRIBUTES is not auto")
    )
    checks = [found, namespace, attributes, *await _check_installation(client, settings, installation)]
    return [*checks, await check_version(client, settings)] if settings.temporal_deployment else checks


def _description(connection: TemporalConnection) -> str:
    """Return the server's address, how the connection is secured, and whether plaintext is allowed by a setting."""
    allowed = "; not encrypted, as OCTY_TEMPORAL_PLAINTEXT allows" if connection.leaves_in_clear else ""
    return f"{connection.address}, {connection.security}{allowed}"


def _unreachable_problem(connection: TemporalConnection, error: UnavailableError) -> Check:
    """Return whether nothing listens at the address, or what TLS or the server reported."""
    address = connection.address
    try:
        with socket.create_connection((connection.host.strip("[]"), int(address.rpartition(":")[2])), TIMEOUT):
            return problem_of("temporal-refused", error)
    except (OSError, OverflowError, UnicodeError) as failure:
        return problem("temporal-unreachable", address=address, error=error_text(failure), setting=connection.setting)


async def check_namespace(client: Client, name: str) -> Check:
    """Check that the namespace exists and may be used."""
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=name))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return problem("namespace-missing", namespace=name)
        return problem_of("namespace-refused", permission_advice(error) or f"{error.message} → read Temporal's log")
    return passed("namespace", name)


async def check_search_attributes(client: Client) -> Check:
    """Check that the search attributes exist with the types that lists need."""
    try:
        names = await search_attributes.missing_attributes(client)
    except ConfigurationError as error:
        return problem("search-attributes-refused", error=error)
    except RPCError as error:
        to_do = search_attributes.OFF.removeprefix("or ")
        return problem("search-attributes-unreadable", error=error.message, to_do=to_do)
    if names:
        command = search_attributes.create_command(client.namespace, names)
        return problem("search-attributes-missing", names=", ".join(names), command=command)
    return passed(_ATTRIBUTES, ", ".join(search_attributes.TYPES))


async def _check_installation(client: Client, settings: WorkerSettings, installation: str | None) -> list[Check]:
    """Check this installation's workers, schedules and workflows."""
    if installation is None:
        why = "the installation's id could not be read from the database"
        return [unchecked(name, why) for name in _OF_INSTALLATION]
    queue = main_queue(settings, installation)
    return [
        *await check_workers(client, queue),
        await check_schedules(client, settings, queue),
        await check_workflow_tasks(client, installation),
    ]


async def check_workers(client: Client, queue: str) -> list[Check]:
    """Check who polls the task queues: whether anybody does, with which release, and with which clock."""
    try:
        polled = await fetch_pollers(client, queue)
    except RPCError as error:
        call = problem("temporal-call-failed", name=_WORKER, error=error.message)
        return [call, *(unchecked(name, "the workers could not be read") for name in (_RELEASES, _CLOCK))]
    return [check_polling(polled, queue), _release_check(polled), check_clock(polled)]


def check_polling(polled: Sequence[TaskQueuePollers], queue: str) -> Check:
    """Check that every task queue is polled. `queue`: the main one."""
    missing = queues_without_pollers(polled, now())
    if not missing:
        return passed(_WORKER, f"task queue {queue!r} and its sibling queues are polled")
    if queue in missing:
        return problem("worker-missing", queue=queue)
    return problem("task-queues-not-polled", queues=", ".join(map(repr, missing)))


def _release_check(polled: Sequence[TaskQueuePollers]) -> Check:
    others = other_releases(polled, now())
    if others:
        releases = ", ".join(sorted(set(others.values())))
        return problem("worker-releases-differ", count=len(others), here=worker_release(), others=releases)
    return passed(_RELEASES, f"all polling workers run {worker_release()}")


def check_clock(polled: Sequence[TaskQueuePollers]) -> Check:
    """Compare the clocks by the time of a worker's last poll: no call of Temporal returns its time."""
    difference = clock_difference(polled, now())
    if abs(difference) <= _CLOCKS_DIFFER:
        return passed(_CLOCK, "no difference found")
    direction = "ahead of" if difference > 0 else "behind"
    return problem("temporal-clock-differs", minutes=round(abs(difference) / 60), direction=direction)


async def check_schedules(client: Client, settings: WorkerSettings, queue: str) -> Check:
    """Check that each exists and is not paused."""
    missing, paused = [], []
    for task in (task for task, due in planned_schedules(settings).items() if due is not None):
        try:
            found = await client.get_schedule_handle(maintenance_schedule_id(queue, task)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                return problem("temporal-call-failed", name=_SCHEDULES, error=error.message)
            missing.append(task)
            continue
        if found.schedule.state.paused:
            paused.append(task)
    if missing:
        return problem("schedules-missing", tasks=", ".join(missing))
    if paused:
        return problem("schedules-paused", tasks=", ".join(paused), id=maintenance_schedule_id(queue, paused[0]))
    return passed(_SCHEDULES, "all exist, none is paused")


async def check_workflow_tasks(client: Client, installation: str) -> Check:
    """Check the newest running workflows: a failing workflow task is retried for ever and reported nowhere else."""
    query = f"WorkflowId STARTS_WITH 'octy-{installation}-' AND ExecutionStatus = 'Running'"
    limiter = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def attempts(workflow_id: str, run_id: str | None) -> int:
        async with limiter:
            try:
                found = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:  # it ended meanwhile
                    return 0
                raise
            return int(found.raw_description.pending_workflow_task.attempt)

    try:
        running = [(each.id, each.run_id) async for each in client.list_workflows(query, limit=_MAX_WORKFLOWS)]
        tried = await asyncio.gather(*(attempts(*each) for each in running))
    except RPCError as error:
        return problem("temporal-call-failed", name=_TASKS, error=error.message)
    failing = [workflow_id for (workflow_id, _), count in zip(running, tried, strict=True) if count >= _FAILING_FROM]
    if failing:
        return problem("workflow-tasks-failing", count=len(failing), id=failing[0])
    return passed(_TASKS, f"none fails in the {len(running)} newest running workflows")


async def check_version(client: Client, settings: WorkerSettings) -> Check:
    """Check that this build is the current one, where worker versioning is on."""
    deployment, ours = settings.temporal_deployment, settings.temporal_build_id
    try:
        current = [version.build_id for version in await known_versions(client, deployment) if version.current]
    except RPCError as error:
        return problem("temporal-call-failed", name="version", error=error.message)
    if not current:
        return problem("version-none-current", deployment=deployment)
    if current != [ours]:
        return problem("version-not-current", deployment=deployment, current=current[0], here=ours)
    return passed("version", f"{deployment}: {ours} is current")
