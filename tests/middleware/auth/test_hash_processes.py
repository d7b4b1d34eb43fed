"""Slow hashes are computed in child processes of the lowest priority, which end with the app, or in a thread."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from passlib.context import CryptContext
from passlib.hash import sha512_crypt
from support.imported_key_pairs import have, slow
from support.until import until
from support.world import FakeRequest, World

from octy_middleware.auth.hash_processes import HashProcesses
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.imported_hashes import IMPORTED_SCHEMES

CONTEXT = CryptContext(schemes=[*IMPORTED_SCHEMES])
SECRET = "not-for-argv"
QUICK = slow(SECRET)
SLOW = "$6$rounds=900000$saltstring$" + "." * 86
PARENT = """
import sys, time
from passlib.context import CryptContext
from octy_middleware.auth.hash_processes import HashProcesses
processes = HashProcesses()
print(processes.verify(CryptContext(schemes=["pbkdf2_sha256"]), *sys.argv[1:]), flush=True)
"""


@pytest.fixture
def processes() -> Iterator[HashProcesses]:
    found = HashProcesses()
    yield found
    found.close()
    until(lambda: not children())


def children(of: int | None = None) -> list[psutil.Process]:
    """Return the processes that compute hashes, zombies too."""
    return [child for child in psutil.Process(of).children() if computes(child)]


def computes(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or "hash_child" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def verify(processes: HashProcesses, secret: str = SECRET, stored: str = QUICK) -> bool:
    return processes.verify(CONTEXT, secret, stored)


def test_one_child_computes_one_hash_after_another(processes: HashProcesses) -> None:
    assert children() == []
    assert [verify(processes), verify(processes, "no"), verify(processes, "nö\n\0"), verify(processes)] == [
        True,
        False,
        False,
        True,
    ]
    assert len(children()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_child_has_the_lowest_priority_no_settings_and_no_secret_in_its_arguments(
    processes: HashProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTY_PEPPERS", "k1:secret")
    assert verify(processes)
    (child,) = children()
    assert child.nice() == 19
    assert not [name for name in child.environ() if name.startswith("OCTY_")]
    assert SECRET not in " ".join(child.cmdline())
    assert os.getsid(child.pid) == child.pid  # a terminal's Ctrl-C is the app's


def test_next_hash_is_computed_after_a_child_was_killed(processes: HashProcesses) -> None:
    assert verify(processes)
    (first,) = children()
    first.kill()
    until(lambda: first.status() == psutil.STATUS_ZOMBIE)
    assert verify(processes)
    assert [child.pid for child in children()] not in ([], [first.pid])
    assert not verify(processes, "no")


def test_hash_of_a_killed_child_is_computed_by_another(processes: HashProcesses) -> None:
    answers: list[bool] = []
    right = str(sha512_crypt.using(rounds=200_000).hash(SECRET))
    thread = threading.Thread(target=lambda: answers.append(verify(processes, SECRET, right)))
    assert verify(processes)
    (first,) = children()
    first.suspend()  # so that it does not answer before it is killed
    thread.start()
    time.sleep(0.1)
    first.kill()
    thread.join()
    assert answers == [True]


def test_hash_that_times_out_is_not_a_wrong_secret(processes: HashProcesses) -> None:
    usual, processes.hash_timeout = processes.hash_timeout, 0.05
    with pytest.raises(MemoryError):
        verify(processes, SECRET, SLOW)
    assert children() == []
    processes.hash_timeout = usual
    assert verify(processes)


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_child_without_memory_for_a_hash_says_so_and_computes_the_next_one(processes: HashProcesses) -> None:
    assert verify(processes)
    (child,) = children()
    child.rlimit(psutil.RLIMIT_AS, (400 * 2**20, 400 * 2**20))
    with pytest.raises(MemoryError):
        verify(processes, SECRET, f"$scrypt$ln=20,r=8,p=1$c2FsdHNhbHRzYWx0${'A' * 43}")  # takes a gigabyte
    assert verify(processes)
    assert children() == [child]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent(end: signal.Signals) -> None:
    code = PARENT + "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, SECRET, QUICK], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "True\n"
        (child,) = children(parent.pid)
        parent.send_signal(end)
        parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_orderly_exit_leaves_no_child_and_no_warning() -> None:
    command = [sys.executable, "-W", "error", "-c", PARENT, SECRET, QUICK]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("True\n", "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very case
def test_forked_process_starts_its_own_child_and_keeps_the_child_of_its_parent(processes: HashProcesses) -> None:
    assert verify(processes)
    (ours,) = children()
    forked = os.fork()
    if forked == 0:
        right = verify(processes) and not verify(processes, "no")
        own = len(children()) == 1
        processes.close()
        os._exit(0 if right and own and not children() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    assert verify(processes)
    assert [child.pid for child in children()] == [ours.pid]


@pytest.mark.parametrize("executable", ["/usr/sbin/uwsgi", "", "/nowhere/python3", "python3-that-ends"])
def test_hash_is_computed_in_a_thread_where_no_child_becomes_ready(
    executable: str,
    processes: HashProcesses,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    ends = tmp_path / "python3-that-ends"
    ends.write_text("#!/bin/sh\nexit 1\n")
    ends.chmod(0o755)
    processes.thread_nice = 0  # this thread goes on
    monkeypatch.setattr(sys, "executable", str(ends) if executable == ends.name else executable)
    with caplog.at_level(logging.WARNING):
        assert [verify(processes), verify(processes, "no")] == [True, False]
    assert children() == []
    assert [record.message[:30] for record in caplog.records] == ["no child process could be star"]


def test_authenticator_starts_no_child_before_a_slow_hash_and_leaves_none(world: World) -> None:
    fast, old = world.register("fast"), world.register("old")
    old = have(world, old, slow(old.secret), "pbkdf2_sha256")
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(fast.basic())).outcome is Outcome.ACCEPTED
        assert children() == []
        assert authenticator.decide(FakeRequest(old.basic("no"))).outcome is Outcome.WRONG_SECRET
        (child,) = children()
        assert authenticator.decide(FakeRequest(old.basic())).outcome is Outcome.ACCEPTED
        assert [found.pid for found in children()] == [child.pid]
    assert children() == []
