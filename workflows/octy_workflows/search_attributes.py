"""Search attributes, by which lists of workflows are filtered and sorted in Temporal's Web UI.

The worker registers them in the cluster (`octy_worker.temporal.search_attributes`). A cluster that does not know them
fails every workflow task that sets one, so the workflow's input says whether it may.
"""

from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

STATE = SearchAttributeKey.for_keyword("OctyState")
NEEDS_STAFF = SearchAttributeKey.for_bool("OctyNeedsStaff")
FAILURES = SearchAttributeKey.for_int("OctyFailures")

ATTRIBUTES = (STATE, NEEDS_STAFF, FAILURES)


class SearchAttributes:
    """One workflow's search attributes. Only changed values are set, and none unless `enabled`."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._state = ""
        self._needs_staff: bool | None = None
        self._failures = 0

    def set_state(self, state: str, *, needs_staff: bool) -> None:
        """Set the workflow's state, and whether it waits for support staff."""
        updates: list[SearchAttributeUpdate[Any]] = []
        if state != self._state:
            updates.append(STATE.value_set(state))
        if needs_staff != self._needs_staff:
            updates.append(NEEDS_STAFF.value_set(needs_staff))
        self._state, self._needs_staff = state, needs_staff
        self._set(updates)

    def set_failures(self, failures: int) -> None:
        """Set the number of failed attempts in a row; it only grows."""
        if failures > self._failures:
            self._failures = failures
            self._set([FAILURES.value_set(failures)])

    def _set(self, updates: list[SearchAttributeUpdate[Any]]) -> None:
        if updates and self._enabled:
            workflow.upsert_search_attributes(updates)
