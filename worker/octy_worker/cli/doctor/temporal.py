"""Temporal: the server, what it must know of us, who works for us there, its clock, and workflows that stand still.

Here: looks; nothing is started, signalled or changed. Not here: when schedules are due (`octy_worker.temporal.schedules`).
"""

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
from octy_worker.cli.doctor.problems import problem
from octy_worker.errors import UnavailableError
from octy_worker.settings import WorkerSettings
from octy_worker.temporal import search_attributes
from octy_worker.temporal.client import main_queue, refusal_of, worker_release
from octy_worker.temporal.deployment import known_versions
from octy_worker.temporal.place import TemporalPlace, reach
from octy_worker.temporal.pollers import Polled, clock_difference, other_releases, pollers_of, silent_queues
from octy_worker.temporal.schedules import planned
from octy_worker.temporal_connection import TemporalConnection
from octy_workflows.messages import maintenance_schedule_id

_ATTRIBUTES, _WORKER, _RELEASES, _CLOCK = "search attributes", "worker", "worker releases", "Temporal's clock"
_SCHEDULES, _TASKS = "schedules", "workflow tasks"
_OF_INSTALLATION = (_WORKER, _RELEASES, _CLOCK, _SCHEDULES, _TASKS)  # of one installation
_OF_NAMESPACE = (_ATTRIBUTES, *_OF_INSTALLATION)  # of a namespace
_CLOCKS_DIFFER = 120.0  # seconds; an idle poll is seen again after 60
_MAX_WORKFLOWS = 200  # workflows, the newest
_FAILING_FROM = 3  # of one workflow task: once may be a worker that was stopped
_CONCURRENT_CALLS = 20  # calls


def check_temporal(settings: WorkerSettings, installation: str | None) -> list[Check]:
    """Look at the server, the namespace, and everything there that is this installation's.

    `installation` is None when the database did not tell.
    """
    return asyncio.run(_check_temporal(settings, installation))


async def _check_temporal(settings: WorkerSettings, installation: str | None) -> list[Check]:
    place = TemporalPlace.of(settings)
    wanting = [unchecked(name, "needs Temporal") for name in ("namespace", *_OF_NAMESPACE)]
    try:
        connection = place.temporal_connection()
    except ConfigurationError as error:
        return [_refused_problem("temporal-refused", str(error)), *wanting]
    try:
        client = await reach(place)
    except UnavailableError as error:
        return [_unreachable_problem(connection, error), *wanting]
    except ConfigurationError as error:
        return [_refused_problem("temporal-refused", str(error)), *wanting]
    found = passed("Temporal", _description(connection))
    namespace = await _check_namespace(client, connection.namespace)
    if namespace.code:
        return [found, namespace, *(unchecked(name, "needs the namespace") for name in _OF_NAMESPACE)]
    searchable = settings.temporal_search_attributes == "auto"
    attributes = await _check_search_attributes(client) if searchable else passed(_ATTRIBUTES, "switched off")
    checks = [found, namespace, attributes, *await _check_installation(client, settings, installation)]
    return [*checks, await _check_version(client, place)] if place.temporal_deployment else checks


def _refused_problem(code: str, told: str) -> Check:
    error, _, to_do = told.partition(" → ")
    return problem(code, error=error, to_do=to_do)


def _description(connection: TemporalConnection) -> str:
    """Name the server, how it is reached, and whether that is in clear by permission."""
    allowed = "; in clear beyond this machine, as OCTY_TEMPORAL_PLAINTEXT allows" if connection.leaves_in_clear else ""
    return f"{connection.address}, {connection.security}{allowed}"


def _unreachable_problem(connection: TemporalConnection, error: UnavailableError) -> Check:
    """Say at which point the way to Temporal ends: nothing listens there, or what TLS or the server said."""
    address = connection.address
    try:
        with socket.create_connection((connection.host.strip("[]"), int(address.rpartition(":")[2])), TIMEOUT):
            return _refused_problem("temporal-refused", str(error))
    except (OSError, OverflowError) as fault:
        return problem("temporal-away", address=address, error=error_text(fault), setting=connection.setting)


async def _check_namespace(client: Client, name: str) -> Check:
    try:
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=name))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return problem("namespace-missing", namespace=name)
        return _refused_problem("namespace-refused", refusal_of(error) or f"{error.message} → look at Temporal's log")
    return passed("namespace", name)


