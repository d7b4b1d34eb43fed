"""A worker with its staff API, Temporal and a mail server, all running, and staff who are known. No tests here."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from octy_worker.dev.certificates import Certificate, ensure_certificate
from octy_worker.dev.processes import Process, free_port, is_listening
from support.cli_stack import open_surroundings
from support.staff_rig import StaffKeys, StaffRig
from support.until import TIMEOUT
from support.world import World


@dataclass
class StaffStack:
    """What runs. `url`: the staff API, over TLS."""

    world: World
    rig: StaffRig
    url: str
    certificate: Certificate
    worker: Process

    def state(self, incident_id: str) -> str:
        return str(self.world.rows("SELECT state FROM incident WHERE id = :id", id=incident_id)[0][0])


@contextmanager
def open_staff_stack(folder: Path, keys: StaffKeys) -> Iterator[StaffStack]:
    """Start the parts; stop them in the end."""
    world, certificate, port = World(folder), ensure_certificate(folder / "tls"), free_port()
    rig, url = StaffRig(world, keys, time.time()), f"https://localhost:{port}"
    with open_surroundings(
        world,
        OCTY_STAFF_AUTH="on",
        OCTY_STAFF_KEYS=rig.staff_keys.export(),
        OCTY_STAFF_CA_KEYS=keys.authority.public,
        OCTY_STAFF_URL=url,
        OCTY_STAFF_PORT=str(port),
        OCTY_STAFF_CERTIFICATE=str(certificate.chain),
        OCTY_STAFF_PRIVATE_KEY=str(certificate.key),
    ) as parts:
        worker = parts.group.start("worker", [sys.executable, "-m", "octy_worker", "worker"])
        worker.wait_until(lambda: is_listening(port), TIMEOUT)
        yield StaffStack(world, rig, url, certificate, worker)
        worker.stop(TIMEOUT)
        assert worker.returncode == 0, worker.log_tail()
