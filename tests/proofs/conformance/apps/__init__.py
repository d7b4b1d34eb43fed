"""The same small app in each framework. The sites of a process, by Host:

    api.example        as the process's OCTY_* variables say
    alone.example      nobody's forwarding headers are believed
    forwarded.example  the proxy writes Forwarded instead of X-Forwarded-*
    neighbour.example  another installation in the same process: its own database, its own accounts
    optional.example   requests without credentials pass as strangers
    methods.example    exempt entries that name a method
    hsts.example       answers over https say Strict-Transport-Security
    rate-limited.example  one wrong attempt a minute and source, then 429
    shaped.example     refusals in the host's own form

Each site's app is there once more under /mounted. Here: these words and the mounting. Not here: any framework.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from octy_middleware.http.request import Request
from octy_middleware.http.response import ErrorResponse

MOUNT = "/mounted"
OPEN = b'{"open": true}'
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
        "shaped.example": {"on_refusal": custom_response},
    }


def custom_response(refusal: ErrorResponse, request: Request) -> ErrorResponse:
    """Say a refusal in the host's own form."""
    body = json.dumps({"refused": refusal.status, "method": request.method}).encode()
    return replace(refusal, headers=((b"content-type", b"application/json"),), body=body)


def account(reference: str) -> bytes:
    """Return the body of /who."""
    return json.dumps({"account": reference}).encode()


def length(body: bytes) -> bytes:
    """Return the body of /upload."""
    return json.dumps({"length": len(body)}).encode()
