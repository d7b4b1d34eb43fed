"""What ran the benches: cores, kernel, Python, versions; and what the disk takes to keep a page.

Here: facts. Not here: what they are compared with.
"""

import os
import platform
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

PAGE = b"x" * 4096
_PARTS = (
    *("uvicorn", "httptools", "h11", "uvloop", "granian", "gunicorn"),
    *("starlette", "fastapi", "flask", "flask-httpauth", "django", "djangorestframework-api-key"),
    *("sqlalchemy", "psycopg", "temporalio"),
)


def facts() -> dict[str, object]:
    """Return what somebody needs to read the figures by, and nothing that names the machine."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{part: version(part) for part in _PARTS},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def sync_seconds(folder: Path, times: int) -> list[float]:
    """Return what each of so many fdatasyncs of 4 KiB took, one after the other."""
    with (folder / "probe").open("wb", buffering=0) as file:
        return [_sync(file.fileno()) for _ in range(times)]


@contextmanager
def probing(folder: Path, *, pause: float = 0.02) -> Iterator[list[float]]:
    """Sync a page every so often while the block runs; the list fills meanwhile."""
    taken: list[float] = []
    over = threading.Event()

    def probe() -> None:
        with (folder / "probe").open("wb", buffering=0) as file:
            while not over.wait(pause) or not taken:
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
    os.pwrite(descriptor, PAGE, 0)
    os.fdatasync(descriptor)
    return time.perf_counter() - begun
