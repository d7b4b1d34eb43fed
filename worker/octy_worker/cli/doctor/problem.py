"""One problem that `octy doctor` can find."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """The name of its check, what is found, and what to do; `{…}` are filled in by a run."""

    name: str
    found: str
    to_do: str = ""
