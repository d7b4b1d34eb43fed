"""Processes of `octy` that need not import its packages: forks of one that has. They end as the interpreter ends.

For tests of what a process is needed for: its end, its outputs, signals; a start takes little CPU. Not here: what the
start itself does, such as encodings; `Octy.process` is for these. The process that is forked: `warm_octy_server`.
"""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from support.cli_rig import TIMEOUT, Octy

_SERVER = Path(__file__).with_name("warm_octy_server.py")
_ENDED = "warm_octy_server has ended; its standard error may say why"


class _Answers:
    """What the server says, a message each: the number of a request, and this process's id or exit code."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def next_of(self, number: int) -> int:
        """Return the next answer to a request; drop what earlier ones left, whose tests were interrupted."""
        while True:
            try:
                message = self._link.recv(100)
            except ConnectionResetError:
                message = b""
            if not message:
                raise RuntimeError(_ENDED)
            answered, value = map(int, message.split())
            assert answered <= number, (answered, number)
            if answered == number:
                return value


class WarmProcess:
    """One process; it runs until `wait`."""

    def __init__(self, answers: _Answers, number: int) -> None:
        self._answers = answers
        self._number = number
        self.pid = answers.next_of(number)
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return the exit code, as `subprocess` does."""
        if self._code is None:
            self._code = self._answers.next_of(self._number)
        return self._code

    def end(self) -> None:
        """Kill it if a test has left it running, so that it is not in the next one's way."""
        if self._code is None:
            self.send_signal(signal.SIGKILL)
            self.wait()


class WarmOcty:
    """Starts processes, one after the other."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._answers = _Answers(link)
        self._requests = itertools.count()

    @contextmanager
    def start(
        self, octy: Octy, *words: str, code: str = "", stdout: IO[bytes] | None = None, **variables: str
    ) -> Iterator[tuple[WarmProcess, IO[bytes], IO[bytes], IO[bytes]]]:
        """Start `octy` with these words; yield the process, its input, output and errors. `code`: run this instead."""
        pipes = [os.pipe() for _ in range(3)]
        with (
            os.fdopen(pipes[0][1], "wb") as stdin,
            os.fdopen(pipes[1][0], "rb") as out,
            os.fdopen(pipes[2][0], "rb") as err,
        ):
            given = [pipes[0][0], stdout.fileno() if stdout else pipes[1][1], pipes[2][1]]
            number, environment = next(self._requests), octy.environment(**variables)
            request = json.dumps([number, list(words), code, str(octy.folder), environment]).encode()
            try:
                socket.send_fds(self._link, [request], given)
            except BrokenPipeError:
                raise RuntimeError(_ENDED) from None
            finally:
                for end in (pipes[0][0], pipes[1][1], pipes[2][1]):
                    os.close(end)
            process = WarmProcess(self._answers, number)
            try:
                yield process, stdin, out, err
            finally:
                process.end()

    def run(
        self, octy: Octy, *words: str, code: str = "", stdout: IO[bytes] | None = None, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end, without input."""
        with self.start(octy, *words, code=code, stdout=stdout, **variables) as (process, stdin, out, err):
            stdin.close()
            errors = err.read().decode()  # at most a few lines: the pipe of the output has room meanwhile
            output = out.read().decode()
            return subprocess.CompletedProcess(words, process.wait(), output, errors)


@contextmanager
def warm_octy() -> Iterator[WarmOcty]:
    """Start the process that is forked; end it with the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, str(_SERVER), str(theirs.fileno())]
    environment = Octy().environment()
    with (
        ours,
        subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL) as process,
    ):
        theirs.close()
        try:
            ours.settimeout(TIMEOUT)
            yield WarmOcty(ours)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            process.wait(60)
