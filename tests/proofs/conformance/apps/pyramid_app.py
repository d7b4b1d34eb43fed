"""Pyramid behind its WSGI adapter."""

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import OPEN, account
from proofs.conformance.apps.by_host import wsgi_app_by_host

JSON = "application/json"


def who(request: Request) -> Response:
    principal = request.environ.get("octy.principal")
    return Response(account(principal.reference if principal else ""), content_type=JSON)


def anybody(_request: Request) -> Response:
    return Response(OPEN, content_type=JSON)


def build(**options: Any) -> Any:
    with Configurator() as config:
        config.add_route("who", "/who")
        config.add_route("open", "/open")
        config.add_view(who, route_name="who")
        config.add_view(anybody, route_name="open")
        return OctyWSGIMiddleware(config.make_wsgi_app(), **options)


app = wsgi_app_by_host(build)
