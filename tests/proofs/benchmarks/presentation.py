"""PURE. Tables and plots as values, tables as Markdown, and how a figure is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofs.benchmarks.spread import Series, Spread, median_interval, ratios


@dataclass(frozen=True)
class Table:
    """Rows of text under columns; the first column has names, the others figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar, with the quartiles around its median. `ours`: in the colour of Octy."""

    label: str
    spread: Spread
    ours: bool = False


@dataclass(frozen=True)
class Plot:
    """Bars of one unit. `mark`: where a line is drawn, 1 for ratios to a bare app."""

    name: str
    title: str
    unit: str
    bars: Sequence[Bar]
    mark: float | None = None

    @property
    def file(self) -> str:
        return f"bench-{self.name}.svg"


def spread_table(  # one argument for each part of a table
    title: str,
    first: str,
    columns: Sequence[tuple[str, str, int]],
    rows: Mapping[str, Mapping[str, Any]],
    note: str,
) -> Table:
    """Return a table of spreads. Columns: heading, the figure's name, digits; a row without that figure has a dash."""
    cells = {
        name: [shown(figures[key], digits) if key in figures else "–" for _, key, digits in columns]
        for name, figures in rows.items()
    }
    return Table(title, (first, *(each[0] for each in columns)), [(name, *row) for name, row in cells.items()], note)


def interval_table(
    title: str, series: Mapping[str, Series], columns: Sequence[tuple[str, str, int]], *, digits: int = 2
) -> Table:
    """Return medians, and ratios to the first arm in the same round with their 95 % interval.

    Columns: heading, the figure's name, digits of its median; `digits`: of the ratios.
    """
    base_name, base = next(iter(series.items()))
    rows = []
    for name, mine in series.items():
        cells = []
        for _, key, places in columns:
            middle, low, high = (f"{part:.{digits}f}" for part in median_interval(ratios(mine[key], base[key])))
            cells += [f"{median_interval(mine[key])[0]:,.{places}f}", f"{middle} [{low} – {high}]"]
        rows.append((name, *cells))
    rounds = len(next(iter(base.values())))
    headings = ("", *(text for heading, *_ in columns for text in (heading, "ratio")))
    return Table(title, headings, rows, f"{rounds} rounds; ratios to “{base_name}”: median and its 95 % interval.")


def shown(figures: Mapping[str, Any], digits: int = 2, *, scale: float = 1.0) -> str:
    """Write a spread of a report: its median, and the quartiles in brackets."""
    median, low, high = (f"{figures[key] * scale:,.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} [{low} – {high}]"


def bar(label: str, figures: dict[str, Any]) -> Bar:
    """Return the bar of a spread of a report."""
    return Bar(label, Spread(**figures), ours="octy" in label)


def markdown(table: Table) -> str:
    """Return a table under its title."""
    rows = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    lines = [f"## {table.title}", "", *(f"| {' | '.join(map(str, row))} |" for row in rows)]
    return "\n".join([*lines, *(["", table.note] if table.note else []), ""])
