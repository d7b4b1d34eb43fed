"""The worker process: builds its components from the settings, and runs them until SIGTERM or SIGINT.

The pages and the staff API run in processes of their own. The pages need no Temporal: customers can answer during an
outage of it. The relay and the workflows start as soon as Temporal can be reached.
"""

import asyncio
import contextlib
import logging
import platform
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from temporalio.client import Client, Interceptor

from octy_middleware._version import __version__
from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_middleware.errors import OctyError
from octy_middleware.keys.secret import KeyHasher
from octy_worker.access.staff_settings import check_staff_settings, load_receipts
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.activities.mail import MailActivities
from octy_worker.activities.maintenance import MaintenanceActivities
from octy_worker.activities.regenerations import RegenerationActivities
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.activities.workflow_messages import WorkflowMessageActivities
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.worker_start import record_start
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.errors import UnavailableError
from octy_worker.identity import keychains_of, verify_installation
from octy_worker.mail.alert_priority import AlertsInProgress
from octy_worker.mail.mailer import Mailer, SmtpMailer
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.template_check import check_templates
from octy_worker.observability.metrics.clock_offset import ClockOffsetInterceptor
from octy_worker.observability.metrics.counters import CountedMailer
from octy_worker.observability.metrics.metrics_server import Metrics, sdk_runtime
from octy_worker.observability.tracing import Tracing
from octy_worker.outbox.relay import Relay
from octy_worker.pages.process import check_certificate, supervise
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api import process as staff_api
from octy_worker.task_queue_workers import Activities, executors, workers
from octy_worker.temporal.client import connect, main_queue
from octy_worker.temporal.deployment import deployment_config
from octy_worker.temporal.schedules import maintain_schedules
from octy_worker.temporal.search_attributes import add_missing_attributes
from octy_worker.web.web_server import stop_on_signals
from octy_worker.webhooks.client import WebhookClient

_logger = logging.getLogger(__name__)

_RECONNECT_INTERVAL = 1.0  # seconds


