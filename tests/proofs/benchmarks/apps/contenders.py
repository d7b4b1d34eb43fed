"""The contenders by name: how each is built, and the bare app that it is compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware, Settings
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording.recorder import Recorder
from proofs.benchmarks.apps.bare import Bare, bare_wsgi
from proofs.benchmarks.apps.django_app import AUTHORIZATION, django_app
from proofs.benchmarks.apps.frameworks import fastapi_app, flask_app, starlette_app


@dataclass(frozen=True)
class Setup:
    """What a contender is built from: the middleware's settings, the key pair of its requests, a folder for files."""

    settings: Settings
    public_key: str
    secret: str
    authorization: str
    folder: Path


@dataclass(frozen=True)
class Contender:
    """`base`: what it is compared with; its own name for a bare app. `database`: the kind that its settings name."""

    name: str
    base: str
    adapter: str
    build: Callable[[Setup], Any]
    database: str = ""

    def header(self, authorization: str) -> str:
        """Return the Authorization value that it accepts, where the others accept this one."""
        return AUTHORIZATION if self.base == DJANGO and not self.database else authorization


class NoRecorder(Recorder):
    """Queues nothing."""

    def record(self, event: AuthEvent) -> bool:
        return True  # as if it were queued


def without_recording(settings: Settings) -> Authenticator:
    """Return an authenticator that does not record accepted requests. The product has no such switch."""
    with patch("octy_middleware.auth.authenticator.Recorder", NoRecorder):
        return Authenticator(settings)


BARE, BARE_WSGI, FLASK, FASTAPI, DJANGO = "bare app", "bare WSGI app", "Flask", "FastAPI", "Django REST framework"
STARLETTE = "Starlette AuthenticationMiddleware"
VERIFY = "octy, verify only"


def recording(database: str) -> str:
    """Return the name of ours before the bare ASGI app, on that database."""
    return f"octy, verify + record, {database}"


def behind(framework: str) -> str:
    """Return the name of that framework's app behind ours."""
    return f"{framework} behind octy, sqlite"


def _asgi(inner: Callable[[], Any]) -> Callable[[Setup], Any]:
    return lambda setup: OctyASGIMiddleware(inner(), settings=setup.settings)


def _wsgi(inner: Callable[[], Any]) -> Callable[[Setup], Any]:
    return lambda setup: OctyWSGIMiddleware(inner(), settings=setup.settings)


def _django(setup: Setup) -> Any:
    return OctyWSGIMiddleware(django_app(setup.folder, protected=False), settings=setup.settings)


def _verify(setup: Setup) -> Any:
    return OctyASGIMiddleware(Bare(), authenticator=without_recording(setup.settings))


CONTENDERS = (
    Contender(BARE, BARE, "asgi", lambda _: Bare()),
    Contender("bare app again (A/A)", BARE, "asgi", lambda _: Bare()),
    Contender(STARLETTE, BARE, "asgi", lambda setup: starlette_app(setup.authorization)),
    Contender(VERIFY, BARE, "asgi", _verify, "sqlite"),
    Contender(recording("sqlite"), BARE, "asgi", _asgi(Bare), "sqlite"),
    Contender(recording("postgresql"), BARE, "asgi", _asgi(Bare), "postgresql"),
    Contender(FASTAPI, FASTAPI, "asgi", lambda _: fastapi_app()),
    Contender("FastAPI, HTTPBasic dependency", FASTAPI, "asgi", lambda s: fastapi_app(s.public_key, s.secret)),
    Contender(behind(FASTAPI), FASTAPI, "asgi", _asgi(fastapi_app), "sqlite"),
    Contender(BARE_WSGI, BARE_WSGI, "wsgi", lambda _: bare_wsgi),
    Contender("bare WSGI app again (A/A)", BARE_WSGI, "wsgi", lambda _: bare_wsgi),
    Contender("octy WSGI, sqlite", BARE_WSGI, "wsgi", _wsgi(lambda: bare_wsgi), "sqlite"),
    Contender("octy WSGI, postgresql", BARE_WSGI, "wsgi", _wsgi(lambda: bare_wsgi), "postgresql"),
    Contender(FLASK, FLASK, "wsgi", lambda _: flask_app()),
    Contender("Flask-HTTPAuth", FLASK, "wsgi", lambda s: flask_app(s.public_key, s.secret)),
    Contender(behind(FLASK), FLASK, "wsgi", _wsgi(flask_app), "sqlite"),
    Contender(DJANGO, DJANGO, "wsgi", lambda setup: django_app(setup.folder, protected=False)),
    Contender(behind(DJANGO), DJANGO, "wsgi", _django, "sqlite"),
    Contender("djangorestframework-api-key", DJANGO, "wsgi", lambda setup: django_app(setup.folder, protected=True)),
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}


def of_databases(databases: tuple[str, ...]) -> list[Contender]:
    """Return those that need no database of ours, or one of these."""
    return [contender for contender in CONTENDERS if contender.database in ("", *databases)]
