"""Events over time, drawn for a terminal; in ASCII where it has no more."""

import sys
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from octy_worker.domain.histogram import Plot, columns
from octy_worker.formatting import span


@dataclass(frozen=True, slots=True)
class Chart:
    """Upright columns under a title."""

    plot: Plot
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw with what this terminal can show."""
        yield Text(f"{self.title}, UTC, each column {span(self.plot.seconds)}", "bold")
        ascii_only = options.ascii_only or not (sys.stdout.encoding or "utf").lower().startswith("utf")
        for line in columns(self.plot, ascii_only=ascii_only):
            yield Text(line, "red", no_wrap=True, overflow="crop")
