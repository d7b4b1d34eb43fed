"""Contenders behind real servers, by command lines as users write them: one worker process each, on loopback."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.paths import TESTS
from support.world import Keys, World

from octy_middleware.http.credentials import Secret
from octy_worker.dev.processes import LOOPBACK, Process, ProcessGroup, free_port, is_listening

_APP = "proofs.benchmarks.apps.served:app"
_START_TIMEOUT = 60.0
_THREADS = "16"  # of a gthread worker: so many requests of 64 connections are under way at once
_QUIET = ("--log-level", "error")
_UVICORN = (*("uvicorn", _APP, "--no-access-log", "--no-proxy-headers"), *_QUIET)
_GUNICORN = (*("gunicorn", _APP, "--workers", "1", "--forwarded-allow-ips", "", "--no-control-socket"), *_QUIET)
_GRANIAN = ("granian", _APP, "--no-access-log", "--workers", "1", *_QUIET)

COMMANDS = {
    "uvicorn (httptools, uvloop)": (*_UVICORN, "--http", "httptools", "--loop", "uvloop"),
    "uvicorn (h11, asyncio)": (*_UVICORN, "--http", "h11", "--loop", "asyncio"),
    "granian (ASGI)": (*_GRANIAN, "--interface", "asgi"),
    "gunicorn (uvicorn worker)": (*_GUNICORN, "--worker-class", "uvicorn.workers.UvicornWorker"),
    "granian (WSGI)": (*_GRANIAN, "--interface", "wsgi"),
    "gunicorn (gthread)": (*_GUNICORN, "--worker-class", "gthread", "--threads", _THREADS),
}
UVICORN, GRANIAN, GTHREAD = "uvicorn (httptools, uvloop)", "granian (ASGI)", "gunicorn (gthread)"


@dataclass(frozen=True)
class Served:
    """A running server and the contender behind it."""

    port: int
    process: Process

    def pids(self) -> tuple[int, ...]:
        """Return its process and its children's, as they are now: gunicorn listens before it has a worker."""
        family = psutil.Process(self.process.pid)
        return (family.pid, *(child.pid for child in family.children(recursive=True)))


class ServerGroup:
    """Servers that run side by side; an idle one costs next to nothing."""

    def __init__(self, group: ProcessGroup, folder: Path) -> None:
        self._group = group
        self._folder = folder
        self._number = 0

    def launch(
        self, server: str, contender: str, world: World, keys: Keys, authorization: str, **settings: object
    ) -> Served:
        """Start one without waiting; `wait` returns when it listens. `settings`: of the middleware."""
        self._number += 1
        folder = self._folder / f"server-{self._number}"
        folder.mkdir()
        port = free_port()
        module, *arguments = COMMANDS[server]
        place = ["--bind", f"{LOOPBACK}:{port}"] if module == "gunicorn" else ["--port", str(port)]
        variables = {
            "OCTY_DATABASE_URL": world.url,
            "OCTY_PEPPERS": world.peppers.export(),
            "OCTY_REQUIRE_HTTPS": "0",
            "BENCH_CONTENDER": contender,
            "BENCH_AUTHORIZATION": authorization,
            "BENCH_PUBLIC_KEY": keys.public_key,
            "BENCH_SECRET": keys.secret,
            "BENCH_DIGEST": world.hasher.digest(Secret(keys.secret), b""),
            "BENCH_FOLDER": str(folder),
            **{f"OCTY_{name.upper()}": str(value) for name, value in settings.items()},
        }
        command = [sys.executable, "-m", module, *arguments, *place]
        return Served(port, self._group.start(f"server-{self._number}", command, variables))

    @staticmethod
    def wait(*served: Served) -> None:
        for one in served:
            one.process.wait_until(lambda port=one.port: is_listening(port), _START_TIMEOUT)


@contextmanager
def running_servers(folder: Path) -> Iterator[ServerGroup]:
    """Open a group; its servers end with the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OCTY_", "BENCH_"))}
    folder.mkdir(exist_ok=True)
    with ProcessGroup(folder / "logs", {**environment, "PYTHONPATH": str(TESTS)}) as group:
        yield ServerGroup(group, folder)
