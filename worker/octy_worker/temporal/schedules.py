"""Temporal's schedules of what recurs, made and kept as the settings say.

Here: when each task is due, and that its schedule is there and right; looked at every minute, for a Temporal that lost
its state has lost these too, and our search attributes with them. Not here: the tasks (`activities.maintenance`).

One that somebody has paused stays paused, also when its times change.
"""

import asyncio
import logging
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.keys.keychain import Keychain
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.client import main_queue
from octy_worker.temporal.codec import key_id_of
from octy_worker.temporal.search_attributes import add_missing_attributes
from octy_workflows.maintenance import KeyMaintenanceWorkflow
from octy_workflows.messages import MaintenanceInput, MaintenanceTask, maintenance_schedule_id
from octy_workflows.task_queues import background_task_queue

_logger = logging.getLogger(__name__)

_LOOK = 60.0  # seconds between two looks
_DAY = timedelta(days=1)
_CATCH_UP = timedelta(hours=1)  # of what was missed while Temporal was away, no more than that


def planned_schedules(settings: WorkerSettings) -> dict[MaintenanceTask, ScheduleIntervalSpec | None]:
    """Return when each task is due; None for one that is switched off. Intervals count from 1970, UTC."""
    digest = ScheduleIntervalSpec(every=_DAY, offset=timedelta(hours=settings.support_digest_hour))
    return {
        MaintenanceTask.RETENTION: ScheduleIntervalSpec(every=timedelta(seconds=settings.retention_interval)),
        MaintenanceTask.RECONCILIATION: ScheduleIntervalSpec(every=timedelta(seconds=settings.reconcile_interval)),
        MaintenanceTask.DIGEST: digest if settings.support_digest_to else None,
    }


async def maintain_schedules(client: Client, settings: WorkerSettings, installation: str, look: float = _LOOK) -> None:
    """Make and mend them until cancelled; nothing else ends it, for cases go on without them."""
    said = ""
    while True:
        try:
            await ensure_search_attributes_and_schedules(client, settings, installation)
            said = ""
        except Exception as error:  # noqa: BLE001  # an outage, which the relay tells of too, or a fault of ours
            fault = error.status.name if isinstance(error, RPCError) else type(error).__name__
            if fault != said:
                said = fault
                _logger.warning("schedules: %s; next look in %g s", said, look)
        await asyncio.sleep(look)


async def ensure_search_attributes_and_schedules(client: Client, settings: WorkerSettings, installation: str) -> None:
    """Have Temporal know the search attributes, without which no task of a workflow ends, then the schedules."""
    if settings.temporal_search_attributes == "auto":
        await add_missing_attributes(client)
    await ensure_schedules(client, settings, installation)


async def ensure_schedules(client: Client, settings: WorkerSettings, installation: str) -> None:
    """Have each schedule as planned. A new one is due at once, but for the digest, which has its hour."""
    task_queue = main_queue(settings, installation)
    for task, due in planned_schedules(settings).items():
        schedule_id = maintenance_schedule_id(task_queue, task)
        if due is None:
            await _remove(client, schedule_id)
            continue
        schedule = _schedule(task_queue, task, due)
        try:
            await client.create_schedule(schedule_id, schedule, trigger_immediately=task is not MaintenanceTask.DIGEST)
            _logger.info("schedules: %s made", schedule_id)
        except ScheduleAlreadyRunningError:
            await _mend(client, schedule_id, schedule, settings.temporal_keys)


def _schedule(task_queue: str, task: MaintenanceTask, due: ScheduleIntervalSpec) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            KeyMaintenanceWorkflow.run,
            MaintenanceInput(task),
            id=maintenance_schedule_id(task_queue, task),
            task_queue=background_task_queue(task_queue),
            execution_timeout=_DAY,
        ),
        spec=ScheduleSpec(intervals=[due]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
    )


async def _mend(client: Client, schedule_id: str, wanted: Schedule, keys: Keychain | None) -> None:
    handle = client.get_schedule_handle(schedule_id)
    if not _differs((await handle.describe()).schedule, wanted, keys):
        return

    def update(said: ScheduleUpdateInput) -> ScheduleUpdate | None:
        there: ScheduleDescription = said.description
        if not _differs(there.schedule, wanted, keys):  # another worker was faster
            return None
        return ScheduleUpdate(
            Schedule(action=wanted.action, spec=wanted.spec, policy=wanted.policy, state=there.schedule.state)
        )

    await handle.update(update)
    _logger.info("schedules: %s mended", schedule_id)


def _differs(there: Schedule, wanted: Schedule, keys: Keychain | None) -> bool:
    """Compare what is ours to say; its state, paused or not, is for people."""
    return _said(there) != _said(wanted) or not _is_sealed_anew(there, keys)


def _is_sealed_anew(there: Schedule, keys: Keychain | None) -> bool:
    """Tell whether its input is encrypted with the newest key: each round is started with it, long after a rotation."""
    assert isinstance(there.action, ScheduleActionStartWorkflow)
    newest = None if keys is None else keys.newest[0]
    return all(key_id_of(payload) == newest for payload in there.action.args)


def _said(schedule: Schedule) -> tuple[object, ...]:
    action, spec = schedule.action, schedule.spec
    assert isinstance(action, ScheduleActionStartWorkflow)
    due = [(each.every, each.offset or timedelta()) for each in spec.intervals]
    own = (action.workflow, action.task_queue, action.id, action.execution_timeout)
    others = (*spec.calendars, *spec.cron_expressions, *spec.skip)
    return (*own, due, others, schedule.policy.overlap, schedule.policy.catchup_window)


async def _remove(client: Client, schedule_id: str) -> None:
    try:
        await client.get_schedule_handle(schedule_id).delete()
        _logger.info("schedules: %s removed", schedule_id)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
