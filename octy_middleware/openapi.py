"""Adds the key pair as a security scheme to the OpenAPI document of a FastAPI app, for its Authorize button.

See OpenAPI 3.0 and 3.1, "Security Scheme Object". It checks nothing; the middleware does. FastAPI is not imported:
any app with an `openapi` method that returns the document will do.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from octy_middleware.http.exempt_paths import ExemptPaths

SCHEME = "OctyKeyPair"
_DESCRIPTION = "HTTP Basic: the public key (`pk_…`) is the user name, the secret key (`sk_…`) is the password."
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


class OpenAPIApp(Protocol):
    """A FastAPI app, or another one with this method."""

    openapi: Callable[[], dict[str, Any]]


def add_openapi_security(app: OpenAPIApp, *, exempt_paths: Iterable[str] = (), optional: bool = False) -> None:
    """Add the key pair to the app's OpenAPI document as the security scheme of all operations.

    Give the same `exempt_paths` and `optional` as to the middleware. An operation with its own security keeps it.
    """
    original = app.openapi
    exemptions = ExemptPaths(tuple(exempt_paths))

    def openapi() -> dict[str, Any]:
        document = original()  # FastAPI caches the document
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {"type": "http", "scheme": "basic", "description": _DESCRIPTION}
        document["security"] = [{SCHEME: []}, {}] if optional else [{SCHEME: []}]
        for path, item in document.get("paths", {}).items():
            for method in _METHODS:
                if method in item and exemptions.cover(method.upper(), path):
                    item[method].setdefault("security", [])
        return document

    app.openapi = openapi