async def _check_search_attributes(client: Client) -> Check:
    try:
        names = await search_attributes.missing(client)
    except ConfigurationError as error:
        return problem("search-attributes-refused", error=error)
    except RPCError as error:
        to_do = search_attributes.OFF.removeprefix("or ")
        return problem("search-attributes-unreadable", error=error.message, to_do=to_do)
    if names:
        command = search_attributes.how_to_add(client.namespace, names)
        return problem("search-attributes-missing", names=", ".join(names), command=command)
    return passed(_ATTRIBUTES, ", ".join(search_attributes.TYPES))


async def _check_installation(client: Client, settings: WorkerSettings, installation: str | None) -> list[Check]:
    """Look at what is this installation's."""
    if installation is None:
        return [unchecked(name, "needs the database, which names the installation") for name in _OF_INSTALLATION]
    queue = main_queue(settings, installation)
    return [
        *await _check_workers(client, queue),
        await _check_schedules(client, settings, queue),
        await _check_workflow_tasks(client, installation),
    ]


async def _check_workers(client: Client, queue: str) -> list[Check]:
    try:
        polled = await pollers_of(client, queue)
    except RPCError as error:
        call = problem("temporal-call-failed", name=_WORKER, error=error.message)
        return [call, *(unchecked(name, "needs an answer about workers") for name in (_RELEASES, _CLOCK))]
    return [_queue_check(polled, queue), _release_check(polled), _clock_check(polled)]


def _queue_check(polled: Sequence[Polled], queue: str) -> Check:
    missing = silent_queues(polled, now())
    if not missing:
        return passed(_WORKER, f"one asks for work on the task queue {queue!r} and on those beside it")
    if queue in missing:
        return problem("worker-missing", queue=queue)
    return problem("worker-of-few-queues", queues=", ".join(map(repr, missing)))


def _release_check(polled: Sequence[Polled]) -> Check:
    others = other_releases(polled, now())
    if others:
        named = ", ".join(sorted(set(others.values())))
        return problem("worker-of-other-release", count=len(others), here=worker_release(), others=named)
    return passed(_RELEASES, f"each worker that asks for work runs {worker_release()}")


def _clock_check(polled: Sequence[Polled]) -> Check:
    """Compare by when Temporal heard of a worker last: no call tells its time."""
    difference = clock_difference(polled, now())
    if abs(difference) <= _CLOCKS_DIFFER:
        return passed(_CLOCK, "no difference is seen")
    direction = "ahead of" if difference > 0 else "behind"
    return problem("temporal-clock-differs", minutes=round(abs(difference) / 60), direction=direction)


async def _check_schedules(client: Client, settings: WorkerSettings, queue: str) -> Check:
    """Look whether each is there and not paused."""
    missing, paused = [], []
    for task in (task for task, due in planned(settings).items() if due is not None):
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
    return passed(_SCHEDULES, "each is there, and none is paused")


async def _check_workflow_tasks(client: Client, installation: str) -> Check:
    """Look at the newest workflows that run: a task that fails is tried again for ever, and nothing else tells."""
    query = f"WorkflowId STARTS_WITH 'octy-{installation}-' AND ExecutionStatus = 'Running'"
    turns = asyncio.Semaphore(_CONCURRENT_CALLS)

    async def attempts(workflow_id: str, run_id: str | None) -> int:
        async with turns:
            try:
                told = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:  # ended meanwhile
                    return 0
                raise
            return int(told.raw_description.pending_workflow_task.attempt)

    try:
        some = [(each.id, each.run_id) async for each in client.list_workflows(query, limit=_MAX_WORKFLOWS)]
        tried = await asyncio.gather(*(attempts(*each) for each in some))
    except RPCError as error:
        return problem("temporal-call-failed", name=_TASKS, error=error.message)
    failing = [workflow_id for (workflow_id, _), count in zip(some, tried, strict=True) if count >= _FAILING_FROM]
    if failing:
        return problem("workflow-tasks-failing", count=len(failing), id=failing[0])
    return passed(_TASKS, f"none fails, of {len(some)} workflows that run")


async def _check_version(client: Client, place: TemporalPlace) -> Check:
    """Look which release of the worker is given the workflows, where releases are versioned."""
    deployment, ours = place.temporal_deployment, place.temporal_build_id
    try:
        current = [version.build_id for version in await known_versions(client, deployment) if version.current]
    except RPCError as error:
        return problem("temporal-call-failed", name="version", error=error.message)
    if not current:
        return problem("version-none-current", deployment=deployment)
    if current != [ours]:
        return problem("version-not-current", deployment=deployment, current=current[0], here=ours)
    return passed("version", f"{deployment}: {ours} is current")
