"""Falcon behind its WSGI adapter."""

from typing import Any

import falcon
from falcon import MEDIA_JSON
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import MOUNT, OPEN, account, length
from proofs.conformance.apps.by_host import wsgi_app_by_host


class Who:
    def on_get(self, req: Any, resp: Any) -> None:
        principal = req.env.get("octy.principal")
        resp.data, resp.content_type = account(principal.reference if principal else ""), MEDIA_JSON

    on_head = on_post = on_get


class Open:
    def on_get(self, req: Any, resp: Any) -> None:
        resp.data, resp.content_type = OPEN, MEDIA_JSON

    on_head = on_options = on_get


class Upload:
    def on_post(self, req: Any, resp: Any) -> None:
        chunked = req.content_length is None  # servers end the stream where the last chunk does
        body = (req.stream if chunked else req.bounded_stream).read()
        resp.data, resp.content_type = length(body), MEDIA_JSON


def build(**options: Any) -> Any:
    app = falcon.App()
    app.add_route("/who", Who())
    app.add_route("/open", Open())
    app.add_route("/upload", Upload())
    guarded = OctyWSGIMiddleware(app, **options)
    return DispatcherMiddleware(guarded, {MOUNT: guarded})


app = wsgi_app_by_host(build)
