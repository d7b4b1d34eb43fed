"""Histograms: bins of round widths that lose no counts, drawn in block characters, in ASCII and as bars."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.clock import utc
from octy_worker.domain.histogram import BINS, bars, columns, plot_of

START = 1_770_000_000  # 2026-02-02 02:40:00 UTC
DAY = 86_400
PLACES = st.integers(0, 40 * DAY)


def spread(seconds, number=20):
    return plot_of((START + seconds * n / (number - 1), 1) for n in range(number))


@pytest.mark.parametrize(
    ("seconds", "width", "first", "end"),
    [
        (0, 1, "02:40:00", "02:40:01"),
        (19, 1, "02:40:00", "02:40:20"),
        (40, 2, "02:40:00", "02:40:42"),
        (240, 15, "02:40:00", "02:44:15"),
        (1_300, 60, "02:40", "03:02"),
        (3 * 3_600, 600, "02:40", "05:50"),
        (23 * 3_600, 3_600, "02-02 02:00", "02-03 02:00"),
        (13 * DAY, DAY, "2026-02-02", "2026-02-16"),
        (100 * DAY, 8 * DAY, "2026-01-27", "2026-05-19"),
    ],
)
def test_histogram_bins_have_round_widths_and_short_labels(seconds, width, first, end):
    plot = spread(seconds)
    assert plot.seconds == width
    assert plot.label(plot.bins[0].at) == first
    assert plot.label(plot.end) == end


@given(st.lists(st.tuples(PLACES, st.integers(0, 10**6)), min_size=1, max_size=60), st.sampled_from([1, 60, 3_600]))
def test_histogram_keeps_all_counts_in_few_aligned_bins_without_gaps(counts, finest):
    plot = plot_of(((START + at, number) for at, number in counts), finest=finest)
    if plot is None:
        assert not any(number for _, number in counts)
        return
    assert sum(each.count for each in plot.bins) == sum(number for _, number in counts)
    assert len(plot.bins) <= BINS
    assert plot.seconds % finest == 0
    assert {int(each.at.timestamp()) % plot.seconds for each in plot.bins} == {0}
    steps = {later.at - earlier.at for earlier, later in zip(plot.bins, plot.bins[1:], strict=False)}
    assert steps <= {timedelta(seconds=plot.seconds)}
    assert plot.bins[0].count
    assert plot.bins[-1].count
    assert sum(int(line.split()[-2 if line.endswith("#") else -1].replace(",", "")) for line in bars(plot)) == sum(
        each.count for each in plot.bins
    )
    assert len(bars(plot)) <= 12
    assert all(len(line) <= 64 for line in bars(plot))
    assert all(len(line) <= 72 for line in columns(plot))


def test_empty_histogram_is_none():
    assert plot_of([]) is None
    assert plot_of([(START, 0)]) is None


def test_histogram_bar_of_any_count_differs_from_zero():
    plot = plot_of([(START, 1), (START + 2, 10_000)])
    assert [plot.size(each, 10) for each in plot.bins] == [1, 0, 10]
    assert plot.highest.at == utc(START + 2)


SHAPE = plot_of([(START + 60 * n, count) for n, count in enumerate([1, 4, 12, 6, 0, 3, 0, 8])], finest=60)


def test_histogram_columns_in_block_characters():
    assert columns(SHAPE, height=3) == [
        "12 │    ██",
        "   │    ██▄▄      ██",
        "   │▂▂██████  ▆▆  ██",
        " 0 └────────────────",
        "    02:40      02:48",
    ]


def test_histogram_columns_in_ascii():
    drawn = columns(SHAPE, height=3, ascii_only=True)
    assert "\n".join(drawn).isascii()
    assert drawn[-2:] == [" 0 +----------------", "    02:40      02:48"]
    assert drawn[0] == "12 |    ##"


def test_histogram_bars_need_no_monospaced_font():
    assert bars(SHAPE, width=12) == [
        "02:40  1 #",
        "02:41  4 ####",
        "02:42 12 ############",
        "02:43  6 ######",
        "02:44  0",
        "02:45  3 ###",
        "02:46  0",
        "02:47  8 ########",
    ]


def test_histogram_of_few_bins_has_one_label_line():
    assert columns(spread(0))[-1] == "    02:40:00 to 02:40:01"
