"""What is shown: strangers' text made harmless, times and amounts that read well, colours that can be read."""

import re
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_rig import World
from pages_rules import text_of

from octy_worker.formatting import amount, span
from octy_worker.pages.words import plain

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "curl\r\nSet-Cookie: a=b",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.test\x07link\x1b]8;;\x07",
    "abc\u202eexe.fdp\u2066x\u2069",
    "zero\u200bwidth\ufeff\u00ad",
    "nul\x00 del\x7f c1\x9b31m",
    "line\u2028para\u2029nbsp\u00a0tag\U000e0041",
    "x" * 200,
]


ACTIVE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@pytest.mark.parametrize("user_agent", HOSTILE)
def test_strangers_text_is_shown_as_harmless_text(tmp_path, user_agent):
    world = World(tmp_path)  # what such a text looks like has nothing to do with the store
    incident_id = world.case(sources=((user_agent[:64], 20, user_agent),))
    page = world.browser().get(world.alert_path(incident_id)).text  # the browser has judged the HTML already
    assert ACTIVE.search(page) is None
    assert "<script" not in page
    assert "<img" not in page
    assert "\nSet-Cookie" not in page
    assert "49" not in text_of(page).partition("Where the attempts came from")[2].partition("Case number")[0]
    assert "x" * 121 not in page
    world.close()


def test_every_printed_text_is_made_harmless_not_only_the_expected_ones(tmp_path):
    world = World(tmp_path)
    incident_id = world.case(rule="source", network="192.0.2.0\x1b[2J\u202e/24")
    page = world.browser(product_name="Oc\u2066ty\x07").get(world.alert_path(incident_id)).text
    assert ACTIVE.search(page) is None
    assert "from one network (192.0.2.0��/24)" in page
    assert "Oc�ty�" in page
    world.close()


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme):
    style = (files("octy_worker.pages") / "templates" / "pages.css").read_text("utf-8")
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark.partition("*,")[0]))
    on = {"back": "text soft blue blue-deep", "card": "text soft blue blue-deep", "code": "text"}
    on |= {"on-blue": "blue blue-deep", "on-red": "red red-deep", "warn-back": "warn-text"}
    on |= {"wait-back": "wait-text", "done-back": "done-text", "quiet-back": "quiet-text"}
    for back, texts in on.items():
        for text in texts.split():
            dim, bright = sorted((luminance(colours[back]), luminance(colours[text])))
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (scheme, back, text)


@settings(deadline=None)
@given(st.text(st.characters()), st.integers(2, 50))
def test_plain_text_is_one_printable_line_of_bounded_length(text, limit):
    shown = plain(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "�red�"),
        ("\x1b]0;title\x07x", "�x"),
        ("a\u202eb", "a�b"),
        ("a\r\nb", "a��b"),
        ("\ud800", "�"),
        ("Zoë €", "Zoë €"),
    ],
)
def test_plain_text_marks_what_it_took_out(text, shown):
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86_400, "24 hours"),
        (172_800, "48 hours"),
        (604_800, "7 days"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (1, "1 second"),
        (0.4, "0 seconds"),
        (90_061, "90,061 seconds"),
    ],
)
def test_lengths_of_time_read_well(seconds, words):
    assert span(seconds) == words


def test_amounts_read_well():
    assert [amount(count, "attempt") for count in (0, 1, 12_000)] == ["0 attempts", "1 attempt", "12,000 attempts"]
