"""Metrics of staff: log-ins and orders, break glass, and whether the audit log is whole. All from the database.

Log-ins and orders are counted from the audit log, whichever process judged them: each worker counts all of them since
its own start, so queries take the maximum over workers, not the sum.
"""

import json
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlmodel import Session, col, select

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.db.models import AuditEntry
from octy_middleware.errors import OctyError
from octy_worker.access.break_glass import HasRightCode, unacknowledged
from octy_worker.access.logins import REFUSED as LOGIN_REFUSED
from octy_worker.access.logins import LoginStep
from octy_worker.access.order_states import RECEIVED, REFUSED, USED
from octy_worker.access.sessions import OPENED, SessionKind
from octy_worker.audit import repository as audit
from octy_worker.audit.chain import BEGINNING, ChainError, verify_chain
from octy_worker.observability.metrics import collector
from octy_worker.observability.metrics.collector import CachedReading, labelled_counter

_logger = logging.getLogger(__name__)

MAX_COUNTED = 50_000  # entries of one reading; the rest is read the next time
VERIFIED_ENTRIES = 4000  # of one reading, 0.1 s of CPU; a million take four hours
_UNKNOWN = "unknown"  # erased, or of another release
_SINCE = "since this worker started."
_ORDERS = {RECEIVED: "received", USED: "used", REFUSED: "refused"}


class AuditCounter:
    """Counts log-ins and orders of the audit log since the first reading."""

    def __init__(self) -> None:
        self._last: int | None = None
        self.logins: Counter[str] = Counter(dict.fromkeys(SessionKind, 0))
        self.refused: Counter[str] = Counter(dict.fromkeys(LoginStep, 0))
        self.orders: Counter[str] = Counter(dict.fromkeys(_ORDERS.values(), 0))

    def read(self, session: Session) -> None:
        """Count new entries. They have numbers without gaps, in the order of their commits."""
        newest = audit.last_entry(session).seq
        if self._last is None or newest < self._last:  # a backup was restored
            self._last = newest
        until = min(newest, self._last + MAX_COUNTED)
        query = select(AuditEntry.action, AuditEntry.detail).where(
            col(AuditEntry.seq) > self._last,
            col(AuditEntry.seq) <= until,
            col(AuditEntry.action).in_([OPENED, LOGIN_REFUSED, *_ORDERS]),
        )
        orders, logins, refused = Counter[str](), Counter[str](), Counter[str]()
        for action, detail in session.exec(query):
            if action in _ORDERS:
                orders[_ORDERS[action]] += 1
            elif action == OPENED:
                logins[_label(detail, "kind", list(SessionKind))] += 1
            else:
                refused[_label(detail, "step", list(LoginStep))] += 1
        self.orders.update(orders)  # not before: after an error the same entries are read again
        self.logins.update(logins)
        self.refused.update(refused)
        self._last = until


class RollingVerification:
    """Verifies the chain part by part, from the beginning to the end and again.

    An end that was cut is seen by the newest checkpoint in the database. `octy audit verify` verifies the whole log at
    once, and against checkpoints elsewhere.
    """

    def __init__(self) -> None:
        self._verified = BEGINNING

    def read(self, session: Session) -> bool:
        """Verify the next part; return whether it is whole. A broken part is verified again by the next reading."""
        after = self._verified
        entries = audit.entries(session) if after == BEGINNING else audit.entries(session, after=after.seq)
        try:
            result = verify_chain(islice(entries, VERIFIED_ENTRIES), after=after)
        except ChainError as error:
            _logger.error("metrics: the audit log is broken: %s", error)  # noqa: TRY400  # the message is enough
            return False
        at_the_end = result.last.seq - after.seq < VERIFIED_ENTRIES
        self._verified = BEGINNING if at_the_end else result.last
        return _has_checkpointed_entry(session)


def _has_checkpointed_entry(session: Session) -> bool:
    """Return whether the log has the entry of the newest checkpoint, whose signature is not verified here."""
    checkpoint = audit.last_checkpoint(session)
    if checkpoint is None or not checkpoint.seq:
        return True
    entry = audit.read_entry(session, checkpoint.seq)
    return entry is not None and entry.hash in checkpoint.text


@dataclass(frozen=True, slots=True)
class _Figures:
    """`unsigned`: age in seconds of the oldest entry without a checkpoint. `checkpoint_at`: of the newest one."""

    broken_glass: int
    is_whole: bool
    unsigned: float
    checkpoint_at: datetime | None


class StaffCollector(Collector):
    """The metrics of staff of one database. Concurrent scrapes read one after the other."""

    def __init__(self, database: Database, clock: Clock, has_right_code: HasRightCode) -> None:
        """`has_right_code`: judges rows of orders."""
        self._database = database
        self._clock = clock
        self._has_right_code = has_right_code
        self._lock = threading.Lock()
        self._counts = AuditCounter()
        self._verification = RollingVerification()
        self._figures = CachedReading(self._read, collector.TOTALS_TTL)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; without a database the counters alone."""
        with self._lock:  # also while the counters are read: they are of one reading, and another one adds labels
            metrics = self._collect()
        yield from metrics

    def _collect(self) -> list[Metric]:
        gauges: list[Metric] = []
        try:
            gauges += _gauges(self._figures.get())
        except OctyError as error:
            _logger.warning("metrics: can't read the database: %s", type(error).__name__)
        counts = self._counts
        return [
            *gauges,
            labelled_counter(
                "octy_staff_logins", f"Sessions of staff that were opened, by kind, {_SINCE}", "kind", counts.logins
            ),
            labelled_counter(
                "octy_staff_logins_refused", f"Log-ins of staff that were refused, {_SINCE}", "step", counts.refused
            ),
            labelled_counter("octy_staff_orders", f"Orders of staff by result, {_SINCE}", "result", counts.orders),
        ]

    def _read(self) -> _Figures:
        with self._database.read_session() as session:
            self._counts.read(session)
            checkpoint = audit.last_checkpoint(session)
            waiting = audit.read_entry(session, (checkpoint.seq if checkpoint else 0) + 1)
            return _Figures(
                broken_glass=len(unacknowledged(session, self._has_right_code)),
                is_whole=self._verification.read(session),
                unsigned=0.0 if waiting is None else max(0.0, self._clock() - waiting.at / 1e6),
                checkpoint_at=checkpoint.at if checkpoint else None,
            )


def _gauges(found: _Figures) -> Iterator[Metric]:
    for name, description, value in (
        ("break_glass_unacknowledged", "Orders by break glass that no admin has acknowledged.", found.broken_glass),
        ("audit_log_whole", "Whether no entry of the last part that was verified is wrong.", float(found.is_whole)),
        ("audit_unsigned_oldest_seconds", "Age of the oldest entry that no checkpoint covers.", found.unsigned),
    ):
        yield GaugeMetricFamily(f"octy_{name}", description, value=value)
    if found.checkpoint_at is not None:
        yield GaugeMetricFamily(
            "octy_audit_checkpoint_timestamp_seconds",
            "When the last checkpoint was signed.",
            value=found.checkpoint_at.timestamp(),
        )


def _label(detail: str | None, name: str, known: Collection[str]) -> str:
    try:
        value = json.loads(detail or "{}").get(name)
    except (ValueError, AttributeError, RecursionError):  # written by SQL
        value = None
    return next((str(one) for one in known if one == value), _UNKNOWN)
