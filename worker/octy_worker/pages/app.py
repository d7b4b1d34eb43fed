"""The pages as one Starlette app: its routes, and its answers to everything that matches none.

Here: which address leads where, and which fault becomes which page. Not here: what the pages do.
"""

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
from octy_worker.pages import notices
from octy_worker.pages.confirm import CasePages
from octy_worker.pages.forms import FormError
from octy_worker.pages.linked import linked
from octy_worker.pages.render import Renderer
from octy_worker.pages.replace import ReplacePages
from octy_worker.pages.reveal import KeyPages
from octy_worker.pages.shell import Shell
from octy_worker.settings import WorkerSettings

_RETRY_AFTER = 30  # seconds after which a page asks to be tried again

_log = logging.getLogger(__name__)


def build_pages(settings: WorkerSettings, database: Database, links: Links, sealer: Sealer, clock: Clock) -> Starlette:
    """Return the app. It opens nothing and starts nothing; `database` stays the caller's to close.

    Answers are SQL and outbox only, so the pages work while Temporal and SMTP are down.
    """
    render = Renderer(settings)
    cases = CasePages(settings, database, links, render=render, clock=clock)
    keys = KeyPages(settings, database, links, sealer, render=render, clock=clock)
    replacements = ReplacePages(settings, database, links, render=render, clock=clock)
    app = Starlette(
        routes=[
            linked("case", cases.respond),
            linked("keys", keys.respond),
            linked("notice", replacements.respond),
            Route("/healthz", _healthz, methods=["GET"]),
        ],
        middleware=[Middleware(Shell, render=render, strict_transport=_may_insist(settings.public_url))],
        exception_handlers=_fault_pages(render),
    )
    app.router.redirect_slashes = False  # such a redirect would be built from the Host header
    return app


async def _healthz(_request: Request) -> Response:
    """Say that this process serves. It asks no store: restarting us heals no database."""
    return JSONResponse({"status": "ok"})


def _fault_pages(render: Renderer) -> Mapping[Any, ExceptionHandler]:
    async def protocol(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        notice = notices.WRONG_METHOD if error.status_code == notices.WRONG_METHOD.status else notices.NOT_FOUND
        return render.notice(notice, error.headers)

    async def form(_request: Request, error: Exception) -> Response:
        assert isinstance(error, FormError)
        return render.notice(error.notice, {"Connection": "close"} if error.unread else None)

    async def store(_request: Request, error: Exception) -> Response:
        _log.warning("a page could not be served: %s", error)
        return render.notice(notices.STORE_DOWN, {"Retry-After": str(_RETRY_AFTER)})

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=notices.BAD_FORM.status)  # nobody is left to read it

    return {HTTPException: protocol, FormError: form, DatabaseUnavailableError: store, ClientDisconnect: gone}


def _may_insist(public_url: str) -> bool:
    """Whether to send HSTS: not from loopback, where it would hold for every other server on this machine."""
    parts = urlsplit(public_url)
    return parts.scheme == "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1")
