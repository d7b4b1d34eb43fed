"""The composition root: builds the parts of a worker from its settings, and runs them until told to stop.

Here: what is built from what, start, stop, exit code. Not here: what any part does.

The pages run in a process of their own (`pages_process`) and need no Temporal: a customer's answer is taken while it is
down. Relay and workflows begin as soon as it can be reached.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from octy_middleware.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.keys import KeyHasher
from octy_worker.activities.incidents import IncidentActivities
from octy_worker.activities.mail import MailActivities
from octy_worker.activities.regenerations import RegenerationActivities
from octy_worker.activities.upkeep import UpkeepActivities
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.identity import chains_of, claim_installation
from octy_worker.links import Links
from octy_worker.mail.letters import Letters
from octy_worker.mail.mailer import SmtpMailer
from octy_worker.mail.proof import prove
from octy_worker.metrics.counts import CountedMailer
from octy_worker.metrics.listener import Metrics, sdk_runtime
from octy_worker.pages_process import check_certificate, supervise
from octy_worker.relay import Relay
from octy_worker.schedules import keep_schedules
from octy_worker.sealed import Sealer
from octy_worker.search_attributes import make_known
from octy_worker.settings import WorkerSettings
from octy_worker.temporal import TemporalUnavailableError, connect, main_queue
from octy_worker.tracing import Tracing
from octy_worker.versions import deployment_of
from octy_worker.web_server import stop_on_signals
from octy_worker.webhooks.courier import Courier
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import webhook_task_queue
from octy_workflows.notice import KeyNoticeWorkflow
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.upkeep import KeyUpkeepWorkflow
from octy_workflows.webhook import KeyWebhookWorkflow

_logger = logging.getLogger(__name__)

_THREADS = 8  # activities at once; each is a transaction or a mail
_WEBHOOK_THREADS = 4  # webhooks at once; customers' servers may be slow, and keep no mail waiting
_GRACE = 20.0  # seconds for activities under way when we are told to stop
_RECONNECT = 1.0


class Parts:
    """What the parts of one worker share."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        check_certificate(settings)
        self.mailer = SmtpMailer(settings)
        self.letters = Letters(settings)
        prove(self.letters, settings.public_url)
        self.database = Database(settings.database_url)
        self.database.check_schema()
        self.installation = claim_installation(self.database, chains_of(settings), time.time())
        self.task_queue = main_queue(settings, self.installation)
        self.links = Links(settings.link_keys, settings.public_url)
        self.sealer = Sealer(settings.sealing_keys, secrets.token_bytes)
        self.hasher = KeyHasher(settings.peppers)
        self.metrics = Metrics(self.database, time.time)
        self.tracing = Tracing.start(wanted=settings.tracing)
        self.webhooks = WebhookActivities(self.database, Courier(settings, time.time), time.time)

    def worker(self, client: Client, executor: ThreadPoolExecutor) -> Worker:
        """Return the Temporal worker with every workflow and activity."""
        settings = self.settings
        mailer = CountedMailer(self.tracing.mailer(self.mailer), self.metrics.counts.sent)
        incidents = IncidentActivities(self.database, quiet=settings.quiet_after_false_alarm)
        regenerations = RegenerationActivities(
            self.database, self.hasher, self.sealer, reveal_life=settings.reveal_life
        )
        mail = MailActivities(
            database=self.database,
            mailer=mailer,
            letters=self.letters,
            links=self.links,
            sealer=self.sealer,
            settings=settings,
            clock=time.time,
        )
        upkeep = UpkeepActivities(
            database=self.database,
            client=client,
            installation=self.installation,
            mailer=mailer,
            letters=self.letters,
            settings=settings,
            clock=time.time,
        )
        return Worker(
            client,
            task_queue=self.task_queue,
            workflows=[
                KeyIncidentWorkflow,
                KeyRegenerationWorkflow,
                KeyNoticeWorkflow,
                KeyUpkeepWorkflow,
                KeyWebhookWorkflow,
            ],
            activities=[
                incidents.note_incident,
                incidents.take_decision,
                incidents.open_regeneration,
                incidents.close_incident,
                regenerations.issue_pair,
                regenerations.prove_pair,
                regenerations.activate_pair,
                regenerations.renew_link,
                regenerations.begin_overlap,
                regenerations.count_old_uses,
                regenerations.retire_old_pair,
                regenerations.finish_regeneration,
                regenerations.note_regeneration,
                mail.send_mail,
                upkeep.prune_store,
                upkeep.reconcile_store,
                upkeep.send_digest,
                self.webhooks.give_up_webhook,
            ],
            activity_executor=executor,
            max_concurrent_activities=_THREADS,  # one that waits for a thread would lose its time there
            graceful_shutdown_timeout=timedelta(seconds=_GRACE),
            deployment_config=deployment_of(settings),
        )

    def relay(self, client: Client) -> Relay:
        """Return the relay, whose deliveries are counted and traced."""
        heard = self.metrics.counts.delivered
        return Relay(self.database, client, self.settings, time.time, heard=heard, tracing=self.tracing)

    def webhook_worker(self, client: Client, executor: ThreadPoolExecutor) -> Worker:
        """Return the worker that posts webhooks, on a task queue of its own. Without workflows, it has no version."""
        return Worker(
            client,
            task_queue=webhook_task_queue(self.task_queue),
            activities=[self.webhooks.post_webhook],
            activity_executor=executor,
            max_concurrent_activities=_WEBHOOK_THREADS,
            graceful_shutdown_timeout=timedelta(seconds=_GRACE),
        )


