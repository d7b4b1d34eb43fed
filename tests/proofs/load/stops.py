"""`python -m proofs.load.stops`: stop the worker while it works, many times; it exits with 0 and loses nothing.

Each round starts `octy worker` as its service does, orders mails and, in the middle of one, sends SIGTERM. Rounds
differ in what else happens: nothing, a second SIGTERM, Temporal stopped, Temporal not started yet, or a form whose
content never comes.
"""

import argparse
import asyncio
import itertools
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from support.descriptors import is_readable
from support.until import until
from support.world import World

from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.environment import inherited_environment
from octy_worker.dev.processes import Process, ProcessGroup, free_port, is_listening
from octy_worker.dev.temporal_server import start_temporal
from octy_worker.staff.registration import register
from proofs.load.databases import fresh_world
from proofs.load.report import Report, conclude, percentile

SITUATIONS = ("plain", "second signal", "Temporal stopped", "Temporal not started", "unfinished form")
_TIMEOUT = 120.0  # seconds for a start; a mail that Temporal has given to a worker which is gone comes again after 60
_STOPPED = 35.0  # seconds in which the worker must have ended: what its grace period and its timeouts allow
_DATA = 0.5  # seconds that the mail server takes for one mail


class SlowMailServer:
    """A mail server that takes its time, and counts each mail by its Message-ID."""

    def __init__(self, seconds: float = _DATA) -> None:
        self._seconds = seconds
        self.begun = threading.Event()
        self.kept: Counter[str] = Counter()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.begun.set()
        await asyncio.sleep(self._seconds)
        lines = (envelope.original_content or b"").decode("utf-8", "replace").splitlines()
        self.kept[next(line for line in lines if line.lower().startswith("message-id:"))] += 1
        return "250 kept"

    def duplicates(self) -> int:
        return sum(count > 1 for count in self.kept.values())


class WorkerSetup:
    """Everything that a worker needs, and one worker after another."""

    def __init__(self, world: World, group: ProcessGroup, mail: SlowMailServer, temporal_port: int) -> None:
        self.world, self.group, self.mail, self.temporal_port = world, group, mail, temporal_port
        self.pages_port = 0
        self._customers = itertools.count(1)

    def start_temporal(self) -> None:
        start_temporal(self.group, self.world.folder / "temporal.db", port=self.temporal_port, ui_port=None)

    def stop_temporal(self) -> None:
        self.group["temporal"].stop(_TIMEOUT)

    def start_worker(self) -> Process:
        self.pages_port = free_port()
        command = [sys.executable, "-m", "octy_worker", "worker"]
        return self.group.start("worker", command, {"OCTY_PAGES_PORT": str(self.pages_port)})

    def order_mails(self, number: int) -> None:
        self.mail.begun.clear()
        for _ in range(number):
            reference = f"c{next(self._customers)}"
            contact = {"contact_email_address": f"security@{reference}.example"}
            register(self.world.database, reference, contact, actor="test", now=time.time())

    def unsent(self) -> int:
        """Return how many customers have not been sent their keys."""
        sent = "SELECT COUNT(*) FROM mail WHERE kind = 'new_keys' AND state = 'sent'"
        return int(self.world.rows(f"SELECT (SELECT COUNT(*) FROM regeneration) - ({sent})")[0][0])


