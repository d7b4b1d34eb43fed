"""Temporal schedules of the periodic jobs: created, and updated when the settings change.

They are checked every minute, because a Temporal server that lost its state has lost the schedules and our search
attributes, too. A schedule that somebody paused stays paused, also when its times change.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
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

_CHECK_INTERVAL = 60.0  # seconds
_DAY = timedelta(days=1)
_CATCH_UP = timedelta(hours=1)  # runs that were missed longer ago are skipped


def planned_schedules(settings: WorkerSettings) -> dict[MaintenanceTask, ScheduleIntervalSpec | None]:
    """Return the interval of each job; None: it is switched off. Intervals count from 1970, UTC."""
    digest = ScheduleIntervalSpec(every=_DAY, offset=timedelta(hours=settings.support_digest_hour))
    return {
        MaintenanceTask.RETENTION: ScheduleIntervalSpec(every=timedelta(seconds=settings.retention_interval)),
        MaintenanceTask.RECONCILIATION: ScheduleIntervalSpec(every=timedelta(seconds=settings.reconcile_interval)),
        MaintenanceTask.DIGEST: digest if settings.support_digest_to else None,
    }


async def maintain_schedules(
    client: Client, settings: WorkerSettings, installation: str, interval: float = _CHECK_INTERVAL
) -> None:
    """Create and update the schedules until cancelled. Errors are logged and retried."""
    logged = ""
    while True:
        try:
            await ensure_search_attributes_and_schedules(client, settings, installation)
            logged = ""
        except Exception as error:  # noqa: BLE001  # an outage, which the relay logs, too, or a bug of ours
            reason = error.status.name if isinstance(error, RPCError) else type(error).__name__
            if reason != logged:
                logged = reason
                _logger.warning("schedules: not checked: %s; next try in %g s", reason, interval)
        await asyncio.sleep(interval)


async def ensure_search_attributes_and_schedules(client: Client, settings: WorkerSettings, installation: str) -> None:
    """Add missing search attributes, without which workflow tasks fail, then create or update the schedules."""
    if settings.temporal_search_attributes == "auto":
        await add_missing_attributes(client)
    await ensure_schedules(client, settings, installation)


async def ensure_schedules(client: Client, settings: WorkerSettings, installation: str) -> None:
    """Create or update each schedule. A new one runs at once, except the digest, which has a fixed hour."""
    task_queue = main_queue(settings, installation)
    for task, due in planned_schedules(settings).items():
        schedule_id = maintenance_schedule_id(task_queue, task)
        if due is None:
            await _delete(client, schedule_id)
            continue
        schedule = _schedule(task_queue, task, due)
        try:
            await client.create_schedule(schedule_id, schedule, trigger_immediately=task is not MaintenanceTask.DIGEST)
            _logger.info("schedules: %s created", schedule_id)
        except ScheduleAlreadyRunningError:
            await _update(client, schedule_id, schedule, settings.temporal_keys)


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


async def _update(client: Client, schedule_id: str, wanted: Schedule, keys: Keychain | None) -> None:
    def update(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
        current = found.description.schedule
        if not _differs(current, wanted, keys):
            return None
        _logger.info("schedules: updating %s", schedule_id)
        return ScheduleUpdate(replace(wanted, state=current.state))

    await client.get_schedule_handle(schedule_id).update(update)


def _differs(current: Schedule, wanted: Schedule, keys: Keychain | None) -> bool:
    """Compare everything but the state: people pause schedules."""
    return _definition(current) != _definition(wanted) or not _has_newest_key(current, keys)


def _has_newest_key(schedule: Schedule, keys: Keychain | None) -> bool:
    """Whether the input is encrypted with the newest key: it starts every run, also long after a key rotation."""
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    newest = None if keys is None else keys.newest[0]
    return all(key_id_of(payload) == newest for payload in schedule.action.args)


def _definition(schedule: Schedule) -> tuple[object, ...]:
    action, spec = schedule.action, schedule.spec
    assert isinstance(action, ScheduleActionStartWorkflow)
    due = [(each.every, each.offset or timedelta()) for each in spec.intervals]
    own = (action.workflow, action.task_queue, action.id, action.execution_timeout)
    others = (*spec.calendars, *spec.cron_expressions, *spec.skip)
    return (*own, due, others, schedule.policy.overlap, schedule.policy.catchup_window)


async def _delete(client: Client, schedule_id: str) -> None:
    try:
        await client.get_schedule_handle(schedule_id).delete()
        _logger.info("schedules: %s deleted", schedule_id)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
