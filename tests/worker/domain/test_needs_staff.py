"""Every way into `needs_staff`, and the way back out when its cause is over: SQL, Temporal and the worker's real parts.

Only the mail server is fake, and the waits are fractions of a second.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest
from support.cli_rig import open_incident
from support.in_session import in_session
from support.orders import receive_order
from support.temporal import Temporal, open_temporal
from support.until import until_async
from support.world import INSTALLATION, World
from temporalio.client import Client, WorkflowUpdateFailedError

from octy_middleware.db.bulk_sql import run
from octy_middleware.states import Answer
from octy_worker import daemon
from octy_worker.domain import incidents, regenerations
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.outbox.relay import Relay
from octy_worker.settings import WorkerSettings
from octy_worker.temporal.search_attributes import add_missing_attributes
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import StaffAction, incident_workflow_id, regeneration_workflow_id
from octy_workflows.order_content import Choice, OrderContent, StaffDecision, StaffExtension, StaffResend
from octy_workflows.regeneration import KeyRegenerationWorkflow

LONG = 1000.0
SOON = 0.2
REGENERATE = StaffDecision(Choice.REGENERATE, "eve", "called them")
DISMISS = StaffDecision(Choice.DISMISS, "eve", "called them")


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    # A timer fires at once: by default up to a second later.
    with open_temporal("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="1ms"') as opened:
        opened.run(add_missing_attributes(opened.client))
        yield opened


@dataclass
class FakeMailServer:
    """A mail server that rejects mails permanently while it is closed."""

    closed: bool = False
    renderer: list[str] = field(default_factory=list)

    def send(self, envelope: object) -> SmtpResult:
        if self.closed:
            return SmtpResult(SmtpStatus.REFUSED, "550")
        self.renderer.append(str(envelope))
        return SmtpResult(SmtpStatus.ACCEPTED)


@dataclass
class RunningIncident:
    """One attacked customer, and what happens to it."""

    world: World
    client: Client
    mail_server: FakeMailServer
    incident_id: str

    async def wait_for_state(self, state: str) -> None:
        await until_async(lambda: self.state() == state)

    async def wait_for_event(self, what: str) -> None:
        await until_async(lambda: what in self.events())

    def state(self) -> str:
        return self.world.rows("SELECT state FROM incident WHERE id = :id", id=self.incident_id)[0][0]

    def events(self) -> list[str]:
        query = "SELECT what FROM incident_event WHERE incident_id = :id ORDER BY seq"
        return [what for (what,) in self.world.rows(query, id=self.incident_id)]

    def alert_sent(self) -> bool:
        query = "SELECT 1 FROM mail WHERE incident_id = :id AND kind = 'alert' AND state = 'sent'"
        return bool(self.world.rows(query, id=self.incident_id))

    def answer(self, said: Answer = Answer.NOT_US) -> None:
        standing = in_session(
            self.world.database,
            incidents.answer_incident,
            self.incident_id,
            said,
            leaked=False,
            by=incidents.CUSTOMER,
            now=time.time(),
        )
        assert standing is not None
        assert standing.taken

    async def staff(self, update: Callable, said: OrderContent) -> None:
        order_id = receive_order(self.world, StaffAction(update.__name__), self.incident_id, said, time.time())
        handle = self.client.get_workflow_handle_for(
            KeyIncidentWorkflow.run, incident_workflow_id(INSTALLATION, self.incident_id)
        )
        await handle.execute_update(update, {"order": order_id})

    @property
    def regeneration_id(self) -> str:
        [(found,)] = self.world.rows("SELECT regeneration_id FROM incident WHERE id = :id", id=self.incident_id)
        return found

    async def resend_keys(self) -> None:
        handle = self.client.get_workflow_handle_for(
            KeyRegenerationWorkflow.run, regeneration_workflow_id(INSTALLATION, self.regeneration_id)
        )
        said = StaffResend("eve", "they lost it")
        order_id = receive_order(self.world, StaffAction.RESEND_KEYS, self.regeneration_id, said, time.time())
        await handle.execute_update(KeyRegenerationWorkflow.resend, {"order": order_id})

    def collect(self) -> None:
        [(generation,)] = self.world.rows(
            "SELECT generation FROM sealed_secret WHERE regeneration_id = :id", id=self.regeneration_id
        )
        assert in_session(
            self.world.database, regenerations.collect, self.world.sealer, self.regeneration_id, generation, time.time()
        )

    def break_new_key_pairs(self, *, until: bool) -> None:
        """Make key pairs that are issued from now on fail their verification, or take that back."""
        make = (
            "CREATE TRIGGER spoil AFTER INSERT ON key_pair BEGIN "
            "UPDATE key_pair SET secret_digest = '$octy-b2$k1$00' WHERE id = NEW.id; END"
        )
        with self.world.database.write() as connection:
            run(connection, "DROP TRIGGER spoil" if until else make)


@dataclass
class IncidentRunner:
    """One worker, and one incident after another. Waits that an incident is not given are long."""

    temporal: Temporal
    world: World
    mail_server: FakeMailServer
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def settings(self, **times: object) -> WorkerSettings:
        world = self.world
        waits = {"incident_remind_after": (), "resend_after": (), "overlap": LONG, "collect_staff_after": LONG}
        keys = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": world.peppers}
        names = {"database_url": world.url, "temporal_task_queue": "needs-staff"}
        return WorkerSettings(**{"staff_auth": "off", **keys, **names, **waits, **times})  # type: ignore[arg-type]

    def run_incident(
        self, story: Callable[[RunningIncident], Awaitable[None]], *, closed: bool = False, **times: object
    ) -> None:
        """Open an incident, and let the relay run as long as the story goes."""
        self.mail_server.closed = closed
        _, incident_id = open_incident(self.world, f"c{next(self.numbers)}")
        relay = Relay(self.world.database, self.temporal.client, self.settings(**times), time.time)

        async def act() -> None:
            relaying = asyncio.create_task(relay.run())
            try:
                await story(RunningIncident(self.world, self.temporal.client, self.mail_server, incident_id))
            finally:
                relaying.cancel()
                await asyncio.gather(relaying, return_exceptions=True)

        self.temporal.run(act())


@pytest.fixture(scope="module")
def runner(temporal: Temporal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncidentRunner]:
    runner = IncidentRunner(temporal, World(tmp_path_factory.mktemp("stack")), FakeMailServer())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(daemon, "SmtpMailer", lambda _settings: runner.mail_server)
        parts = daemon.WorkerComponents(runner.settings())
        working = parts.run_workers(temporal.client)
        temporal.run(working.__aenter__())
        yield runner
        temporal.run(working.__aexit__(None, None, None))
    parts.close()
    runner.world.close()


Story = Callable[[RunningIncident], Awaitable[None]]


async def sent_again(incident: RunningIncident) -> None:
    before = len(incident.mail_server.renderer)
    incident.mail_server.closed = False

    async def resent() -> bool:
        with contextlib.suppress(WorkflowUpdateFailedError):  # too early: it has not heard of its first mail's end
            await incident.staff(KeyIncidentWorkflow.resend, StaffResend("eve", "address corrected"))
        return bool(incident.mail_server.renderer[before:])

    await until_async(resent)
    await incident.wait_for_state("waiting")


async def later_reminder_arrives(incident: RunningIncident) -> None:
    incident.mail_server.closed = False
    await incident.wait_for_state("waiting")


async def decided(incident: RunningIncident) -> None:
    await incident.staff(KeyIncidentWorkflow.decide, REGENERATE)
    await incident.wait_for_state("regenerating")


async def dismissed(incident: RunningIncident) -> None:
    await incident.staff(KeyIncidentWorkflow.decide, DISMISS)
    await incident.wait_for_state("closed")


async def answered(incident: RunningIncident) -> None:
    incident.answer()
    await incident.wait_for_state("regenerating")


async def extended(incident: RunningIncident) -> None:
    await incident.staff(KeyIncidentWorkflow.extend, StaffExtension(7, "eve", "on holiday"))
    await incident.wait_for_state("waiting")


async def keys_sent_again(incident: RunningIncident) -> None:
    incident.mail_server.closed = False
    await incident.resend_keys()
    await incident.wait_for_state("regenerating")


async def collected(incident: RunningIncident) -> None:
    incident.collect()
    await incident.wait_for_state("regenerating")


async def ordered_again(incident: RunningIncident) -> None:
    incident.break_new_key_pairs(until=True)
    await decided(incident)


def named(value: object) -> str:
    return getattr(value, "__name__", value if isinstance(value, str) else "")


@pytest.mark.parametrize(
    ("cause", "times", "way_out"),
    [
        ("mail_failed", {"closed": True}, sent_again),
        ("mail_failed", {"closed": True, "incident_remind_after": (0.5, 2.0, 4.0, 8.0)}, later_reminder_arrives),
        ("mail_failed", {"closed": True}, decided),
        ("mail_failed", {"closed": True}, dismissed),
        ("mail_failed", {"closed": True}, answered),
        ("no_answer", {"incident_staff_after": SOON}, extended),
        ("no_answer", {"incident_staff_after": SOON}, answered),
        ("no_answer", {"incident_staff_after": SOON}, decided),
    ],
    ids=named,
)
def test_waiting_incident_moves_to_needs_staff_and_back(
    runner: IncidentRunner, cause: str, times: dict, way_out: Story
) -> None:
    async def story(incident: RunningIncident) -> None:
        await incident.wait_for_state("needs_staff")
        assert incident.events()[-1] == cause
        await way_out(incident)

    runner.run_incident(story, **times)


@pytest.mark.parametrize(
    ("cause", "times", "way_out"),
    [
        ("mail_failed", {}, keys_sent_again),
        ("mail_failed", {}, collected),
        ("not_collected", {"collect_staff_after": SOON}, collected),
        ("regeneration_abandoned", {"collect_abandon_after": 0.6}, decided),
        ("regeneration_abandoned", {"collect_abandon_after": SOON}, dismissed),
        ("pair_failed", {}, ordered_again),
    ],
    ids=named,
)
def test_incident_with_uncollected_keys_moves_to_needs_staff_and_back(
    runner: IncidentRunner, cause: str, times: dict, way_out: Story
) -> None:
    async def story(incident: RunningIncident) -> None:
        await incident.wait_for_state("waiting")
        await until_async(incident.alert_sent)
        if cause == "pair_failed":
            incident.break_new_key_pairs(until=False)
        incident.mail_server.closed = cause == "mail_failed"
        incident.answer()
        await incident.wait_for_event("regeneration_abandoned" if cause == "pair_failed" else cause)
        await incident.wait_for_state("needs_staff")
        assert cause in incident.events()
        await way_out(incident)

    runner.run_incident(story, **times)
