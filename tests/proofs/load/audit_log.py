"""How fast the audit log is verified: entries per second of this process's CPU time, read from a database.

`PYTHONPATH=tests python -m proofs.load.audit_log` prints a line for each kind of database. The requirement is 50,000.
The control is the same run without the verification: how long the database alone takes.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy import insert
from support.databases import DATABASES
from support.world import World

from octy_middleware.db.models import AuditEntry
from octy_worker.audit import repository
from octy_worker.audit.chain import BEGINNING, Checkpoint, Entry, next_entry, verify_chain

REQUIRED = 50_000
_BATCH = 2000


def make_entries(count: int) -> list[Entry]:
    """Return a chain of entries with details as long as those of orders."""
    last, entries = BEGINNING, []
    for number in range(1, count + 1):
        subject, reason = f"0199f2c4-7d1e-7000-8000-{number:012}", "the customer has confirmed it by phone"
        entry = next_entry(
            last, at=1_800_000_000_000_000 + number, actor="ada", action="order.received", subject=subject,
            order_id=subject, detail={"order": "incident.decide", "reason": reason, "certificate": number},
            salt=number.to_bytes(32, "big"),
        )  # fmt: skip
        entries.append(entry)
        last = Checkpoint(entry.seq, entry.hash)
    return entries


def measure(world: World, count: int) -> tuple[float, float]:
    """Return entries per second, verified and only read, the better of two runs each."""
    entries = make_entries(count)
    with world.database.write_session() as session:
        for begin in range(0, count, _BATCH):
            rows = [entry._asdict() for entry in entries[begin : begin + _BATCH]]
            session.connection().execute(insert(AuditEntry), rows)

    def rate(consume: Callable[[Iterable[Entry]], int]) -> float:
        begun = time.process_time()
        with world.database.read_session() as session:
            assert consume(repository.entries(session)) == count
        return count / (time.process_time() - begun)

    verified = max(rate(lambda found: verify_chain(found).entries) for _ in range(2))
    return verified, max(rate(lambda found: sum(1 for _ in found)) for _ in range(2))


def main() -> int:
    """Measure, print, and return 1 when a rate is below the requirement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    count, failed = parser.parse_args().entries, False
    for kind in DATABASES:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), kind)
            verified, read = measure(world, count)
            world.close()
        failed |= verified < REQUIRED
        sys.stdout.write(
            f"{kind}: {verified:,.0f} entries/s verified, {read:,.0f} read only; {REQUIRED:,} are required\n"
        )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
