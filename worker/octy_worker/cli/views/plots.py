"""A chart of events over time for a terminal; in ASCII where its encoding is not UTF-8."""

import sys
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from octy_worker.domain.histogram import Plot, columns
from octy_worker.formatting import format_duration


@dataclass(frozen=True, slots=True)
class Chart:
    """A column chart under a title."""

    plot: Plot
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw with the characters that this terminal can show."""
        yield Text(f"{self.title}, in UTC, one column is {format_duration(self.plot.seconds)}", "bold")
        ascii_only = options.ascii_only or not (sys.stdout.encoding or "utf").lower().startswith("utf")
        for line in columns(self.plot, ascii_only=ascii_only):
            yield Text(line, "red", no_wrap=True, overflow="crop")
