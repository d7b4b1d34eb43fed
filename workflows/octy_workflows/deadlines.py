"""The deadlines of a case: absolute, and later only when support staff says so.

Here: when staff is to be told of the silence, and when it ends. Not here: what happens then, which is `incident`.
"""

from collections.abc import Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows.messages import DAY, ExtendedDeadlines, IncidentTimes
    from octy_workflows.retry import Condition, wait_until
    from octy_workflows.staff_input import INVALID, TOO_LATE, refusal
    from octy_workflows.staff_requests import MAX_EXTENSION_DAYS, StaffExtension


class IncidentDeadlines:
    """One case's deadlines, in Unix seconds. `over` once the calendar has nothing more to do."""

    def __init__(self, times: IncidentTimes, start: float, extended: ExtendedDeadlines | None) -> None:
        first = ExtendedDeadlines(start + min(times.staff_after, times.close_after), start + times.close_after)
        self.staff_at, self.close_at = (extended or first).staff_at, (extended or first).close_at
        self.over = False
        self.extensions: dict[str, ExtendedDeadlines] = {}  # by request id
        self._first = first

    @property
    def moved(self) -> bool:
        """Whether staff is told of the silence at another time than in cases that nobody extends."""
        return self.staff_at != self._first.staff_at

    def extend(self, said: StaffExtension) -> ExtendedDeadlines:
        """Move the end, and the next word to staff, so many days further; one that was said counts from now."""
        more = said.days * DAY
        self.close_at += more
        self.staff_at = min(max(self.staff_at, workflow.time()) + more, self.close_at)
        self.extensions[said.request_id] = ExtendedDeadlines(self.staff_at, self.close_at)
        return self.extensions[said.request_id]

    def refuse(self, days: int) -> None:
        """Raise a refusal of what can't be extended, or not as far."""
        if self.over:
            raise refusal("too late: the case waits for a decision, and nothing runs out any more", TOO_LATE)
        left = MAX_EXTENSION_DAYS - round((self.close_at - self._first.close_at) / DAY)
        if days > left:
            raise refusal(f"at most {MAX_EXTENSION_DAYS} days in all: {left} are left", INVALID)

    async def pass_(self, deadline: Callable[[], float], unless: Condition, waiting_for: str) -> bool:
        """Wait for a deadline, however often it is moved; False when `unless` came true before."""
        while not unless():
            due = deadline()

            def moved_or_over(due: float = due) -> bool:
                return unless() or deadline() != due

            if not await wait_until(moved_or_over, by=due, waiting_for=waiting_for):
                return True
        return False
