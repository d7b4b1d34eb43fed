"""The staff's pages as a Starlette app, which the staff API serves below `/staff`. Each route says who may open it."""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ExceptionHandler

from octy_middleware.errors import DatabaseUnavailableError
from octy_worker.access.passkey_factors import PasskeyFactors
from octy_worker.access.passkeys import RelyingParty
from octy_worker.pages import message_pages
from octy_worker.pages.forms import FormError
from octy_worker.pages.security_headers import SecurityHeadersMiddleware
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.pages.access import PageTools, Visit, open_route, page_route
from octy_worker.staff_api.pages.enrolment import EnrolmentPages
from octy_worker.staff_api.pages.login import LoginPages, log_out
from octy_worker.staff_api.pages.orders import OrderPages
from octy_worker.staff_api.pages.renderer import SCRIPT, SECURITY_HEADERS, StaffRenderer, script_response

_RETRY_AFTER = 30  # seconds

_log = logging.getLogger(__name__)


def staff_page_routes(settings: WorkerSettings, office: StaffOffice) -> list[Mount]:
    """Return the pages for the app of the staff API; none where OCTY_STAFF_URL has an IP address."""
    pages = build_staff_pages(settings, office)
    return [] if pages is None else [Mount("/staff", pages)]


def build_staff_pages(settings: WorkerSettings, office: StaffOffice) -> Starlette | None:
    """Return the app; None where OCTY_STAFF_URL has an IP address, for which browsers make no passkeys."""
    party = RelyingParty.of_url(office.server, settings.product_name)
    if party is None:
        _log.warning("no pages for staff: OCTY_STAFF_URL has an IP address, and passkeys need a host name")
        return None
    renderer, staff = StaffRenderer(settings, office.server), office.staff
    tools = PageTools(
        office,
        renderer,
        staff.members,
        staff.macs,
        PasskeyFactors(party, staff.macs),
        office.browser_logins,
        staff.enrolments,
        office.pending,
        urlsplit(office.server).path,
    )
    app = Starlette(
        routes=_routes(tools),
        middleware=[
            Middleware(
                SecurityHeadersMiddleware,
                renderer=renderer,
                strict_transport=office.server.startswith("https:"),
                headers=SECURITY_HEADERS,
            )
        ],
        exception_handlers=_exception_handlers(renderer),
    )
    app.router.redirect_slashes = False  # its redirect would use the Host header
    return app


def _routes(tools: PageTools) -> list[Route]:
    login, enrolment, orders = LoginPages(tools), EnrolmentPages(tools), OrderPages(tools)

    def end(visit: Visit) -> Response:
        return log_out(tools, visit)

    return [
        open_route(tools, "/login", login.enter_code),
        open_route(tools, "/factor", login.prove),
        open_route(tools, "/enroll/{token}", enrolment.enrol),
        Route(f"/{SCRIPT}", _script, methods=["GET"]),
        page_route(tools, "/", orders.home, methods=("GET",)),
        page_route(tools, "/orders/{order_id}", orders.order),
        page_route(tools, "/orders/{order_id}/discard", orders.discard, methods=("POST",)),
        page_route(tools, "/logout", end, methods=("POST",)),
    ]


async def _script(_request: Request) -> Response:
    return script_response()


def _exception_handlers(renderer: StaffRenderer) -> Mapping[Any, ExceptionHandler]:
    async def protocol(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title, text = "This page does not exist", "The address is wrong or incomplete. Nothing was changed."
        return renderer.page("staff_message.html", error.status_code, title=title, explanation=text)

    async def form(_request: Request, error: Exception) -> Response:
        assert isinstance(error, FormError)
        notice = error.notice
        return renderer.page("staff_message.html", notice.status, title=notice.title, explanation=notice.explanation)

    async def database_down(_request: Request, error: Exception) -> Response:
        _log.warning("staff page not served, database unavailable: %s", error)
        notice = message_pages.DATABASE_DOWN
        response = renderer.page(
            "staff_message.html", notice.status, title=notice.title, explanation=notice.explanation
        )
        response.headers["Retry-After"] = str(_RETRY_AFTER)
        return response

    async def disconnected(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # the browser has disconnected

    return {
        HTTPException: protocol,
        FormError: form,
        DatabaseUnavailableError: database_down,
        ClientDisconnect: disconnected,
    }
