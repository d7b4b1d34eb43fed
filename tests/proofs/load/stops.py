"""`python -m proofs.load.stops`: stop the worker while it works, many times; it exits with 0 and loses nothing.

Each round starts `octy worker` as its service does, orders mails and, in the middle of one, sends SIGTERM. The kinds of
rounds differ in what else goes on: nothing, a second SIGTERM, Temporal gone, Temporal not there yet, or a customer's
form whose content never comes.
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

from octy_worker.dev.certificates import Certificate, ensure_certificate
from octy_worker.dev.environment import inherited_environment
from octy_worker.dev.processes import Process, ProcessGroup, free_port, is_listening
from octy_worker.dev.temporal_server import start_temporal
from octy_worker.staff.registration import register
from proofs.load.databases import fresh_world
from proofs.load.report import Report, conclude, percentile

SITUATIONS = ("mail", "twice", "away", "waiting", "half")
_PATIENCE = 40.0  # seconds; a mail that Temporal has given to a worker which is gone comes again after 60
_STOPPED = 35.0  # seconds in which the worker must have ended: what its grace and its time-outs allow
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


class WorkerSetup:
    """Everything that a worker needs, and one worker after another."""

    def __init__(self, world: World, group: ProcessGroup, mail: SlowMailServer, temporal: int) -> None:
        self.world = world
        self.mail = mail
        self.group = group
        self.temporal = temporal  # its port
        self._customers = itertools.count(1)
        self.pages = 0

    def start_temporal(self) -> None:
        start_temporal(self.group, self.world.folder / "temporal.db", port=self.temporal, ui_port=None)

    def stop_temporal(self) -> None:
        self.group["temporal"].stop(_PATIENCE)

    def start_worker(self) -> Process:
        self.pages = free_port()
        command = [sys.executable, "-m", "octy_worker", "worker"]
        return self.group.start("worker", command, {"OCTY_PAGES_PORT": str(self.pages)})

    def order_mails(self, number: int) -> None:
        self.mail.begun.clear()
        for _ in range(number):
            reference = f"c{next(self._customers)}"
            contact = {"contact_email_address": f"security@{reference}.example"}
            register(self.world.database, reference, contact, actor="test", now=time.time())

    def unsent(self) -> int:
        """Return how many customers have not been sent their keys."""
        statement = (
            "SELECT (SELECT COUNT(*) FROM regeneration) - (SELECT COUNT(*) FROM mail WHERE kind = 'new_keys' "
            "AND state = 'sent')"
        )
        return int(self.world.rows(statement)[0][0])


@contextmanager
def worker_setup(
    folder: Path | None = None, mail: SlowMailServer | None = None, **settings: str
) -> Iterator[WorkerSetup]:
    """Start everything but the worker, with these OCTY_* variables beside those that are needed."""
    with ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        world = stack.enter_context(fresh_world("sqlite", folder=home / "world"))
        certificate, temporal, smtp = ensure_certificate(home / "tls"), free_port(), free_port()
        mail = mail or SlowMailServer()
        controller = Controller(mail, hostname="127.0.0.1", port=smtp, tls_context=_serving(certificate))
        controller.start()
        stack.callback(controller.stop)
        variables = {
            "OCTY_DATABASE_URL": world.url,
            "OCTY_PEPPERS": world.peppers.export(),
            "OCTY_SEALING_KEYS": world.sealing_keys.export(),
            "OCTY_LINK_KEYS": world.peppers.export(),
            "OCTY_TEMPORAL_ADDRESS": f"127.0.0.1:{temporal}",
            "OCTY_SMTP_PORT": str(smtp),
            "OCTY_SMTP_CA_FILE": str(certificate.ca),
            **settings,
        }
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**inherited_environment(), "PYTHONPATH": paths, **variables}
        group = stack.enter_context(ProcessGroup(home / "logs", environment, grace_period=_PATIENCE))
        place = WorkerSetup(world, group, mail, temporal)
        place.start_temporal()
        yield place


def _serving(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    return context


def stop_once(place: WorkerSetup, kind: str, mails: int) -> tuple[int | None, float]:
    """Play one round; return the worker's exit status, None when it did not end, and the seconds from SIGTERM on."""
    with ExitStack() as stack:
        if kind == "waiting":
            place.stop_temporal()
            stack.callback(place.start_temporal)
        worker = place.start_worker()
        place.order_mails(mails)
        if kind == "waiting":
            worker.wait_until(lambda: "retrying" in worker.log_tail(), _PATIENCE)
        else:
            worker.wait_until(place.mail.begun.is_set, _PATIENCE)
        if kind == "half":
            worker.wait_until(lambda: is_listening(place.pages), _PATIENCE)
            stack.enter_context(_half_a_form(place.pages))
        if kind == "away":
            place.stop_temporal()
            stack.callback(place.start_temporal)
        told = time.monotonic()
        os.kill(worker.pid, signal.SIGTERM)
        if kind == "twice":
            time.sleep(_DATA / 4)
            os.kill(worker.pid, signal.SIGTERM)
        with suppress(AssertionError):  # the report tells
            until(lambda: worker.returncode is not None, _STOPPED)
        return worker.returncode, time.monotonic() - told


@contextmanager
def _half_a_form(port: int) -> Iterator[None]:
    """Keep a form open whose content never comes."""
    head = b"POST /keys/x/y HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head + b"Content-Length: 100\r\n\r\nform=")
        assert not is_readable(client.fileno(), 0.2), "it is answered already"
        yield


def measure(place: WorkerSetup, rounds: int, kinds: tuple[str, ...] = SITUATIONS, mails: int = 3) -> Report:
    """Stop so many workers, one kind after the other; then let one finish what they left."""
    report = Report(f"{rounds} stops")
    ends: Counter[str] = Counter()
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in itertools.islice(itertools.cycle(kinds), rounds):
        status, took = stop_once(place, kind, mails)
        ends[f"exit {status}" if status is not None else "did not end"] += 1
        seconds[kind].append(took)
        report.expect(status == 0, f"a worker ended with {status} ({kind})")
    report.figure("ends", dict(ends))
    for kind, took in seconds.items():
        report.figure(f"{kind}, from SIGTERM to the end", f"p50 {percentile(took, 0.5):.2f} s, max {max(took):.2f} s")
    last, begun = place.start_worker(), time.monotonic()
    last.wait_until(lambda: "polling" in last.log_tail() and place.unsent() == 0, 2 * _PATIENCE)
    report.figure("mails that were left, after", f"{time.monotonic() - begun:.1f} s")
    last.stop(_STOPPED)
    report.same("exit status of the last", last.returncode, 0)
    report.figure("mails sent", sum(place.mail.kept.values()))
    report.same("mails sent twice", sum(count > 1 for count in place.mail.kept.values()), 0)
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args(arguments)
    with worker_setup() as place:
        return conclude("proofs.load.stops", [measure(place, options.rounds)])


if __name__ == "__main__":
    sys.exit(main())
