"""Templates and the style into responses.

Here: how a page is put together, and the content policy that fits it. Not here: what a page says.

The style stands inside each page and the policy names its hash: no second address, no script, nothing remote, and
the pages work under any path that a proxy puts before them.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from octy_worker import formatting
from octy_worker.pages.message_pages import MessagePage
from octy_worker.pages.words import plain
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import DeliveryMethod

_MAX_TEXT = 2000  # characters of one printed value


class PageRenderer:
    """Makes the pages. Every text that a template prints is escaped and passes `plain` first."""

    def __init__(self, settings: WorkerSettings) -> None:
        style = (files(__package__) / "templates" / "pages.css").read_text("utf-8")
        self._common = {
            "style": Markup(style),  # noqa: S704 - our own file
            "product": settings.product_name,
            "support": settings.support_contact,
            "by_mail": settings.deliver is DeliveryMethod.MAIL,
            "support_address": _address(settings.support_contact),
        }
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{_hash(style)}'; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        )

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return the page of a template."""
        return HTMLResponse(_templates().get_template(template).render(self._common | values), status)

    def notice(self, notice: MessagePage, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """Return the page of a message."""
        response = self.page("notice.html", notice.status, notice=notice)
        response.headers.update(headers or {})
        return response


@cache
def _templates() -> Environment:
    """Return the templates, compiled once a process."""
    environment = Environment(
        loader=PackageLoader("octy_worker.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=plain, moment=formatting.moment, span=formatting.span)
    environment.filters.update(amount=formatting.amount, origin=formatting.origin)
    return environment


def _harmless(value: object) -> object:
    return plain(value, _MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _address(contact: str) -> str | None:
    """Return where a click on the support contact leads, or None for a contact that is neither mail nor web."""
    if contact.startswith(("https://", "http://")):
        return contact
    return f"mailto:{contact}" if "@" in contact and " " not in contact else None


def _hash(style: str) -> str:
    return b64encode(sha256(style.encode()).digest()).decode()
