"""Renders templates into responses with their content security policy.

The CSS is inside each page and the policy contains its hash: no second request, no script, nothing remote. So the pages
work under any path prefix of a proxy.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from octy_worker import formatting, sanitize
from octy_worker.pages.message_pages import MessagePage
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import DeliveryMethod

_MAX_TEXT = 2000  # characters of one printed value


class PageRenderer:
    """Renders pages. Every text that a template prints is sanitized and escaped."""

    def __init__(self, settings: WorkerSettings, style: str = "") -> None:
        """`style`: the CSS, in place of that of the customers' pages."""
        style = style or (files(__package__) / "templates" / "pages.css").read_text("utf-8")
        self._common: dict[str, object] = {
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
        """Return the response with a rendered template."""
        return HTMLResponse(_templates().get_template(template).render(self._common | values), status)

    def notice(self, notice: MessagePage, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """Return the response with a message page."""
        response = self.page("message.html", notice.status, notice=notice)
        response.headers.update(headers or {})
        return response


@cache
def _templates() -> Environment:
    return load_templates("octy_worker.pages")


def load_templates(*packages: str) -> Environment:
    """Return the templates of these packages, to be compiled once per process; those of the first come first."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_sanitized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        sanitize=sanitize.for_page, moment=formatting.format_time, span=formatting.format_duration
    )
    environment.filters.update(amount=formatting.format_count, origin=formatting.format_source)
    return environment


def _sanitized(value: object) -> object:
    return sanitize.for_page(value, _MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _address(contact: str) -> str | None:
    """Return the link of the support contact, or None for a contact that is neither a mail address nor a URL."""
    if contact.startswith(("https://", "http://")):
        return contact
    return f"mailto:{contact}" if "@" in contact and " " not in contact else None


def _hash(style: str) -> str:
    return b64encode(sha256(style.encode()).digest()).decode()
