"""The audit log: its last entries, and whether checkpoints are signed."""

from datetime import timedelta
from typing import TYPE_CHECKING

from octy_middleware.clock import EPOCH, utc
from octy_middleware.errors import OctyError
from octy_worker.audit import repository
from octy_worker.audit.chain import BEGINNING, ChainError, Checkpoint, verify_chain
from octy_worker.audit.checkpoint_writer import MAX_INTERVAL
from octy_worker.cli.context import now
from octy_worker.cli.doctor.check import Check, opened_database, passed, unchecked
from octy_worker.cli.doctor.problems import problem
from octy_worker.cli.output import format_time
from octy_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from sqlmodel import Session

CHECKED = 5000
"""The last entries that are verified; `octy audit verify` verifies all."""
_CHAIN, _CHECKPOINTS = "audit log", "audit checkpoints"
_LATE = timedelta(minutes=10)


def check_audit(settings: WorkerSettings, *, worker_runs: bool) -> list[Check]:
    """Verify the last entries, and see when the last checkpoint was taken: late only while a worker runs."""
    keys = problem("audit-keys-missing") if settings.audit_keys is None else None
    try:
        with opened_database(settings) as database, database.read_session() as session:
            chain = _chain_check(session)
            return [chain, keys or _checkpoint_check(session, worker_runs=worker_runs)]
    except OctyError:
        return [unchecked(_CHAIN, "the database is not available"), keys or unchecked(_CHECKPOINTS, "likewise")]


def _chain_check(session: "Session") -> Check:
    last = repository.last_entry(session)
    before = repository.read_entry(session, last.seq - CHECKED)
    after = BEGINNING if before is None else Checkpoint(before.seq, before.hash)
    entries = repository.entries(session) if before is None else repository.entries(session, after=before.seq)
    try:
        verify_chain(entries, after=after)
    except ChainError as error:
        return problem("audit-log-broken", error=error)
    return passed(_CHAIN, f"the last {last.seq - after.seq:,} of {last.seq:,} entries are unchanged")


def _checkpoint_check(session: "Session", *, worker_runs: bool) -> Check:
    checkpoint = repository.last_checkpoint(session)
    covered = 0 if checkpoint is None else checkpoint.seq
    waiting = repository.read_entry(session, covered + 1)
    waits = waiting is not None and utc(now()) - EPOCH - timedelta(microseconds=waiting.at) > _LATE
    is_old = checkpoint is not None and utc(now()) - checkpoint.at > MAX_INTERVAL + _LATE
    at = "never" if checkpoint is None else format_time(checkpoint.at)
    if worker_runs and (waits or is_old):
        return problem("audit-checkpoint-late", at=at, seq=covered)
    return passed(_CHECKPOINTS, f"last signed: {at}, up to entry {covered:,}")
