"""The letters: how facts become a subject, a text and a page.

Here: rendering, and where a template is at fault. Not here: the facts of each kind and where they come from (`facts`),
whose templates (`house`), sentences (`templates`, one folder a mail), sending.

HTML is escaped by the templates, and nothing in it is loaded from anywhere: no image, no font, no style sheet.
"""

import traceback
from dataclasses import dataclass, field

from jinja2 import Environment, TemplateSyntaxError

from octy_middleware.errors import ConfigurationError
from octy_worker.mail import phrasing
from octy_worker.mail.environment import build_environment
from octy_worker.mail.facts.digest import DigestFacts, HoldFacts
from octy_worker.mail.facts.models import Facts
from octy_worker.settings import WorkerSettings

PARTS = ("subject.txt", "body.txt", "body.html")


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail's content. It holds links that are capabilities: its `repr` shows the subject only."""

    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


class TemplateRenderError(ConfigurationError):
    """A template can't be used. `place` is its file and line; the text also says why, and may hold a letter's facts."""

    def __init__(self, place: str, why: str) -> None:
        self.place = place
        super().__init__(f"the mail template {place}: {why}")


class MailRenderer:
    """Renders facts. The terms of the house (names, waits) come from the settings.

    Raises ConfigurationError when built with a folder of templates that is none.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._templates = build_environment(settings)

    @property
    def templates(self) -> Environment:
        """The templates and what they know."""
        return self._templates

    def render(self, facts: Facts | DigestFacts | HoldFacts) -> RenderedMail:
        """Return the letter for these facts. Raises TemplateFaultError."""
        return RenderedMail(
            subject=" ".join(self._part(facts, "subject.txt").split()),
            text=phrasing.wrap(self._part(facts, "body.txt")),
            html=self._part(facts, "body.html"),
        )

    def _part(self, facts: Facts | DigestFacts | HoldFacts, part: str) -> str:
        name = f"{facts.kind}/{part}"
        try:
            return self._templates.get_template(name).render(facts=facts)
        except Exception as error:  # noqa: BLE001  # a host's template can raise anything
            raise template_error(error, name) from None  # what it says may be a letter's facts


def template_error(error: Exception, name: str) -> TemplateRenderError:
    """Return which file and line is at fault: Jinja puts the templates' own lines into tracebacks."""
    if isinstance(error, TemplateSyntaxError):
        return TemplateRenderError(f"{error.filename or error.name or name}, line {error.lineno}", str(error.message))
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith((".txt", ".html"))
    ]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else name
    return TemplateRenderError(place, f"{type(error).__name__}: {error}")
