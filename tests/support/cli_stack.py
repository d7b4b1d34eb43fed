"""Everything that `octy incidents decide` and `octy doctor` need, running: Temporal, worker with pages, mail server.

Here: starting it once for a file of tests, and incidents whose workflows run. Not here: tests.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from octy_middleware.keys.keychain import Keychain
from octy_worker.dev.certificates import Certificate, ensure_certificate
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import Process, ProcessGroup, free_port
from octy_worker.dev.temporal_server import find_temporal, start_temporal
from support.cli_rig import CommandResult, Octy, octy_for, open_incident
from support.until import TIMEOUT
from support.world import INSTALLATION, Keys, World

FIRST_ORDER = "0199f2c4-9c3b-7d4e-8a1f-ba9876543211"
_START = """
import asyncio
from octy_middleware.keys.keychain import Keychain
from octy_worker.settings import TemporalAccess
from octy_worker.temporal.client import connect
from octy_workflows.incident import KeyIncidentWorkflow
from octy_workflows.messages import IncidentInput, incident_workflow_id
from octy_workflows.task_queues import incident_task_queue

async def start(address, keys, installation, incident_id):
    place = TemporalAccess(temporal_address=address, temporal_keys=Keychain.parse(keys, name="keys"))
    client = await connect(place)
    case, workflow_id = IncidentInput(incident_id), incident_workflow_id(installation, incident_id)
    queue = incident_task_queue(f"octy-{installation}")
    await client.start_workflow(KeyIncidentWorkflow.run, case, id=workflow_id, task_queue=queue)

asyncio.run(start(*arguments))
"""


@dataclass
class CliStack:
    """The running processes, and one customer after another."""

    world: World
    octy: Octy
    group: ProcessGroup
    temporal: str
    inbox: str
    worker: Process | None = None
    first_incident: str = ""
    before_any_worker: CommandResult | None = None  # what became of a decision about the first case
    customers: int = 0

    def open_incident(self) -> tuple[Keys, str]:
        """Return a customer's keys and its open incident, whose workflow runs."""
        self.customers += 1
        keys, incident_id = open_incident(self.world, f"c{self.customers}")
        self.until(lambda: self.state(incident_id) == "waiting")
        return keys, incident_id

    def state(self, incident_id: str) -> str:
        return self.world.rows("SELECT state FROM incident WHERE id = :id", id=incident_id)[0][0]

    def events(self, incident_id: str, what: str) -> list[dict]:
        query = "SELECT actor, detail FROM incident_event WHERE incident_id = :id AND what = :what ORDER BY seq"
        return [
            {"actor": actor, **json.loads(detail)}
            for actor, detail in self.world.rows(query, id=incident_id, what=what)
        ]

    def decide(self, incident_id: str, *words: str, **variables: str) -> CommandResult:
        return self.octy.shell("incidents", "decide", incident_id, *words, **variables)

    def close(self) -> None:
        """End the worker as a service manager does; it must say that all went well."""
        self.octy.close()
        assert self.worker is not None
        self.worker.stop(TIMEOUT)
        assert self.worker.returncode == 0, self.worker.log_tail()

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for a condition; raise ProcessError when the worker ends first."""
        assert self.worker is not None
        self.worker.wait_until(ready, TIMEOUT)

    def start(self) -> None:
        """Decide about a first case before there is a worker; then start it."""
        _, self.first_incident = open_incident(self.world, "first")
        self._start_workflow(self.first_incident)
        more = ("--reason", "no one is there", "--timeout", "1", "--order-id", FIRST_ORDER)
        self.before_any_worker = self.decide(self.first_incident, "dismiss", *more)
        self.start_worker("-m", "octy_worker", "worker")

    def start_worker(self, *words: str) -> None:
        """Start a worker by these arguments of Python."""
        self.worker = self.group.start("worker", [sys.executable, *words])

    def _start_workflow(self, incident_id: str) -> None:
        """Start an incident's workflow as the relay would."""
        keys = self.octy.variables["OCTY_TEMPORAL_KEYS"]
        self.octy.shell("-c", _START, self.temporal, keys, INSTALLATION, incident_id).must()

    def wait_for_end(self, incident_id: str) -> None:
        """Wait until the incident's workflow has ended; SQL is a step ahead of it."""
        workflow_id = f"octy-{INSTALLATION}-incident-{incident_id}"
        command = [find_temporal(), "workflow", "result", "--workflow-id", workflow_id, "--address", self.temporal]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)

    def found(self, query: str) -> str:
        """Return what Temporal lists for a query."""
        command = [find_temporal(), "workflow", "list", "--query", query, "--address", self.temporal]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout


@dataclass(frozen=True)
class Surroundings:
    """What a worker needs, running: Temporal and a mail server. `octy` has the variables of both."""

    world: World
    octy: Octy
    group: ProcessGroup
    certificate: Certificate
    temporal: str
    inbox: str


@contextmanager
def open_surroundings(world: World, **more: str) -> Iterator[Surroundings]:
    """Start them, for a worker with more variables; stop them, and the worker, in the end."""
    certificate = ensure_certificate(world.folder / "tls")
    temporal, smtp, inbox, pages = (free_port() for _ in range(4))
    octy = octy_for(
        world,
        OCTY_PEPPERS=world.peppers.export(),
        OCTY_SEALING_KEYS=world.sealing_keys.export(),
        OCTY_LINK_KEYS=Keychain.generate().export(),
        OCTY_TEMPORAL_ADDRESS=f"127.0.0.1:{temporal}",
        OCTY_TEMPORAL_KEYS=Keychain.generate().export(),
        OCTY_AUDIT_KEYS=Keychain.generate().export(),
        OCTY_CODEC_URL="none",  # payloads are not read here
        OCTY_SMTP_PORT=str(smtp),
        OCTY_SMTP_CA_FILE=str(certificate.ca),
        OCTY_PUBLIC_URL=f"https://localhost:{pages}",
        OCTY_PAGES_PORT=str(pages),
        OCTY_PAGES_CERTIFICATE=str(certificate.chain),
        OCTY_PAGES_PRIVATE_KEY=str(certificate.key),
        **more,
    )
    with ProcessGroup(world.folder / "logs", octy.environment(PYTHONWARNINGS="")) as group:
        start_temporal(group, world.folder / "temporal.db", port=temporal, ui_port=None)
        group.start("mail", sink_command(world.folder / "mail", certificate, smtp_port=smtp, page_port=inbox))
        yield Surroundings(world, octy, group, certificate, f"127.0.0.1:{temporal}", f"http://127.0.0.1:{inbox}")
    world.close()


@contextmanager
def open_stack(folder: Path, database_kind: str, **more: str) -> Iterator[CliStack]:
    """Start all parts, with more variables; stop them in the end."""
    with open_surroundings(World(folder, database_kind), **more) as parts:
        stack = CliStack(parts.world, parts.octy, parts.group, parts.temporal, parts.inbox)
        stack.start()
        yield stack
        stack.close()
