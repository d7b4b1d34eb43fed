"""Fixtures that every folder of tests may use."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support.compiled_statements import share_compiled_statements
from support.databases import DATABASES, remove_template
from support.few_authorities import look_authorities_up
from support.left_out import pytest_runtest_makereport, pytest_runtest_setup, pytest_terminal_summary
from support.memory_folder import use_memory_folder
from support.world import World
from xdist.scheduler import LoadFileScheduling

import octy_middleware
import octy_worker
import octy_workflows

__all__ = ["pytest_runtest_makereport", "pytest_runtest_setup", "pytest_terminal_summary"]  # pytest finds them here

settings.register_profile("octy", deadline=None)  # a slow day is no fault of the code
settings.load_profile("octy")
use_memory_folder()
look_authorities_up()
# Temporal's servers have small heaps: with fewer collections of garbage they need a tenth less CPU.
os.environ.setdefault("GOGC", "800")
share_compiled_statements()


def pytest_report_header() -> str:
    """Say which code is tested; `make test` sets OCTY_TEST_WHEEL and refuses the sources."""
    sources = {Path(str(module.__file__)).parents[1] for module in (octy_middleware, octy_workflows, octy_worker)}
    listed = ", ".join(sorted(map(str, sources)))
    if "OCTY_TEST_WHEEL" in os.environ and not all(source.is_relative_to(sys.prefix) for source in sources):
        raise pytest.UsageError(f"the wheel is not tested: packages were imported from {listed}")
    return f"octy: packages of {listed}"


@pytest.fixture(params=DATABASES)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database; a test marked `sqlite` is about what only a file can do."""
    return str(request.param)


def _is_foreign(item: pytest.Item) -> bool:
    database_kind = getattr(item, "callspec", None) and item.callspec.params.get("database_kind")  # type: ignore[attr-defined]
    return item.get_closest_marker("sqlite") is not None and database_kind == "postgresql"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests about files away from servers: there is nothing to skip, they have no such case."""
    foreign = [item for item in items if _is_foreign(item)]
    items[:] = [item for item in items if item not in foreign]
    if foreign:
        config.hook.pytest_deselected(items=foreign)


class _Scheduling(LoadFileScheduling):
    """A file at a time; but all stories on one kind of database at once: else each file starts the stack again."""

    def _split_scope(self, nodeid: str) -> str:
        database_kind = next((database_kind for database_kind in DATABASES if f"[{database_kind}" in nodeid), "")
        return (
            f"story on {database_kind}"
            if database_kind and "tests/story/" in nodeid
            else str(super()._split_scope(nodeid))
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling | None:
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Have the collector leave alone what there is now: half a million objects took a tenth of the CPU."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def world(tmp_path: Path, database_kind: str) -> Iterator[World]:
    world = World(tmp_path, database_kind)
    yield world
    world.close()


# A shell that runs the suite in the background hands "ignore Ctrl-C" down to every process, and some are to stop by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_exit_status = 0


def pytest_sessionfinish(exitstatus: int) -> None:
    global _exit_status  # noqa: PLW0603
    _exit_status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End at once: a process that had a Temporal client sometimes aborts in the interpreter's end (sdk-python#300)."""
    remove_template()
    if "temporalio.client" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_status)
