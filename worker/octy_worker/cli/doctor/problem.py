"""One problem that `octy doctor` can find, as its tables list it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """The name of its check, what is found, and what to do; `{…}` stand for what a run knows."""

    name: str
    found: str
    to_do: str = ""
