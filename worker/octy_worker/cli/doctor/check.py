"""What one look found."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Whether all is well."""

    OK = "ok"
    PROBLEM = "problem"
    UNCHECKED = "unchecked"  # something before it is wrong


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    `to_do` is empty when all is well, or when `found` says it already. `code` is that of the problem, if there is one.
    """

    name: str
    state: State
    found: str
    to_do: str = ""
    code: str = ""


def passed(name: str, found: str) -> Check:
    """Return a check with nothing to do."""
    return Check(name, State.OK, found)


def unchecked(name: str, why: str) -> Check:
    """Return a check that could not be made."""
    return Check(name, State.UNCHECKED, why)
