"""What errors of PostgreSQL mean, and their texts without stored values.

Errors are told apart by the names of their classes, as psycopg may not be installed.
"""

from typing import TYPE_CHECKING

from octy_middleware.db.backend import ALREADY_EXISTS_HINT, has_class_name
from octy_middleware.errors import InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy.engine import ExceptionContext

_OUTAGES = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "InternalError_",
        "IdleInTransactionSessionTimeout",  # this process was stopped inside a transaction
        "DataCorrupted",
        "IndexCorrupted",
    }
)
_UPGRADE = "run `octy db upgrade`, or check that the URL leads to Octy's database and schema"
_HINTS = {  # by the class of the driver's error
    "UndefinedTable": _UPGRADE,
    "UndefinedColumn": _UPGRADE,
    "InvalidSchemaName": "create the schema that `search_path` names, or set another one",
    "InsufficientPrivilege": "GRANT this role the missing right, or use the role that owns the tables; "
    "`octy db upgrade` needs the owner, and CREATE on the schema",
    "DuplicateTable": ALREADY_EXISTS_HINT,
    "DuplicateObject": ALREADY_EXISTS_HINT,
}


def is_outage(error: BaseException | None) -> bool:
    """Return whether it is an outage: operational errors include lost connections, lock timeouts and full disks."""
    return has_class_name(error, _OUTAGES)


def is_standby(error: BaseException | None) -> bool:
    """Return whether a write was refused because the server is a standby: SQLSTATE 25006."""
    return has_class_name(error, {"ReadOnlySqlTransaction"})


def setup_hint(error: BaseException | None) -> str:
    """Return what the operator can do about it, or an empty text."""
    return next((hint for name, hint in _HINTS.items() if has_class_name(error, {name})), "")


def redact_values(context: "ExceptionContext") -> None:
    """Remove stored values from error texts, which are logged and stored in Temporal's histories.

    The server's details contain whole rows. A NUL character in a text raises InvalidInputError.
    """
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    if has_class_name(error, {"DataError"}) and "NUL" in str(error):
        raise InvalidInputError("a text contains a NUL character, which PostgreSQL can't store") from None
    redact(error)
    if error.args and wrapped is not None and getattr(error, "diag", None) is not None:
        wrapped.args = (f"({type(error).__name__}) {error.args[0]}",)


def redact(error: BaseException) -> None:
    """Reduce the text of a driver's error to its primary message."""
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    if message is not None:
        error.args = (message,)
