"""PURE. What every way to fail at sending means: try again, or never.

Here: the one table of faults, as codes without addresses. Not here: sending, and what follows from it.
"""

import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

INVALID_ADDRESS = "invalid-address"  # no server need be asked
TEMPLATE = "template"  # the letter could not be written


class Verdict(StrEnum):
    """How one send ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # this message to this address will never go
    DEFERRED = "deferred"  # it may go later


@dataclass(frozen=True, slots=True)
class Delivery:
    """The ending of one send. `code` names the fault; `ours` tells that our set-up is to blame, not the recipient."""

    verdict: Verdict
    code: str = ""
    ours: bool = False


class StartTlsMissingError(smtplib.SMTPNotSupportedError):
    """The server offers no STARTTLS: an old relay, or somebody in between who took the offer out."""


_NOT_LOGGED_IN = frozenset({530, 534, 535, 538})  # RFC 4954, 3207: the server wants a login or TLS first
_PERMANENT = range(500, 600)


def classify(error: Exception) -> Delivery:
    """Return what a fault of sending means."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, TimeoutError):
        return _later("timeout")
    for kind, meaning in _TABLE:
        if isinstance(error, kind):
            return meaning(error)
    return _later(f"message-{type(error).__name__}", ours=True)


def _later(code: str, *, ours: bool = False) -> Delivery:
    return Delivery(Verdict.DEFERRED, code, ours)


def _reply(stage: str, status: int) -> Delivery:
    """The server's answer about this message; 0: it was none."""
    status = max(status, 0)
    if status in _NOT_LOGGED_IN:
        return _later(f"auth-{stage}-{status}", ours=True)
    return Delivery(Verdict.REFUSED if status in _PERMANENT else Verdict.DEFERRED, f"{stage}-{status}")


def _recipient_status(error: smtplib.SMTPRecipientsRefused) -> int:
    return next((status for status, _ in error.recipients.values()), 0)  # there is one: a message goes to one address


# The first fitting line counts: narrow types stand before wide ones. Only a refusal of this very message (MAIL, RCPT or
# DATA with 5xx) is final. Whatever is wrong with the connection or our login can be mended, and must not lose mail.
# `server` is about its greeting, EHLO and STARTTLS; 0 stands for an answer that is no SMTP.
_TABLE: tuple[tuple[type[Exception], Callable[[Any], Delivery]], ...] = (
    (smtplib.SMTPAuthenticationError, lambda error: _later(f"auth-{error.smtp_code}", ours=True)),
    (smtplib.SMTPSenderRefused, lambda error: _reply("mail", error.smtp_code)),
    (smtplib.SMTPRecipientsRefused, lambda error: _reply("rcpt", _recipient_status(error))),
    (smtplib.SMTPDataError, lambda error: _reply("data", error.smtp_code)),
    (smtplib.SMTPResponseException, lambda error: _later(f"server-{max(error.smtp_code, 0)}", ours=True)),
    (smtplib.SMTPServerDisconnected, lambda _: _later("disconnected")),
    (StartTlsMissingError, lambda _: _later("tls-not-offered", ours=True)),
    (smtplib.SMTPNotSupportedError, lambda _: _later("auth-not-offered", ours=True)),
    (smtplib.SMTPException, lambda _: _later("auth-no-method", ours=True)),
    (ssl.SSLCertVerificationError, lambda _: _later("tls-certificate", ours=True)),
    (ssl.SSLError, lambda _: _later("tls", ours=True)),
    (socket.gaierror, lambda _: _later("dns", ours=True)),
    (TimeoutError, lambda _: _later("timeout")),
    (ConnectionError, lambda _: _later("connection")),
    (OSError, lambda _: _later("network")),
    (UnicodeError, lambda _: _later("characters", ours=True)),  # of the password, or of a letter
)
