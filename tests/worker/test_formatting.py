"""Numbers, times and sources as text, and wrapped paragraphs."""

from datetime import timedelta

import pytest

from octy_middleware.clock import utc
from octy_middleware.http.client_address import UNIX, UNKNOWN, network_of
from octy_middleware.http.event import OVERFLOW
from octy_worker.formatting import format_count, format_duration, format_source, format_time
from octy_worker.mail.phrasing import rate, wrap

START = 1_770_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (DAY, "24 hours"),
        (2 * DAY, "48 hours"),
        (3 * DAY, "3 days"),
        (5400, "90 minutes"),
        (61, "61 seconds"),
        (3600, "1 hour"),
        (1, "1 second"),
        (0.4, "0 seconds"),
        (90_061, "90,061 seconds"),
    ],
)
def test_format_duration(seconds, words):
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "seconds", "words"),
    [
        (20, 0, "all within one second"),
        (20, 2, "about 10 a second"),
        (20, 240, "about 5 a minute"),
        (20, 7200, "about 10 an hour"),
        (20, 10 * DAY, "about 2 a day"),
        (20, 100 * DAY, "less than one a day"),
    ],
)
def test_format_rate(count, seconds, words):
    assert rate(count, timedelta(seconds=seconds)) == words


def test_format_counts_and_times():
    assert (format_count(1, "attempt"), format_count(12_000, "attempt")) == ("1 attempt", "12,000 attempts")
    assert format_time(utc(START)) == "2026-02-02 02:40:00 UTC"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (OVERFLOW, "many other addresses"),
        (UNKNOWN, "an unknown address"),
        (UNIX, "a local connection"),
        ("192.0.2.1", "192.0.2.1"),
        (network_of("2001:db8::1"), "2001:db8::/64"),
        (network_of(""), "an unknown address"),
    ],
)
def test_format_sources(source, shown):
    assert format_source(source) == shown


def test_wrap_keeps_links_whole_and_lists_indented():
    url = "https://keys.octy.example/" + "x" * 90
    text = wrap(f"{'word ' * 30}\n\n\n\n{url}\n\n* {'item ' * 30}\n")
    assert url in text.splitlines()
    assert "\n\n\n" not in text
    assert [line[:2] for line in text.splitlines()[-2:]] == ["* ", "  "]
