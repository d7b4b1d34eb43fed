"""The smallest ASGI and WSGI apps, and the control that refuses and records nothing."""

from typing import Any

from octy_middleware import Outcome, Settings
from octy_middleware.http.credentials import Credentials, parse_credentials
from octy_middleware.http.response import build_error_response
from octy_middleware.keys.secret import KeyHasher

PATH = "/v1/things"
CONTROL = "refuses, records nothing"
_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
_BODY = {"type": "http.response.body", "body": b"ok"}


class Bare:
    """An app that answers two bytes. A class, because uvicorn takes a plain function for ASGI 2."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "lifespan":
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
        await send(_START)
        await send(_BODY)


def bare_wsgi(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


class Unrecorded:
    """Reads, verifies and answers as the middleware does, by its own functions, and records nothing.

    Accepts one key pair, by its digest. What it lacks: loading of keys, streaks, counters and commit.
    """

    def __init__(self, app: Any, settings: Settings, public_key: str, digest: str) -> None:
        self._app = app
        self._settings = settings
        self._hasher = KeyHasher(settings.peppers)
        self._public_key = public_key
        self._digest = digest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        outcome = Outcome.ACCEPTED if scope["type"] == "lifespan" else self._outcome(scope)
        if outcome is Outcome.ACCEPTED:
            await self._app(scope, receive, send)
            return
        accept = next((value for name, value in scope["headers"] if name == b"accept"), None)
        response = build_error_response(outcome, realm=self._settings.realm, accept=accept)
        await send({"type": "http.response.start", "status": response.status, "headers": list(response.headers)})
        await send({"type": "http.response.body", "body": response.body})

    def _outcome(self, scope: Any) -> Outcome:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        found = parse_credentials(values, schemeless=self._settings.schemeless, limit=self._settings.header_limit)
        if not isinstance(found, Credentials):
            return found
        known = found.public_key == self._public_key
        right = self._hasher.verify(found.secret, self._digest if known else None, b"")
        return Outcome.ACCEPTED if right else Outcome.WRONG_SECRET
