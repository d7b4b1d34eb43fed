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
from support.database_choice import (
    database_kind,
    database_kind_of,
    describe,
    pytest_addoption,
    pytest_collection_modifyitems,
)
from support.databases import remove_template
from support.few_authorities import look_authorities_up
from support.left_out import pytest_runtest_makereport, pytest_runtest_setup, pytest_terminal_summary
from support.memory_folder import use_memory_folder
from support.world import World
from xdist.scheduler import LoadFileScheduling

import octy_middleware
import octy_worker
import octy_workflows

__all__ = [  # pytest finds them here
    "database_kind",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
]

settings.register_profile("octy", deadline=None)  # a slow day is no fault of the code
settings.load_profile("octy")
use_memory_folder()
look_authorities_up()
# Temporal's servers have small heaps: with fewer collections of garbage they need a tenth less CPU.
os.environ.setdefault("GOGC", "800")
share_compiled_statements()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which code is tested, and on which databases; `make test` sets OCTY_TEST_WHEEL and refuses the sources."""
    sources = {Path(str(module.__file__)).parents[1] for module in (octy_middleware, octy_workflows, octy_worker)}
    listed = ", ".join(sorted(map(str, sources)))
    if "OCTY_TEST_WHEEL" in os.environ and not all(source.is_relative_to(sys.prefix) for source in sources):
        raise pytest.UsageError(f"the wheel is not tested: packages were imported from {listed}")
    return [f"octy: packages of {listed}", describe(config)]


class _Scheduling(LoadFileScheduling):
    """A file at a time; but all stories on one kind of database at once: else each file starts the stack again."""

    def _split_scope(self, nodeid: str) -> str:
        kind = database_kind_of(nodeid)
        return f"story on {kind}" if kind and "tests/story/" in nodeid else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling | None:
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    """Save the collector half a million objects, a tenth of the CPU. Leave the project's root for servers' sake.

    Many servers import from the current folder first: at the root they find the sources, and the wheel is not tested.
    """
    gc.collect()
    gc.freeze()
    os.chdir(Path(__file__).parent)


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
