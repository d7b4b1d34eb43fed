"""The letters: how facts become a subject, a text and a page.

Here: rendering. Not here: the facts of each kind and where they come from (`facts`), sentences (`templates`, one folder
a mail), sending.

HTML is escaped by the templates, and nothing in it is loaded from anywhere: no image, no font, no style sheet.
"""

from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from octy_worker import words
from octy_worker.mail import phrasing
from octy_worker.mail.facts.digest import DigestFacts
from octy_worker.mail.facts.shapes import Facts
from octy_worker.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's content. It holds links that are capabilities: its `repr` shows the subject only."""

    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


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

    def render(self, facts: Facts | DigestFacts) -> Letter:
        """Return the letter for these facts."""
        return Letter(
            subject=" ".join(self._part(facts, "subject.txt").split()),
            text=phrasing.wrapped(self._part(facts, "body.txt")),
            html=self._part(facts, "body.html"),
        )

    def _part(self, facts: Facts | DigestFacts, name: str) -> str:
        return self._templates.get_template(f"{facts.kind}/{name}").render(facts=facts)
