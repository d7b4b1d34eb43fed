"""Pyramid behind its WSGI adapter."""

from typing import Any

from pyramid.config import Configurator
from pyramid.response import Response

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import JSON, OPEN, account_of, wsgi_app_by_host


def build(**options: Any) -> Any:
    with Configurator() as config:
        config.add_route("who", "/who")
        config.add_route("open", "/open")
        config.add_view(lambda request: Response(account_of(request.environ), content_type=JSON), route_name="who")
        config.add_view(lambda _request: Response(OPEN, content_type=JSON), route_name="open")
        return OctyWSGIMiddleware(config.make_wsgi_app(), **options)


app = wsgi_app_by_host(build)
