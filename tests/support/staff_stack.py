"""A worker with its staff API, Temporal and a mail server, all running, and staff who are known. No tests here."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from octy_middleware.keys.keychain import Keychain
from octy_worker.dev.certificates import Certificate, ensure_certificate
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import Process, ProcessGroup, free_port, is_listening
from octy_worker.dev.temporal_server import start_temporal
from support.cli_rig import octy_for
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
    world, certificate = World(folder), ensure_certificate(folder / "tls")
    temporal, smtp, inbox, pages, staff = (free_port() for _ in range(5))
    rig = StaffRig(world, keys, time.time())
    url = f"https://localhost:{staff}"
    octy = octy_for(
        world,
        OCTY_PEPPERS=world.peppers.export(),
        OCTY_SEALING_KEYS=world.sealing_keys.export(),
        OCTY_LINK_KEYS=Keychain.generate().export(),
        OCTY_AUDIT_KEYS=Keychain.generate().export(),
        OCTY_STAFF_AUTH="on",
        OCTY_STAFF_KEYS=rig.staff_keys.export(),
        OCTY_STAFF_CA_KEYS=keys.authority.public,
        OCTY_STAFF_URL=url,
        OCTY_STAFF_PORT=str(staff),
        OCTY_STAFF_CERTIFICATE=str(certificate.chain),
        OCTY_STAFF_PRIVATE_KEY=str(certificate.key),
        OCTY_TEMPORAL_ADDRESS=f"127.0.0.1:{temporal}",
        OCTY_SMTP_PORT=str(smtp),
        OCTY_SMTP_CA_FILE=str(certificate.ca),
        OCTY_PUBLIC_URL=f"http://localhost:{pages}",
        OCTY_PAGES_PORT=str(pages),
    )
    with ProcessGroup(folder / "logs", octy.environment(PYTHONWARNINGS="")) as group:
        start_temporal(group, folder / "temporal.db", port=temporal, ui_port=None)
        group.start("mail", sink_command(folder / "mail", certificate, smtp_port=smtp, page_port=inbox))
        worker = group.start("worker", [sys.executable, "-m", "octy_worker", "worker"])
        worker.wait_until(lambda: is_listening(staff), TIMEOUT)
        yield StaffStack(world, rig, url, certificate, worker)
        worker.stop(TIMEOUT)
        assert worker.returncode == 0, worker.log_tail()
    world.close()
