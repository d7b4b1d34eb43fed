"""PURE. Tables and plots as values, and how a figure is written.

Here: these values. Not here: how they look on a terminal (`__main__`), as Markdown (`document`) or as SVG (`plot`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proofs.benchmarks.spread import Spread


@dataclass(frozen=True)
class Table:
    """Rows of text under columns; the first column names, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar, with the quartiles around its median. `ours`: drawn in the colour of what is ours."""

    label: str
    spread: Spread
    ours: bool = False


@dataclass(frozen=True)
class Plot:
    """Bars of one unit. `mark`: where a line is drawn, 1 for ratios to a bare app; None for no line."""

    name: str
    title: str
    unit: str
    bars: Sequence[Bar]
    mark: float | None = None


def shown(figures: dict[str, Any], digits: int = 2, *, scale: float = 1.0) -> str:
    """Write a spread: its median, and the quartiles in brackets."""
    spread = Spread.read(figures)
    median, low, high = (f"{value * scale:,.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return f"{median} [{low} – {high}]"


def bar(label: str, figures: dict[str, Any]) -> Bar:
    """Return the bar of a spread as it stands in a report."""
    return Bar(label, Spread.read(figures), ours="octy" in label)
