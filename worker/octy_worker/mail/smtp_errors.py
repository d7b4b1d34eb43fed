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


class SmtpStatus(StrEnum):
    """How one send ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # this message to this address will never go
    DEFERRED = "deferred"  # it may go later


@dataclass(frozen=True, slots=True)
class SmtpResult:
    """The ending of one send. `code` names the fault; `our_fault` tells that our set-up is to blame, not the recipient."""

    status: SmtpStatus
    code: str = ""
    our_fault: bool = False


class StartTlsMissingError(smtplib.SMTPNotSupportedError):
    """The server offers no STARTTLS: an old relay, or somebody in between who took the offer out."""


_NOT_LOGGED_IN = frozenset({530, 534, 535, 538})  # RFC 4954, 3207: the server wants a login or TLS first
_PERMANENT = range(500, 600)


def classify(error: Exception) -> SmtpResult:
    """Return what a fault of sending means."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, TimeoutError):
        return _deferred("timeout")
    for kind, meaning in _TABLE:
        if isinstance(error, kind):
            return meaning(error)
    return _deferred(f"message-{type(error).__name__}", our_fault=True)


def _deferred(code: str, *, our_fault: bool = False) -> SmtpResult:
    return SmtpResult(SmtpStatus.DEFERRED, code, our_fault)


def _reply(stage: str, status: int) -> SmtpResult:
    """The server's answer about this message; 0: it was none."""
    status = max(status, 0)
    if status in _NOT_LOGGED_IN:
        return _deferred(f"auth-{stage}-{status}", our_fault=True)
    return SmtpResult(SmtpStatus.REFUSED if status in _PERMANENT else SmtpStatus.DEFERRED, f"{stage}-{status}")


def _recipient_status(error: smtplib.SMTPRecipientsRefused) -> int:
    return next((status for status, _ in error.recipients.values()), 0)  # there is one: a message goes to one address


# The first fitting line counts: narrow types stand before wide ones. Only a refusal of this very message (MAIL, RCPT or
# DATA with 5xx) is final. Whatever is wrong with the connection or our login can be mended, and must not lose mail.
# `server` is about its greeting, EHLO and STARTTLS; 0 stands for an answer that is no SMTP.
_TABLE: tuple[tuple[type[Exception], Callable[[Any], SmtpResult]], ...] = (
    (smtplib.SMTPAuthenticationError, lambda error: _deferred(f"auth-{error.smtp_code}", our_fault=True)),
    (smtplib.SMTPSenderRefused, lambda error: _reply("mail", error.smtp_code)),
    (smtplib.SMTPRecipientsRefused, lambda error: _reply("rcpt", _recipient_status(error))),
    (smtplib.SMTPDataError, lambda error: _reply("data", error.smtp_code)),
    (smtplib.SMTPResponseException, lambda error: _deferred(f"server-{max(error.smtp_code, 0)}", our_fault=True)),
    (smtplib.SMTPServerDisconnected, lambda _: _deferred("disconnected")),
    (StartTlsMissingError, lambda _: _deferred("tls-not-offered", our_fault=True)),
    (smtplib.SMTPNotSupportedError, lambda _: _deferred("auth-not-offered", our_fault=True)),
    (smtplib.SMTPException, lambda _: _deferred("auth-no-method", our_fault=True)),
    (ssl.SSLCertVerificationError, lambda _: _deferred("tls-certificate", our_fault=True)),
    (ssl.SSLError, lambda _: _deferred("tls", our_fault=True)),
    (socket.gaierror, lambda _: _deferred("dns", our_fault=True)),
    (TimeoutError, lambda _: _deferred("timeout")),
    (ConnectionError, lambda _: _deferred("connection")),
    (OSError, lambda _: _deferred("network")),
    (UnicodeError, lambda _: _deferred("characters", our_fault=True)),  # of the password, or of a letter
)
