"""Renders facts into subject, text and HTML of a mail.

The templates escape HTML. The HTML loads nothing: no image, font or style sheet.
"""

import traceback
from dataclasses import dataclass, field

from jinja2 import TemplateSyntaxError

from octy_middleware.errors import ConfigurationError
from octy_worker.mail import phrasing
from octy_worker.mail.environment import build_environment
from octy_worker.mail.facts.digest import BreakGlassFacts, DigestFacts, FailedLoginFacts, HoldFacts
from octy_worker.mail.facts.models import Facts
from octy_worker.settings import WorkerSettings

PARTS = ("subject.txt", "body.txt", "body.html")


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """The content of a mail. Its links are capabilities, so its `repr` shows only the subject."""

    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


class TemplateRenderError(ConfigurationError):
    """A template can't be rendered. `place` is file and line. The text also has the reason and may contain facts."""

    def __init__(self, place: str, why: str) -> None:
        self.place = place
        super().__init__(f"the mail template {place}: {why}")


_AnyFacts = Facts | DigestFacts | HoldFacts | FailedLoginFacts | BreakGlassFacts


class MailRenderer:
    """Renders facts. The constructor raises ConfigurationError for a folder of templates that does not exist."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.templates = build_environment(settings)

    def render(self, facts: _AnyFacts) -> RenderedMail:
        """Return the rendered mail. Raises TemplateRenderError."""
        return RenderedMail(
            subject=" ".join(self._part(facts, "subject.txt").split()),
            text=phrasing.wrap(self._part(facts, "body.txt")),
            html=self._part(facts, "body.html"),
        )

    def _part(self, facts: _AnyFacts, part: str) -> str:
        name = f"{facts.kind}/{part}"
        try:
            return self.templates.get_template(name).render(facts=facts)
        except Exception as error:  # noqa: BLE001  # a host's template can raise anything
            raise template_error(error, name) from None  # its text may contain facts


def template_error(error: Exception, name: str) -> TemplateRenderError:
    """Return the error with file and line of the template, which Jinja adds to tracebacks."""
    if isinstance(error, TemplateSyntaxError):
        return TemplateRenderError(f"{error.filename or error.name or name}, line {error.lineno}", str(error.message))
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith((".txt", ".html"))
    ]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else name
    return TemplateRenderError(place, f"{type(error).__name__}: {error}")
