"""The file lock excludes processes and threads, and gives up after its timeout."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.fresh_processes import FRESH

from octy_middleware import DatabaseUnavailableError
from octy_middleware.db.file_lock import FileLock


def _add(path: Path, times: int) -> None:
    lock = FileLock(path.with_suffix(".lock"))
    for _ in range(times):
        with lock.hold(30):
            value = int(path.read_text())
            path.write_text(str(value + 1))


def test_file_lock_excludes_processes_and_threads(tmp_path: Path) -> None:
    """A counter without any other protection: one lost update would show."""
    path = tmp_path / "counter"
    path.write_text("0")
    others = [FRESH.Process(target=_add, args=(path, 100)) for _ in range(2)]
    lock = FileLock(path.with_suffix(".lock"))

    def add_here() -> None:
        for _ in range(50):
            with lock.hold(30):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=add_here) for _ in range(4)]
    for worker in [*others, *threads]:
        worker.start()
    for worker in [*others, *threads]:
        worker.join()
    assert path.read_text() == "400"


def test_file_lock_timeout_raises_database_unavailable(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with one.hold(1), pytest.raises(DatabaseUnavailableError, match="another process"), other.hold(0.05):
        pass
    with other.hold(1):
        pass


def test_file_lock_timeout_of_another_thread_raises_database_unavailable(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "octy.db.lock-file")
    with (
        lock.hold(1.0),
        ThreadPoolExecutor(1) as other,
        pytest.raises(DatabaseUnavailableError, match="another thread was writing"),
    ):
        other.submit(lock.hold(0.05).__enter__).result()


def test_fork_during_a_long_write_goes_on_and_leaves_the_lock_to_its_holder(tmp_path: Path) -> None:
    lock, other = FileLock(tmp_path / "lock", fork_timeout=0.01), FileLock(tmp_path / "lock")
    with lock.hold(1):
        lock.before_fork()
        lock.after_fork()
        with pytest.raises(DatabaseUnavailableError, match="another process"), other.hold(0.05):
            pass
    with other.hold(1):
        pass
