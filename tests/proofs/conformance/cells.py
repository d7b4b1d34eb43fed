"""A framework on a server: all cases of it, and what was recorded of them.

Here: which cells there are, playing them, and reading the record afterwards. Not here: which results are right.
"""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from support.until import until
from support.world import World

from proofs.conformance.accounts import Accounts, KeyPairs
from proofs.conformance.cases import NOTHING, Case, table
from proofs.conformance.cases.stops import STOP
from proofs.conformance.servers import DEFAULT_SETTINGS, FURTHER, SERVERS, WITHOUT_LIFESPAN, RunningServer, Server

_TIMEOUT = 30.0  # seconds until the record must be complete; waited for only where it is not

_TRUST = ("source", "plain HTTP", "nobody trusted", "Forwarded", "WebSocket", STOP)
_END = ("keys", STOP)

FRAMEWORKS = {
    "Starlette": ("asgi", "starlette_app"),
    "FastAPI": ("asgi", "fastapi_app"),
    "Django (ASGI)": ("asgi", "django_asgi_app"),
    "Falcon (ASGI)": ("asgi", "falcon_asgi_app"),
    "Flask": ("wsgi", "flask_app"),
    "Django (WSGI)": ("wsgi", "django_wsgi_app"),
    "Falcon (WSGI)": ("wsgi", "falcon_wsgi_app"),
}
# Those of the smaller table, each on one server.
FURTHER_FRAMEWORKS = {
    "Litestar": ("asgi", "litestar_app"),
    "Quart": ("asgi", "quart_app"),
    "Sanic": ("asgi", "sanic_app"),
    "Pyramid": ("wsgi", "pyramid_app"),
    "Bottle": ("wsgi", "bottle_app"),
    "REST framework": ("wsgi", "rest_framework_app"),
    "django-ninja": ("wsgi", "ninja_app"),
}
SHORT_TABLE = (
    "keys",
    "source",
    "plain HTTP",
    "nobody trusted",
    "optional",
    "HSTS",
    "rate limit",
    "shaped refusals",
    STOP,
)


@dataclass(frozen=True)
class Cell:
    """One framework on one server."""

    framework: str
    server: Server

    def __str__(self) -> str:
        return f"{self.framework} on {self.server.name}"

    def cases(self, key_pairs: KeyPairs) -> tuple[Case, ...]:
        """Return what is played here. A server default settings differs in whom it trusts by itself: this is asked."""
        here = (case for case in table(key_pairs) if case.adapter in ("", self.server.adapter))
        groups = self._groups
        return tuple(case for case in here if groups is None or case.group in groups)

    @property
    def _groups(self) -> tuple[str, ...] | None:
        if self.server in WITHOUT_LIFESPAN:
            return _END
        if self.server in FURTHER or self.framework in FURTHER_FRAMEWORKS:
            return SHORT_TABLE
        return _TRUST if self.server in DEFAULT_SETTINGS else None

    @property
    def app(self) -> str:
        return f"proofs.conformance.apps.{(FRAMEWORKS | FURTHER_FRAMEWORKS)[self.framework][1]}:app"


CELLS = tuple(
    Cell(framework, server)
    for server in SERVERS
    for framework, (adapter, _) in FRAMEWORKS.items()
    if adapter == server.adapter
)
DEFAULT_SETTINGS_CELLS = tuple(
    Cell("Starlette" if server.adapter == "asgi" else "Flask", server) for server in DEFAULT_SETTINGS
)
_ONE = {
    "asgi": next(one for one in SERVERS if one.adapter == "asgi"),
    "wsgi": next(one for one in SERVERS if one.name == "waitress"),
}
FURTHER_CELLS = (
    *(Cell(framework, _ONE[adapter]) for framework, (adapter, _) in FURTHER_FRAMEWORKS.items()),
    *(Cell("Starlette" if server.adapter == "asgi" else "Flask", server) for server in (*FURTHER, *WITHOUT_LIFESPAN)),
)


@dataclass(frozen=True)
class CaseResult:
    """What one case came to in one cell."""

    answers: tuple[str, ...]
    recorded: str

    def __str__(self) -> str:
        return f"{' · '.join(self.answers)} [{self.recorded or 'nothing recorded'}]"


