"""How much a step does at once: as many rows as fit into a few milliseconds, by what the last steps took.

Here: measuring and adapting. Not here: steps (`run`).

On SQLite all writers share one lock, so a step is as long as a refusal may have to wait for it; and the pauses are
what lets it be had.
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
