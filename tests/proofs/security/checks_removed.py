"""`python -m proofs.security.checks_removed`: remove each check of staff's design, and see that a test notices.

The packages are copied. In the copy one check after the other is removed by a small edit of its source, and the tests
that are named for it must then fail, by an assertion; without an edit they must pass. `checks` has the rows. The exit
status is 1 if the loss of a check is not noticed.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from support.paths import ROOT, TESTS
from support.preloaded import Preloaded, preloaded

from proofs.security import recorded_run
from proofs.security.checks import CHECKS
from proofs.security.checks.check import SOURCES, Check
from proofs.security.checks_page import as_markdown, as_table
from proofs.security.recorded_run import BY_ASSERTION, PASSED

# What most tests import; nothing of ours, which must come from the copy.
_PRELOADED = (
    *(
        "pytest",
        "hypothesis",
        "xdist.scheduler",
        "pytest_cov.plugin",
        "pytest_timeout",
        "playwright.sync_api",
        "psutil",
    ),
    *("sqlmodel", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql", "psycopg", "alembic.command"),
    *(
        "pydantic",
        "email_validator",
        "emails",
        "dkim",
        "jinja2.sandbox",
        "typer.testing",
        "rich.table",
        "passlib.context",
    ),
    *(
        "cryptography.hazmat.primitives.serialization.ssh",
        "passlib.totp",
        "argon2",
        "nacl.signing",
        "webauthn",
        "cbor2",
    ),
    *("httpx2", "httpcore2", "h2.connection", "trio", "starlette.applications", "starlette.testclient", "uvicorn"),
)
_OPTIONS = (
    *("-n0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *("-p", recorded_run.__name__, "-p", "no:faker", "-p", "no:anyio"),  # plugins of others that take a second to load
)


class BrokenRunError(Exception):
    """The tests did not run to their end, or did not run the copy. The text has pytest's output."""


@dataclass(frozen=True)
class Copy:
    """A copy of the packages, and a process in whose forks tests run over it."""

    folder: Path
    python: Preloaded

    def run(self, tests: Iterable[str], *options: str, compiles: bool = False) -> Mapping[str, str]:
        """Return how each of these tests ended: PASSED, BY_ASSERTION and its text, or another error.

        `compiles`: what is imported is compiled for later runs; never while a check is removed.

        Raises BrokenRunError, as where a module can't be imported or a test does not exist.
        """
        results = self.folder / "results.json"
        results.unlink(missing_ok=True)
        program = str(Path(pytest.__file__).with_name("__main__.py"))
        how = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), *_OPTIONS, *options)
        named = [f"{TESTS}/{test}" for test in dict.fromkeys(tests)]  # no Path: parameters may have "//"
        code, output = self.python.run(
            self.folder, [program, *how, *named], self._environment(results, compiles=compiles)
        )
        found = json.loads(results.read_text("utf-8")) if results.exists() else {"ended": {}, "wrong": []}
        if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED} or found["wrong"]:
            raise BrokenRunError("\n".join([*found["wrong"], output[-2000:]]))
        return found["ended"]

    @contextmanager
    def without(self, check: Check) -> Iterator[None]:
        """Have the check be removed for the block. Raises ValueError for one that stands there not once."""
        file = self.folder / check.file
        original, status = file.read_text("utf-8"), file.stat()
        file.write_text(check.removed_from(original), "utf-8")
        try:
            yield
        finally:
            file.write_text(original, "utf-8")
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # its compiled form is right again

    def problem_without(self, check: Check) -> tuple[str, str]:
        """Remove a check once; return what is wrong with its row, or nothing, and how its first test failed."""
        try:
            with self.without(check):
                ended = self.run(check.tests)
        except (BrokenRunError, ValueError) as error:
            return str(error), ""
        wrong = [f"{test}: {end}" for test, end in _ends(check.tests, ended) if not end.startswith(BY_ASSERTION)]
        return "\n".join(wrong), ended.get(check.tests[0], "").removeprefix(BY_ASSERTION)

    def _environment(self, results: Path, *, compiles: bool) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OCTY_", "PYTEST_"))}
        ours = {
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(TESTS)]),
            "PYTHONDONTWRITEBYTECODE": "" if compiles else "1",
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
            recorded_run.COMPILED: str(self.folder / "compiled"),
            recorded_run.RESULTS: str(results),
            recorded_run.PACKAGES: str(self.folder),
        }
        return {**inherited, **ours}


@contextmanager
def copied(folder: Path) -> Iterator[Copy]:
    """Copy the packages into a folder."""
    for name, source in SOURCES.items():
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with preloaded(*_PRELOADED) as python:
        yield Copy(folder, python)


def prove(copy: Copy, checks: Sequence[Check], console: Console) -> dict[str, str]:
    """Run all; return what is wrong, by name of the row."""
    ended = copy.run((test for check in checks for test in check.tests), compiles=True)
    problems = {}
    for number, check in enumerate(checks, 1):
        failing = [f"{test}: {end} before" for test, end in _ends(check.tests, ended) if end != PASSED]
        problem, said = ("\n".join(failing), "") if failing else copy.problem_without(check)
        console.print(
            f"{number:>3}/{len(checks)} {check.name}: {'NOT NOTICED' if problem else f'noticed: {said[:90]}'}"
        )
        if problem:
            problems[check.name] = problem
            console.print(problem)
    return problems


def _ends(tests: Iterable[str], ended: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(test, ended.get(test, "was not run")) for test in tests]


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="checks_removed", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="rows with one of these in name or file")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page, if all was noticed")
    options = parser.parse_args()
    every = [check for checks in CHECKS.values() for check in checks]
    chosen = [each for each in every if not options.only or any(word in each.name + each.file for word in options.only)]
    console = Console(width=180, highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="octy-checks-") as folder, copied(Path(folder)) as copy:
        problems = prove(copy, chosen, console)
    console.print(as_table(chosen, problems))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    console.print(f"octy: {len(chosen)} checks removed, {len(problems)} not noticed, {seconds:.0f} s of CPU")
    if options.write and chosen == every and not problems:
        options.write.write_text(as_markdown(CHECKS), "utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
