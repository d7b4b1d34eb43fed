"""Import files, and the rows that they leave in the database. No tests."""

import csv
import io
import json

from sqlalchemy import event

from octy_worker.domain.step_pacer import StepPacer
from octy_worker.imports.planner import Plan, carry_out, plan_import
from octy_worker.imports.writer import ImportWriter
from support.foreign_hashes import FOREIGN
from support.world import World

HEADER = ("reference", "contact_email_address", "public_key", "secret_hash")
BCRYPT = FOREIGN["bcrypt 2b"]
NOW = 1_800_000_000.0


def key(number: int) -> str:
    return f"pk_9b2f17a3-4573-4a9b-9128-{number:09d}"


def person(number: int = 1, **changed: str | None) -> dict[str, str | None]:
    """Return a right row; each number is another customer."""
    row = {
        "reference": f"c{number}",
        "contact_email_address": f"security@c{number}.example",
        "public_key": key(number),
        "secret_hash": BCRYPT,
    }
    return {name: value for name, value in {**row, **changed}.items() if value is not None}


def as_csv(*rows: dict[str, str | None], header: tuple[str, ...] | None = None) -> bytes:
    names = header or tuple(dict.fromkeys((*HEADER, *(name for row in rows for name in row))))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_json(*rows: dict[str, str | None]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def planned(world: World, content: bytes, *, into_existing: bool = False, now: float = NOW) -> Plan:
    return plan_import(
        world.database,
        io.BytesIO(content),
        hasher=world.hasher,
        into_existing=into_existing,
        now=now,
        progress=lambda *_: None,
    )


def imported(world: World, content: bytes, **options) -> Plan:
    """Import a file that is right."""
    plan = planned(world, content, **options)
    assert plan.errors == []
    carry_out(world.database, plan, now=options.get("now", NOW), progress=lambda *_: None)
    return plan


def content_of(world: World) -> list[tuple]:
    """Return every row of every table that an import may touch."""
    return [
        world.rows(f"SELECT * FROM {table} ORDER BY 1") for table in ("account", "key_pair", "key_change", "outbox")
    ]


def import_in_steps(world: World, count: int, pace: StepPacer | None = None) -> tuple[list[int], int]:
    """Import so many key pairs. Return how many each transaction inserted, and the number of UPDATE statements."""
    plan = planned(world, as_csv(*(person(number) for number in range(count))))
    rows_by_transaction, updates = [0], []

    def note(_connection, _cursor, statement, parameters, _context, many):
        if statement.startswith("INSERT INTO key_pair"):
            rows_by_transaction[-1] += len(parameters) if many else statement.count("(") - 1
        elif statement.startswith("UPDATE key_pair"):
            updates.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    event.listen(world.database.engine, "commit", lambda _connection: rows_by_transaction.append(0))
    writer = ImportWriter(world.database, lambda: NOW, pace=pace, pause=lambda _seconds: None)
    carry_out(world.database, plan, now=NOW, progress=lambda *_: None, writer=writer)
    return rows_by_transaction, len(updates)
