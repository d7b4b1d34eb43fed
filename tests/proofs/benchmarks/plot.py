"""PURE. Horizontal bars with their spread as SVG, without scripts and fonts of its own."""

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from proofs.benchmarks.presentation import Bar, Plot

_WIDTH, _LABELS, _FIGURES, _TOP, _ROW, _BAR = 860, 330, 110, 46, 26, 14
_FIELD = _WIDTH - _LABELS - _FIGURES
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:15px}.axis{fill:#57606a;"
    "font-size:11px}.ours{fill:#0969da}.other{fill:#8c959f}.spread{stroke:#24292f;stroke-width:1.5}"
    ".grid{stroke:#d0d7de}.mark{stroke:#cf222e;stroke-dasharray:4 3}"
)


def svg(plot: Plot) -> str:
    """Return the whole drawing."""
    height = _TOP + _ROW * len(plot.bars) + 30
    step, top = scale(max(plot.mark or 0.0, *(bar.spread.high for bar in plot.bars)))
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(plot.title)}>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="12" y="22">{escape(plot.title)}</text>',
        *_grid(plot, height, step, top),
        *(line for number, bar in enumerate(plot.bars) for line in _bar(bar, _TOP + _ROW * number, top)),
        *_mark(plot, height, top),
    ]
    return "\n".join([*lines, "</svg>", ""])


def scale(largest: float) -> tuple[float, float]:
    """Return a step of 1, 2 or 5 times a power of ten, and the first multiple of it that holds the largest value."""
    if largest <= 0:
        return 1.0, 1.0
    rough = largest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return step, step * math.ceil(largest / step * 0.999)


def _grid(plot: Plot, height: int, step: float, top: float) -> Iterator[str]:
    bottom = height - 26
    for number in range(round(top / step) + 1):
        x = _at(number * step, top)
        label = f"{number * step:,.6g}"
        yield f'<line class="grid" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{bottom}"/>'
        yield f'<text class="axis" x="{x}" y="{bottom + 14}" text-anchor="middle">{label}</text>'
    yield f'<text class="axis" x="{_WIDTH - 12}" y="{bottom + 14}" text-anchor="end">{escape(plot.unit)}</text>'


def _bar(bar: Bar, y: int, top: float) -> Iterator[str]:
    middle, end = y + _BAR / 2, _at(max(bar.spread.median, 0.0), top)
    low, high = _at(max(bar.spread.low, 0.0), top), _at(max(bar.spread.high, 0.0), top)
    kind = "ours" if bar.ours else "other"
    yield f'<text x="{_LABELS - 8}" y="{middle + 4.5}" text-anchor="end">{escape(bar.label)}</text>'
    yield f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{round(end - _LABELS, 1)}" height="{_BAR}"/>'
    yield f'<line class="spread" x1="{low}" y1="{middle}" x2="{high}" y2="{middle}"/>'
    yield f'<text x="{_WIDTH - _FIGURES + 12}" y="{middle + 4.5}">{bar.spread.median:,.3g}</text>'


def _mark(plot: Plot, height: int, top: float) -> Iterator[str]:
    if plot.mark is not None:
        x = _at(plot.mark, top)
        yield f'<line class="mark" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - 26}"/>'


def _at(value: float, top: float) -> float:
    return round(_LABELS + _FIELD * value / top, 1)
