"""Sends one mail to one address over verified TLS.

The mail library's own connection verifies no certificate, opens two connections for implicit TLS, and sends again when
a server closes the connection in DATA. The classes here correct this. Texts of errors are not passed on, because
servers repeat addresses in them; the result has a code.
"""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from smtplib import SMTP
from typing import Any, Protocol

from dkim import DKIMException
from emails.backend.response import SMTPResponse
from emails.backend.smtp.backend import SMTPBackend
from emails.backend.smtp.client import SMTPClientWithResponse, SMTPClientWithResponse_SSL

from octy_worker.mail.message_builder import MessageBuilder, OutgoingMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus, StartTlsMissingError, classify
from octy_worker.settings import WorkerSettings
from octy_worker.tls import client_context

_TIMEOUT_FACTOR = 2  # the whole conversation may take this many times `smtp_timeout`


class Mailer(Protocol):
    """Sends mail."""

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        """Send it once and return the result. Delivery errors are results, not exceptions."""
        ...


class SmtpMailer:
    """Sends through the relay of the settings, one connection per mail. The constructor raises ConfigurationError."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._composer = MessageBuilder(settings)
        self._context = client_context(settings.smtp_ca_file, setting="smtp_ca_file (OCTY_SMTP_CA_FILE)")

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        """Send it once; thread-safe."""
        backend = self._backend()
        try:
            response = self._composer.compose(envelope).send(smtp=backend)
        except (OSError, ValueError, DKIMException) as error:
            # smtplib's errors are OSErrors; a message that can't be built or signed raises the others
            return classify(error)
        finally:
            with suppress(OSError):  # the result is known by now
                backend.close()
        return SmtpResult(SmtpStatus.ACCEPTED) if response.success else SmtpResult(SmtpStatus.DEFERRED, "unfinished")

    def _backend(self) -> "_VerifiedBackend":
        settings = self._settings
        login = {"user": settings.smtp_user, "password": settings.smtp_password.get_secret_value()}
        return _VerifiedBackend(
            self._context,
            ssl=settings.smtp_security == "tls",
            tls=settings.smtp_security == "starttls",
            fail_silently=False,  # raise the original exception with its type
            host=settings.smtp_host,
            port=settings.smtp_port,
            local_hostname=None,  # smtplib then finds a name that strict servers accept
            timeout=settings.smtp_timeout,
            **(login if settings.smtp_user else {}),
        )


class _DeadlineSmtp(SMTP):
    """Ends a conversation at a deadline, even when each reply comes in time: after it each reply may take 1 ms only.

    Otherwise the activity would time out and the next attempt start while this one may still succeed.
    """

    parent: "_VerifiedBackend"

    def getreply(self) -> tuple[int, bytes]:
        remaining = max(0.001, self.parent.deadline - time.monotonic())  # 0 seconds would be no timeout at all
        assert self.sock is not None  # a command was sent
        self.sock.settimeout(min(self.timeout, remaining))
        return super().getreply()


class _StartTlsClient(_DeadlineSmtp, SMTPClientWithResponse):
    """Upgrades to verified TLS before any other command; raises when the server does not offer it."""

    def starttls(self, *_: Any, **__: Any) -> tuple[int, bytes]:
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise StartTlsMissingError
        return super().starttls(context=self.parent.context)


class _TlsClient(_DeadlineSmtp, SMTPClientWithResponse_SSL):
    """Uses implicit TLS with `context`. The library's own constructor connects twice."""

    def __init__(self, **kwargs: Any) -> None:
        self.context = kwargs["parent"].context
        SMTPClientWithResponse.__init__(self, **kwargs)  # type: ignore[no-untyped-call]


class _VerifiedBackend(SMTPBackend):
    """The library's connection with verified TLS and without its own retries."""

    connection_cls = _StartTlsClient
    connection_ssl_cls = _TlsClient

    def __init__(self, context: ssl.SSLContext, **kwargs: Any) -> None:
        self.context = context
        self.deadline = time.monotonic() + _TIMEOUT_FACTOR * kwargs["timeout"]
        super().__init__(**kwargs)

    def retry_on_disconnect(self, func: Callable[..., SMTPResponse | None]) -> Callable[..., SMTPResponse | None]:
        """Return `func` unchanged: the activity retries."""
        return func
