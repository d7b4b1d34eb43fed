"""Classifies SMTP errors: retry or permanent failure, with a code that contains no address."""

import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

INVALID_ADDRESS = "invalid-address"  # no server was asked
TEMPLATE = "template"  # the mail could not be rendered


class SmtpStatus(StrEnum):
    """How one attempt ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # permanent: this mail to this address
    DEFERRED = "deferred"  # to be retried


@dataclass(frozen=True, slots=True)
class SmtpResult:
    """The result of one attempt. `code`: of the error. `our_fault`: our settings cause it, not the recipient."""

    status: SmtpStatus
    code: str = ""
    our_fault: bool = False


class StartTlsMissingError(smtplib.SMTPNotSupportedError):
    """The server does not offer STARTTLS: an old relay, or an attacker who removes the offer."""


_NOT_LOGGED_IN = frozenset({530, 534, 535, 538})  # RFC 4954, 3207: the server wants a login or TLS first
_PERMANENT = range(500, 600)


def classify(error: Exception) -> SmtpResult:
    """Return the result for an exception of sending."""
    if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, TimeoutError):
        return _deferred("timeout")
    for kind, result_of in _TABLE:
        if isinstance(error, kind):
            return result_of(error)
    return _deferred(f"message-{type(error).__name__}", our_fault=True)


def _deferred(code: str, *, our_fault: bool = False) -> SmtpResult:
    return SmtpResult(SmtpStatus.DEFERRED, code, our_fault)


def _reply(stage: str, status: int) -> SmtpResult:
    """Return the result for a reply to MAIL, RCPT or DATA. `status` 0: the reply was not SMTP."""
    status = max(status, 0)
    if status in _NOT_LOGGED_IN:
        return _deferred(f"auth-{stage}-{status}", our_fault=True)
    return SmtpResult(SmtpStatus.REFUSED if status in _PERMANENT else SmtpStatus.DEFERRED, f"{stage}-{status}")


def _recipient_status(error: smtplib.SMTPRecipientsRefused) -> int:
    return next((status for status, _ in error.recipients.values()), 0)  # there is one: a message goes to one address


# The first matching line counts, so subclasses come before their base classes. Only a refusal of this mail (MAIL, RCPT
# or DATA with 5xx) is permanent. Errors of the connection or of our log-in can be corrected and must not lose mail.
# `server` is about greeting, EHLO and STARTTLS; status 0 is a reply that is not SMTP.
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
    (UnicodeError, lambda _: _deferred("characters", our_fault=True)),  # of the password or the mail
)
