"""The desk of a command on the installation's host: it has the database, and Temporal where an act needs it."""

from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import I, O, Query


class LocalDesk:
    """Carries out queries and acts in this process."""

    def __init__(self, context: StaffContext, actor: str) -> None:
        self._context = context
        self.actor = actor

    def read(self, query: Query[I, O], value: I) -> O:
        """Return what a query found. Raises CommandError or OctyError."""
        return query.run(self._context, value)
