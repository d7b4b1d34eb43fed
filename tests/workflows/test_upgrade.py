"""A new release of the worker while incidents wait, on a real server, with and without versions: all finish."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest
from support.until import until_async
from temporalio.common import VersioningBehavior
from temporalio.worker import Worker, WorkerDeploymentConfig

from octy_worker.settings import TemporalAccess
from octy_worker.temporal.deployment import NotReadyError, Version, deployment_config, known_versions, make_current
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import DAY, HOUR, IncidentInput, WebhookInput
from octy_workflows.order_content import StaffDecision
from octy_workflows.webhook import KeyWebhookWorkflow
from workflows.workflow_harness import BUILD_ID, WORKFLOWS, Harness, WorkflowRun, on_harness, running_extra_workers

OPENED = ["0h note opened waiting", "0h mail alert-1"]
_numbers = itertools.count(1)


def release(deployment: str, build_id: str) -> WorkerDeploymentConfig | None:
    """Return the version of one release of the worker; without a deployment it has none."""
    return deployment_config(TemporalAccess(temporal_deployment=deployment, temporal_build_id=build_id))


class Site:
    """A task queue of its own, releases on it, and incidents that wait there."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.queue = f"upgrade-{next(_numbers)}"  # also the deployment's name
        self.client = harness.env.client
        self.runs: list[WorkflowRun] = []

    @asynccontextmanager
    async def worker(self, build_id: str = "", *, beside: bool = True) -> AsyncIterator[None]:
        """Run a worker. `beside`: with those of the other task queues, which a client can have once only."""
        deployment = release(self.queue if build_id else "", build_id)
        worker = Worker(
            self.client,
            task_queue=self.queue,
            workflows=WORKFLOWS,
            activities=self.harness.fake_activities.activities(),
            deployment_config=deployment,
            build_id=None if deployment else BUILD_ID,
        )
        others = (
            running_extra_workers(self.client, self.queue, self.harness.fake_activities) if beside else nullcontext()
        )
        async with worker, others:
            yield

    async def open_incidents(self, count: int) -> None:
        for _ in range(count):
            incident_id = f"{self.queue}-{len(self.runs)}"
            case = IncidentInput(incident_id)
            self.runs.append(
                await self.harness.start(KeyIncidentWorkflow.run, case, incident_id, task_queue=self.queue)
            )

    async def all_tell(self, *lines: str) -> None:
        for run in self.runs:
            await run.check_story(*OPENED, *lines)
            await run.wait_until_idle()

    async def advance_all_to(self, seconds: float) -> None:
        for run in self.runs:
            await run.advance_to(seconds)

    async def all_finish(self, *lines: str) -> None:
        """One is decided, one without an answer: an update and timers."""
        decided, *silent = self.runs
        await decided.orders(StaffDecision("dismiss", "dan", "their own test"))
        assert await decided.result() == "false_alarm"
        for run in silent:
            await run.advance_to(15 * DAY)
            assert await run.result() == "unanswered"
            assert run.records.story[: 2 + len(lines)] == [*OPENED, *lines]

    async def promote(self, build_id: str) -> None:
        """As `octy temporal promote`: as soon as Temporal has seen a worker of it."""
        last: list[str] = []

        async def promoted() -> bool:
            try:
                await make_current(self.client, self.queue, build_id, "test")
            except NotReadyError as error:
                last[:] = [str(error)]
                return False
            return True

        await until_async(promoted, message=last, interval=0.05)

    async def build_ids(self) -> set[str]:
        """Return the versions that the incidents are bound to."""
        described = [(await run.handle.describe()).raw_description for run in self.runs]
        return {each.workflow_execution_info.versioning_info.deployment_version.build_id for each in described}


@on_harness
async def test_new_release_without_versions_replaces_the_old_one(harness: Harness) -> None:
    site = Site(harness)
    async with site.worker():
        await site.open_incidents(3)
        await site.all_tell()
    async with site.worker():
        await site.advance_all_to(25 * HOUR)
        await site.all_tell("24h mail reminder-1")
        await site.all_finish("24h mail reminder-1")


@on_harness
async def test_waiting_incidents_move_when_a_versioned_release_is_promoted(harness: Harness) -> None:
    site = Site(harness)
    async with site.worker("1"):
        await site.promote("1")
        await site.open_incidents(3)
        await site.all_tell()
        async with site.worker("2", beside=False):  # beside the old one: it gets nothing until it is promoted
            await site.advance_all_to(25 * HOUR)
            await site.all_tell("24h mail reminder-1")
            assert await site.build_ids() == {"1"}
            await site.promote("2")
            assert [(v.build_id, v.current) for v in await known_versions(site.client, site.queue)] == [
                ("2", True),
                ("1", False),
            ]
            await site.advance_all_to(73 * HOUR)
            await site.all_tell("24h mail reminder-1", "72h mail reminder-2")
            assert await site.build_ids() == {"2"}
    async with site.worker("2"):
        await site.all_finish("24h mail reminder-1", "72h mail reminder-2")


@on_harness
async def test_versioned_release_is_promoted_after_the_old_worker_stopped(harness: Harness) -> None:
    site = Site(harness)
    async with site.worker("1"):
        await site.promote("1")
        await site.open_incidents(2)
        await site.all_tell()
    async with site.worker("2"):
        await site.promote("2")
        await site.all_finish()


@on_harness
async def test_versions_are_switched_on_and_off_while_incidents_wait(harness: Harness) -> None:
    site = Site(harness)
    async with site.worker():
        await site.open_incidents(2)
        await site.all_tell()
    async with site.worker("1"):
        await site.promote("1")
        await site.advance_all_to(25 * HOUR)
        await site.all_tell("24h mail reminder-1")
        assert await site.build_ids() == {"1"}
    async with site.worker():
        await site.promote("")
        await site.all_finish("24h mail reminder-1")


@on_harness
async def test_webhooks_are_posted_by_a_worker_without_a_version(harness: Harness) -> None:
    """Their activity has a task queue of its own, which belongs to no deployment."""
    site = Site(harness)
    async with site.worker("1"):
        await site.promote("1")
        webhook_id = f"{site.queue}-w"
        case = WebhookInput(webhook_id, "keys.ready")
        run = await harness.start(KeyWebhookWorkflow.run, case, webhook_id, task_queue=site.queue)
        assert await run.result() == "sent"


@on_harness
async def test_release_without_a_worker_is_not_promoted(harness: Harness) -> None:
    site = Site(harness)
    assert await known_versions(site.client, site.queue) == []
    with pytest.raises(NotReadyError):
        await make_current(site.client, site.queue, "1", "test")
    async with site.worker("1"):
        await site.promote("1")
        with pytest.raises(NotReadyError):
            await make_current(site.client, site.queue, "2", "test")
        assert await known_versions(site.client, site.queue) == [Version("1", True, "")]


def test_release_has_a_version_only_when_enabled() -> None:
    assert release("", "1") is None
    config = release("octy", "1.4.0")
    assert config is not None
    assert config.version.to_canonical_string() == "octy.1.4.0"
    assert (config.use_worker_versioning, config.default_versioning_behavior) == (True, VersioningBehavior.AUTO_UPGRADE)
