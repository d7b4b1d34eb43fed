"""The interface that SQLite and PostgreSQL implement for `Database`, and which writers may run at the same time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import Protocol

from sqlalchemy import URL, Connection, Engine

from octy_middleware.db.bulk_sql import Batch, InputRows, Queries, Row

ALREADY_EXISTS_HINT = (
    "something of that name exists and was not made by Octy's migrations: give Octy a database of its own"
)
VERSION_TABLE = "octy_schema_version"
"""The table in which Alembic records our migration. A host app's own Alembic uses `alembic_version`."""

SCHEMA_OPTION = "schema"  # of a PostgreSQL URL: the schema of Octy's tables


class WriteMode(Enum):
    """Which other writers may run at the same time as this one. SQLite has one writer at a time in any mode."""

    EXCLUSIVE = "exclusive"  # none: staff, customers and workflows
    IMPORT = "import"  # all: it writes rows that nothing else uses yet
    RECORDER = "recorder"  # other recorders: it locks the few keys that it writes (`Database.write_batch`)
    BULK_RECORDER = "bulk_recorder"  # none: a recorder with more keys than can be locked
    MIGRATION = "migration"  # none; works without tables too


class Listener(Protocol):
    """Waits for messages in the outbox. Used by one thread."""

    def wait(self, timeout: float) -> bool:
        """Return True at once when messages may have come, False after `timeout` seconds without any.

        Raises DatabaseUnavailableError.
        """

    def close(self) -> None:
        """Stop listening."""


class Backend(ABC):
    """One database of one kind. An outage raises DatabaseUnavailableError, or an error that `is_outage` knows.

    A kind that has nothing to do for a method inherits it: it does nothing.
    """

    url: URL
    """How it is reached. Its text hides the password, in whichever part of the URL it was given."""
    display_name: str
    """Its path or URL for error texts, without the password."""
    closes_inherited: bool
    """Whether a forked child may, and must, close the idle connections that it inherited."""
    separation_hint: str
    """What to do when tables with our names that are not ours exist there, for error texts."""

    @abstractmethod
    def make_engine(self) -> Engine:
        """Return an engine whose connections are made on first use; transactions are begun by `begin`."""

    def hold_write_lock(self, timeout: float) -> AbstractContextManager[None]:
        """Wait for the lock of writers that is taken before the connection, where there is one."""
        return nullcontext()

    @abstractmethod
    def begin(self, connection: Connection, mode: WriteMode | None, timeout: float) -> None:
        """Begin a transaction that writes, or without a mode a read-only one. Raises StandbyError."""

    @abstractmethod
    def begin_batch(
        self, connection: Connection, public_keys: Sequence[str] | None, queries: Queries, timeout: float
    ) -> list[list[Row]]:
        """Begin a recorder's transaction, lock the sorted keys, and return the result of each query.

        Without keys other recorders are locked out. Raises what `begin` raises.
        """

    @abstractmethod
    def commit_batch(self, connection: Connection, writes: Sequence[tuple[Batch, InputRows]]) -> None:
        """Write and commit a recorder's transaction."""

    @abstractmethod
    def is_current(self, connection: Connection) -> bool:
        """Whether an open connection still leads to this database, as far as that can be known without a message."""

    def lock_feed(self, connection: Connection) -> None:
        """Make rows of the change feed be committed in the order of their numbers."""

    def add_lock_rows(self, connection: Connection) -> None:
        """Insert the missing rows that writers lock, where they lock rows."""

    @abstractmethod
    def notify(self, connection: Connection) -> None:
        """Wake listeners once the transaction has committed."""

    def mark_erased(self, connection: Connection) -> None:
        """Remove what this transaction erases from the database's files too, as far as possible, after the commit."""

    def check_committed(self, connection: Connection) -> None:
        """Raise DatabaseUnavailableError when the commit went into a file that was removed or replaced."""

    def after_commit(self, connection: Connection) -> None:
        """Do what `notify` and `mark_erased` asked for."""

    @abstractmethod
    def listen(self) -> Listener:
        """Return a listener for messages in the outbox."""

    def is_missing(self) -> bool:
        """Whether there is no database yet. A database that does not answer is an outage instead."""
        return False

    def create(self) -> None:
        """Create the empty database, where that is not left to the server's owner."""

    def create_schema(self, connection: Connection) -> None:
        """Create the schema that the URL names, if it does not exist, in a transaction that writes."""

    def schemas_without_usage(self, connection: Connection) -> str:
        """Return the schemas of the `search_path` on which this role has no USAGE right, or an empty text."""
        return ""

    def is_standby(self, error: BaseException | None) -> bool:
        """Whether the driver's error says that the server takes no writes."""
        return False

    def discard_connections(self) -> None:
        """Have every connection made until now closed at its next use."""

    @abstractmethod
    def setup_hint(self, error: BaseException | None) -> str:
        """Return what the operator must do when the database refuses a statement; empty for any other error."""

    @abstractmethod
    def is_outage(self, error: BaseException | None) -> bool:
        """Whether the driver's error is an outage and not a bug of ours."""

    def redact_values(self, error: BaseException) -> None:
        """Remove stored values from the text of a driver's error, which may be logged."""

    def refresh_statistics(self, connection: Connection, *tables: str) -> None:
        """Update the planner's statistics after many inserts, in the transaction that made them."""

    @abstractmethod
    def integrity_problem(self, connection: Connection) -> str:
        """Return the damage of the stored data that a quick check finds, or an empty text."""

    @abstractmethod
    def location(self, connection: Connection) -> dict[str, object]:
        """Return what distinguishes this database from a copy of it, as plain JSON (`domain.installation`)."""

    def restart(self) -> None:
        """Drop what belongs to the parent, in a forked child."""

    def before_fork(self) -> None:
        """Wait for this process's writer."""

    def after_fork(self) -> None:
        """Let writers begin again, in the parent."""
