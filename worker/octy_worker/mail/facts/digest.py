"""The facts of mails to support staff (digest, held alerts, failed log-ins, break glass): no data of customers."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class DigestList:
    """Ids or keys, each with its time, oldest first; `more`: how many are not listed."""

    lines: tuple[tuple[str, datetime], ...]
    more: int

    @property
    def count(self) -> int:
        """Number of all entries."""
        return len(self.lines) + self.more


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """Open tasks of staff. `delayed_mails`: not delivered for an hour. `dead_letters`: failed messages of the outbox.

    `capped_mails`: reminders and notices over the daily cap. `unsent_alerts`: not sent for twenty minutes.
    """

    needs_staff: DigestList
    overdue: DigestList
    uncollected: DigestList
    failed_mails: DigestList
    capped_mails: DigestList
    unsent_alerts: int
    delayed_mails: int
    dead_letters: int

    @property
    def has_tasks(self) -> bool:
        """Whether there is any task."""
        return self.count > 0

    @property
    def count(self) -> int:
        """Number of all tasks."""
        lists = (self.needs_staff, self.overdue, self.uncollected, self.failed_mails, self.capped_mails)
        return sum(each.count for each in lists) + self.unsent_alerts + self.delayed_mails + self.dead_letters


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Counts of the day before: incidents, mails, new keys."""

    opened: int
    closed: int
    mails: int
    issued: int
    collected: int


@dataclass(frozen=True, slots=True)
class DigestFacts:
    """The facts of the digest of a UTC day. `checkpoint`: a line of the audit log's end; empty: none is taken."""

    kind: ClassVar[str] = "digest"
    name: ClassVar[str] = ""
    day: str
    tasks: OpenTasks
    yesterday: DayCounts
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class HoldFacts:
    """The facts of the notice of held alerts. `unsent`: alerts that were not sent, held or not."""

    kind: ClassVar[str] = "held_alerts"
    name: ClassVar[str] = ""
    evidence: str
    accounts: int
    unsent: int
    began_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class FailedLogins:
    """Failed log-ins in a row by one handle from one address. It is not proven that it was this person."""

    handle: str
    source: str
    count: int


@dataclass(frozen=True, slots=True)
class FailedLoginFacts:
    """The facts of the notice of failed log-ins of staff."""

    kind: ClassVar[str] = "failed_logins"
    name: ClassVar[str] = ""
    failures: tuple[FailedLogins, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class BreakGlassFacts:
    """The facts of an order that was proven by the host's keys alone. `subject`: an id; "–" for none."""

    kind: ClassVar[str] = "break_glass"
    name: ClassVar[str] = ""
    order_id: str
    action: str
    subject: str
    actor: str
    at: datetime
