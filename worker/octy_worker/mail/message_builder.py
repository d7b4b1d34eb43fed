"""A message in the form that travels: headers, both bodies, and the signature when one is configured.

Here: what stands in every mail beside its letter. Not here: the letter, the way out (`mailer`).
"""

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
    """One message to one address. The same `message_id` twice is the same message to whoever gets both."""

    message_id: str
    at: float
    recipient: str = field(repr=False)
    rendered: RenderedMail = field(repr=False)


class MessageBuilder:
    """Makes messages. Raises ConfigurationError when built with a sender or a signature that is none."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._sender = Sender.parse(settings.mail_from)
        self._signing = DkimSigner.of(settings)

    def compose(self, envelope: OutgoingMail) -> Message:
        """Return the message; it is signed when it is made into bytes."""
        readable = Charset("utf-8")
        readable.body_encoding = QP  # the library's base64 costs points with spam filters
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
