"""What ran the benches: cores, kernel, Python, versions; who runs on which core; how long its disk takes to sync."""

import os
import platform
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

_PAGE = b"x" * 4096
_PACKAGES = (
    *("uvicorn", "httptools", "h11", "uvloop", "granian", "gunicorn"),
    *("starlette", "fastapi", "flask", "flask-httpauth", "django", "djangorestframework-api-key"),
    *("sqlalchemy", "psycopg", "temporalio"),
)


def facts() -> dict[str, object]:
    """Return what a reader of the figures needs, and nothing that names the machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cores": os.cpu_count(),
        "processor": next(models, platform.machine()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{package: version(package) for package in _PACKAGES},
    }


@contextmanager
def on_one_core(servers: Iterable[int], others: Iterable[int]) -> Iterator[None]:
    """Keep these processes on the first core and the others on the rest, during the block; on one core, do nothing."""
    first, *rest = everywhere = sorted(os.sched_getaffinity(0))
    if not rest:
        yield
        return
    _move(servers, [first])
    _move(others, rest)
    try:
        yield
    finally:
        _move([*servers, *others], everywhere)


def _move(processes: Iterable[int], cores: Iterable[int]) -> None:
    """Move every thread of these processes; a new thread inherits the cores of the one that starts it."""
    for process in processes:
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


def sync_seconds(folder: Path, times: int) -> list[float]:
    """Return the seconds of so many fdatasyncs of 4 KiB, one after the other."""
    with (folder / "probe").open("wb", buffering=0) as file:
        return [_sync(file.fileno()) for _ in range(times)]


@contextmanager
def probing(folder: Path, *, interval: float = 0.02) -> Iterator[list[float]]:
    """Sync a page at intervals while the block runs, at least once; the list is filled with the seconds."""
    taken: list[float] = []
    over = threading.Event()

    def probe() -> None:
        with (folder / "probe").open("wb", buffering=0) as file:
            while not over.wait(interval) or not taken:
                taken.append(_sync(file.fileno()))

    thread = threading.Thread(target=probe, name="probe")
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


def _sync(descriptor: int) -> float:
    begun = time.perf_counter()
    os.pwrite(descriptor, _PAGE, 0)
    os.fdatasync(descriptor)
    return time.perf_counter() - begun
