"""What the daily digest and the notice of held alerts tell support staff, as values.

Ids, counts and times, nothing of customers.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class DigestList:
    """Ids or keys of what waits, each with its time, oldest first; and how many more there are."""

    lines: tuple[tuple[str, datetime], ...]
    more: int

    @property
    def count(self) -> int:
        """All of them."""
        return len(self.lines) + self.more


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """What waits for somebody. `delayed_mails`: no server took them for an hour; `dead_letters`: messages of the outbox.

    `capped_mails`: reminders and notices under the daily cap. `unsent_alerts`: that have not left for twenty minutes.
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
        """Whether there is anything to write about."""
        return self.count > 0

    @property
    def count(self) -> int:
        """Everything together, for the subject."""
        lists = (self.needs_staff, self.overdue, self.uncollected, self.failed_mails, self.capped_mails)
        return sum(each.count for each in lists) + self.unsent_alerts + self.delayed_mails + self.dead_letters


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What was done on the day before: cases, mails, new keys."""

    opened: int
    closed: int
    mails: int
    issued: int
    collected: int


@dataclass(frozen=True, slots=True)
class DigestFacts:
    """What the digest of a UTC day tells."""

    kind: ClassVar[str] = "digest"
    name: ClassVar[str] = ""
    day: str
    tasks: OpenTasks
    yesterday: DayCounts


@dataclass(frozen=True, slots=True)
class HoldFacts:
    """What support staff is told of held alerts. `unsent`: alerts that have not left, held or not."""

    kind: ClassVar[str] = "held_alerts"
    name: ClassVar[str] = ""
    evidence: str
    accounts: int
    unsent: int
    began_at: datetime
    ends_at: datetime
