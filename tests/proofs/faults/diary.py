"""What the lives leave for the judge.

Here: the lists. Not here: who writes them (`customers`), what they mean (`judge`).
"""

from dataclasses import dataclass, field

from octy_worker.dev.customer import Keys


@dataclass
class Diary:
    """What the lives leave for the judge; each entry is one atomic append."""

    answered: list[tuple[str, str, bool]] = field(default_factory=list)  # incident, answer, leaked
    keys: list[Keys] = field(default_factory=list)  # every pair that a customer was shown
    tokens: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    in_use: list[Keys] = field(default_factory=list)  # at the end of a life
    unseen: list[str] = field(default_factory=list)  # regenerations whose secret was collected, and seen by nobody
    stopped: list[str] = field(default_factory=list)  # why lives ended early
