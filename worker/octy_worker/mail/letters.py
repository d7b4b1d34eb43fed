"""The letters: what each kind of mail is told, and how it becomes a subject, a text and a page.

Here: the facts of each kind, and rendering. Not here: where facts come from (`facts`), sentences (`templates`, one
folder a mail), sending.

Text from outside enters as `Harmless` only. HTML is escaped by the templates, and nothing in it is loaded from
anywhere: no image, no font, no style sheet.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from octy_worker import words
from octy_worker.mail import phrasing
from octy_worker.mail.harmless import Harmless
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's content. It holds links that are capabilities: its `repr` shows the subject only."""

    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source of failed attempts, and the client that it last claimed to be."""

    source: Harmless
    count: int
    client: Harmless


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """What an alert or reminder tells. `network` is that of the streak when the source rule opened the case."""

    kind: MailKind
    incident_id: str
    public_key: Harmless
    streak: int
    total: int
    first_at: datetime
    opened_at: datetime
    last_at: datetime
    network: Harmless
    sources: tuple[SourceLine, ...]
    other_sources: int
    other_count: int
    request_id: Harmless
    name: Harmless = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewKeysFacts:
    """What the mail with a collection link tells. No old key: it is the customer's first pair."""

    kind: ClassVar[MailKind] = MailKind.NEW_KEYS
    regeneration_id: str
    public_key: Harmless
    old_public_key: Harmless | None
    leaked: bool
    renewed: bool
    expires_at: datetime
    name: Harmless = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RetiredFacts:
    """What the mail about the end of an old pair tells."""

    kind: ClassVar[MailKind] = MailKind.KEYS_RETIRED
    regeneration_id: str
    public_key: Harmless
    new_public_key: Harmless | None
    leaked: bool
    retired_at: datetime
    last_used_at: datetime | None
    name: Harmless = field(repr=False)


Facts = CaseFacts | NewKeysFacts | RetiredFacts


class Letters:
    """Renders facts. The terms of the house (names, waits) come from the settings."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._templates = Environment(
            loader=PackageLoader("octy_worker.mail"),
            autoescape=select_autoescape(enabled_extensions=("html",), default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(moment=words.moment, span=words.span, amount=words.amount)
        self._templates.globals.update(
            product=settings.product_name,
            support=settings.support_contact,
            site=settings.public_url,
            terms=settings,
            pace=phrasing.pace,
        )

    def render(self, facts: Facts) -> Letter:
        """Return the letter for these facts."""
        return Letter(
            subject=" ".join(self._part(facts, "subject.txt").split()),
            text=phrasing.wrapped(self._part(facts, "body.txt")),
            html=self._part(facts, "body.html"),
        )

    def _part(self, facts: Facts, name: str) -> str:
        return self._templates.get_template(f"{facts.kind}/{name}").render(facts=facts)
