"""The same small app in each framework. The sites of a process, by Host:

    api.example        as the process's OCTY_* variables say
    alone.example      no forwarding headers are trusted
    forwarded.example  the proxy writes Forwarded instead of X-Forwarded-*
    neighbour.example  another installation in the same process: its own database, its own accounts
    optional.example   requests without credentials pass as anonymous
    methods.example    exempt entries that name a method
    hsts.example       responses over https have Strict-Transport-Security
    rate-limited.example  one wrong attempt a minute and source, then 429
    custom.example     refusals in the host app's own form

Each site's app is there once more under /mounted.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from octy_middleware.http.request import Request
from octy_middleware.http.response import ErrorResponse

MOUNT = "/mounted"
JSON = "application/json"
OPEN = b'{"open": true}'
_FIRST = "api.example"
Build = Callable[..., Any]


def options_by_host() -> dict[str, dict[str, Any]]:
    """Return each site's options beyond the environment's."""
    return {
        "api.example": {},
        "alone.example": {"trusted_proxies": ()},
        "forwarded.example": {"forwarded_header": "forwarded"},
        "neighbour.example": {"database_url": os.environ["NEIGHBOUR_DATABASE_URL"]},
        "optional.example": {"optional": True},
        "methods.example": {"exempt_paths": ("GET /open", "OPTIONS *")},
        "hsts.example": {"hsts": 31_536_000},
        "rate-limited.example": {"rate_limit": 1},
        "custom.example": {"on_refusal": custom_response},
    }


def custom_response(refusal: ErrorResponse, request: Request) -> ErrorResponse:
    """Say a refusal in the host's own form."""
    body = json.dumps({"refused": refusal.status, "method": request.method}).encode()
    return replace(refusal, headers=((b"content-type", b"application/json"),), body=body)


def account(reference: str) -> bytes:
    """Return the body of /who."""
    return json.dumps({"account": reference}).encode()


def account_of(environ: Mapping[str, Any]) -> bytes:
    """Return the body of /who by what the WSGI middleware left in the environ."""
    principal = environ.get("octy.principal")
    return account(principal.reference if principal else "")


def length(body: bytes) -> bytes:
    """Return the body of /upload."""
    return json.dumps({"length": len(body)}).encode()


def asgi_app_by_host(build: Build) -> Any:
    """Return the ASGI app of all sites. A lifespan is the first site's."""
    apps = {host.encode(): build(**options) for host, options in options_by_host().items()}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope.get("headers", ())).get(b"host", b"")
        await apps.get(host, apps[_FIRST.encode()])(scope, receive, send)

    return app


def wsgi_app_by_host(build: Build) -> Any:
    """Return the WSGI app of all sites."""
    apps = {host: build(**options) for host, options in options_by_host().items()}
    return lambda environ, start: apps.get(environ.get("HTTP_HOST"), apps[_FIRST])(environ, start)


def asgi_mounted(app: Any, outer: Any = None) -> Any:
    """Return the app with itself mounted beside it: in `outer`, a framework's own mounting.

    Without one it is mounted as the ASGI specification says: `path` stays whole, `root_path` names the mount.
    """

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path != MOUNT and not path.startswith(f"{MOUNT}/"):
            await app(scope, receive, send)
        elif outer is not None:
            await outer(scope, receive, send)
        else:
            await app({**scope, "root_path": scope.get("root_path", "") + MOUNT}, receive, send)

    return mounted
