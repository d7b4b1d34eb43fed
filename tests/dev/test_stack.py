"""The stack: ports and folders, errors before the start, and no processes after a failed start."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.octy_here import run_octy_here
from support.paths import EXAMPLES

from octy_middleware.db.schema_version import read_schema_version
from octy_middleware.errors import ConfigurationError
from octy_worker.dev import staff_member
from octy_worker.dev.inbox import store_mail
from octy_worker.dev.processes import ProcessError, ProcessGroup, is_free
from octy_worker.dev.stack import Ports, Stack
from octy_worker.dev.staff_member import StaffMember


def test_free_ports_are_all_different_and_free(tmp_path):
    stack = Stack(tmp_path, fixed_ports=False, examples=EXAMPLES)
    ports = [int(address.rpartition(":")[2]) for address in addresses(stack)]
    assert len(set(ports)) == len(ports) == 4
    assert all(is_free(port) for port in ports)
    assert stack.temporal_ui is None


def test_fixed_port_that_is_taken_is_replaced(tmp_path):
    wanted = Ports()
    said: list[str] = []
    try:
        listener = socket.create_server(("127.0.0.1", wanted.inbox))
    except OSError:  # somebody else has it: as good
        listener = socket.socket()
    with listener:
        stack = Stack(tmp_path, fixed_ports=True, report=said.append, examples=EXAMPLES)
    port = int(stack.inbox.rpartition(":")[2])
    assert port != wanted.inbox
    assert f"Port {wanted.inbox} (inbox) is in use. Port {port} is used this time" in said
    assert stack.temporal_ui is not None


def test_installed_package_names_the_missing_examples(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"no starlette_app\.py in .*: the installed package does not contain the example apps"
    ):
        Stack(tmp_path, fixed_ports=False, examples=tmp_path)


def test_failed_start_leaves_no_process_and_no_folder(tmp_path, monkeypatch):
    def fail(_stack: Stack) -> None:
        raise ProcessError("mail ended with status 1")

    monkeypatch.setattr(Stack, "start_mail", fail)
    monkeypatch.setattr(StaffMember, "is_enrolled", True)  # without staff, who come before the processes
    monkeypatch.setattr(StaffMember, "make_authority", lambda _staff: "")
    monkeypatch.setattr(StaffMember, "certify", lambda _staff: None)
    stack = Stack(tmp_path / "stack", fixed_ports=False, examples=EXAMPLES)
    with pytest.raises(ProcessError, match="mail ended"), stack:
        pytest.fail("the stack is up")
    assert is_free(int(stack.temporal_address.rpartition(":")[2]))
    assert stack.processes["temporal"].returncode is not None
    monkeypatch.setattr(Stack, "start_temporal", lambda _stack: None)
    with (
        pytest.raises(ProcessError, match="mail ended"),
        Stack(tmp_path / "stack", fixed_ports=False, examples=EXAMPLES),
    ):
        pytest.fail("the stack is up")  # and the folder was let go of


def test_second_stack_of_a_folder_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(Stack, "start_temporal", lambda _stack: None)
    monkeypatch.setattr(Stack, "start_mail", lambda _stack: None)
    monkeypatch.setattr(Stack, "start_worker", lambda _stack: None)
    monkeypatch.setattr(Stack, "start_api", lambda _stack: None)
    enrolled: list[str] = []
    monkeypatch.setattr(staff_member, "run_octy", run_octy_here)
    monkeypatch.setattr(
        StaffMember, "enroll", lambda staff, token: (enrolled.append(token), staff.codes.keep("A" * 32))
    )
    with Stack(tmp_path, fixed_ports=False, examples=EXAMPLES) as first:
        with (
            pytest.raises(ConfigurationError, match="another stack uses"),
            Stack(tmp_path, fixed_ports=False, examples=EXAMPLES),
        ):
            pytest.fail("two stacks in one folder")
        assert first.env_file.stat().st_mode & 0o777 == 0o600
        assert first.folder.stat().st_mode & 0o077 == 0
        assert read_schema_version(first.database) is not None
        secrets = {name: value for name, value in first.env.items() if name.endswith(("PEPPERS", "KEYS"))}
    with Stack(tmp_path, fixed_ports=False, examples=EXAMPLES) as second:
        assert secrets.items() <= second.env.items()
        assert secrets["OCTY_STAFF_CA_KEYS"].startswith("ssh-ed25519 ")
        assert len(enrolled) == 1


def test_wait_for_mail_ends_with_the_mail_a_process_exit_or_the_timeout(tmp_path):
    stack = Stack(tmp_path, fixed_ports=False, examples=EXAMPLES)
    stack.mails.folder.mkdir()
    stack.processes = ProcessGroup(tmp_path, {})
    with pytest.raises(TimeoutError, match=r"the alert of root did not arrive within 0.1 s; the inbox has 0 mails"):
        stack.wait_for_mail("the alert of root", lambda _: True, 0.1)
    store_mail(stack.mails.folder, "a@example.com", "b@example.com", b"Subject: x\r\n\r\n", datetime.now(UTC))
    assert stack.wait_for_mail("a mail", lambda mail: mail.subject == "x", 5).subject == "x"
    stack.processes.start("worker", ["false"], {"PATH": os.environ["PATH"]})
    with pytest.raises(ProcessError, match="worker ended with status 1"):
        stack.wait_for_mail("another", lambda mail: mail.subject == "y", 5)


def addresses(stack: Stack) -> list[str]:
    return [stack.api, stack.pages, stack.inbox, stack.temporal_address]


def test_relative_folder_is_accepted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stack = Stack(Path(".octy"), fixed_ports=False, examples=EXAMPLES)
    assert stack.database_url == f"sqlite:///{tmp_path}/.octy/octy.db"
