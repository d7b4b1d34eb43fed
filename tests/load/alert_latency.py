"""From the 20th wrong secret to the alert that the mail server has accepted, while something else keeps the host busy.

`python -m load.alert_latency [--quick] [--load NAME …] [--store sqlite|postgresql]` prints p50, p99 and the longest of
each load, a control without load first, and ends with 1 when a p99 is above one second. Everything is real: the example
app under uvicorn with TLS, the database, the worker and its pages, Temporal's dev server on a file, SMTP with STARTTLS.

The time counts from before the 20th request is sent, so a little more is measured than is promised.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import httpx2
from sqlalchemy import insert, text
from support.stores import make_empty_database, remove_database

from load.report import Report, conclude, in_ms, percentile
from octy_middleware.accounts import account_values
from octy_middleware.clock import uuid7
from octy_middleware.keychain import Keychain
from octy_middleware.keys import KeyHasher, bound_to, make_pair
from octy_middleware.models import Account
from octy_middleware.pairs import activate, add_pair
from octy_worker.dev.mail_sink import sink_command
from octy_worker.dev.processes import listens
from octy_worker.dev.stack import Stack

LIMIT = 1.0  # seconds
THRESHOLD = 20
_PATIENCE = 60.0
_PAUSE = 0.3  # between two incidents


@dataclass(frozen=True)
class Pair:
    """An account with a pair in use."""

    reference: str
    address: str
    public_key: str
    secret: str


class HangingStack(Stack):
    """The embedded stack with a mail sink that can hang."""

    def start_mail(self) -> None:
        """Start the sink of `hanging_mail_sink` in place of the usual one."""
        smtp, page = self._ports.smtp, self._ports.inbox
        command = sink_command(self.mails.folder, self._certificate, smtp_port=smtp, page_port=page)
        command[command.index("octy_worker.dev.mail_sink")] = "load.hanging_mail_sink"
        path = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self.processes.start("mail", command, path).wait_until(lambda: listens(smtp) and listens(page), _PATIENCE)


class Rig:
    """The stack, accounts in it, and attacks on them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._hasher = KeyHasher(Keychain.parse(stack.env["OCTY_PEPPERS"], name="OCTY_PEPPERS"))
        self._numbers = count(1)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.stack.api, verify=self.stack.tls_context(), timeout=30, trust_env=False)

    def account(self, name: str = "customer", **contact: str) -> Pair:
        """Add an account whose pair is in use already."""
        reference, now = f"{name}-{next(self._numbers)}-{time.time_ns()}", time.time()
        address, pair = f"{reference}@customers.example", make_pair()
        values = account_values(reference, {"contact_email_address": address, **contact}, now - 30 * 86_400)
        with self.stack.database.write() as connection:
            connection.execute(insert(Account), [values])
            pair_id = uuid7(now)
            add_pair(
                connection,
                pair_id=pair_id,
                account_id=values["id"],
                public_key=pair.public_key,
                secret_digest=self._hasher.digest(pair.secret, bound_to(pair_id, pair.public_key)),
                cause="first",
                now=now,
            )
            activate(connection, pair_id, now)
        return Pair(reference, address, pair.public_key, pair.secret.reveal())

    def fail(self, client: httpx2.Client, pair: Pair, times: int) -> None:
        for _ in range(times):
            answer = client.get("/v1/account/authenticate", auth=(pair.public_key, "sk_wrong"))
            assert answer.status_code in {401, 503}, answer.status_code

    def seconds_to_alert(self, client: httpx2.Client) -> float:
        """Attack a new customer; return how long the alert took, or infinity when it did not come."""
        pair = self.account()
        self.fail(client, pair, THRESHOLD - 1)
        began = datetime.now(UTC)
        while client.get("/v1/account/authenticate", auth=(pair.public_key, "sk_wrong")).status_code == 503:
            pass
        try:
            mail = self.stack.mails.wait_for(lambda mail: mail.to == pair.address and mail.kind == "alert", _PATIENCE)
        except TimeoutError:
            return float("inf")
        return (mail.received_at - began).total_seconds()


Load = Callable[[Rig, threading.Event, bool], None]
"""What goes on until the event is set; `quick` asks for less of it."""


def no_load(_rig: Rig, stop: threading.Event, _quick: bool) -> None:
    stop.wait()


def contact_changes(rig: Rig, stop: threading.Event, quick: bool) -> None:
    """One customer changes the contact address again and again."""
    pair, most = rig.account("eager"), 200 if quick else 3000
    with rig.client() as client:
        for number in range(most):
            if stop.is_set():
                return
            body = {"contact_email_address": f"a{number}@eager.example"}
            client.post("/v1/configurations/account/set", auth=(pair.public_key, pair.secret), json=body)
    stop.wait()


def hanging_mail_server(rig: Rig, stop: threading.Event, quick: bool) -> None:
    """For every alert that is measured another goes to a server that hangs; at first sixty of them at once."""
    with rig.client() as client:
        for number in count():
            if stop.is_set():
                return
            rig.fail(client, rig.account("hang"), THRESHOLD)
            if number >= (5 if quick else 60):
                stop.wait(0.5)


