"""Who a request of the pages comes from: its origin, its cookies, the token of its form, and its session.

Two cookies: that of a session, and before it one that binds a log-in to one browser. Both are `__Host-` cookies, which
no other host name and no plain HTTP can set. A POST needs our own origin (header Origin) and the token of the form,
which is derived from the cookie, so that no page of others can send it.
"""

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from octy_worker.access.passkey_factors import PasskeyFactors
from octy_worker.access.sessions import ActiveSession, SessionEndedError, SessionKind
from octy_worker.access.tokens import new_token
from octy_worker.pages.forms import read_form
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.pages.renderer import StaffRenderer

SESSION_COOKIE = "__Host-octy-staff"
LOGIN_COOKIE = "__Host-octy-login"
MAX_BODY = 16_384  # bytes; a form with a new passkey has about 3,000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageTools:
    """What the pages work with."""

    office: StaffOffice
    renderer: StaffRenderer
    passkeys: PasskeyFactors


@dataclass(frozen=True)
class Visit:
    """One request, whose origin and form token were checked. `form`: None for a GET.

    `cookie`: of the session where there is one, else of the log-in.
    """

    source: str
    path: Mapping[str, str]
    form: Mapping[str, str] | None
    csrf_token: str
    cookie: str = field(repr=False)
    session: ActiveSession | None = None

    @property
    def signed_in(self) -> ActiveSession:
        """The session, on a page that needs one."""
        assert self.session is not None
        return self.session


Respond = Callable[[Visit], Response]
"""Returns the response to a request; it may block."""


def page_route(tools: PageTools, path: str, respond: Respond, *, methods: tuple[str, ...] = ("GET", "POST")) -> Route:
    """Return the route of a page that needs a session: a GET without one leads to the log-in, a POST is refused."""

    async def endpoint(request: Request) -> Response:
        refusal = _refuse_origin(tools, request)
        if refusal is not None:
            return refusal
        token, source = request.cookies.get(SESSION_COOKIE, ""), tools.office.source_of(request)
        try:
            session = await run_in_threadpool(tools.office.find_session, token, source, SessionKind.BROWSER)
        except SessionEndedError as error:
            return _refuse_session(tools, request, str(error))
        return await _respond(tools, request, respond, cookie=token, source=source, session=session)

    return Route(path, endpoint, methods=[*methods])


def open_route(tools: PageTools, path: str, respond: Respond) -> Route:
    """Return the route of a page for everybody, which is bound to the browser by the cookie of the log-in."""

    async def endpoint(request: Request) -> Response:
        refusal = _refuse_origin(tools, request)
        if refusal is not None:
            return refusal
        known = request.cookies.get(LOGIN_COOKIE, "")
        cookie = known or new_token(tools.office.random_bytes)
        source = tools.office.source_of(request)
        response = await _respond(tools, request, respond, cookie=cookie, source=source)
        if not known:
            set_cookie(response, LOGIN_COOKIE, cookie)
        return response

    return Route(path, endpoint, methods=["GET", "POST"])


def set_cookie(response: Response, name: str, value: str) -> None:
    """Set a cookie for this host alone, until the browser is closed; an empty value deletes it."""
    response.set_cookie(
        name, value, path="/", secure=True, httponly=True, samesite="strict", max_age=None if value else 0
    )


def redirect(tools: PageTools, path: str) -> Response:
    """Return a redirect to one of our pages (POST/redirect/GET)."""
    return RedirectResponse(f"{tools.renderer.base}/staff{path}", 303)


async def _respond(
    tools: PageTools, request: Request, respond: Respond, *, cookie: str, source: str,
    session: ActiveSession | None = None,
) -> Response:  # fmt: skip
    csrf_token = tools.office.staff.macs.make("staff_csrf", {"cookie": cookie})
    form = None
    if request.method == "POST":
        form = await read_form(request, MAX_BODY)
        if not cookie or not hmac.compare_digest(form.get("csrf", "").encode(), csrf_token.encode()):
            return refuse(tools, "This form is out of date", "Nothing was changed. Load the page again.", source)
    visit = Visit(source, request.path_params, form, csrf_token, cookie, session)
    return await run_in_threadpool(respond, visit)


def refuse(tools: PageTools, title: str, explanation: str, source: str, status: int = 403) -> Response:
    """Return a page that says why a request was refused."""
    _log.warning("staff page: request from %s refused: %s", source, title)
    return tools.renderer.page("staff_message.html", status, title=title, explanation=explanation)


def _refuse_origin(tools: PageTools, request: Request) -> Response | None:
    if request.method != "POST" or request.headers.get("origin") == tools.passkeys.party.origin:
        return None
    text = "It came from a page of another site. Nothing was changed."
    return refuse(tools, "This request was not sent by our page", text, tools.office.source_of(request))


def _refuse_session(tools: PageTools, request: Request, why: str) -> Response:
    if request.method == "POST":
        return refuse(tools, "You are not logged in", f"Nothing was changed: {why}.", tools.office.source_of(request))
    response = redirect(tools, "/login")
    set_cookie(response, SESSION_COOKIE, "")
    return response
