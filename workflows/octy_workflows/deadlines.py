"""Deadlines of an incident: absolute times, which support staff can extend."""

from collections.abc import Callable

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from octy_workflows.messages import DAY, ExtendedDeadlines, IncidentTimes
    from octy_workflows.order_content import MAX_EXTENSION_DAYS, StaffExtension
    from octy_workflows.retry import Condition, wait_until
    from octy_workflows.staff_input import INVALID, TOO_LATE, refusal


class IncidentDeadlines:
    """When staff is notified that there is no answer, and when the incident ends; in Unix seconds.

    `finished` is set when no deadline is waited for any more.
    """

    def __init__(self, times: IncidentTimes, start: float, extended: ExtendedDeadlines | None) -> None:
        first = ExtendedDeadlines(start + min(times.staff_after, times.close_after), start + times.close_after)
        self.staff_at, self.close_at = (extended or first).staff_at, (extended or first).close_at
        self.finished = False
        self.extensions: dict[str, ExtendedDeadlines] = {}  # by order id
        self._first = first

    @property
    def extended(self) -> bool:
        """Whether staff is notified at another time than without extensions."""
        return self.staff_at != self._first.staff_at

    def extend(self, order: StaffExtension) -> ExtendedDeadlines:
        """Move both deadlines by so many days; a staff deadline in the past counts from now."""
        more = order.days * DAY
        self.close_at += more
        self.staff_at = min(max(self.staff_at, workflow.time()) + more, self.close_at)
        self.extensions[order.order_id] = ExtendedDeadlines(self.staff_at, self.close_at)
        return self.extensions[order.order_id]

    def check_extension(self, days: int) -> None:
        """Raise a refusal when the deadlines can't be extended by so many days."""
        if self.finished:
            raise refusal("too late: the incident waits for a decision, and has no deadline any more", TOO_LATE)
        left = MAX_EXTENSION_DAYS - round((self.close_at - self._first.close_at) / DAY)
        if days > left:
            raise refusal(f"at most {MAX_EXTENSION_DAYS} days in all: {left} are left", INVALID)

    async def reached(self, deadline: Callable[[], float], unless: Condition, summary: str) -> bool:
        """Wait for a deadline, which may be moved meanwhile; return False when `unless` becomes true before."""
        while not unless():
            due = deadline()

            def moved_or_unless(due: float = due) -> bool:
                return unless() or deadline() != due

            if not await wait_until(moved_or_unless, deadline=due, summary=summary):
                return True
        return False
