"""AWS Lambda: events of API Gateway, by Mangum, in this process."""

from typing import Any

import pytest
from mangum import Mangum
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from support.event_loops import own_event_loop
from support.world import World

from octy_middleware import OctyASGIMiddleware


async def seen(request: Request) -> JSONResponse:
    event = request.scope["aws.event"]
    return JSONResponse({"user": request.user.display_name, "headers": [*request.headers, *event["headers"]]})


def event(authorization: str) -> dict[str, Any]:
    headers = {"Authorization": authorization, "host": "api.example", "x-forwarded-proto": "https"}
    http = {"method": "GET", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.9", "userAgent": "curl/8"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": http, "stage": "$default"},
        "isBase64Encoded": False,
    }


def test_api_gateway_events_are_recorded_before_the_response_and_hide_the_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    keys = world.register("acme")
    adapter = Middleware(OctyASGIMiddleware, settings=world.settings(batch_delay=1.0))
    app = Starlette(routes=[Route("/", seen)], middleware=[adapter])
    context: Any = object()
    with own_event_loop():
        handler = Mangum(app, lifespan="off")
        right = handler(event(keys.basic()), context)
        assert world.recorded() == {"accepted": 1}
        wrong = handler(event(keys.basic("no")), context)
    assert world.recorded() == {"accepted": 1, "wrong_secret": 1}
    assert (right["statusCode"], wrong["statusCode"]) == (200, 401)
    assert '"user":"acme"' in right["body"]
    assert "authorization" not in right["body"].lower()
