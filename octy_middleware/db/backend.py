"""What a kind of database must be able to do for `Database`; SQLite and PostgreSQL each have a room of their own.

Here: the interface, and who writes beside whom. Not here: what either one does (`sqlite`, `postgres`), and which one a
URL leads to (`database`).
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

from sqlalchemy import URL, Connection, Engine

ALREADY_EXISTS_HINT = (
    "something of that name is there and was not made by Octy's migrations: give Octy a database of its own"
)
VERSION_TABLE = "octy_schema_version"
"""The table that Alembic keeps our migration in. A host app's own Alembic uses `alembic_version`."""

SCHEMA_OPTION = "schema"  # of PostgreSQL's URL: the schema that Octy's tables are in


class WriteMode(Enum):
    """Who writes, and so who else may write meanwhile. SQLite has one writer at a time, whoever it is."""

    EXCLUSIVE = "office"  # alone: what staff, customers and workflows do, written as if nobody else were there
    IMPORT = "import"  # beside everybody: changes rows that nobody else uses yet
    RECORDER = "recorder"  # beside its like: locks the few keys that it is about (`Database.lock_keys`)
    BULK_RECORDER = "crowd"  # a recorder with more keys than can be locked: alone
    MIGRATION = "migration"  # alone, also where there are no tables yet


class Listener(Protocol):
    """Waits until somebody put a message into the outbox. Used by one thread."""

    def wait(self, timeout: float) -> bool:
        """Return True at once when messages may have come, False after so many seconds without any.

        Raises DatabaseUnavailableError.
        """

    def close(self) -> None:
        """Stop listening."""


class Backend(Protocol):
    """One database of one kind. Whatever is away raises DatabaseUnavailableError, or what `is_outage` knows."""

    url: URL
    """How it is reached. Its text hides the password, wherever that was given."""
    display_name: str
    """Where it is, in an error's words, without a password."""
    closes_inherited: bool
    """Whether a forked child may, and must, close idle connections that it has inherited open."""
    separation_hint: str
    """What to do when others have tables of our names there, in an error's words."""

    def make_engine(self) -> Engine:
        """Return an engine whose connections are made on first use; each transaction is begun by us."""

    def hold_write_lock(self, timeout: float) -> AbstractContextManager[None]:
        """Wait for the turn to write, before a connection is taken."""

    def begin(self, connection: Connection, mode: WriteMode | None, timeout: float) -> None:
        """Begin a transaction: of this writer, or one that reads one consistent state. Raises StandbyError."""

    def is_current(self, connection: Connection) -> bool:
        """Tell whether a connection made earlier still leads to this database, as far as that costs nothing."""

    def lock_keys(self, connection: Connection, public_keys: Sequence[str]) -> None:
        """Keep other recorders off these keys until the end of the transaction; give them in sorted order."""

    def lock_feed(self, connection: Connection) -> None:
        """Have entries of the change feed committed in the order of their numbers."""

    def add_lock_rows(self, connection: Connection) -> None:
        """Add the rows by which writers take turns, where they do so by rows and some are missing."""

    def notify(self, connection: Connection) -> None:
        """Have alarms go off once the transaction has committed."""

    def mark_erased(self, connection: Connection) -> None:
        """Have what this transaction erases leave the database's files once it has committed, as far as we can."""

    def check_committed(self, connection: Connection) -> None:
        """Raise DatabaseUnavailableError when the commit went where nobody will ever read it."""

    def after_commit(self, connection: Connection) -> None:
        """Do what `notify` has put off until now."""

    def listen(self) -> Listener:
        """Begin to listen for messages in the outbox."""

    def is_missing(self) -> bool:
        """Tell whether there is no database yet; one that is away is an outage."""

    def create(self) -> None:
        """Make the empty database where that is ours to do."""

    def create_schema(self, connection: Connection) -> None:
        """Make the schema that the URL names, if there is none, in a transaction that writes."""

    def schemas_without_usage(self, connection: Connection) -> str:
        """Return the schemas in which tables of ours may be and may not be seen, or nothing."""

    def is_standby(self, error: BaseException | None) -> bool:
        """Tell by the driver's own error that the connection leads to a server that takes no writes."""

    def discard_connections(self) -> None:
        """Have every connection that was made until now given up at its next use."""

    def setup_hint(self, error: BaseException | None) -> str:
        """Return what somebody must do where the database answers and refuses; nothing for any other error."""

    def is_outage(self, error: BaseException | None) -> bool:
        """Tell by the driver's own error an outage from a fault of ours."""

    def redact_values(self, error: BaseException) -> None:
        """Take stored values out of the text of a driver's error, which ends up in logs."""

    def refresh_statistics(self, connection: Connection, *tables: str) -> None:
        """Tell the planner of many new rows, inside the transaction that wrote them."""

    def integrity_problem(self, connection: Connection) -> str:
        """Return what is wrong with the stored data, as far as the database can tell quickly; or nothing."""

    def location(self, connection: Connection) -> dict[str, object]:
        """Return by what this very database is told from a copy of it, as plain JSON (see `installation`)."""

    def restart(self) -> None:
        """Begin anew in a forked child."""

    def before_fork(self) -> None:
        """Let this process's writer finish."""

    def after_fork(self) -> None:
        """Let writers in again."""


def has_class_name(error: BaseException | None, names: Iterable[str]) -> bool:
    """Tell whether a driver's error is of one of these classes, by name: the driver may not be loaded."""
    return not set(names).isdisjoint(kind.__name__ for kind in type(error).__mro__)
