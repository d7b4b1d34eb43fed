"""Everything that `octy incidents decide` and `octy doctor` need, running: Temporal, worker with pages, mail server.

Here: starting it once for a file of tests, and cases whose workflows run. Not here: tests.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli_rig import Ended, Octy, fail, octy_for
from support.world import Keys, World

from octy_middleware.keychain import Keychain
from octy_worker.dev.certificates import provide
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import Process, ProcessGroup, free_port
from octy_worker.dev.temporal_server import start_temporal

PATIENCE = 30.0


@dataclass
class Office:
    """The parts, and one customer after another."""

    world: World
    octy: Octy
    group: ProcessGroup
    temporal: str
    inbox: str
    worker: Process
    made: int = 0

    def attacked(self) -> tuple[Keys, str]:
        """Return an attacked customer's keys and its open case, whose workflow runs."""
        self.made += 1
        keys = self.world.register(f"c{self.made}")
        fail(self.world, keys)
        [(incident_id,)] = self.world.rows("SELECT id FROM incident WHERE public_key = :key", key=keys.public_key)
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

    def decide(self, incident_id: str, *words: str, **variables: str) -> Ended:
        return self.octy.shell("incidents", "decide", incident_id, *words, **variables)

    def until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            self.worker.check()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def restart_worker(self) -> None:
        self.worker = _start_worker(self.group)


@contextmanager
def open_office(folder: Path) -> Iterator[Office]:
    """Start the parts; stop them in the end."""
    world, certificate = World(folder), provide(folder / "tls")
    temporal, smtp, inbox, pages = (free_port() for _ in range(4))
    octy = octy_for(
        world,
        OCTY_PEPPERS=world.peppers.export(),
        OCTY_SEALING_KEYS=world.sealing_keys.export(),
        OCTY_LINK_KEYS=Keychain.generate().export(),
        OCTY_TEMPORAL_ADDRESS=f"127.0.0.1:{temporal}",
        OCTY_SMTP_PORT=str(smtp),
        OCTY_SMTP_CA_FILE=str(certificate.ca),
        OCTY_PUBLIC_URL=f"https://localhost:{pages}",
        OCTY_PAGES_PORT=str(pages),
        OCTY_PAGES_CERTIFICATE=str(certificate.chain),
        OCTY_PAGES_PRIVATE_KEY=str(certificate.key),
    )
    with ProcessGroup(folder / "logs", octy.environment(PYTHONWARNINGS="")) as group:
        start_temporal(group, folder / "temporal.db", port=temporal, ui_port=None)
        group.start("mail", sink_command(folder / "mail", certificate, smtp_port=smtp, page_port=inbox))
        worker = _start_worker(group)
        yield Office(world, octy, group, f"127.0.0.1:{temporal}", f"http://127.0.0.1:{inbox}", worker)
        octy.close()
    world.database.close()


def _start_worker(group: ProcessGroup) -> Process:
    return group.start("worker", [sys.executable, "-m", "octy_worker", "worker"])
