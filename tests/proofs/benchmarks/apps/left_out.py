"""Ours with parts left out, as contenders: what is still slow without a part is not that part's cost.

The replacements stay for the life of the server's process; the product has no such switch.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from octy_middleware import OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.auth.header_cache import HeaderCache
from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.recording.outcome_writer import OutcomeWriter
from proofs.benchmarks.apps.bare import Bare, bare_wsgi
from proofs.benchmarks.apps.contenders import (
    BARE,
    BARE_WSGI,
    BY_NAME,
    DJANGO,
    FASTAPI,
    FLASK,
    Contender,
    NoRecorder,
    Setup,
)
from proofs.benchmarks.apps.django_app import django_app
from proofs.benchmarks.apps.frameworks import fastapi_app, flask_app

_AUTHENTICATOR = "octy_middleware.auth.authenticator"

NOTHING = "a middleware that does nothing"
NO_RECORDING, NO_DIGEST = "no recording", "no recording, no digest of the header"
NO_LOOK_UP, NO_COMMIT, SYNC_ONLY, NO_DATABASE = (
    "no look-up",
    "no commit",
    "one fdatasync in place of the commit",
    "neither look-up nor commit",
)


class _PassOn:
    """An ASGI middleware that does nothing."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class _PassOnWsgi:
    """A WSGI middleware that does nothing."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self._app(environ, start_response)


class _PlainHeaders(HeaderCache):
    """A dict of headers in clear: no digest, no clock, no event, no look at the key cache."""

    def restart(self) -> None:
        self._decisions: dict[bytes, AuthDecision] = {}

    def get(self, value: bytes, source: str) -> AuthDecision | None:
        return self._decisions.get(value)

    def add(self, value: bytes, record: KeyRecord, packed: bytes, decision: AuthDecision) -> None:
        self._decisions[value] = decision


class _Remembering(KeyCache):
    """Reads each record once, and never again."""

    def restart(self) -> None:
        super().restart()
        self._known: dict[str, KeyRecord] = {}

    def load_many(self, public_keys: Iterable[str]) -> dict[str, KeyRecord]:
        wanted = list(public_keys)
        unknown = [key for key in wanted if key not in self._known]
        if unknown:
            self._known.update(super().load_many(unknown))
        return {key: self._known[key] for key in wanted if key in self._known}


class _NoCommit(OutcomeWriter):
    def write(self, batch: Sequence[AuthEvent]) -> None:
        pass


class _SyncOnly(OutcomeWriter):
    """Writes a page to a file of its own and syncs it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file = tempfile.TemporaryFile(dir=os.environ["BENCH_FOLDER"])  # noqa: SIM115  # as long as the server

    def write(self, batch: Sequence[AuthEvent]) -> None:
        os.pwrite(self._file.fileno(), bytes(4096), 0)
        os.fdatasync(self._file.fileno())


_LEFT_OUT: Mapping[str, Mapping[str, type]] = {
    NO_RECORDING: {"Recorder": NoRecorder},
    NO_DIGEST: {"Recorder": NoRecorder, "HeaderCache": _PlainHeaders},
    NO_LOOK_UP: {"KeyCache": _Remembering},
    NO_COMMIT: {"OutcomeWriter": _NoCommit},
    SYNC_ONLY: {"OutcomeWriter": _SyncOnly},
    NO_DATABASE: {"KeyCache": _Remembering, "OutcomeWriter": _NoCommit},
}
ACCEPTED_PARTS = (NOTHING, NO_DIGEST, NO_RECORDING)
REFUSED_PARTS = (NO_DATABASE, NO_COMMIT, SYNC_ONLY, NO_LOOK_UP)

_INNER: Mapping[str, Callable[[Setup], Any]] = {
    BARE: lambda _: Bare(),
    FASTAPI: lambda _: fastapi_app(),
    BARE_WSGI: lambda _: bare_wsgi,
    FLASK: lambda _: flask_app(),
    DJANGO: lambda setup: django_app(setup.folder, protected=False),
}


def again(base: str) -> str:
    """Return the name of the second copy of a bare app."""
    return f"{base}, again"


def left_out(part: str, base: str, database: str) -> str:
    """Return the name of ours before that app, without a part."""
    return f"{base}: {part}, {database}"


def _build(part: str, base: str) -> Callable[[Setup], Any]:
    def build(setup: Setup) -> Any:
        app, is_asgi = _INNER[base](setup), BY_NAME[base].adapter == "asgi"
        if part == NOTHING:
            return _PassOn(app) if is_asgi else _PassOnWsgi(app)
        with ExitStack() as stack:
            for name, replacement in _LEFT_OUT[part].items():
                stack.enter_context(patch(f"{_AUTHENTICATOR}.{name}", replacement))
            adapter = OctyASGIMiddleware if is_asgi else OctyWSGIMiddleware
            return adapter(app, settings=setup.settings)

    return build


def _contenders() -> list[Contender]:
    found = []
    for base in _INNER:
        one = BY_NAME[base]
        found.append(Contender(again(base), base, one.adapter, one.build))
        found += [
            Contender(left_out(part, base, "sqlite"), base, one.adapter, _build(part, base), "sqlite")
            for part in ACCEPTED_PARTS
        ]
    for database in ("sqlite", "postgresql"):
        found += [
            Contender(left_out(part, BARE, database), BARE, "asgi", _build(part, BARE), database)
            for part in REFUSED_PARTS
        ]
    return found


LEFT_OUT = {contender.name: contender for contender in _contenders()}
