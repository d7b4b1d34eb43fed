"""A framework on a server: which cells there are, all cases of one, and what was recorded of them."""

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from support.until import until
from support.world import World

from proofs.conformance.accounts import Accounts, KeyPairs
from proofs.conformance.cases import NOTHING, STOP, Case, CaseResult, table
from proofs.conformance.servers import DEFAULT_SETTINGS, FURTHER, SERVERS, WITHOUT_LIFESPAN, RunningServer, Server

_TIMEOUT = 30.0  # seconds until the record must be complete; waited for only where it is not

FRAMEWORKS = {
    "Starlette": ("asgi", "starlette_app"),
    "FastAPI": ("asgi", "fastapi_app"),
    "Django (ASGI)": ("asgi", "django_asgi_app"),
    "Falcon (ASGI)": ("asgi", "falcon_asgi_app"),
    "Flask": ("wsgi", "flask_app"),
    "Django (WSGI)": ("wsgi", "django_wsgi_app"),
    "Falcon (WSGI)": ("wsgi", "falcon_wsgi_app"),
}
# Those of the short table, each on one server.
FURTHER_FRAMEWORKS = {
    "Litestar": ("asgi", "litestar_app"),
    "Quart": ("asgi", "quart_app"),
    "Sanic": ("asgi", "sanic_app"),
    "Pyramid": ("wsgi", "pyramid_app"),
    "Bottle": ("wsgi", "bottle_app"),
    "REST framework": ("wsgi", "django_apis:rest_framework"),
    "django-ninja": ("wsgi", "django_apis:ninja"),
}
SHORT_TABLE = (
    "keys",
    "source",
    "plain HTTP",
    "no proxy trusted",
    "optional",
    "HSTS",
    "rate limit",
    "custom error responses",
    STOP,
)
_FORWARDING = ("source", "plain HTTP", "no proxy trusted", "Forwarded", "WebSocket", STOP)


@dataclass(frozen=True)
class Cell:
    """One framework on one server."""

    framework: str
    server: Server

    def __str__(self) -> str:
        return f"{self.framework} on {self.server.name}"

    def cases(self, key_pairs: KeyPairs) -> tuple[Case, ...]:
        """Return what is run here. A server with its default settings differs in whom it trusts: this is asked."""
        groups = None
        if self.server in WITHOUT_LIFESPAN:
            groups = ("keys", STOP)
        elif self.server in FURTHER or self.framework in FURTHER_FRAMEWORKS:
            groups = SHORT_TABLE
        elif self.server in DEFAULT_SETTINGS:
            groups = _FORWARDING
        here = (case for case in table(key_pairs) if case.adapter in ("", self.server.adapter))
        return tuple(case for case in here if groups is None or case.group in groups)

    @property
    def app(self) -> str:
        _, module = (FRAMEWORKS | FURTHER_FRAMEWORKS)[self.framework]
        return f"proofs.conformance.apps.{module}" if ":" in module else f"proofs.conformance.apps.{module}:app"


def _small_cells(servers: Iterable[Server]) -> tuple[Cell, ...]:
    return tuple(Cell("Starlette" if server.adapter == "asgi" else "Flask", server) for server in servers)


_ONE = {"asgi": SERVERS[0], "wsgi": next(server for server in SERVERS if server.name == "waitress")}
CELLS = tuple(
    Cell(framework, server)
    for server in SERVERS
    for framework, (adapter, _) in FRAMEWORKS.items()
    if adapter == server.adapter
)
DEFAULT_SETTINGS_CELLS = _small_cells(DEFAULT_SETTINGS)
FURTHER_CELLS = (
    *(Cell(framework, _ONE[adapter]) for framework, (adapter, _) in FURTHER_FRAMEWORKS.items()),
    *_small_cells((*FURTHER, *WITHOUT_LIFESPAN)),
)
ALL_CELLS = (*CELLS, *DEFAULT_SETTINGS_CELLS, *FURTHER_CELLS)


@dataclass
class CellRun:
    """A cell with databases of its own, and its server."""

    cell: Cell
    folder: Path
    worlds: dict[str, World]
    running: RunningServer = field(init=False)

    @classmethod
    def prepare(cls, cell: Cell, accounts: Accounts, folder: Path) -> Self:
        """Return one with a copy of the accounts, and nothing running yet."""
        folder.mkdir(parents=True)
        return cls(cell, folder, accounts.copy_to(folder))

    def start(self, app: str | None = None, *options: str) -> None:
        """Start the server, from the main thread."""
        self.running = RunningServer(self.cell.server, app or self.cell.app, self.folder, self.environment(), *options)

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

    def run(self, cases: tuple[Case, ...], expected: dict[str, CaseResult]) -> dict[str, CaseResult]:
        """Run the cases, stop the server after the last one, and return what each came to."""
        try:
            self.running.wait()
            *others, last = cases
            responses = {case.title: case.run(self.running.port) for case in others}
            wanted = {case.title: expected[case.title] for case in others}
            with suppress(AssertionError):  # accepted outcomes wait a moment for others; the report shows what differs
                until(lambda: wanted.items() <= self.results(others, responses).items(), _TIMEOUT, interval=0.05)
            responses[last.title] = last.run(self.running.port)
            self.running.terminate()
            return self.results(cases, responses)
        finally:
            self.close()

    def results(self, cases: Iterable[Case], responses: dict[str, tuple[str, ...]]) -> dict[str, CaseResult]:
        """Return what each case came to, and what is on record that no case explains: there must be nothing."""
        record = RecordedOutcomes(self.worlds)
        results = {case.title: CaseResult(responses[case.title], record.take(case)) for case in cases}
        left = {f"unexplained: {place}": CaseResult((), ", ".join(found)) for place, found in record.by_place.items()}
        return {**results, **left}

    def close(self) -> None:
        if hasattr(self, "running"):
            self.running.stop()
        for world in self.worlds.values():
            world.database.close()


class RecordedOutcomes:
    """What the databases of a cell hold, by request id or source."""

    def __init__(self, worlds: dict[str, World]) -> None:
        self.by_place: dict[str, Counter[str]] = {}
        for name, world in worlds.items():
            prefix = "" if name == "octy" else f"{name}: "
            for request_id, outcome, source in world.rows("SELECT request_id, outcome, source FROM attempt"):
                self.by_place.setdefault(request_id, Counter())[f"{prefix}{outcome} from {source}"] += 1
            for source, count in world.rows("SELECT source, count FROM outcome_minute WHERE outcome = 'accepted'"):
                self.by_place.setdefault(source, Counter())[f"{prefix}accepted"] += count

    def take(self, case: Case) -> str:
        """Return what is on record of a case, once."""
        found = self.by_place.pop(case.request_id, Counter()) + self.by_place.pop(case.source, Counter())
        words = {word.removesuffix(f" from {case.source}"): count for word, count in found.items()}
        counted = [word if count == 1 else f"{count} × {word}" for word, count in sorted(words.items())]
        return ", ".join(counted) or NOTHING
