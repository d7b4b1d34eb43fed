"""Previews of every kind of mail, rendered with sample facts."""

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from octy_worker.mail.addresses import Sender
from octy_worker.mail.environment import host_folders
from octy_worker.mail.message_builder import MessageBuilder, OutgoingMail
from octy_worker.mail.renderer import PARTS, MailRenderer, RenderedMail
from octy_worker.mail.samples import samples
from octy_worker.mail.template_check import check_templates
from octy_worker.mail.translation import FILE_NAME
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind

SENT_WHEN = {
    MailKind.ALERT: "twenty wrong secrets in a row (OCTY_THRESHOLD)",
    MailKind.REMINDER: "the alert has no answer yet",
    MailKind.NEW_KEYS: "a new key pair is ready to collect",
    MailKind.NEW_KEYS_INSIDE: "a new key pair, both keys in the mail (OCTY_DELIVER=mail)",
    MailKind.STILL_USED: "the old key pair stops soon and is still in use",
    MailKind.KEYS_RETIRED: "the old key pair has stopped working",
    MailKind.EXPOSED: "a key pair was sent over plain HTTP",
    MailKind.CONTACT_CHANGED: "the contact address was changed; sent to the security address",
    MailKind.NEW_CONTACT: "the contact address was changed; sent to the new address",
    MailKind.WEBHOOK_CHANGED: "the webhook URL was changed",
    MailKind.ACCOUNT_NOTICE: "sent with another mail, to the account's other addresses of the last 14 days",
    MailKind.KEYS_ADDED: "an import added key pairs to an existing account",
}
_SHARED = ("page.html", "parts.html", "parts.txt", FILE_NAME)


@dataclass(frozen=True, slots=True)
class Preview:
    """The sample of one kind. `custom_templates`: files of the host that are used for this kind."""

    kind: MailKind
    sent_when: str
    rendered: RenderedMail
    custom_templates: tuple[str, ...]


class PreviewRenderer:
    """Renders previews. The constructor raises ConfigurationError for invalid settings or templates."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._renderer = MailRenderer(settings)
        check_templates(self._renderer, settings.public_url)
        self._composer = MessageBuilder(settings)
        self._site = settings.public_url
        self._domain = Sender.parse(settings.mail_from).domain
        self._folders = host_folders(settings)

    def preview(self, kind: MailKind) -> Preview:
        """Return the preview of a kind."""
        rendered = self._renderer.render(samples(kind, self._site)[0])
        return Preview(kind, SENT_WHEN[kind], rendered, self._existing(*(f"{kind}/{part}" for part in PARTS)))

    def shared(self) -> tuple[str, ...]:
        """Return the files of the host that several kinds use."""
        return self._existing(*_SHARED)

    def _existing(self, *names: str) -> tuple[str, ...]:
        found = [next(filter(Path.is_file, (folder / name for folder in self._folders)), None) for name in names]
        return tuple(str(path) for path in found if path is not None)

    def envelope(self, kind: MailKind, recipient: str, at: float, *, mark: str = "") -> OutgoingMail:
        """Return a sample that can be sent; `mark` is a prefix of its subject."""
        rendered = self.preview(kind).rendered
        marked = RenderedMail(mark + rendered.subject, rendered.text, rendered.html)
        return OutgoingMail(f"<sample.{kind}.{uuid4()}@{self._domain}>", at, recipient, marked)

    def message(self, kind: MailKind, recipient: str, at: float) -> bytes:
        """Return a sample as a MIME message."""
        return self._composer.compose(self.envelope(kind, recipient, at)).as_bytes()
