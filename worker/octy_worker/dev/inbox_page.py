"""The web page of the mail sink: a list, and one mail with its text, HTML and links.

The HTML of a mail is in a sandboxed iframe with its own URL, whose policy allows no script, form or remote content,
also when that URL is opened directly.
"""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from octy_worker.dev.inbox import Inbox, ReceivedMail

REFRESH = 3  # seconds

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # links in mails are capabilities
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"  # links open in a new tab; nothing else is allowed
_MAIL_POLICY = (
    f"sandbox {_SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_NO_MAIL = PlainTextResponse("There is no such mail.\n", 404)


def inbox_page(inbox: Inbox) -> Starlette:
    """Return the app. It accepts loopback host names only, which prevents DNS rebinding."""
    pages = InboxPages(inbox)
    return Starlette(
        routes=[
            Route("/", pages.mails),
            Route("/mail/{name}", pages.mail),
            Route("/mail/{name}/html", pages.html),
            Route("/mail/{name}/source", pages.source),
        ],
        middleware=[
            Middleware(Headers, policy=pages.policy),
            Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"], www_redirect=False),
        ],
    )


class InboxPages:
    """The four pages."""

    def __init__(self, inbox: Inbox) -> None:
        style = (files(__package__) / "templates" / "inbox.css").read_text("utf-8")
        self._inbox = inbox
        self._templates = Environment(
            loader=PackageLoader("octy_worker.dev"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(style=Markup(style), sandbox=_SANDBOX, refresh=REFRESH)  # noqa: S704 - ours
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{_hash(style)}'; img-src data:; frame-src 'self'; "
            "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        )

    async def mails(self, _request: Request) -> Response:
        """List all mails, newest first."""
        mails = await run_in_threadpool(self._inbox.messages)
        return self._render("inbox.html", mails=mails[::-1])

    async def mail(self, request: Request) -> Response:
        """Show one mail."""
        mail = await self._find(request)
        return _NO_MAIL if mail is None else self._render("mail.html", mail=mail)

    async def html(self, request: Request) -> Response:
        """Show a mail's own HTML, for the frame."""
        mail = await self._find(request)
        if mail is None or not mail.html:
            return _NO_MAIL
        # Doctype first, to avoid quirks mode; links open in a new tab.
        page = f'<!doctype html><base target="_blank">{mail.html}'
        return HTMLResponse(page, headers={"Content-Security-Policy": _MAIL_POLICY})

    async def source(self, request: Request) -> Response:
        """Show the source of a mail."""
        mail = await self._find(request)
        if mail is None:
            return _NO_MAIL
        source = await run_in_threadpool(mail.path.read_bytes)
        return Response(source, media_type="text/plain; charset=utf-8")

    async def _find(self, request: Request) -> ReceivedMail | None:
        return await run_in_threadpool(self._inbox.find, request.path_params["name"])

    def _render(self, template: str, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(values))


class Headers:
    """ASGI middleware that adds headers to every response; a response's own content policy is kept."""

    def __init__(self, app: ASGIApp, *, policy: str) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Content-Security-Policy", self._policy)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _hash(style: str) -> str:
    return b64encode(sha256(style.encode()).digest()).decode()
