"""Bottle behind its WSGI adapter."""

from typing import Any

from bottle import Bottle, HTTPResponse, request

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import OPEN, account
from proofs.conformance.apps.by_host import wsgi_app_by_host

JSON = "application/json"


def who() -> HTTPResponse:
    principal = request.environ.get("octy.principal")
    return HTTPResponse(account(principal.reference if principal else ""), content_type=JSON)


def anybody() -> HTTPResponse:
    return HTTPResponse(OPEN, content_type=JSON)


def build(**options: Any) -> Any:
    app = Bottle()
    app.route("/who", ["GET", "POST"], who)
    app.route("/open", "GET", anybody)
    return OctyWSGIMiddleware(app, **options)


app = wsgi_app_by_host(build)
