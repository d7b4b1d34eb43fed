"""How many rows a step writes: as many as fit into a few milliseconds, adapted to the duration of previous steps.

On SQLite all writers share one lock: a step is as long as a request may have to wait, and others write in the pauses.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from octy_middleware.clock import Clock
from octy_middleware.db.bulk_sql import Row

MAX_ROWS = 500
"""Rows of one step, at most."""


@dataclass
class StepPacer:
    """The pace of one run. Times are seconds."""

    bound: float = 0.02  # of a step, its commit included
    rest: float = 3.0  # times as long as a step is the pause after it
    monotonic: Clock = time.monotonic
    rows: int = 50  # of the next step
    longest: float = 0.0

    def portions(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Hand out the rows of one step, in portions; it ends early when half of its time is over."""
        begun, some = self.monotonic(), rows[: self.rows]
        size = max(1, len(some) // 4)
        for start in range(0, len(some), size):
            yield some[start : start + size]
            if self.monotonic() - begun > self.bound / 2:
                return

    def pause_after(self, took: float) -> float:
        """Learn how long a step took; return how long to pause."""
        self.longest = max(self.longest, took)
        if took > self.bound:
            self.rows = max(8, self.rows // 2)
        elif took < self.bound / 2:
            self.rows = min(MAX_ROWS, self.rows * 3 // 2)
        return max(0.002, took * self.rest)
