"""The benches by name, in the order in which they run and stand in the document.

Here: the list. Not here: any bench.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from proofs.benchmarks import alerts, flood, in_process, keys, over_http, refusals, tables
from proofs.benchmarks.lab import Lab
from proofs.benchmarks.presentation import Plot, Table


class Bench(Protocol):
    """What a bench's module has. Figures are what a report holds of it: plain values and spreads by name."""

    def measure(self, lab: Lab) -> dict[str, Any]:
        """Run it; raise when what it did was not what it says."""

    def tables(self, figures: dict[str, Any]) -> list[Table]:
        """Return what people read."""

    def plots(self, figures: dict[str, Any]) -> list[Plot]:
        """Return what people see at a glance."""


BENCHES: Mapping[str, Bench] = MappingProxyType(
    {
        "in_process": in_process,
        "over_http": over_http,
        "refusals": refusals,
        "flood": flood,
        "alerts": alerts,
        "keys": keys,
        "tables": tables,
    }
)
