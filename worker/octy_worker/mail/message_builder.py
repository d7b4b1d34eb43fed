"""Builds the MIME message of a mail: headers, text and HTML parts, and the DKIM signature when one is configured."""

from dataclasses import dataclass, field
from email.charset import QP, Charset
from email.utils import format_datetime

from emails.message import Message

from octy_middleware.clock import utc
from octy_worker.mail.addresses import Sender
from octy_worker.mail.dkim_signing import DkimSigner
from octy_worker.mail.renderer import RenderedMail
from octy_worker.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """One mail to one address. Mails with the same `message_id` are duplicates of each other."""

    message_id: str
    at: float
    recipient: str = field(repr=False)
    rendered: RenderedMail = field(repr=False)


class MessageBuilder:
    """Builds messages. The constructor raises ConfigurationError for an invalid sender or DKIM key."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._sender = Sender.parse(settings.mail_from)
        self._signing = DkimSigner.from_settings(settings)

    def compose(self, envelope: OutgoingMail) -> Message:
        """Return the message. It is signed when it is converted to bytes."""
        readable = Charset("utf-8")
        readable.body_encoding = QP  # spam filters rate base64, the library's default, as suspicious
        message = Message(
            charset=readable,  # type: ignore[arg-type]  # it passes the value on to email.mime, which takes a Charset
            subject=envelope.rendered.subject,
            text=envelope.rendered.text,
            html=envelope.rendered.html,
            mail_from=(self._sender.name, self._sender.address),
            mail_to=(None, envelope.recipient),
            message_id=envelope.message_id,
            date=format_datetime(utc(envelope.at)),
            headers={
                "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office answers
                "X-Auto-Response-Suppress": "All",
            },
        )
        if self._signing is not None:
            self._signing.sign(message)
        return message
