"""`python -m proofs.load.audit_log`: how fast the audit log is verified, read from a database.

Entries per second of this process's CPU time; the requirement is 50,000. The control is the same run without the
verification: how long the database alone takes.
"""

import sys
import time
from collections.abc import Callable, Iterable

from sqlalchemy import insert
from support.world import World

from octy_middleware.db.models import AuditEntry
from octy_worker.audit import repository
from octy_worker.audit.chain import BEGINNING, Checkpoint, Entry, next_entry, verify_chain
from proofs.load.databases import proof_parser, run_proof
from proofs.load.report import Report

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


def measure(world: World, entries: int, required: int = REQUIRED) -> Report:
    """Verify and only read so many entries; the better of two runs each counts."""
    report = Report(f"{world.database_kind}, {entries:,} entries")
    made = make_entries(entries)
    with world.database.write_session() as session:
        for begin in range(0, entries, _BATCH):
            rows = [entry._asdict() for entry in made[begin : begin + _BATCH]]
            session.connection().execute(insert(AuditEntry), rows)

    def rate(consume: Callable[[Iterable[Entry]], int]) -> float:
        begun = time.process_time()
        with world.database.read_session() as session:
            assert consume(repository.entries(session)) == entries
        return entries / (time.process_time() - begun)

    verified = max(rate(lambda found: verify_chain(found).entries) for _ in range(2))
    report.figure("verified, entries a second", f"{verified:,.0f}")
    report.figure("only read", f"{max(rate(lambda found: sum(1 for _ in found)) for _ in range(2)):,.0f}")
    report.expect(verified >= required, f"{required:,} entries a second are required")
    return report


def main() -> int:
    parser = proof_parser(__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    return run_proof("audit_log", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
