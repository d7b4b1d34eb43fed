"""The suite names the tests that it leaves out, and fails for them where everything is required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import TESTS

FILE = """
import pytest

@pytest.mark.needs("no-such-program")
def test_with_a_program(): pass

def test_for_another_reason(): pytest.skip("not here")

@pytest.mark.needs("sh")
def test_with_a_program_that_is_here(): pass
"""


@pytest.mark.parametrize(
    ("required", "code", "result"), [("", 0, "1 passed, 2 skipped"), ("1", 1, "1 failed, 1 passed, 1 error")]
)
def test_tests_that_are_left_out_are_named_and_fail_where_all_are_required(
    tmp_path: Path, required: str, code: int, result: str
) -> None:
    (tmp_path / "test_some.py").write_text(FILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(program)\n")
    words = [sys.executable, "-m", "pytest", "-p", "support.left_out", "-p", "no:cacheprovider", "-q"]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        "PYTHONPATH": str(TESTS),
        "OCTY_REQUIRE_ALL": required,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, result in done.stdout) == (code, True), done.stdout
    assert "left out: test_some.py::test_with_a_program (needs no-such-program)" in done.stdout
    assert "left out: test_some.py::test_for_another_reason (not here)" in done.stdout
