"""The mails of the sink: stored as one .eml file each, and parsed.

Writer and readers share only the folder, so they can be different processes.
"""

import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage
from html import unescape
from pathlib import Path

_MESSAGE_ID = re.compile(r"<([0-9a-f-]{36})\.([a-z_]+)\.[0-9]+[^@]*@[^>]*>")  # the key of our mails, see `Mail`
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}\.eml")
_NAME_TIME = "%Y%m%dT%H%M%S.%f"
_LINK = re.compile(r"""https?://[^\s<>"'\\^`{|}]+""")
_ANCHOR = re.compile(r"""<a\s[^>]*?href\s*=\s*["']?(https?://[^\s<>"'\\^`{|}]+)""", re.IGNORECASE)
_SENTENCE_END = ".,;:!?)]"
_POLL_INTERVAL = 0.02  # seconds
_UNPARSABLE = (MessageError, LookupError, ValueError, TypeError, AttributeError)  # raised for malformed mail


@dataclass(frozen=True)
class ReceivedMail:
    """One mail for one recipient. Its content is untrusted text."""

    path: Path
    to: str
    subject: str
    message_id: str
    text: str
    html: str
    received_at: datetime
    links: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of one of our mails (`alert`, `new_keys`, …), as its Message-ID names it; else empty."""
        ours = _MESSAGE_ID.fullmatch(self.message_id)
        return ours[2] if ours else ""

    @property
    def subject_id(self) -> str:
        """The id of the incident or regeneration that one of our mails is about; else empty."""
        ours = _MESSAGE_ID.fullmatch(self.message_id)
        return ours[1] if ours else ""


def store_mail(folder: Path, sender: str, recipient: str, content: bytes, now: datetime) -> Path:
    """Write the mail for one recipient; it is on disk when this returns."""
    name = f"{now.astimezone(UTC).strftime(_NAME_TIME)}Z-{secrets.token_hex(4)}.eml"
    unfinished, finished = folder / f"{name}.part", folder / name
    envelope = f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n".encode("utf-8", "replace")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(envelope + content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(finished)
    entries = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entries)
    finally:
        os.close(entries)
    return finished


def read_mail(path: Path) -> ReceivedMail:
    """Parse one stored mail. Raises ValueError for the name of another file, OSError without a file."""
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    text, html = _body(message, "plain"), _body(message, "html")
    return ReceivedMail(
        path=path,
        to=_header(message, "Delivered-To"),
        subject=_header(message, "Subject"),
        message_id=_header(message, "Message-ID"),
        text=text,
        html=html,
        received_at=datetime.strptime(path.name.partition("Z-")[0], _NAME_TIME).replace(tzinfo=UTC),
        links=find_links(text, html),
    )


class Inbox:
    """Reads the folder. Each file is parsed once, because stored mails never change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, ReceivedMail] = {}

    def messages(self) -> tuple[ReceivedMail, ...]:
        """Return all mails, oldest first."""
        names = sorted(path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name))
        self._known = {name: self._known.get(name) or read_mail(self.folder / name) for name in names}
        return tuple(self._known.values())

    def find(self, name: str) -> ReceivedMail | None:
        """Return the mail with this file name, or None. The name may be untrusted."""
        with suppress(OSError, ValueError):
            return read_mail(self.folder / name) if _NAME.fullmatch(name) else None
        return None

    def wait_for(self, predicate: Callable[[ReceivedMail], bool], timeout: float) -> ReceivedMail:
        """Return the first matching mail within `timeout` seconds. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            found = next(filter(predicate, self.messages()), None)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"no matching mail within {timeout:g} s; the inbox has {len(self._known)} mails")
            time.sleep(_POLL_INTERVAL)


def find_links(text: str, html: str) -> tuple[str, ...]:
    """Return the URLs in the text and the links of the HTML, each once, in order."""
    written = (link.rstrip(_SENTENCE_END) for link in _LINK.findall(text))
    anchored = (unescape(link) for link in _ANCHOR.findall(html))
    return tuple(dict.fromkeys([*written, *anchored]))


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = str(message.get(name, ""))
    except _UNPARSABLE:
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        value = str(raw)
    return " ".join(value.encode("utf-8", "replace").decode().split())


def _body(message: EmailMessage, kind: str) -> str:
    try:
        part = message.get_body((kind,))
        content = "" if part is None else part.get_content()
    except _UNPARSABLE:
        content = _undecoded(message, kind)
    return str(content).encode("utf-8", "replace").decode()


def _undecoded(message: EmailMessage, kind: str) -> str:
    """Return the part decoded as UTF-8, for a wrong or unknown charset."""
    parts = (part.get_payload(decode=True) for part in message.walk() if part.get_content_type() == f"text/{kind}")
    return next((content.decode("utf-8", "replace") for content in parts if isinstance(content, bytes)), "")
