"""What a sweep is: a way through a table in parts, each of them small enough to be read at once.

Here: the interfaces. Not here: tables (`tables`, `counters`), when a part's rows are done (`run`).

What a part looks for vanishes when it is cleared, so a part can be begun anew at any time: after a crash, and after
a commit of which nobody knows whether it arrived.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Row


class Part(Protocol):
    """Some of a table, between two places of its primary key."""

    def count(self, connection: Connection) -> int:
        """Return how many of its rows are due."""

    def look(self, connection: Connection, most: int) -> Sequence[Row]:
        """Return places of rows that are due, at most so many."""

    def clear(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Do what is due to these rows; return how many there were."""


@dataclass(frozen=True, slots=True)
class Found:
    """A part, and the position of the next one; None after the last."""

    part: Part
    next: str | None


class Sweep(Protocol):
    """One thing that is due, in one table."""

    @property
    def name(self) -> str:
        """Its name in cursors and reports."""

    def find(self, connection: Connection, position: str) -> Found:
        """Return the part at a position; the first one is at the empty position."""