class WorkerComponents:
    """The components of one worker, built from its settings."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        check_certificate(settings)
        staff_api.check_settings(settings)
        check_staff_settings(settings)
        self.temporal = settings.temporal_connection()  # invalid settings fail here, before anything is started
        self.mailer = SmtpMailer(settings)
        self.renderer = MailRenderer(settings)
        check_templates(self.renderer, settings.public_url)
        self.database = Database(settings.database_url)
        self.alert_database = Database(settings.database_url)  # a connection pool for alerts only
        try:
            check_schema(self.database)
            self.installation = verify_installation(self.database, keychains_of(settings), time.time())
            self.receipts = load_receipts(settings, self.installation, secrets.token_bytes)
        except BaseException:
            self.close()
            raise
        self.task_queue = main_queue(settings, self.installation)
        self.alerts = AlertsInProgress()
        self.links = Links(settings.link_keys, settings.public_url)
        self.sealer = Sealer(settings.sealing_keys, secrets.token_bytes)
        self.hasher = KeyHasher(settings.peppers)
        self.checkpoints = (
            CheckpointWriter(self.database, settings.audit_keys, self.installation, time.time)
            if settings.audit_keys
            else None
        )
        self.metrics = Metrics(self.database, time.time, self.receipts.has_right_code)
        self.tracing = Tracing.start(enabled=settings.tracing)
        self.webhooks = WebhookActivities(self.database, WebhookClient(settings, time.time), time.time)

    def interceptors(self) -> Sequence[Interceptor]:
        """Return the interceptors of activities: spans and the clock offset."""
        return (*self.tracing.interceptors(), ClockOffsetInterceptor(self.metrics.counters.set_clock_offset))

    def activities(self, client: Client) -> Activities:
        """Return the activities of the worker."""
        settings = self.settings
        mailer = CountedMailer(self.tracing.trace_mailer(self.mailer), self.metrics.counters.count_send)
        return Activities(
            control=WorkflowMessageActivities(
                self.database, self.receipts, self.metrics.counters.count_refused, self.metrics.counters.count_missing
            ),
            incidents=IncidentActivities(self.alert_database, self.receipts, quiet=settings.quiet_after_false_alarm),
            regenerations=RegenerationActivities(
                self.database, self.hasher, self.sealer, reveal_link_ttl=settings.reveal_link_ttl
            ),
            alerts=self._mail(self.alert_database, mailer),
            mail=self._mail(self.database, mailer),
            upkeep=MaintenanceActivities(
                database=self.database,
                client=client,
                installation=self.installation,
                mailer=mailer,
                renderer=self.renderer,
                settings=settings,
                clock=time.time,
                checkpoints=self.checkpoints,
            ),
            webhooks=self.webhooks,
        )

    def _mail(self, database: Database, mailer: Mailer) -> MailActivities:
        return MailActivities(
            database=database,
            mailer=mailer,
            renderer=self.renderer,
            links=self.links,
            sealer=self.sealer,
            settings=self.settings,
            clock=time.time,
        )

    @contextlib.asynccontextmanager
    async def run_workers(self, client: Client) -> AsyncIterator[asyncio.TaskGroup]:
        """Run a Temporal worker for each task queue, with its own threads; yield the group of their tasks.

        When one task of the group fails, all stop with its error. The workers' own `async with` is not used: several
        that fail cancel this task several times, also in clean-up.
        """
        threads = executors()
        with contextlib.ExitStack() as stack:
            for executor in threads.values():
                stack.enter_context(executor)
            activities, deployment = self.activities(client), deployment_config(self.settings)
            running = workers(client, self.task_queue, activities, threads, deployment, alerts=self.alerts)
            try:
                async with asyncio.TaskGroup() as group:
                    for worker in running:
                        group.create_task(worker.run())
                    yield group
                    await asyncio.gather(*(worker.shutdown() for worker in running))  # all at the same time
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    def relay(self, client: Client) -> Relay:
        """Return the relay, with metrics and tracing."""
        return Relay(
            self.alert_database,
            client,
            self.settings,
            time.time,
            on_result=self.metrics.counters.count_delivery,
            span_of=self.tracing.delivery_span,
            alerts=self.alerts,
        )

    def record_start(self) -> None:
        """Append the start of this worker to the audit log, with the names of changed settings."""
        with self.database.write_session() as session:
            record_start(
                session, self.settings, host=platform.node(), release=__version__, now=time.time(),
                random_bytes=secrets.token_bytes,
            )  # fmt: skip

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.close()
        self.alert_database.close()


def serve(settings: WorkerSettings, *, pages: bool) -> int:
    """Run relay, workflows, activities and optionally the pages until SIGTERM or SIGINT. Return the exit code."""
    components = WorkerComponents(settings)
    try:
        components.record_start()
        return asyncio.run(_serve(components, pages=pages))
    finally:
        components.close()  # after the loop's threads have ended, so that none uses a connection


async def _serve(components: WorkerComponents, *, pages: bool) -> int:
    stop = stop_on_signals()
    running = {"worker": run_worker(components, stop)}
    if components.settings.metrics_port:
        running["metrics"] = components.metrics.serve(components.settings, stop)
    if components.checkpoints:
        running["checkpoints"] = components.checkpoints.run(stop)
    if pages:
        running["pages"] = supervise(components.settings, stop, components.metrics.pages)
    if components.settings.staff_port:
        running["staff API"] = staff_api.supervise(components.settings, stop, components.metrics.staff_api)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run_component(name, component, stop)) for name, component in running.items()]
    components.tracing.close()
    return 0 if all(task.result() for task in tasks) else 1


async def _run_component(name: str, component: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Run it until it ends, then set `stop`, so that the others end too. False when it failed, or ended before that."""
    try:
        await component
        reason = "" if stop.is_set() else "it ended unexpectedly"
    except asyncio.CancelledError:
        reason = "it was cancelled"
    except Exception as error:  # noqa: BLE001  # logged in one line: further lines of an error may contain values
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
    stop.set()
    if reason:
        _logger.error("worker: stopping because component %r failed: %s", name, reason)
    return not reason


async def run_worker(components: WorkerComponents, stop: asyncio.Event) -> None:
    """Run the relay and the Temporal workers until `stop` is set. Waits for Temporal at first."""
    client = await connect_with_retry(components, stop)
    if client is None:
        return
    relay = components.relay(client)
    async with components.run_workers(client) as group:
        _logger.info("worker: polling %s at %s", components.task_queue, components.temporal.address)
        schedules = maintain_schedules(client, components.settings, components.installation)
        tasks = [group.create_task(relay.run()), group.create_task(schedules)]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)  # the relay releases its leases before the workers stop


async def connect_with_retry(components: WorkerComponents, stop: asyncio.Event) -> Client | None:
    """Return a client as soon as Temporal can be reached, or None if `stop` is set before."""
    logged, runtime = "", sdk_runtime(components.settings)
    while not stop.is_set():
        try:
            client = await connect(
                components.settings, runtime=runtime, interceptors=components.interceptors(), for_worker=True
            )
            if components.settings.temporal_search_attributes == "auto":
                await add_missing_attributes(client)
            return client  # noqa: TRY300  # a failure is retried
        except (UnavailableError, OctyError) as error:
            if str(error) != logged:
                logged = str(error)
                _logger.warning("worker: %s; retrying", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _RECONNECT_INTERVAL)
    return None
