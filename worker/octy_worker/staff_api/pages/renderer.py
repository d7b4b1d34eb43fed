"""Renders the staff's pages: those of customers in look and headers, and one script file of ours for passkeys."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit

from jinja2 import Environment
from starlette.responses import HTMLResponse

from octy_worker.pages.message_pages import MessagePage
from octy_worker.pages.page_renderer import PageRenderer, load_templates
from octy_worker.settings import WorkerSettings

SCRIPT = "passkeys.js"
SECURITY_HEADERS = {
    # With "no-referrer" a browser sends the Origin of a form as "null" (Fetch, "serializing a request origin").
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class StaffRenderer(PageRenderer):
    """Renders pages of the staff API at the URL `server`. `base`: the path of that URL."""

    def __init__(self, settings: WorkerSettings, server: str) -> None:
        self.base = urlsplit(server).path
        super().__init__(settings, style=f"{read_file('pages.css', 'octy_worker.pages')}\n{read_file('staff.css')}")
        self._common |= {"base": self.base, "script": f"{self.base}/staff/{SCRIPT}", "server": server}
        self.policy = f"{self.policy}; script-src 'self'"

    def page(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return the response with a rendered template."""
        return HTMLResponse(_templates().get_template(template).render(self._common | values), status)

    def notice(self, notice: MessagePage, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """Return the response with a message, without the customers' advice."""
        response = self.page("staff_message.html", notice.status, title=notice.title, explanation=notice.explanation)
        response.headers.update(headers or {})
        return response


@cache
def _templates() -> Environment:
    return load_templates("octy_worker.staff_api.pages", "octy_worker.pages")


@cache
def read_file(name: str, package: str = __package__ or "") -> str:
    """Return a file beside the templates of a package."""
    return (files(package) / "templates" / name).read_text("utf-8")