@dataclass
class CellRun:
    """A cell with databases of its own, and its server."""

    cell: Cell
    folder: Path
    worlds: dict[str, World]
    running: RunningServer = field(init=False)

    @classmethod
    def prepared(cls, cell: Cell, accounts: Accounts, folder: Path) -> Self:
        """Return one with a copy of the accounts, and nothing running yet."""
        folder.mkdir(parents=True)
        return cls(cell, folder, accounts.copy_to(folder))

    def start(self, **variables: str) -> None:
        """Start the server, from the main thread."""
        self.running = RunningServer(self.cell.server, self.cell.app, self.folder, {**self.environment(), **variables})

    def environment(self) -> dict[str, str]:
        """Return what the apps read: the middleware's settings, and the neighbour's database."""
        octy = self.worlds["octy"]
        return {
            "OCTY_DATABASE_URL": octy.url,
            "NEIGHBOUR_DATABASE_URL": self.worlds["neighbour"].url,
            "OCTY_PEPPERS": octy.peppers.export(),
            "OCTY_TRUSTED_PROXIES": "127.0.0.1",
            "OCTY_EXEMPT_PATHS": "/open",
            "OCTY_BATCH_DELAY": "1",  # what is accepted just before a stop is not written yet
            "OCTY_ATTEMPTS_PER_MINUTE": "100000",
            "OCTY_SOURCES_PER_MINUTE": "100000",
        }

    def play(self, cases: tuple[Case, ...], expected: dict[str, CaseResult]) -> dict[str, CaseResult]:
        """Run the cases, stop the server after the last one, and return what each came to."""
        try:
            self.running.wait()
            *others, last = cases
            answers = {case.title: case.run(self.running.port) for case in others}
            self._settle(others, answers, expected)
            answers[last.title] = last.run(self.running.port)
            self.running.end()
            return self._seen(cases, answers)
        finally:
            self.running.stop()
            for world in self.worlds.values():
                world.database.close()

    def _settle(self, cases: list[Case], answers: dict[str, tuple[str, ...]], expected: dict[str, CaseResult]) -> None:
        """Wait until all is recorded as expected: accepted outcomes wait a moment for others."""

        def recorded() -> bool:
            seen = self._seen(cases, answers)
            return all(seen.get(case.title) == expected[case.title] for case in cases)

        with suppress(AssertionError):  # the report says which cell differs
            until(recorded, _TIMEOUT, interval=0.05)

    def _seen(self, cases: Iterable[Case], answers: dict[str, tuple[str, ...]]) -> dict[str, CaseResult]:
        """Read the record."""
        record = RecordedOutcomes(self.worlds)
        return {**{case.title: CaseResult(answers[case.title], record.of(case)) for case in cases}, **record.rest()}


class RecordedOutcomes:
    """What the databases of a cell hold, by case."""

    def __init__(self, worlds: dict[str, World]) -> None:
        self._attempts: dict[str, Counter[str]] = {}
        self._accepted: dict[str, Counter[str]] = {}
        for name, world in worlds.items():
            prefix = "" if name == "octy" else f"{name}: "
            for request_id, outcome, source in world.rows("SELECT request_id, outcome, source FROM attempt"):
                self._attempts.setdefault(request_id, Counter())[f"{prefix}{outcome} from {source}"] += 1
            for source, count in world.rows("SELECT source, count FROM outcome_minute WHERE outcome = 'accepted'"):
                self._accepted.setdefault(source, Counter())[f"{prefix}accepted"] += count

    def of(self, case: Case) -> str:
        found = self._attempts.pop(case.request_id, Counter()) + self._accepted.pop(case.source, Counter())
        words = {word.removesuffix(f" from {case.source}"): count for word, count in found.items()}
        return (
            ", ".join(word if count == 1 else f"{count} × {word}" for word, count in sorted(words.items())) or NOTHING
        )

    def rest(self) -> dict[str, CaseResult]:
        """Return what no case explains, by where it stands. There must be nothing."""
        left = {**self._attempts, **self._accepted}
        return {f"unexplained: {place}": CaseResult((), ", ".join(found)) for place, found in left.items()}
