"""Previews: every kind of mail as a customer would get it, with facts that don't exist.

Here: samples rendered and composed. Not here: samples, sending, files and terminals (`cli.mail`).
"""

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
    MailKind.ALERT: "so many wrong secrets in a row",
    MailKind.REMINDER: "nobody has answered the alert yet",
    MailKind.NEW_KEYS: "a new pair waits to be collected",
    MailKind.NEW_KEYS_INSIDE: "a new pair, both keys in the mail (OCTY_DELIVER=mail)",
    MailKind.STILL_USED: "the old pair ends soon, and somebody still uses it",
    MailKind.KEYS_RETIRED: "the old pair has stopped working",
    MailKind.EXPOSED: "a pair came over plain HTTP",
    MailKind.CONTACT_CHANGED: "the contact address was changed; sent to the security address",
    MailKind.NEW_CONTACT: "the contact address was changed; sent to the new address",
    MailKind.WEBHOOK_CHANGED: "the webhook URL was changed",
    MailKind.ACCOUNT_NOTICE: "sent to the account's other addresses of the last 14 days beside another mail",
    MailKind.KEYS_ADDED: "an import gave an account further pairs",
}
_SHARED = ("page.html", "parts.html", "parts.txt", FILE_NAME)


@dataclass(frozen=True, slots=True)
class Preview:
    """One kind's sample. `custom_templates`: the host's own files that it is made with, of its own folder."""

    kind: MailKind
    sent_when: str
    rendered: RenderedMail
    custom_templates: tuple[str, ...]


class PreviewRenderer:
    """Makes previews. Raises ConfigurationError when built with settings or templates that would not serve."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._renderer = MailRenderer(settings)
        check_templates(self._renderer, settings.public_url)
        self._composer = MessageBuilder(settings)
        self._site = settings.public_url
        self._domain = Sender.parse(settings.mail_from).domain
        self._folders = host_folders(settings)

    def preview(self, kind: MailKind) -> Preview:
        """Return what a mail of this kind looks like."""
        rendered = self._renderer.render(samples(kind, self._site)[0])
        return Preview(kind, SENT_WHEN[kind], rendered, self._yours(*(f"{kind}/{part}" for part in PARTS)))

    def shared(self) -> tuple[str, ...]:
        """Return the host's own files that several kinds are made with."""
        return self._yours(*_SHARED)

    def _yours(self, *names: str) -> tuple[str, ...]:
        found = [next(filter(Path.is_file, (folder / name for folder in self._folders)), None) for name in names]
        return tuple(str(path) for path in found if path is not None)

    def envelope(self, kind: MailKind, recipient: str, at: float, *, mark: str = "") -> OutgoingMail:
        """Return a sample that can be sent; `mark` stands before its subject."""
        rendered = self.preview(kind).rendered
        marked = RenderedMail(mark + rendered.subject, rendered.text, rendered.html)
        return OutgoingMail(f"<sample.{kind}.{uuid4()}@{self._domain}>", at, recipient, marked)

    def message(self, kind: MailKind, recipient: str, at: float) -> bytes:
        """Return a sample in the form that travels."""
        return self._composer.compose(self.envelope(kind, recipient, at)).as_bytes()