def idle_connections(rig: Rig, stop: threading.Event, quick: bool) -> None:
    """Connections to the pages send half a header and nothing more; one that is closed is opened again."""
    host, port = "127.0.0.1", int(rig.stack.env["OCTY_PAGES_PORT"])
    opened: list[socket.socket] = []
    most = 100 if quick else 1000
    while not stop.wait(0.05):
        for _ in range(50):
            if len(opened) >= most:
                opened.pop(0).close()
            with suppress(OSError):
                connection = socket.create_connection((host, port), timeout=1)
                opened.append(connection)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
    for connection in opened:
        connection.close()


def dead_webhooks(rig: Rig, stop: threading.Event, quick: bool) -> None:
    """One customer's server takes connections and says nothing; sixty events are for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}/"
        with rig.client() as client:
            for _ in range(5 if quick else 60):
                if stop.is_set():
                    return
                pair = rig.account("hooked", webhook_url=url)
                body = {"contact_email_address": f"b{pair.reference}@hooked.example"}
                client.post("/v1/configurations/account/set", auth=(pair.public_key, pair.secret), json=body)
        stop.wait()


def importing(rig: Rig, stop: threading.Event, quick: bool) -> None:
    """A file of 100,000 pairs is imported, then another one."""
    for number in count():
        if stop.is_set():
            return
        file = rig.stack.folder / f"import-{number}.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for row in range(2_000 if quick else 100_000):
                reference = f"import-{number}-{row}"
                lines.write(
                    json.dumps(
                        {
                            "reference": reference,
                            "contact_email_address": f"{reference}@import.example",
                            "public_key": f"pk_{number:04d}-{row:06d}",
                            "secret_hash": f"{number:032x}{row:032x}",
                        }
                    )
                    + "\n"
                )
        _run(rig, stop, "keys", "import", str(file), "--reason", "load")
        file.unlink()


def retention(rig: Rig, stop: threading.Event, quick: bool) -> None:
    """Ten million counters are past their time, and are dropped."""
    rows, many = 0, 100_000 if quick else 10_000_000
    statement = (
        "INSERT INTO outcome_minute (public_key, minute, source, outcome, count) "
        "VALUES (:public_key, :minute, :source, 'wrong_secret', 1)"
    )
    while rows < many and not stop.is_set():
        chunk = [
            {"public_key": f"pk_{(rows + n) % 1000}", "minute": 20_000_000 + (rows + n) // 1000, "source": "192.0.2.1"}
            for n in range(5_000)
        ]
        with rig.stack.database.write() as connection:
            connection.execute(text(statement), chunk)
        rows += len(chunk)
    _run(rig, stop, "db", "prune")
    stop.wait()


def _run(rig: Rig, stop: threading.Event, *command: str) -> None:
    """Run an octy command to its end, or until told to stop. One that fails is a fault of the measurement."""
    whole = [sys.executable, "-m", "octy_worker", *command]
    process = subprocess.Popen(whole, env=rig.stack.command_environment(), stdout=subprocess.DEVNULL)
    while process.poll() is None and not stop.wait(0.2):
        pass
    if process.poll() is None:
        process.terminate()
        process.wait()
    elif process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")


LOADS: dict[str, Load] = {
    "control": no_load,
    "contact-changes": contact_changes,
    "hanging-mail-server": hanging_mail_server,
    "idle-connections": idle_connections,
    "dead-webhooks": dead_webhooks,
    "import": importing,
    "retention": retention,
}


def measure(rig: Rig, name: str, incidents: int, *, quick: bool) -> list[float]:
    """Let the load begin, then attack one customer after the other."""
    stop, faults = threading.Event(), list[BaseException]()

    def keep_busy() -> None:
        try:
            LOADS[name](rig, stop, quick)
        except BaseException as error:  # noqa: BLE001  # told by the caller: a load that ended proves nothing
            faults.append(error)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        stop.wait(1.0 if quick else 5.0)
        with rig.client() as client:
            rig.seconds_to_alert(client)  # warms up
            taken = []
            for _ in range(incidents):
                taken.append(rig.seconds_to_alert(client))
                stop.wait(_PAUSE)
    finally:
        stop.set()
        thread.join()
    if faults:
        raise RuntimeError(f"the load {name} ended: {faults[0]!r}")
    return taken


@contextmanager
def opened(folder: Path, store: str) -> Iterator[Rig]:
    """Run the stack on an empty database."""
    with ExitStack() as stack:
        url = make_empty_database(folder, store) if store == "postgresql" else None
        if url is not None:
            stack.callback(remove_database, url)
        yield Rig(stack.enter_context(HangingStack(folder / "stack", fixed_ports=False, database=url)))


def run(names: Sequence[str], incidents: int, *, store: str, quick: bool, limit: float) -> list[Report]:
    """Measure each load on a stack of its own."""
    reports = []
    for name in names:
        report = Report(name)
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder), store) as rig:
            taken = measure(rig, name, incidents, quick=quick)
        report.figure("20th failure → accepted by SMTP", in_ms(taken))
        report.expect(percentile(taken, 0.99) <= limit, f"p99 is {percentile(taken, 0.99):.2f} s")
        reports.append(report)
    return reports


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="load.alert_latency")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--load", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--incidents", type=int, default=None)
    given = parser.parse_args(arguments)
    incidents = given.incidents or (5 if given.quick else 30)
    return conclude("alert_latency", run(given.load, incidents, store=given.store, quick=given.quick, limit=LIMIT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
