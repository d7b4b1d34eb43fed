"""Each row's source still stands in its file, once; and the rig notices what it should, on three rows."""

import ast
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from support.paths import DOCS

from proofs.security.checks import CHECKS
from proofs.security.checks_page import as_markdown
from proofs.security.checks_removed import copied, prove

pytestmark = pytest.mark.timeout(400)
ROWS = [check for checks in CHECKS.values() for check in checks]
BY_NAME = {check.name: check for check in ROWS}
SHORT = ("host certificate", "stale order, and one from the future", "edited field of an entry")


@pytest.mark.parametrize("check", ROWS, ids=lambda check: check.name)
def test_check_stands_in_its_file_once_and_its_removal_leaves_a_program(check):
    text = check.path.read_text("utf-8")
    changed = check.removed_from(text)
    assert changed != text
    ast.parse(changed)


def test_what_takes_the_place_of_a_check_uses_known_names(tmp_path):
    for number, check in enumerate(ROWS):
        changed = check.removed_from(check.path.read_text("utf-8"))
        (tmp_path / f"{number}.py").write_text(f"# {check.name}\n{changed}", "utf-8")
    linter = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", tmp_path]
    linted = subprocess.run(linter, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_rows_have_names_of_their_own():
    assert [name for name, count in Counter(check.name for check in ROWS).items() if count > 1] == []


def test_page_is_that_of_the_rows():
    page = (DOCS / "staff-checks.md").read_text("utf-8")
    assert page == as_markdown(CHECKS), (
        "write it again: python -m proofs.security.checks_removed --write docs/staff-checks.md"
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    with copied(tmp_path_factory.mktemp("copy")) as copy:
        yield copy


def test_named_tests_exist(copy):
    copy.run([test for check in ROWS for test in check.tests], "--collect-only")  # raises where one does not


def test_removed_checks_are_noticed_and_what_is_none_is_reported(copy):
    host = BY_NAME[SHORT[0]]
    rows = [
        *(BY_NAME[name] for name in SHORT),
        replace(host, name="changes nothing", without=host.source + "  # as before"),
        replace(host, name="stale text", source="what was there once"),
        replace(host, name="no program", without="if ("),
        replace(host, name="no import", without="    from octy_worker import nothing\n" + host.source),
        replace(host, name="another error", without=host.source.replace("fields.type != _USER", "1 / 0")),
    ]
    said = StringIO()
    problems = prove(copy, rows, Console(file=said, width=200))
    assert list(problems) == [row.name for row in rows[len(SHORT) :]]
    assert problems["changes nothing"].endswith("[host certificate]: passed")
    assert "stands 0 times" in problems["stale text"]
    assert "SyntaxError" in problems["no program"]
    assert "ZeroDivisionError" in problems["another error"]
    assert said.getvalue().count(": noticed: ") == len(SHORT)


def test_test_that_fails_without_an_edit_is_reported(copy):
    host = BY_NAME[SHORT[0]]
    with copy.without(host):
        problems = prove(copy, [BY_NAME["expired certificate"], host], Console(file=StringIO()))
    assert list(problems) == [host.name]
