"""A pytest plugin: tests whose programs are missing are left out and named; OCTY_REQUIRE_ALL=1 makes that a failure.

`@pytest.mark.needs("promtool")` names a program. A skip for any other reason is treated alike.
"""

import os
import shutil
from collections.abc import Generator

import pytest

_LEFT_OUT = "left out: "


def _all_is_required() -> bool:
    return os.environ.get("OCTY_REQUIRE_ALL") == "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are not here."""
    wanted = [str(name) for mark in item.iter_markers("needs") for name in mark.args]
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skip fail where everything is required, so that a pipeline installs what its tests need."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _all_is_required():
        report.outcome = "failed"
        report.longrepr = f"{_LEFT_OUT}{item.nodeid} ({_reason(report)}), and OCTY_REQUIRE_ALL=1 is set"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out: a suite that is green without them says so."""
    for report in terminalreporter.getreports("skipped"):
        terminalreporter.write_line(f"{_LEFT_OUT}{report.nodeid} ({_reason(report)})")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return told.removeprefix("Skipped: ")