@contextmanager
def worker_setup(*, mail: SlowMailServer | None = None, **settings: str) -> Iterator[WorkerSetup]:
    """Start everything but the worker, with these OCTY_* variables beside those that are needed."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        world = stack.enter_context(fresh_world("sqlite", folder=home / "world"))
        certificate, temporal_port, smtp_port = ensure_certificate(home / "tls"), free_port(), free_port()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate.chain, certificate.key)
        mail = mail or SlowMailServer()
        controller = Controller(mail, hostname="127.0.0.1", port=smtp_port, tls_context=tls)
        controller.start()
        stack.callback(controller.stop)
        environment = {
            **inherited_environment(),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OCTY_DATABASE_URL": world.url,
            "OCTY_STAFF_AUTH": "off",
            "OCTY_PEPPERS": world.peppers.export(),
            "OCTY_SEALING_KEYS": world.sealing_keys.export(),
            "OCTY_LINK_KEYS": world.peppers.export(),
            "OCTY_TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}",
            "OCTY_SMTP_PORT": str(smtp_port),
            "OCTY_SMTP_CA_FILE": str(certificate.ca),
            **settings,
        }
        group = stack.enter_context(ProcessGroup(home / "logs", environment, grace_period=_STOPPED))
        setup = WorkerSetup(world, group, mail, temporal_port)
        setup.start_temporal()
        yield setup


def stop_once(setup: WorkerSetup, situation: str, mails: int) -> tuple[int | None, float]:
    """Run one round; return the worker's exit status, None when it did not end, and the seconds from SIGTERM on."""
    with ExitStack() as stack:
        if situation == "Temporal not started":
            setup.stop_temporal()
            stack.callback(setup.start_temporal)
        worker = setup.start_worker()
        setup.order_mails(mails)
        if situation == "Temporal not started":
            worker.wait_until(lambda: "retrying" in worker.log_tail(), _TIMEOUT)
        else:
            worker.wait_until(setup.mail.begun.is_set, _TIMEOUT)
        if situation == "unfinished form":
            worker.wait_until(lambda: is_listening(setup.pages_port), _TIMEOUT)
            stack.enter_context(_unfinished_form(setup.pages_port))
        if situation == "Temporal stopped":
            setup.stop_temporal()
            stack.callback(setup.start_temporal)
        begun = time.monotonic()
        os.kill(worker.pid, signal.SIGTERM)
        if situation == "second signal":
            time.sleep(_DATA / 4)
            os.kill(worker.pid, signal.SIGTERM)
        with suppress(AssertionError):
            until(lambda: worker.returncode is not None, _STOPPED)
        return worker.returncode, time.monotonic() - begun


@contextmanager
def _unfinished_form(port: int) -> Iterator[None]:
    """Keep a form open whose content never comes."""
    head = b"POST /keys/x/y HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head + b"Content-Length: 100\r\n\r\nform=")
        assert not is_readable(client.fileno(), 0.2), "it is answered already"
        yield


def measure(setup: WorkerSetup, rounds: int, situations: tuple[str, ...] = SITUATIONS, mails: int = 3) -> Report:
    """Stop so many workers, in one situation after the other; then let one finish what they left."""
    report = Report(f"{rounds} stops")
    ends: Counter[str] = Counter()
    seconds: dict[str, list[float]] = {}
    for situation in itertools.islice(itertools.cycle(situations), rounds):
        status, took = stop_once(setup, situation, mails)
        ends[f"exit {status}" if status is not None else "did not end"] += 1
        seconds.setdefault(situation, []).append(took)
        report.expect(status == 0, f"a worker ended with {status} ({situation})")
    report.figure("ends", dict(ends))
    for situation, some in seconds.items():
        figures = f"p50 {percentile(some, 0.5):.2f} s, max {max(some):.2f} s"
        report.figure(f"{situation}, from SIGTERM to the end", figures)
    last, begun = setup.start_worker(), time.monotonic()
    last.wait_until(lambda: "polling" in last.log_tail() and setup.unsent() == 0, _TIMEOUT)
    report.figure("mails that were left, after", f"{time.monotonic() - begun:.1f} s")
    last.stop(_STOPPED)
    report.same("exit status of the last", last.returncode, 0)
    report.figure("mails sent", sum(setup.mail.kept.values()))
    report.same("mails sent twice", setup.mail.duplicates(), 0)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    with worker_setup() as setup:
        return conclude("stops", [measure(setup, options.rounds)])


if __name__ == "__main__":
    sys.exit(main())
