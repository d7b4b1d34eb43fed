"""The way out: one message to one address over verified TLS, and what every ending of that means.

Here: the connection. Not here: when a mail is due, rows, what it says, the message's form (`composing`), what a fault
means (`faults`).

The mail library's own connection verifies no certificate, opens two connections for implicit TLS, and sends again
when a server dies in DATA. The classes here put that right and leave the rest to it. No fault's text leaves this
room, because servers repeat addresses in theirs: what leaves is a code.
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

from octy_middleware.errors import ConfigurationError
from octy_worker.mail.message_builder import MessageBuilder, OutgoingMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus, StartTlsMissingError, classify
from octy_worker.settings import WorkerSettings

_STEPS = 2  # so many times the time-out of one step is what the whole conversation may last


class Mailer(Protocol):
    """Sends mail."""

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        """Send it once, and tell how that ended. Faults of delivery are values."""
        ...


class SmtpMailer:
    """Sends through the relay of the settings, one connection a message. Raises ConfigurationError when built."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._composer = MessageBuilder(settings)
        self._context = _tls_context(settings.smtp_ca_file)

    def send(self, envelope: OutgoingMail) -> SmtpResult:
        """Send it once; thread-safe."""
        backend = self._backend()
        try:
            response = self._composer.compose(envelope).send(smtp=backend)
        except (OSError, ValueError, DKIMException) as error:
            # smtplib's errors are OSErrors; a message that can't be built or signed raises the others
            return classify(error)
        finally:
            with suppress(OSError):  # the message is accepted or not by now; a failing goodbye changes nothing
                backend.close()
        return SmtpResult(SmtpStatus.ACCEPTED) if response.success else SmtpResult(SmtpStatus.DEFERRED, "unfinished")

    def _backend(self) -> "_VerifiedBackend":
        settings = self._settings
        login = {"user": settings.smtp_user, "password": settings.smtp_password.get_secret_value()}
        return _VerifiedBackend(
            self._context,
            ssl=settings.smtp_security == "tls",
            tls=settings.smtp_security == "starttls",
            fail_silently=False,  # raise the fault itself, not a copy without its type
            host=settings.smtp_host,
            port=settings.smtp_port,
            local_hostname=None,  # smtplib then finds a name that strict servers take
            timeout=settings.smtp_timeout,
            **(login if settings.smtp_user else {}),
        )


def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Trust the system's authorities and those of the file; check the host's name; TLS 1.2 at least."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(f"smtp_ca_file (OCTY_SMTP_CA_FILE): {ca_file!r} can't be used: {reason}") from None
    return context


class _Hurried(SMTP):
    """Ends a conversation that lasts too long, however soon each answer comes.

    The activity's own time would run out, and the next try begin while this one may still be leaving.
    """

    parent: "_VerifiedBackend"

    def getreply(self) -> tuple[int, bytes]:
        left = self.parent.until - time.monotonic()
        if left <= 0:
            self.close()
            raise TimeoutError
        if self.sock is not None:
            self.sock.settimeout(min(self.timeout, left))
        return super().getreply()


class _StartTlsClient(_Hurried, SMTPClientWithResponse):
    """Upgrades to verified TLS before anything else is said; refuses a server that doesn't offer it."""

    def starttls(self, *_: Any, **__: Any) -> tuple[int, bytes]:
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise StartTlsMissingError
        return super().starttls(context=self.parent.context)


class _TlsClient(_Hurried, SMTPClientWithResponse_SSL):
    """Speaks TLS from the first byte. `SMTP_SSL` dials with its `context`; the library's own set-up dials twice."""

    def __init__(self, **kwargs: Any) -> None:
        self.context = kwargs["parent"].context
        SMTPClientWithResponse.__init__(self, **kwargs)  # type: ignore[no-untyped-call]


class _VerifiedBackend(SMTPBackend):
    """The library's connection with verified TLS, and with no second send of its own."""

    connection_cls = _StartTlsClient
    connection_ssl_cls = _TlsClient

    def __init__(self, context: ssl.SSLContext, **kwargs: Any) -> None:
        self.context = context
        self.until = time.monotonic() + _STEPS * kwargs["timeout"]
        super().__init__(**kwargs)

    def retry_on_disconnect(self, func: Callable[..., SMTPResponse | None]) -> Callable[..., SMTPResponse | None]:
        """Don't: the activity retries, and leaves a trace when it does."""
        return func