def serve(settings: WorkerSettings, *, pages: bool) -> int:
    """Run relay, workflows, activities and by option the pages until SIGTERM or SIGINT. Return the exit code."""
    parts = Parts(settings)
    return asyncio.run(_serve(parts, pages=pages))


async def _serve(parts: Parts, *, pages: bool) -> int:
    stop = stop_on_signals()
    tasks = [asyncio.create_task(_work(parts, stop), name="worker")]
    if parts.settings.metrics_port:
        tasks.append(asyncio.create_task(parts.metrics.serve(parts.settings, stop), name="metrics"))
    if pages:
        tasks.append(asyncio.create_task(_show_pages(parts, stop), name="pages"))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    unasked = [] if stop.is_set() else [task for task in tasks if task.done()]
    stop.set()
    await asyncio.wait([stopping, *tasks])
    faults = [(task.get_name(), why) for task in tasks if (why := _why(task, unasked=task in unasked))]
    for name, why in faults:
        _logger.error("worker: stopped by its part %r: %s", name, why)
    parts.tracing.close()
    parts.database.close()
    return 1 if faults else 0


def _why(task: asyncio.Task[None], *, unasked: bool) -> str:
    """Return in one line why a part ended, or nothing when it was told to. An error's further lines hold values."""
    if task.cancelled():
        return "it was cancelled"
    error = task.exception()
    if error is not None:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
    return "it ended by itself" if unasked else ""


async def _show_pages(parts: Parts, stop: asyncio.Event) -> None:
    await supervise(parts.settings, stop, parts.metrics.pages)


async def _work(parts: Parts, stop: asyncio.Event) -> None:
    client = await _reach_temporal(parts, stop)
    if client is None:
        return
    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="octy-activity") as executor,
        ThreadPoolExecutor(_WEBHOOK_THREADS, thread_name_prefix="octy-webhook") as webhook_executor,
    ):
        worker = parts.worker(client, executor)
        webhook_worker = parts.webhook_worker(client, webhook_executor)
        relay = parts.relay(client)
        async with worker, webhook_worker:
            _logger.info("worker: polling %s at %s", parts.task_queue, parts.settings.temporal_address)
            relaying = asyncio.create_task(relay.run())
            keeping = asyncio.create_task(keep_schedules(client, parts.settings, parts.installation))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([relaying, stopping], return_when=asyncio.FIRST_COMPLETED)
            finally:  # also when the SDK cancels us, which is how it tells that the worker can't go on
                stopping.cancel()
                keeping.cancel()
                relaying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keeping
                with contextlib.suppress(asyncio.CancelledError):
                    await relaying
            await asyncio.gather(worker.shutdown(), webhook_worker.shutdown())  # one grace for both, not one each


async def _reach_temporal(parts: Parts, stop: asyncio.Event) -> Client | None:
    """Return a client as soon as Temporal answers, or None when told to stop before."""
    said, runtime = "", sdk_runtime(parts.settings)
    while not stop.is_set():
        try:
            client = await connect(
                parts.settings, runtime=runtime, interceptors=parts.tracing.interceptors(), for_worker=True
            )
            if parts.settings.temporal_search_attributes == "auto":
                await make_known(client)
            return client  # noqa: TRY300  # what fails is tried again
        except (TemporalUnavailableError, OctyError) as error:
            if str(error) != said:
                said = str(error)
                _logger.warning("worker: %s; trying on", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _RECONNECT)
    return None
