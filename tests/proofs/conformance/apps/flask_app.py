"""Flask, with the middleware as the README shows it."""

from typing import Any

from flask import Flask, Response, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import JSON, MOUNT, OPEN, account, length, wsgi_app_by_host


def who() -> Response:
    return Response(account(request.remote_user or ""), mimetype=JSON)


def anybody() -> Response:
    return Response(OPEN, mimetype=JSON)


def upload() -> Response:
    return Response(length(request.get_data()), mimetype=JSON)


def build(**options: Any) -> Any:
    app = Flask(__name__)
    app.url_map.merge_slashes = False
    app.add_url_rule("/who", view_func=who, methods=["GET", "POST"])
    app.add_url_rule("/open", view_func=anybody, methods=["GET", "OPTIONS"], provide_automatic_options=False)
    app.add_url_rule("/upload", view_func=upload, methods=["POST"])
    app.wsgi_app = OctyWSGIMiddleware(app.wsgi_app, **options)
    return DispatcherMiddleware(app, {MOUNT: app})


app = wsgi_app_by_host(build)
