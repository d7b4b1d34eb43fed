"""Untrusted text in mails, on pages and in terminals: one table for the three outputs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octy_worker import sanitize

X55 = "x" * 55
TABLE = [  # text, in a mail, on a page, in a terminal; None: unchanged
    ("curl/8.5.0", None, None, None),
    ("python-requests/2.31.0", None, None, None),
    ("Mozilla/5.0 (X11; Linux x86_64)", None, None, None),
    ("+http://www.google.com/bot.html", "+hxxp[:]//www[.]google[.]com/bot[.]html", None, None),
    ("HTTPS://EVIL.EXAMPLE", "hxxpS[:]//EVIL[.]EXAMPLE", None, None),
    ("www.1and1", "www[.]1and1", None, None),
    ("eve@evil.example", "eve[at]evil[.]example", None, None),
    ("\\\\host\\share", "//host/share", None, None),
    ("a\r\nb\tc\u00a0d", "a b c d", "a��b�c�d", r"a\r\nb\tc\xa0d"),
    ("\x1b[1;31mred\x1b[0m", "red", "�red�", r"\x1b[1;31mred\x1b[0m"),
    ("\x1b]0;title\x07x", "x", "�x", r"\x1b]0;title\x07x"),
    ("\x1b", "", "�", r"\x1b"),
    ("a\u202eb", "a?b", "a�b", r"a\u202eb"),
    ("naïve", "na?ve", None, None),
    ("Zoë €", "Zo? ?", None, None),
    ("\ud800", "?", "�", r"\ud800"),
    ("", None, None, None),
    (X55 + "x" * 6, X55 + "xx...", X55 + "xxxx…", None),
    (X55 + ".evil", X55 + "...", None, None),
]


@pytest.mark.parametrize(("text", "mail", "page", "terminal"), TABLE)
def test_untrusted_text_is_sanitized_for_each_output(text, mail, page, terminal):
    assert sanitize.for_mail(text, 60) == (text if mail is None else mail)
    assert sanitize.for_page(text, 60) == (text if page is None else page)
    assert sanitize.for_terminal(text) == (text if terminal is None else terminal)


@settings(deadline=None)
@given(st.text(st.characters()), st.integers(4, 50))
def test_sanitized_text_is_printable_and_of_limited_length(text, limit):
    mail, page, terminal = sanitize.for_mail(text, limit), sanitize.for_page(text, limit), sanitize.for_terminal(text)
    assert mail.isprintable()
    assert mail.isascii()
    assert page.isprintable()
    assert terminal.isprintable()
    assert max(len(mail), len(page)) <= limit
    if text.isprintable() and len(text) <= limit:
        assert page == text


@pytest.mark.parametrize(
    ("name", "accepted"),
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
def test_name_for_mail_is_empty_for_more_than_a_name(name, accepted):
    assert sanitize.name_for_mail(name) == (name if accepted else "")


def test_name_for_mail_is_one_line():
    assert sanitize.name_for_mail(" Ada\r\n Lovelace ") == "Ada Lovelace"
