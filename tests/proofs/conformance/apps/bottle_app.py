"""Bottle behind its WSGI adapter."""

from typing import Any

from bottle import Bottle, HTTPResponse, request

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import JSON, OPEN, account_of, wsgi_app_by_host


def build(**options: Any) -> Any:
    app = Bottle()
    app.route("/who", ["GET", "POST"], lambda: HTTPResponse(account_of(request.environ), content_type=JSON))
    app.route("/open", "GET", lambda: HTTPResponse(OPEN, content_type=JSON))
    return OctyWSGIMiddleware(app, **options)


app = wsgi_app_by_host(build)
