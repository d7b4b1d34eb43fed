"""Import files, and the rows that they leave in the database. No tests."""

import csv
import io
import json

from octy_worker.imports.planner import Plan, carry_out, plan_import
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
    assert plan.faults == []
    carry_out(world.database, plan, now=options.get("now", NOW), progress=lambda *_: None)
    return plan


def content_of(world: World) -> list[tuple]:
    """Return every row of every table that an import may touch."""
    return [
        world.rows(f"SELECT * FROM {table} ORDER BY 1") for table in ("account", "key_pair", "key_change", "outbox")
    ]
