"""A pytest plugin of `checks_removed`: writes as JSON how each test ended, and which packages were not the copy's."""

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

RESULTS, PACKAGES, COMPILED = "RECORDED_RUN_RESULTS", "RECORDED_RUN_PACKAGES", "RECORDED_RUN_COMPILED"
"""Environment variables: the file that is written; the folder that all packages must come from; the folder of what is
compiled, which is read, and is written where PYTHONDONTWRITEBYTECODE is empty."""
PASSED, BY_ASSERTION = "passed", "by assertion: "

_ended: dict[str, str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Apply variables that Python has not read: it is the fork of a process that ran already."""
    sys.pycache_prefix, sys.dont_write_bytecode = os.environ[COMPILED], bool(os.environ["PYTHONDONTWRITEBYTECODE"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the first thing that went wrong with a test."""
    report = yield
    name, error = item.nodeid.removeprefix("tests/"), call.excinfo
    if error is not None and _ended.get(name, PASSED) == PASSED:
        said = f"{error.typename}: {str(error.value).partition(chr(10))[0][:150]}"
        is_assertion = call.when == "call" and error.errisinstance((AssertionError, pytest.fail.Exception))
        _ended[name] = f"{BY_ASSERTION}{said}" if is_assertion else said
    elif call.when == "call":
        _ended.setdefault(name, PASSED)
    return report


def pytest_sessionfinish() -> None:
    """Write the results; before `pytest_unconfigure`, which ends some runs at once."""
    folder = os.environ[PACKAGES]
    files = {name: str(getattr(module, "__file__", None) or folder) for name, module in sys.modules.items()}
    foreign = [file for name, file in files.items() if name.startswith("octy_") and not file.startswith(folder)]
    raised = str(sys.exc_info()[1] or "")  # a test that does not exist: it is printed nowhere else
    results = {"ended": _ended, "wrong": [*foreign, *([raised] if raised else [])]}
    Path(os.environ[RESULTS]).write_text(json.dumps(results), "utf-8")
