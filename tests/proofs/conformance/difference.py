"""What a known difference is.

Here: its form, and which cells it is about. Not here: which there are (`differences`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proofs.conformance.cells import Cell

Results = Mapping[str, tuple[str | tuple[str, ...], str]]


@dataclass(frozen=True)
class Difference:
    """What these servers, or these frameworks on them, make of some cases: answers and record, by title."""

    servers: tuple[str, ...]
    why: str
    results: Results
    frameworks: tuple[str, ...] = ()

    @property
    def is_defect(self) -> bool:
        """Tell whether it is the middleware that differs from what it should do."""
        return self.why.startswith("DEFECT")

    def holds(self, cell: Cell) -> bool:
        """Tell whether it is about this cell. A server as it comes differs as it does with our options, too."""
        server = cell.server.name
        named = server in self.servers or server.partition(",")[0] in self.servers
        return named and (not self.frameworks or cell.framework in self.frameworks)
