"""What errors of PostgreSQL mean, and their texts without stored values."""

import psycopg
from psycopg import errors
from sqlalchemy.engine import ExceptionContext

from octy_middleware.db.backend import ALREADY_EXISTS_HINT
from octy_middleware.errors import InvalidInputError

_OUTAGES = (
    psycopg.OperationalError,  # also lost connections, lock timeouts and full disks
    psycopg.InterfaceError,
    errors.InternalError_,
    errors.IdleInTransactionSessionTimeout,  # this process was stopped inside a transaction
    errors.DataCorrupted,
    errors.IndexCorrupted,
)
_UPGRADE = "run `octy db upgrade`, or check that the URL leads to Octy's database and schema"
_HINTS = {
    errors.UndefinedTable: _UPGRADE,
    errors.UndefinedColumn: _UPGRADE,
    errors.InvalidSchemaName: "create the schema that `search_path` names, or set another one",
    errors.InsufficientPrivilege: "GRANT this role the missing right, or use the role that owns the tables; "
    "`octy db upgrade` needs the owner, and CREATE on the schema",
    errors.DuplicateTable: ALREADY_EXISTS_HINT,
    errors.DuplicateObject: ALREADY_EXISTS_HINT,
}


def is_outage(error: BaseException | None) -> bool:
    """See `Backend`."""
    return isinstance(error, _OUTAGES)


def is_standby(error: BaseException | None) -> bool:
    """See `Backend`. SQLSTATE 25006."""
    return isinstance(error, errors.ReadOnlySqlTransaction)


def setup_hint(error: BaseException | None) -> str:
    """See `Backend`."""
    return next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "")


def redact_values(context: ExceptionContext) -> None:
    """Remove stored values from error texts, which are logged and stored in Temporal's histories.

    The server's details contain whole rows. A NUL character in a text raises InvalidInputError.
    """
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.DataError) and "NUL" in str(error):
        raise InvalidInputError("a text contains a NUL character, which PostgreSQL can't store") from None
    redact(error)
    if wrapped is not None:
        wrapped.args = (f"({type(error).__name__}) {error}",)


def redact(error: BaseException) -> None:
    """See `Backend`. Reduce the text of a driver's error to its primary message."""
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    if message is not None:
        error.args = (message,)
