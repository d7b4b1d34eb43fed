"""The staff's pages as a Starlette app, which the staff API serves below `/staff`. Each route says who may open it."""

import logging

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from octy_worker.access.passkey_factors import PasskeyFactors
from octy_worker.access.passkeys import RelyingParty
from octy_worker.pages.app import exception_handlers
from octy_worker.pages.security_headers import SecurityHeadersMiddleware
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.pages.access import PageTools, open_route, page_route
from octy_worker.staff_api.pages.enrolment import EnrolmentPages
from octy_worker.staff_api.pages.login import LoginPages
from octy_worker.staff_api.pages.orders import OrderPages
from octy_worker.staff_api.pages.renderer import SCRIPT, SECURITY_HEADERS, StaffRenderer, read_file

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
    renderer = StaffRenderer(settings, office.server)
    tools = PageTools(office, renderer, PasskeyFactors(party, office.staff.macs))
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
        exception_handlers=exception_handlers(renderer),
    )
    app.router.redirect_slashes = False  # its redirect would use the Host header
    return app


def _routes(tools: PageTools) -> list[Route]:
    login, enrolment, orders = LoginPages(tools), EnrolmentPages(tools), OrderPages(tools)
    return [
        open_route(tools, "/login", login.enter_code),
        open_route(tools, "/factor", login.prove),
        open_route(tools, "/enroll/{token}", enrolment.enrol),
        Route(f"/{SCRIPT}", _script, methods=["GET"]),
        page_route(tools, "/", orders.home, methods=("GET",)),
        page_route(tools, "/orders/{order_id}", orders.order),
        page_route(tools, "/orders/{order_id}/discard", orders.discard, methods=("POST",)),
        page_route(tools, "/logout", login.log_out, methods=("POST",)),
    ]


async def _script(_request: Request) -> Response:
    return Response(read_file(SCRIPT), media_type="text/javascript")
