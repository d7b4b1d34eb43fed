"""Histograms: counts over time in bins of a round width, and their drawing as text columns or bars. Pure functions."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, count
from math import ceil

from octy_middleware.clock import utc

BINS = 24
"""How many bins a plot has at most: they fit beside each other on a telephone."""
_ROWS = 12  # bars below each other in a text

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_WIDTHS = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
)
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:#"


@dataclass(frozen=True, slots=True)
class Bin:
    """How many events there were from `at` on, up to the next bin's."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Plot:
    """Bins of the same width in `seconds`, oldest first and without gaps; first and last one hold something."""

    seconds: int
    bins: tuple[Bin, ...]

    @property
    def highest(self) -> Bin:
        """The bin that holds most, the first of several."""
        return max(self.bins, key=lambda each: each.count)

    @property
    def end(self) -> datetime:
        """The end of the last bin."""
        return self.bins[-1].at + timedelta(seconds=self.seconds)

    def label(self, at: datetime) -> str:
        """Return a bin's time as briefly as these bins allow; it is UTC."""
        if self.seconds >= _DAY:
            return f"{at:%Y-%m-%d}"
        clock = f"{at:%H:%M:%S}" if self.seconds < _MINUTE else f"{at:%H:%M}"
        one_day = self.bins[0].at.date() == self.bins[-1].at.date()
        return clock if one_day else f"{at:%m-%d} {clock}"

    def size(self, each: Bin, full: int) -> int:
        """Return a bin's size when that of the highest is `full`: 0 for nothing, at least 1 for anything."""
        return ceil(each.count * full / self.highest.count)


def plot_of(counts: Iterable[tuple[float, int]], *, finest: int = 1, limit: int = BINS) -> Plot | None:
    """Return at most `limit` bins for counts at Unix times that are known to `finest` seconds; None without any.

    A bin begins where its width divides the Unix time, so that hours begin at full ones.
    """
    known = [(int(at), number) for at, number in counts if number]
    if not known:
        return None
    times = [at for at, _ in known]
    seconds = next(width for width in _widths(finest) if max(times) // width - min(times) // width < limit)
    sums: Counter[int] = Counter()
    for at, number in known:
        sums[at // seconds] += number
    return Plot(seconds, tuple(Bin(utc(n * seconds), sums[n]) for n in range(min(sums), max(sums) + 1)))


def _widths(finest: int) -> Iterable[int]:
    """Yield ever greater widths that are made of whole steps of the finest."""
    days = (_DAY * 2**power for power in count())
    return (width for width in chain(_WIDTHS, days) if width % finest == 0)


def bars(plot: Plot, width: int = 40) -> list[str]:
    """Return lines of `time, bar, count` in ASCII: they say the same in a font of uneven letters, or read aloud."""
    coarse = plot_of(((each.at.timestamp(), each.count) for each in plot.bins), finest=plot.seconds, limit=_ROWS)
    assert coarse is not None  # a plot holds something
    digits = len(f"{coarse.highest.count:,}")
    return [
        f"{coarse.label(each.at)} {each.count:>{digits},} {'#' * coarse.size(each, width)}".rstrip()
        for each in coarse.bins
    ]


def columns(plot: Plot, *, height: int = 6, ascii_only: bool = False) -> list[str]:
    """Return a chart of upright columns, two characters each, with the scale at its left and times below."""
    signs = _ASCII if ascii_only else _EIGHTHS
    full = len(signs) - 1
    sizes = [plot.size(each, height * full) for each in plot.bins]
    scale = f"{plot.highest.count:,}"
    rows = [
        "".join(signs[min(full, max(0, size - level * full))] * 2 for size in sizes)
        for level in reversed(range(height))
    ]
    edge, corner, line = ("|", "+", "-") if ascii_only else ("│", "└", "─")
    labels = [scale, *[""] * (height - 1)]
    drawn = [f"{label:>{len(scale)}} {edge}{row}".rstrip() for label, row in zip(labels, rows, strict=True)]
    floor = f"{'0':>{len(scale)}} {corner}{line * 2 * len(sizes)}"
    return [*drawn, floor, " " * (len(scale) + 2) + _times(plot, 2 * len(sizes))]


def _times(plot: Plot, room: int) -> str:
    begin, end = plot.label(plot.bins[0].at), plot.label(plot.end)
    gap = room - len(begin) - len(end)
    return f"{begin}{' ' * gap}{end}" if gap > 0 else f"{begin} to {end}"
