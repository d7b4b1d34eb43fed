"""The servers that are put under load: uvicorn and gunicorn, with one process or several, on one database."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.paths import TESTS
from support.world import World

from octy_worker.dev.processes import LOOPBACK, Process, ProcessGroup, free_port, is_listening

ADAPTERS = ("starlette", "flask")
_THREADS = 16  # of a gunicorn worker: as many refusals can share one commit
_START_TIMEOUT = 90.0


@dataclass(frozen=True)
class App:
    """A module with an app for each adapter, and the folder to import it from."""

    folder: Path
    starlette: str
    flask: str


EXAMPLE_APP = App(TESTS.parent / "examples", "starlette_app:app", "flask_app:app")
LOAD_APP = App(TESTS, "proofs.load.apps:starlette_app", "proofs.load.apps:flask_app")


@dataclass(frozen=True)
class Server:
    """A running server; with several processes they share the port."""

    adapter: str
    port: int
    process: Process

    def pids(self) -> list[int]:
        """Return the worker processes of a server that has several, or gunicorn's one."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(text) for text in children if _is_worker(text)]

    def threads(self) -> int:
        """Return how many threads all its processes have."""
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in [self.process.pid, *self.pids()])  # noqa: PTH208


def _is_worker(pid: str) -> bool:
    """Distinguish workers from the process with which Python's own multiprocessing cleans up."""
    try:
        return b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it is gone, or going
        return False


def command(adapter: str, app: App, port: int, processes: int, *, preload: bool = False) -> list[str]:
    """Return what to type after `python -m`. `preload`: gunicorn imports the app once, and forks its workers."""
    common = ["--workers", str(processes), "--log-level", "error"]
    if adapter == "starlette":
        options = ["--app-dir", str(app.folder), "--port", str(port), "--http", "h11", "--no-proxy-headers"]
        return ["uvicorn", app.starlette, *common, *options, "--no-access-log"]
    options = ["--chdir", str(app.folder), "--bind", f"{LOOPBACK}:{port}", "--worker-class", "gthread"]
    threads = ["--threads", str(_THREADS), "--forwarded-allow-ips", ""]
    return ["gunicorn", app.flask, *common, *options, *threads, *["--preload"] * preload]


class ServerGroup:
    """Servers of one database."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group

    def launch(self, adapter: str, *, app: App = EXAMPLE_APP, processes: int = 1, preload: bool = False) -> Server:
        """Begin to start a server; `wait` returns when it listens."""
        port = free_port()
        arguments = command(adapter, app, port, processes, preload=preload)
        return Server(adapter, port, self._group.start(f"{adapter}-{port}", [sys.executable, "-m", *arguments]))

    def wait(self, *servers: Server) -> None:
        for server in servers:
            server.process.wait_until(lambda port=server.port: is_listening(port), _START_TIMEOUT)

    def start(self, adapter: str, *, app: App = EXAMPLE_APP, processes: int = 1) -> Server:
        server = self.launch(adapter, app=app, processes=processes)
        self.wait(server)
        return server

    def stop(self) -> None:
        """End all servers in order; what they have queued is written."""
        self._group.stop()


@contextmanager
def serving(world: World, settings: Mapping[str, str] | None = None) -> Iterator[ServerGroup]:
    """Serve the world's database by as many servers as are started in the block, with these OCTY_* variables."""
    with ProcessGroup(world.folder / "logs", {**world.environment(), **(settings or {})}) as group:
        yield ServerGroup(group)
