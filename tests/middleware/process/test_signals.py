"""SIGTERM: queued events are written, in processes that end in each way in which hosts end.

Whose handler is installed depends on the process alone, not on the database.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest
from support.database_choice import on_one_database
from support.fresh_processes import FRESH
from support.paths import TESTS
from support.world import World

# A host that accepts some requests, says so, and goes on; `{before}` and `{after}` stand around the middleware.
HOST = """
import os, signal, sys, threading, time
from support.fake_request import FakeRequest
from octy_middleware import OctyWSGIMiddleware
earlier = signal.getsignal(signal.SIGTERM)
{before}
adapter = OctyWSGIMiddleware(lambda environ, start: [], batch_delay=1.0{options})
{after}
for _ in range(4):
    assert adapter.authenticator.decide(FakeRequest(sys.argv[1])).passes
print("ready", flush=True)
{on}
"""
WAIT = "while True: time.sleep(60)"
LEAVES = """
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
"""
# As uvicorn does: its handler is there before the app is loaded; at the end the signal is raised again.
RAISES_AGAIN = """
while not stopped: time.sleep(0.01)
assert adapter.authenticator.decide(FakeRequest(sys.argv[1])).passes  # a request that was under way
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.raise_signal(signal.SIGTERM)
"""


def program(parts: dict[str, str]) -> str:
    return HOST.format(**{"before": "", "after": "", "options": "", "on": WAIT, **parts})


def run(code: str, authorization: str, environment: dict[str, str], output: Connection) -> None:
    """Be the host, in a fresh process."""
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output.fileno(), 1)
    sys.argv = ["-c", authorization]
    exec(code, {"__name__": "__main__"})


class Host:
    """A running host."""

    def __init__(self, world: World, authorization: str, parts: dict[str, str]) -> None:
        output, its_output = FRESH.Pipe(duplex=False)
        given = (program(parts), authorization, world.environment(), its_output)
        self._process = FRESH.Process(target=run, args=given)
        with its_output:
            self._process.start()
        self.terminate, self.kill = self._process.terminate, self._process.kill
        with output, open(output.fileno(), closefd=False) as lines:
            assert lines.readline() == "ready\n"

    def wait(self, timeout: float) -> int | None:
        """Return the exit status, or minus a signal's number; None if it runs after so many seconds."""
        self._process.join(timeout)
        return self._process.exitcode


@contextmanager
def host(world: World, authorization: str, **parts: str) -> Iterator[Host]:
    child = Host(world, authorization, parts)
    try:
        yield child
    finally:
        child.kill()
        child.wait(20)


@pytest.mark.parametrize(
    ("parts", "accepted"),
    [
        ({}, 4),
        ({"before": LEAVES, "on": RAISES_AGAIN}, 5),
        ({"on": "threading.Thread(target=adapter.close).start()\n" + WAIT}, 4),
    ],
    ids=["no handler", "a server that raises it again", "while it is closed"],
)
def test_queued_events_are_written_at_sigterm(world: World, parts: dict[str, str], accepted: int) -> None:
    keys = world.register()
    with host(world, keys.basic(), **parts) as child:
        child.terminate()
        assert child.wait(20) == -signal.SIGTERM
    assert world.recorded() == {"accepted": accepted}


def test_queued_events_are_written_when_the_interpreter_ends(world: World) -> None:
    keys = world.register()
    code = program({"before": LEAVES, "on": "while not stopped: time.sleep(0.01)"})
    given = {**world.environment(), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", code, keys.basic()]
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.terminate()
        assert child.wait(20) == 0
    assert world.recorded() == {"accepted": 4}


@on_one_database
def test_signal_handler_is_not_installed_when_switched_off(world: World) -> None:
    keys = world.register()
    check = "assert signal.getsignal(signal.SIGTERM) is earlier"
    with host(world, keys.basic(), options=", flush_on_sigterm=False", after=check) as child:
        child.terminate()
        assert child.wait(20) == -signal.SIGTERM
    assert world.recorded() == {}


@on_one_database
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signal.getsignal(signal.SIGTERM) is signal.SIG_IGN"),
        ("sys.modules['mod_wsgi'] = object()", "signal.getsignal(signal.SIGTERM) is earlier"),
    ],
    ids=["ignored by the host", "mod_wsgi"],
)
def test_signal_handler_of_c_code_is_kept(world: World, before: str, after: str) -> None:
    keys = world.register()
    with host(world, keys.basic(), before=before, after=f"assert {after}") as child:
        assert child.wait(0) is None


@on_one_database
def test_adapter_opened_in_another_thread_installs_no_signal_handler(world: World) -> None:
    keys = world.register()
    before = "OctyWSGIMiddleware_ = OctyWSGIMiddleware\nopened = []\n"
    before += "def OctyWSGIMiddleware(*a, **k):\n"
    before += "    t = threading.Thread(target=lambda: opened.append(OctyWSGIMiddleware_(*a, **k)))\n"
    before += "    t.start(); t.join(); return opened[0]\n"
    with host(world, keys.basic(), before=before, after="assert signal.getsignal(15) is earlier") as child:
        assert child.wait(0) is None


@pytest.mark.sqlite
def test_locked_database_does_not_keep_the_process_from_ending(world: World) -> None:
    keys = world.register()
    with host(world, keys.basic(), options=", commit_timeout=60.0") as child, world.database.write(timeout=30):
        begun = time.monotonic()
        child.terminate()
        assert child.wait(20) == -signal.SIGTERM
        assert time.monotonic() - begun < 5


def test_second_sigterm_ends_the_process_at_once(world: World) -> None:
    keys = world.register()
    with host(world, keys.basic(), options=", commit_timeout=60.0") as child, world.database.write(timeout=30):
        child.terminate()
        time.sleep(0.3)
        child.terminate()
        assert child.wait(1) == -signal.SIGTERM
