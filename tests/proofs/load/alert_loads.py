"""What goes on while alerts are measured: each load prepares itself, says so, and then keeps the host busy."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile

import httpx2
from sqlalchemy import text

from octy_middleware.db.bulk_sql import run
from octy_middleware.domain.webhook_events import WebhookEvent, enqueue_webhook
from proofs.load.alert_rig import AccountKeys, Rig

_FIRST_MINUTE = 20_000_000  # of counters past their time: in 2008
_CHUNK = 1_000_000  # counters a statement
_MINUTES_A_KEY = 10_000


@dataclass
class LoadProgress:
    """How far a load is. `complete` is set when what it is about has happened once from beginning to end."""

    quick: bool
    ready: threading.Event = field(default_factory=threading.Event)
    complete: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    figures: dict[str, object] = field(default_factory=dict)

    def size(self, quick: int, full: int) -> int:
        return quick if self.quick else full

    def go_on(self, seconds: float | None = None) -> None:
        """Say that the load is ready and complete, and wait for its end, or so long."""
        self.ready.set()
        self.complete.set()
        self.stop.wait(seconds)


def no_load(_rig: Rig, progress: LoadProgress) -> None:
    progress.go_on()


def contact_changes(rig: Rig, progress: LoadProgress) -> None:
    """Many customers change the contact address five times each, and one tries as often as all of them together."""
    many, eager = rig.accounts("changing", progress.size(20, 600)), rig.accounts("eager", 1)
    statuses: Counter[int] = Counter()

    def change(client: httpx2.Client, keys: AccountKeys, number: int) -> None:
        body = {"contact_email_address": f"a{number}@new.example"}
        auth = (keys.public_key, keys.secret)
        statuses[client.post("/v1/configurations/account/set", auth=auth, json=body).status_code] += 1

    def change_all(customers: list[AccountKeys], times: int) -> None:
        with rig.client() as client:
            for number in range(times):
                for keys in customers:
                    if not progress.stop.is_set():
                        change(client, keys, number)

    beside = threading.Thread(target=change_all, args=(eager, 5 * len(many)))
    progress.ready.set()
    beside.start()
    change_all(many, 5)
    beside.join()
    progress.go_on()
    progress.figures["responses to changes"] = dict(statuses)


def hanging_mail_server(rig: Rig, progress: LoadProgress) -> None:
    """For every alert that is measured another goes to a server that hangs; before the first, sixty of them do."""
    at_once = progress.size(5, 60)
    customers = rig.accounts("hang", at_once + progress.size(50, 500))
    with rig.client() as client:
        for number, keys in enumerate(customers):
            if progress.stop.is_set():
                return
            rig.fail(client, keys)
            if number >= at_once:
                progress.go_on(1.0)


def idle_connections(rig: Rig, progress: LoadProgress) -> None:
    """Connections to the pages send half a header and nothing more; one that is closed is opened again."""
    port = int(rig.stack.env["OCTY_PAGES_PORT"])
    opened: list[socket.socket] = []
    most, made = progress.size(100, 1000), 0
    while not progress.stop.wait(0.05):
        for _ in range(50):
            if len(opened) >= most:
                opened.pop(0).close()
            with suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), timeout=1)
                opened.append(connection)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
                made += 1
        if len(opened) >= most:
            progress.go_on(0)
    for connection in opened:
        connection.close()
    progress.figures["connections"] = made


def dead_webhooks(rig: Rig, progress: LoadProgress) -> None:
    """One customer's server takes connections and never responds; sixty events of that customer are for it."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        [keys] = rig.accounts("hooked", 1, webhook_url=f"https://localhost:{silent.getsockname()[1]}/")
        event, now = (WebhookEvent.KEYS_RETIRED, keys.account_id), time.time()
        with rig.stack.database.write() as connection:
            for number in range(progress.size(5, 60)):
                enqueue_webhook(connection, *event, f"load-{number}", now, data={})
        progress.go_on()
    attempts = "SELECT COALESCE(SUM(delivery_attempts), 0) FROM webhook WHERE account_id = ?"
    with rig.stack.database.read() as connection:
        progress.figures["webhook delivery attempts"] = run(connection, attempts, keys.account_id).scalar_one()


def importing(rig: Rig, progress: LoadProgress) -> None:
    """A file of 100,000 key pairs is imported, then another one."""
    rows = progress.size(2_000, 100_000)
    for number in count():
        file = rig.stack.folder / f"import-{number}.jsonl"
        _write_file(file, number, rows)
        progress.ready.set()
        if not _octy(rig, progress, "keys", "import", str(file), "--reason", "load"):
            return
        progress.figures["key pairs imported"] = (number + 1) * rows
        progress.complete.set()


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


def retention(rig: Rig, progress: LoadProgress) -> None:
    """Ten million counters are past their time, and are deleted."""
    rows = progress.size(100_000, 10_000_000)
    for first in range(0, rows, _CHUNK):
        if progress.stop.is_set():
            return
        _insert_counters(rig, first, min(rows, first + _CHUNK))
    progress.ready.set()
    progress.complete.set()
    _octy(rig, progress, "db", "prune")
    with rig.stack.database.read() as connection:
        left = run(connection, "SELECT COUNT(*) FROM outcome_minute WHERE minute < 21000000").scalar_one()
    progress.figures["counters deleted"] = f"{rows - int(left):,} of {rows:,}"
    progress.stop.wait()


def _insert_counters(rig: Rig, first: int, end: int) -> None:
    """Insert counters in the order of their primary key, by one statement."""
    numbers = (
        "RECURSIVE numbers(n) AS (SELECT CAST(:first AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)"
    )
    if rig.stack.database.engine.dialect.name == "postgresql":
        numbers = "numbers(n) AS (SELECT generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)))"
    statement = (
        f"INSERT INTO outcome_minute (public_key, minute, source, outcome, count) WITH {numbers} "
        f"SELECT 'pk_' || CAST(100000 + n / {_MINUTES_A_KEY} AS TEXT), {_FIRST_MINUTE} + n % {_MINUTES_A_KEY}, "
        "'192.0.2.1', 'wrong_secret', 1 FROM numbers"
    )
    with rig.stack.database.write(timeout=60.0) as connection:
        connection.execute(text(statement), {"first": first, "last": end - 1})


def _octy(rig: Rig, progress: LoadProgress, *command: str) -> bool:
    """Run an octy command; return whether it came to its end before it was told to stop."""
    whole, environment = [sys.executable, "-m", "octy_worker", *command], rig.stack.command_environment()
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen(whole, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None and not progress.stop.wait(0.2):
            pass
        if process.poll() is None:
            process.kill()
            process.wait()
            return False
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{command} ended with {process.returncode}: {errors.read()[-500:]}")
    return True


LOADS: dict[str, Callable[[Rig, LoadProgress], None]] = {
    "control": no_load,
    "contact-changes": contact_changes,
    "hanging-mail-server": hanging_mail_server,
    "idle-connections": idle_connections,
    "dead-webhooks": dead_webhooks,
    "import": importing,
    "retention": retention,
}
