"""What lists of workflows can be searched and sorted by in Temporal's Web UI.

Here: the search attributes, and how a workflow keeps its own. Not here: making them known to a cluster, which is the
worker's (`octy_worker.temporal.search_attributes`): a cluster that does not know them fails every task that sets one, so the
workflow's input says whether it may.
"""

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

STATE = SearchAttributeKey.for_keyword("OctyState")
NEEDS_STAFF = SearchAttributeKey.for_bool("OctyNeedsStaff")
FAILURES = SearchAttributeKey.for_int("OctyFailures")

ATTRIBUTES = (STATE, NEEDS_STAFF, FAILURES)


class SearchAttributes:
    """One workflow's search attributes; only what has changed is set, and nothing where they are `off`."""

    def __init__(self, *, off: bool) -> None:
        self._off = off
        self._state = ""
        self._needs_staff: bool | None = None
        self._failures = 0

    def show(self, state: str, *, needs_staff: bool) -> None:
        """Show where the workflow stands, and whether it waits for support staff."""
        updates: list[SearchAttributeUpdate[Any]] = []
        if state != self._state:
            updates.append(STATE.value_set(state))
        if needs_staff != self._needs_staff:
            updates.append(NEEDS_STAFF.value_set(needs_staff))
        self._state, self._needs_staff = state, needs_staff
        self._set(updates)

    def count(self, failures: int) -> None:
        """Show how many attempts have failed in a row, as last told."""
        if failures > self._failures:
            self._failures = failures
            self._set([FAILURES.value_set(failures)])

    def _set(self, updates: list[SearchAttributeUpdate[Any]]) -> None:
        if updates and not self._off:
            workflow.upsert_search_attributes(updates)
