"""The OpenAPI document of a FastAPI app says that its operations need a key pair; its page gets an Authorize button.

Here: what is added to the document (OpenAPI 3.0 and 3.1 "Security Scheme Object"). Not here: any check; that is the
middleware's. FastAPI is not imported: whatever has an `openapi` method that returns the document will do.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from octy_middleware.http.exempt_paths import ExemptPaths

SCHEME = "OctyKeyPair"
_DESCRIPTION = "HTTP Basic: the public key (`pk_…`) is the user name, the secret key (`sk_…`) is the password."
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


class OpenAPIApp(Protocol):
    """A FastAPI app, as far as it matters here."""

    openapi: Callable[[], dict[str, Any]]


def add_openapi_security(app: OpenAPIApp, *, exempt_paths: Iterable[str] = (), optional: bool = False) -> None:
    """Have the app's OpenAPI document name the key pair as the security scheme of all operations.

    Give `exempt_paths` and `optional` as the middleware has them. An operation that names security of its own keeps it.
    """
    make = app.openapi
    exemptions = ExemptPaths(tuple(exempt_paths))

    def openapi() -> dict[str, Any]:
        document = make()  # FastAPI keeps and returns the same one
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {"type": "http", "scheme": "basic", "description": _DESCRIPTION}
        document["security"] = [{SCHEME: []}, {}] if optional else [{SCHEME: []}]
        for path, item in document.get("paths", {}).items():
            for method in _METHODS:
                if method in item and exemptions.cover(method.upper(), path):
                    item[method].setdefault("security", [])
        return document

    app.openapi = openapi
