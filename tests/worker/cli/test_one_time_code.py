"""Where a command's one-time code comes from, and what is said when there is none."""

import io
import sys

import pytest

from octy_worker.cli.one_time_code import one_time_code
from octy_worker.errors import UsageError

PRINTS = f"{sys.executable} -c 'print(\"  123456  \")'"


def test_code_comes_from_the_setting_before_the_command() -> None:
    assert one_time_code({"OCTY_STAFF_CODE": "654321", "OCTY_STAFF_CODE_COMMAND": PRINTS}) == "654321"
    assert one_time_code({"OCTY_STAFF_CODE_COMMAND": PRINTS}) == "123456"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/nowhere/pass otp octy", "FileNotFoundError"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "CalledProcessError"),
        ("echo 'unclosed", "ValueError"),
        ("\t", "IndexError"),
    ],
)
def test_command_that_gives_no_code_is_named_without_its_words(command: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"OCTY_STAFF_CODE_COMMAND gave no one-time code: {why}") as refused:
        one_time_code({"OCTY_STAFF_CODE_COMMAND": command})
    assert command not in str(refused.value)


def test_without_a_terminal_the_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(UsageError, match="set OCTY_STAFF_CODE, or OCTY_STAFF_CODE_COMMAND"):
        one_time_code({})


def test_code_is_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = io.StringIO("123 456\n")
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    assert one_time_code({}) == "123456"
    assert capsys.readouterr().err == "One-time code: "
