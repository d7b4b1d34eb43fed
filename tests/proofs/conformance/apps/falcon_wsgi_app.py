"""Falcon behind its WSGI adapter."""

from typing import Any

import falcon
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import JSON, MOUNT, OPEN, account_of, length, wsgi_app_by_host


class Who:
    def on_get(self, req: Any, resp: Any) -> None:
        resp.data, resp.content_type = account_of(req.env), JSON

    on_head = on_post = on_get


class Open:
    def on_get(self, req: Any, resp: Any) -> None:
        resp.data, resp.content_type = OPEN, JSON

    on_head = on_options = on_get


class Upload:
    def on_post(self, req: Any, resp: Any) -> None:
        chunked = req.content_length is None  # servers end the stream where the last chunk does
        body = (req.stream if chunked else req.bounded_stream).read()
        resp.data, resp.content_type = length(body), JSON


def build(**options: Any) -> Any:
    app = falcon.App()
    for path, resource in {"/who": Who(), "/open": Open(), "/upload": Upload()}.items():
        app.add_route(path, resource)
    guarded = OctyWSGIMiddleware(app, **options)
    return DispatcherMiddleware(guarded, {MOUNT: guarded})


app = wsgi_app_by_host(build)
