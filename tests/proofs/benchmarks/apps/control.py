"""The unrecorded control: reads, verifies and answers as the middleware does, and writes nothing down.

It is made of the middleware's own pure rooms, so that what it lacks is the store: look-up, streaks, counts, commit.
Here: that middleware. Not here: what it is compared with.
"""

from typing import Any

from octy_middleware import Outcome, Settings
from octy_middleware.http.credentials import Credentials, parse_credentials
from octy_middleware.http.response import build_error_response
from octy_middleware.keys.secret import KeyHasher

CONTROL = "refuses, records nothing"


class Unrecorded:
    """Knows one pair by its digest; whoever has not that one is refused with the middleware's own bytes."""

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
        refusal = build_error_response(outcome, realm=self._settings.realm, accept=accept)
        await send({"type": "http.response.start", "status": refusal.status, "headers": list(refusal.headers)})
        await send({"type": "http.response.body", "body": refusal.body})

    def _outcome(self, scope: Any) -> Outcome:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        found = parse_credentials(values, schemeless=self._settings.schemeless, limit=self._settings.header_limit)
        if not isinstance(found, Credentials):
            return found
        known = found.public_key == self._public_key
        right = self._hasher.verify(found.secret, self._digest if known else None, b"")
        return Outcome.ACCEPTED if right else Outcome.WRONG_SECRET
