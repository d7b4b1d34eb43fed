"""`octy dev` as a function: what it says once the stack is up, and how it ends. `test_whole_stack` runs a command."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.paths import EXAMPLES

from octy_worker.dev.dev_command import run_dev
from octy_worker.dev.processes import ProcessError
from octy_worker.dev.stack import Stack
from octy_worker.dev.staff_member import StaffMember


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the command says; its stack starts no process and has no staff."""
    for part in ("start_temporal", "start_mail", "start_worker", "start_api"):
        monkeypatch.setattr(Stack, part, lambda _stack: None)
    monkeypatch.setattr(StaffMember, "make_authority", lambda _staff: "")
    monkeypatch.setattr(StaffMember, "bootstrap", _fail_to_bootstrap)
    return io.StringIO()


def _fail_to_bootstrap(_staff: StaffMember) -> str:
    raise ProcessError("octy staff bootstrap ended with 3: there is an admin")


def run(folder: Path, said: io.StringIO) -> int:
    return run_dev(folder, console=Console(file=said, width=80), examples=EXAMPLES)


def test_dev_command_shows_its_banner_and_keeps_the_folder_when_it_is_stopped(
    tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_stack: Stack) -> None:
        assert "Press Ctrl-C to stop" in said.getvalue()
        raise KeyboardInterrupt

    monkeypatch.setattr(Stack, "check", stop)
    folder = tmp_path / "dev"
    assert run(folder, said) == 0
    for text in ("/v1/account/authenticate", "Temporal Web UI", "(set PK to your public key)", "Inbox", "Staff API"):
        assert text in said.getvalue()
    assert f"Stopped. Everything is kept in {folder}" in said.getvalue()
    assert (folder / "octy.db").exists()
    assert (folder / "env").exists()


def test_dev_command_ends_with_1_and_the_reason_when_a_process_ends(
    tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Stack] = []

    def end(stack: Stack) -> None:
        checked.append(stack)
        if len(checked) == 2:
            raise ProcessError("worker ended with status 1")

    monkeypatch.setattr(Stack, "check", end)
    assert run(tmp_path / "dev", said) == 1
    assert "worker ended with status 1" in said.getvalue()
    assert "Stopped." not in said.getvalue()


def test_stack_whose_staff_has_its_keys_elsewhere_starts_and_says_so(
    tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_stack: Stack) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stack, "check", stop)
    assert run(tmp_path / "dev", said) == 0
    assert f"No key of staff is in {tmp_path}" in said.getvalue()
