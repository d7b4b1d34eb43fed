"""The pages as one Starlette app: routes and exception handlers."""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.errors import DatabaseUnavailableError
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.pages import message_pages
from octy_worker.pages.forms import FormError
from octy_worker.pages.incident_pages import IncidentPages
from octy_worker.pages.key_pages import KeyPages
from octy_worker.pages.link_routes import link_route
from octy_worker.pages.notice_pages import NoticePages
from octy_worker.pages.page_renderer import PageRenderer
from octy_worker.pages.security_headers import SecurityHeadersMiddleware
from octy_worker.settings import WorkerSettings

_RETRY_AFTER = 30  # seconds

_log = logging.getLogger(__name__)


def build_pages(settings: WorkerSettings, database: Database, links: Links, sealer: Sealer, clock: Clock) -> Starlette:
    """Return the app. The caller closes `database`.

    The pages use SQL and the outbox only, so they work while Temporal and SMTP are down.
    """
    renderer = PageRenderer(settings)
    incidents = IncidentPages(settings, database, links, renderer=renderer, clock=clock)
    keys = KeyPages(settings, database, links, sealer, renderer=renderer, clock=clock)
    notices = NoticePages(settings, database, links, renderer=renderer, clock=clock)
    app = Starlette(
        routes=[
            link_route("alert", incidents.respond),
            link_route("keys", keys.respond),
            link_route("notice", notices.respond),
            Route("/healthz", _healthz, methods=["GET"]),
        ],
        middleware=[
            Middleware(SecurityHeadersMiddleware, renderer=renderer, strict_transport=_use_hsts(settings.public_url))
        ],
        exception_handlers=exception_handlers(renderer),
    )
    app.router.redirect_slashes = False  # its redirect would use the Host header
    return app


async def _healthz(_request: Request) -> Response:
    """Return 200: this process serves. No query, because a restart of this process does not repair a database."""
    return JSONResponse({"status": "ok"})


def exception_handlers(renderer: PageRenderer) -> Mapping[Any, ExceptionHandler]:
    """Return what shows errors as pages."""

    async def protocol(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        notice = (
            message_pages.WRONG_METHOD
            if error.status_code == message_pages.WRONG_METHOD.status
            else message_pages.NOT_FOUND
        )
        return renderer.notice(notice, error.headers)

    async def form(_request: Request, error: Exception) -> Response:
        assert isinstance(error, FormError)
        return renderer.notice(error.notice, {"Connection": "close"} if error.unread else None)

    async def database_down(_request: Request, error: Exception) -> Response:
        _log.warning("page not served, database unavailable: %s", error)
        return renderer.notice(message_pages.DATABASE_DOWN, {"Retry-After": str(_RETRY_AFTER)})

    async def disconnected(_request: Request, _error: Exception) -> Response:
        return Response(status_code=message_pages.BAD_FORM.status)  # the browser has disconnected

    return {
        HTTPException: protocol,
        FormError: form,
        DatabaseUnavailableError: database_down,
        ClientDisconnect: disconnected,
    }


def _use_hsts(public_url: str) -> bool:
    """Return whether to send HSTS. Not on loopback, where it would apply to every other server of this machine."""
    parts = urlsplit(public_url)
    return parts.scheme == "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1")
