"""What the checks of `octy doctor` share: their results, and opening the database."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum

from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema
from octy_worker.settings import WorkerSettings


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    PROBLEM = "problem"
    UNCHECKED = "unchecked"  # another problem prevents the check


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and what to do about it.

    `to_do` is empty without a problem, or when `found` says it already. `code`: the problem's, empty without one.
    """

    name: str
    state: State
    found: str
    to_do: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: the name of its check, what is found, and what to do; `{…}` are filled in by a run."""

    name: str
    found: str
    to_do: str = ""


def passed(name: str, found: str) -> Check:
    """Return a check without a problem."""
    return Check(name, State.OK, found)


def unchecked(name: str, why: str) -> Check:
    """Return a check that could not be made; `why`: what prevents it."""
    return Check(name, State.UNCHECKED, f"not checked: {why}")


@contextmanager
def opened_database(settings: WorkerSettings, *, busy_timeout: float | None = None) -> Iterator[Database]:
    """Open the database at this release's schema. Raises OctyError; another check reports it."""
    options = {} if busy_timeout is None else {"busy_timeout": busy_timeout}
    with closing(Database(settings.database_url, **options)) as database:
        check_schema(database)
        yield database
