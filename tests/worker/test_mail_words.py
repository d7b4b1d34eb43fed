"""Text from outside made harmless, and numbers and times in words."""

from datetime import timedelta

import pytest

from octy_middleware.clock import utc
from octy_middleware.http.client_address import UNIX, UNKNOWN, network_of
from octy_middleware.http.event import OVERFLOW
from octy_worker.formatting import amount, moment, origin, span
from octy_worker.mail.phrasing import pace, wrapped
from octy_worker.mail.sanitize import harmless, harmless_name

START = 1_770_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl/8.5.0", "curl/8.5.0"),
        ("python-requests/2.31.0", "python-requests/2.31.0"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("+http://www.google.com/bot.html", "+hxxp[:]//www[.]google[.]com/bot[.]html"),
        ("HTTPS://EVIL.EXAMPLE", "hxxpS[:]//EVIL[.]EXAMPLE"),
        ("www.1and1", "www[.]1and1"),
        ("eve@evil.example", "eve[at]evil[.]example"),
        ("\\\\host\\share", "//host/share"),
        ("a\r\nb\tc\u00a0d", "a b c d"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b", ""),
        ("a\u202eb", "a?b"),
        ("naïve", "na?ve"),
        ("", ""),
        ("x" * 61, "x" * 57 + "..."),
        ("x" * 55 + ".evil", "x" * 55 + "..."),
    ],
)
def test_harmless(text, shown):
    assert harmless(text, 60) == shown


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("Ada", True),
        ("Zoë O’Brien-Łukasz Jr.", True),
        ("王小明", True),
        ("अदिति", True),
        ("محمد", True),
        ("", True),
        ("Visit evil.example", False),
        ("https://evil.example", False),
        ("<b>Ada</b>", False),
        ("Ada\u202egnp", False),
        ("4u", False),
        ("Ada, your keys have leaked", False),
        ("Ada your keys have leaked", False),
        ("z\u0337\u0338\u0339\u033a", False),
        ("x" * 41, False),
        ("{{ ada }}", False),
    ],
)
def test_names_to_greet_with(name, taken):
    assert harmless_name(name) == (name if taken else "")


def test_a_name_keeps_one_line():
    assert harmless_name(" Ada\r\n Lovelace ") == "Ada Lovelace"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (DAY, "24 hours"),
        (2 * DAY, "48 hours"),
        (3 * DAY, "3 days"),
        (5400, "90 minutes"),
        (61, "61 seconds"),
        (3600, "1 hour"),
    ],
)
def test_spans(seconds, words):
    assert span(seconds) == words


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
def test_paces(count, seconds, words):
    assert pace(count, timedelta(seconds=seconds)) == words


def test_words_for_numbers_and_times():
    assert (amount(1, "attempt"), amount(12_000, "attempt")) == ("1 attempt", "12,000 attempts")
    assert moment(utc(START)) == "2026-02-02 02:40:00 UTC"


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
def test_words_for_where_requests_came_from(source, shown):
    assert origin(source) == shown


def test_wrapping_keeps_links_whole_and_lists_indented():
    url = "https://keys.octy.example/" + "x" * 90
    text = wrapped(f"{'word ' * 30}\n\n\n\n{url}\n\n* {'item ' * 30}\n")
    assert url in text.splitlines()
    assert "\n\n\n" not in text
    assert [line[:2] for line in text.splitlines()[-2:]] == ["* ", "  "]
