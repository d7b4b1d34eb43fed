"""What goes on while alerts are measured: each load prepares itself, says so, and then keeps the host busy.

Here: the loads. Not here: attacks and times (`alert_latency`).
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2
from sqlalchemy import text

from octy_middleware.db.bulk_sql import run
from octy_middleware.domain.webhook_events import WebhookEvent, enqueue_webhook
from proofs.load.alert_rig import AccountKeys, Rig

_FIRST_MINUTE = 20_000_000  # of counters past their time: in 2008
_KEYS = 1_000
_BUILD = 1_000_000  # counters a statement


@dataclass
class LoadProgress:
    """How far a load is. `complete` is set when what it is about has happened once from beginning to end."""

    quick: bool
    ready: threading.Event = field(default_factory=threading.Event)
    complete: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    said: dict[str, object] = field(default_factory=dict)

    def size(self, quick: int, full: int) -> int:
        return quick if self.quick else full


Load = Callable[[Rig, LoadProgress], None]


def no_load(_rig: Rig, course: LoadProgress) -> None:
    course.ready.set()
    course.complete.set()
    course.stop.wait()


def contact_changes(rig: Rig, course: LoadProgress) -> None:
    """Many customers change the contact address five times each, and one tries as often as all of them together."""
    many, eager = rig.accounts("changing", course.size(20, 600)), rig.accounts("eager", 1)[0]
    answers: dict[int, int] = {}

    def change(client: httpx2.Client, pair: AccountKeys, number: int) -> None:
        body = {"contact_email_address": f"a{number}@new.example"}
        answer = client.post("/v1/configurations/account/set", auth=(pair.public_key, pair.secret), json=body)
        answers[answer.status_code] = answers.get(answer.status_code, 0) + 1

    def try_often() -> None:
        with rig.client() as client:
            for number in range(5 * len(many)):
                if not course.stop.is_set():
                    change(client, eager, number)

    beside = threading.Thread(target=try_often)
    course.ready.set()
    beside.start()
    with rig.client() as client:
        for number in range(5):
            for pair in many:
                if not course.stop.is_set():
                    change(client, pair, number)
    beside.join()
    course.complete.set()
    course.stop.wait()
    course.said["answers to changes"] = answers


def hanging_mail_server(rig: Rig, course: LoadProgress) -> None:
    """For every alert that is measured another goes to a server that hangs; before the first, sixty of them do."""
    at_once = course.size(5, 60)
    pairs = iter(rig.accounts("hang", at_once + course.size(50, 500)))
    with rig.client() as client:
        for number, pair in enumerate(pairs):
            if course.stop.is_set():
                return
            rig.fail(client, pair)
            if number >= at_once:
                course.ready.set()
                course.complete.set()
                course.stop.wait(1.0)


def idle_connections(rig: Rig, course: LoadProgress) -> None:
    """Connections to the pages send half a header and nothing more; one that is closed is opened again."""
    host, port = "127.0.0.1", int(rig.stack.env["OCTY_PAGES_PORT"])
    opened: list[socket.socket] = []
    most, made = course.size(100, 1000), 0
    while not course.stop.wait(0.05):
        for _ in range(50):
            if len(opened) >= most:
                opened.pop(0).close()
            with suppress(OSError):
                connection = socket.create_connection((host, port), timeout=1)
                opened.append(connection)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
                made += 1
        if len(opened) >= most:
            course.ready.set()
            course.complete.set()
    for connection in opened:
        connection.close()
    course.said["connections"] = made


def dead_webhooks(rig: Rig, course: LoadProgress) -> None:
    """One customer's server takes connections and says nothing; sixty events of that customer are for it."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        pair = rig.accounts("hooked", 1, webhook_url=f"https://localhost:{silent.getsockname()[1]}/")[0]
        now = rig.now()
        with rig.stack.database.write() as connection:
            for number in range(course.size(5, 60)):
                enqueue_webhook(connection, WebhookEvent.KEYS_RETIRED, pair.account_id, f"load-{number}", now, data={})
        course.ready.set()
        course.complete.set()
        course.stop.wait()
    tries = "SELECT COALESCE(SUM(tries), 0) FROM webhook WHERE account_id = ?"
    with rig.stack.database.read() as connection:
        course.said["tries of webhooks"] = run(connection, tries, pair.account_id).scalar_one()


def importing(rig: Rig, course: LoadProgress) -> None:
    """A file of 100,000 pairs is imported, then another one."""
    rows = course.size(2_000, 100_000)
    for number in count():
        file = rig.stack.folder / f"import-{number}.jsonl"
        _write_file(file, number, rows)
        course.ready.set()
        if not _octy(rig, course, "keys", "import", str(file), "--reason", "load"):
            return
        course.said["pairs imported"] = (number + 1) * rows
        course.complete.set()


def _write_file(file: Path, number: int, rows: int) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for row in range(rows):
            reference = f"import-{number}-{row}"
            pair = {
                "reference": reference,
                "contact_email_address": f"{reference}@import.example",
                "public_key": f"pk_{number:08d}-{row:04d}-4a9b-9128-{row:012d}",
                "secret_hash": f"{number:032x}{row:032x}",
            }
            lines.write(json.dumps(pair) + "\n")


def retention(rig: Rig, course: LoadProgress) -> None:
    """Ten million counters are past their time, and are dropped."""
    rows = course.size(100_000, 10_000_000)
    for first in range(0, rows, _BUILD):
        if course.stop.is_set():
            return
        _build_counters(rig, first, min(rows, first + _BUILD))
    course.ready.set()
    course.complete.set()
    _octy(rig, course, "db", "prune")
    with rig.stack.database.read() as connection:
        left = run(connection, "SELECT COUNT(*) FROM outcome_minute WHERE minute < 21000000").scalar_one()
    course.said["counters dropped"] = f"{rows - int(left):,} of {rows:,}"
    course.stop.wait()


def _build_counters(rig: Rig, first: int, end: int) -> None:
    """Insert counters in the order of their primary key, by one statement."""
    numbers = (
        "WITH RECURSIVE numbers(n) AS (SELECT CAST(:first AS BIGINT) UNION ALL "
        "SELECT n + 1 FROM numbers WHERE n < :last) "
    )
    if rig.stack.database.engine.dialect.name == "postgresql":
        numbers = "WITH numbers(n) AS (SELECT generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT))) "
    each = 10_000  # minutes a key
    with rig.stack.database.write(timeout=60.0) as connection:
        connection.execute(
            text(
                "INSERT INTO outcome_minute (public_key, minute, source, outcome, count) "  # our own text
                + numbers
                + f"SELECT 'pk_' || CAST(100000 + n / {each} AS TEXT), {_FIRST_MINUTE} + n % {each}, "
                "'192.0.2.1', 'wrong_secret', 1 FROM numbers"
            ),
            {"first": first, "last": end - 1},
        )


def _octy(rig: Rig, course: LoadProgress, *command: str) -> bool:
    """Run an octy command; tell whether it came to its end before it was told to stop."""
    whole = [sys.executable, "-m", "octy_worker", *command]
    process = subprocess.Popen(
        whole, env=rig.stack.command_environment(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                _, said = process.communicate(timeout=0.2)
                break
            if course.stop.is_set():
                return False
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {said[-500:]}")
    return True


LOADS: dict[str, Load] = {
    "control": no_load,
    "contact-changes": contact_changes,
    "hanging-mail-server": hanging_mail_server,
    "idle-connections": idle_connections,
    "dead-webhooks": dead_webhooks,
    "import": importing,
    "retention": retention,
}
