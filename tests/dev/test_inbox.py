"""The inbox: mails are durable, parsed whatever they contain, and shown harmlessly."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from octy_worker.dev import inbox as inbox_module
from octy_worker.dev.inbox import Inbox, find_links, read_mail, store_mail
from octy_worker.dev.inbox_page import inbox_page

CASE = "0192f0a0-1111-7222-8333-444455556666"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Browser:
    """Asks the page's app without a server."""

    def __init__(self, folder: Path) -> None:
        self.transport = httpx2.ASGITransport(inbox_page(Inbox(folder)))

    def get(self, address: str) -> httpx2.Response:
        async def ask() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=self.transport, base_url="http://127.0.0.1") as client:
                return await client.get(address)

        return asyncio.run(ask())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


def test_mail_is_synced_before_it_is_renamed(folder, monkeypatch):
    steps = []
    real_fsync, real_rename = os.fsync, Path.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: (steps.append(str(Path(f"/proc/self/fd/{fd}").readlink())), real_fsync(fd))
    )
    monkeypatch.setattr(Path, "rename", lambda self, to: (steps.append("rename"), real_rename(self, to))[1])
    path = store_mail(folder, "a@example.com", "b@example.com", b"Subject: x\r\n\r\n", NOW)
    assert steps == [f"{path}.part", "rename", str(folder)]


def test_complete_mails_are_returned_in_order(folder):
    for second in (2, 0, 1):
        content = f"Subject: {second}\r\n\r\n".encode()
        store_mail(folder, "a@example.com", "b@example.com", content, NOW + timedelta(seconds=second))
    (folder / "20260102T030405.000000Z-00000000.eml.part").write_bytes(b"Subject: half\r\n")
    (folder / "README").write_bytes(b"")
    mails = Inbox(folder).messages()
    assert [mail.subject for mail in mails] == ["0", "1", "2"]
    assert mails[0].received_at == NOW


def test_wait_for_returns_the_mail_or_raises_timeout_error(folder):
    inbox = Inbox(folder)
    with pytest.raises(TimeoutError, match=r"no matching mail within 0.05 s; the inbox has 0 mails"):
        inbox.wait_for(lambda _: True, 0.05)
    store_mail(folder, "a@example.com", "b@example.com", b"Subject: x\r\n\r\n", NOW)
    assert inbox.wait_for(lambda mail: mail.subject == "x", 0).to == "b@example.com"


@pytest.mark.parametrize(
    ("message_id", "kind", "subject_id"),
    [
        (f"<{CASE}.new_keys.2@octy.invalid>", "new_keys", CASE),
        (f"<{CASE}.alert.1.copy-2@octy.invalid>", "alert", CASE),
        ("<1@example.com>", "", ""),
        ("", "", ""),
    ],
)
def test_kind_of_a_mail_is_read_from_its_message_id(folder, message_id, kind, subject_id):
    mail = read_mail(
        store_mail(folder, "a@example.com", "b@example.com", f"Message-ID: {message_id}\r\n\r\n".encode(), NOW)
    )
    assert (mail.kind, mail.subject_id) == (kind, subject_id)


@pytest.mark.parametrize(
    ("text", "html", "links"),
    [
        ("", "", ()),
        (
            "See https://a.example/x?y=1&z=2. Or (http://b.example)",
            "",
            ("https://a.example/x?y=1&z=2", "http://b.example"),
        ),
        ("https://a.example/x", '<a href="https://a.example/x">', ("https://a.example/x",)),
        ("", '<a href="https://a.example/?b=1&amp;c=2">', ("https://a.example/?b=1&c=2",)),
        (
            "",
            '<p><A class=x HREF=https://a.example/x>a</a><img src="https://b.example/pixel">',
            ("https://a.example/x",),
        ),
        ("javascript:alert(1) file:///etc/passwd data:text/html,x", "", ()),
    ],
)
def test_links_of_a_mail_are_found(text, html, links):
    assert find_links(text, html) == links


HOSTILE = [
    b"",
    b"\x00\xff\xfe",
    b"Subject: =?utf-8?b?////?=\r\n\r\nx",
    b"Subject: =?unknown-8bit?q?=E9?=\r\nContent-Type: text/plain; charset=no-such\r\n\r\n\xe9",
    b"Content-Type: text/html; charset=utf-16\r\n\r\n<script>alert(1)</script>",
    b"Content-Type: multipart/alternative; boundary=\r\n\r\n--\r\n",
    b'Content-Type: text/plain; charset="\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!',
    b"Message-ID: <\r\nSubject: <script>alert(1)</script>\r\n\r\n</pre><script>alert(1)</script>",
    b'Subject: \x1b[31m\r\nTo: "><img src=x onerror=alert(1)>\r\n\r\n\xe2\x80\xae',
    b"Delivered-To: somebody-else@example.com\r\nSubject: x\r\n\r\n",
    b"Subject: \xff\xfe\r\n\r\n\xff\xfe",
    b"Content-Type: text/html\r\n\r\n<base href='https://evil.example/'><a href='javascript:alert(1)'>x</a>",
    b"Content-Type: text/html\r\n\r\n<meta http-equiv=refresh content='0;url=https://evil.example'>",
    b"Content-Type: text/html\r\n\r\n<form action='https://evil.example'><img src='https://evil.example/1'></form>",
]


@pytest.mark.parametrize("content", HOSTILE)
def test_hostile_mails_are_sanitized(folder, content):
    path = store_mail(folder, "a@example.com", "b@example.com", content, NOW)
    mail = read_mail(path)
    assert mail.to == "b@example.com"
    browser = Browser(folder)
    for address in ("/", f"/mail/{path.name}", f"/mail/{path.name}/source"):
        answer = browser.get(address)
        assert answer.status_code == 200
        assert "<script" not in answer.text or answer.headers["Content-Type"].startswith("text/plain")
        assert "<img" not in answer.text or answer.headers["Content-Type"].startswith("text/plain")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    frame = browser.get(f"/mail/{path.name}/html")
    assert frame.status_code == (200 if mail.html else 404)
    policy = frame.headers["Content-Security-Policy"]
    assert "allow-scripts" not in policy
    assert "https:" not in policy
    assert not mail.html or policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'")


@pytest.mark.parametrize(
    "name", ["nothing.eml", "..%2fkeep.eml", "20260102T030405.678901Z-00000000.eml", "%00", "a" * 500]
)
def test_unknown_mail_page_is_404(folder, name):
    (folder.parent / "keep.eml").write_bytes(b"Subject: outside\r\n\r\n")
    browser = Browser(folder)
    for address in (f"/mail/{name}", f"/mail/{name}/html", f"/mail/{name}/source"):
        assert browser.get(address).status_code == 404


def test_empty_inbox_page_says_so(folder):
    page = Browser(folder).get("/")
    assert "No mail yet" in page.text
    assert 'http-equiv="refresh"' in page.text


def test_each_file_is_parsed_once(folder, monkeypatch):
    inbox = Inbox(folder)
    store_mail(folder, "a@example.com", "b@example.com", b"Subject: x\r\n\r\n", NOW)
    assert len(inbox.messages()) == 1
    monkeypatch.setattr(inbox_module, "read_mail", lambda path: pytest.fail(f"{path} was read again"))
    assert len(inbox.messages()) == 1
