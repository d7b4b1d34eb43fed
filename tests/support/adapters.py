"""Both adapters over real apps, asked alike: Starlette behind the ASGI adapter, Flask behind the WSGI adapter."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from wsgiref.validate import validator

from flask import Flask, jsonify, request
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


Ask = Callable[..., Answer]


async def who(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.user.display_name, "scopes": request.auth.scopes})


@requires("billing")
async def needs_billing(request: Request) -> JSONResponse:
    return JSONResponse({})


async def anybody(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.user.is_authenticated})


async def maybe(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.user.display_name or None})


async def insisting(request: Request) -> JSONResponse:
    return JSONResponse({}, headers={"Strict-Transport-Security": "max-age=1"})


def starlette_app(authenticator: Authenticator) -> Starlette:
    routes = [
        Route("/who", who),
        Route("/billing", needs_billing),
        Route("/open", anybody),
        Route("/maybe", maybe),
        Route("/hsts", insisting),
    ]
    return Starlette(routes=routes, middleware=[Middleware(OctyASGIMiddleware, authenticator=authenticator)])


def flask_app(authenticator: Authenticator) -> Flask:
    app = Flask(__name__)
    app.add_url_rule(
        "/who", "who", lambda: jsonify({"user": request.remote_user, "scopes": list(authenticator.settings.scopes)})
    )
    app.add_url_rule("/open", "open", lambda: jsonify({"user": "octy.principal" in request.environ}))
    app.add_url_rule("/maybe", "maybe", lambda: jsonify({"user": request.remote_user}))
    app.add_url_rule("/hsts", "hsts", lambda: (jsonify({}), {"Strict-Transport-Security": "max-age=1"}))
    app.wsgi_app = OctyWSGIMiddleware(app.wsgi_app, authenticator=authenticator)  # type: ignore[method-assign]
    return app


@contextmanager
def asgi(authenticator: Authenticator, *, scheme: str = "https", peer: str = "203.0.113.9") -> Iterator[Ask]:
    with TestClient(starlette_app(authenticator), base_url=f"{scheme}://api.example", client=(peer, 50_000)) as client:

        def ask(path: str = "/who", authorization: str | None = None, method: str = "GET", **headers: str) -> Answer:
            sent = {"Authorization": authorization, **headers} if authorization is not None else headers
            answer = client.request(method, path, headers=sent)
            return Answer(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)

        yield ask


@contextmanager
def wsgi(authenticator: Authenticator, *, scheme: str = "https", peer: str = "203.0.113.9") -> Iterator[Ask]:
    client = Client(validator(flask_app(authenticator)))  # wsgiref's checker sees every call

    def ask(path: str = "/who", authorization: str | None = None, method: str = "GET", **headers: str) -> Answer:
        sent = {"Authorization": authorization, **headers} if authorization is not None else headers
        with client.open(
            path,
            method=method,
            headers=sent,
            base_url=f"{scheme}://api.example",
            environ_overrides={"REMOTE_ADDR": peer},
        ) as answer:
            return Answer(answer.status_code, {k.lower(): v for k, v in answer.headers}, answer.data)

    yield ask


ADAPTERS = {"asgi": asgi, "wsgi": wsgi}
