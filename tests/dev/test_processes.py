"""Child processes: start, readiness, unexpected exit, and their end with the parent."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.until import until

from octy_worker.dev import child, processes
from octy_worker.dev.processes import Process, ProcessError, ProcessGroup, free_port, interrupt_on_termination, is_free

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP[2]]
FAMILY = [
    sys.executable,
    "-c",
    "import subprocess, time\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)\ntime.sleep(60)",
]
FALLS = [sys.executable, "-c", "raise SystemExit('no such luck')"]


@pytest.fixture
def group(tmp_path):
    with ProcessGroup(tmp_path / "logs", dict(os.environ), grace_period=5) as group:
        yield group


def said_something(process: Process):
    return lambda: process.log_tail() != ""


def has_ended(pid: int) -> bool:
    """Return whether it is gone or a zombie: a container's first process need not reap the orphans it inherits."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_child_is_awaited_and_stopped(group, tmp_path):
    process = group.start("sleeper", SLEEP)
    process.wait_until(said_something(process), 10)
    assert process.returncode is None
    assert (tmp_path / "logs" / "sleeper.log").stat().st_mode & 0o777 == 0o600
    group.stop()
    assert process.returncode == -signal.SIGTERM
    group.stop()
    process.stop(1)


def test_child_that_ignores_sigterm_is_killed_after_the_grace_period(tmp_path):
    process = Process("stubborn", STUBBORN, tmp_path / "log", dict(os.environ))
    process.wait_until(said_something(process), 10)
    start = time.monotonic()
    process.stop(0.2)
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - start < 3


def test_stop_ends_the_children_of_a_child(group):
    process = group.start("family", FAMILY)
    process.wait_until(said_something(process), 10)
    grandchild = int(process.log_tail())
    group.stop()
    until(lambda: has_ended(grandchild))


def test_last_started_child_is_stopped_first(group, monkeypatch):
    order = []
    children = [group.start(name, SLEEP) for name in ("first", "second", "third")]
    real = Process.stop
    monkeypatch.setattr(Process, "stop", lambda self, grace_period: (order.append(self.name), real(self, grace_period)))
    group.stop()
    assert order == ["third", "second", "first"]
    assert all(child.returncode is not None for child in children)


def test_early_exit_shows_the_end_of_the_log(group):
    process = group.start("faller", FALLS)
    with pytest.raises(ProcessError, match=r"(?s)faller ended with status 1; the end of .*no such luck"):
        process.wait_until(lambda: False, 10)
    with pytest.raises(ProcessError, match="no such luck"):
        group.check()


def test_log_tail_is_of_this_run_only(tmp_path):
    for _ in range(2):
        process = Process("faller", FALLS, tmp_path / "log", dict(os.environ))
        with pytest.raises(ProcessError) as caught:
            process.wait_until(lambda: False, 10)
        process.stop(1)
    assert str(caught.value).count("no such luck") == 1
    assert (tmp_path / "log").read_text().count("no such luck") == 2


def test_child_that_is_not_ready_in_time_raises_process_error(group):
    process = group.start("sleeper", SLEEP)
    with pytest.raises(ProcessError, match=r"sleeper not ready after 0.1 s"):
        process.wait_until(lambda: False, 0.1)


def test_unknown_command_is_named(group):
    process = group.start("missing", ["no-such-command-anywhere"])
    with pytest.raises(ProcessError, match="no-such-command-anywhere: No such file"):
        process.wait_until(lambda: False, 10)


def test_start_in_another_thread_is_rejected(tmp_path):
    caught = []

    def start():
        try:
            Process("late", SLEEP, tmp_path / "log", dict(os.environ))
        except ProcessError as error:
            caught.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert caught == ["late: children are started from the main thread only"]


def test_child_whose_parent_ended_first_does_not_start(tmp_path):
    trampoline = str(Path(child.__file__))
    command = [sys.executable, trampoline, str(os.getpid() + 1), "touch", str(tmp_path / "started")]
    assert subprocess.run(command, check=False).returncode == 125
    assert not (tmp_path / "started").exists()


def test_children_of_a_killed_parent_end(tmp_path):
    script = f"""
        import os, time
        from pathlib import Path
        from octy_worker.dev.processes import ProcessGroup
        group = ProcessGroup(Path({str(tmp_path)!r}), dict(os.environ))
        children = [group.start(name, ["sleep", "60"]) for name in ("one", "two")]
        children.append(group.start("three", {STUBBORN!r}))
        children[2].wait_until(lambda: children[2].log_tail() != "", 10)
        print(*(child.pid for child in children), flush=True)
        time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert not any(has_ended(pid) for pid in pids)
        parent.kill()
    until(lambda: all(has_ended(pid) for pid in pids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_termination_signals_interrupt_a_block_like_ctrl_c(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupt_on_termination():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_free_ports_can_be_bound_and_taken_ones_not():
    port = free_port()
    assert is_free(port)
    with closing(socket.create_server(("127.0.0.1", port))):
        assert not is_free(port)
    assert is_free(port)


def test_port_is_free_where_there_is_no_ipv6(monkeypatch):
    real = socket.socket

    def without_ipv6(family, *kind):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *kind)

    port = free_port()
    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert is_free(port)


def test_ports_that_are_all_taken_are_an_error(monkeypatch):
    monkeypatch.setattr(processes, "is_free", lambda _port: False)
    with pytest.raises(ProcessError, match="no free port between 20000 and 32000"):
        free_port()
