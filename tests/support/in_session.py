"""Runs a function of a repository in a transaction of its own, as activities and pages do."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from octy_middleware.db.database import Database

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_session(
    database: Database,
    function: Callable[Concatenate[Session, _Arguments], _Result],
    *args: _Arguments.args,
    **kwargs: _Arguments.kwargs,
) -> _Result:
    """Return what it returns, after the commit."""
    with database.write_session() as session:
        return function(session, *args, **kwargs)
