"""Outermost ASGI middleware: security headers on every response, and the error page for unexpected exceptions."""

import logging
import traceback
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from octy_middleware.errors import OctyError
from octy_worker.pages import message_pages
from octy_worker.pages.page_renderer import PageRenderer

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is the capability
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}

_log = logging.getLogger(__name__)


class SecurityHeadersMiddleware:
    """Sets the headers on each response, and returns the error page for an unexpected exception.

    Exceptions stop here, because the text of a third-party exception may contain values (a database error contains its
    parameters). The log gets its type and traceback only. The texts of our own errors are logged.
    """

    def __init__(
        self, app: ASGIApp, *, renderer: PageRenderer, strict_transport: bool, headers: Mapping[str, str] | None = None
    ) -> None:
        """`headers`: in place of those of the same name."""
        self._app = app
        self._renderer = renderer
        own = {**_HEADERS, "Content-Security-Policy": renderer.policy, **(headers or {})}
        self._headers = {**own, **(_HSTS if strict_transport else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; scopes other than HTTP pass unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = unsendable = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started, unsendable
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(self._headers)
            try:
                await send(message)
            except Exception:
                unsendable = True
                raise

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the last handler
            if unsendable:  # the browser broke the protocol or disconnected
                _log.info("response could not be sent: %s", type(error).__name__)
                return
            _log.error("page failed: %s", _describe(error))
            if started:
                raise ConnectionAbortedError("the response had already started") from None
            await self._renderer.notice(message_pages.INTERNAL_ERROR)(scope, receive, send_with_headers)


def _describe(error: Exception) -> str:
    text = f": {error}" if isinstance(error, OctyError) else ""
    return f"{type(error).__name__}{text}\n{''.join(traceback.format_tb(error.__traceback__)).rstrip()}"
