"""Processes of `octy` that need not import its packages: forks of one that has. They end as the interpreter ends.

For tests of what a process is needed for: its end, its outputs, signals; a start takes little CPU. Not here: what the
start itself does, such as encodings; `Octy.process` is for these. The process that is forked: `warm_octy_server`.
"""

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

from support.cli_rig import Octy

_SERVER = Path(__file__).with_name("warm_octy_server.py")


class WarmProcess:
    """One process; it runs until `wait`."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self.pid = int(answers.readline())
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return the exit code, as `subprocess` does."""
        if self._code is None:
            self._code = int(self._answers.readline())
        return self._code

    def end(self) -> None:
        """Kill it if a test has left it running, so that it is not in the next one's way."""
        if self._code is None:
            self.send_signal(signal.SIGKILL)
            self.wait()


class WarmOcty:
    """Starts processes, one after the other."""

    def __init__(self, link: socket.socket, answers: IO[str]) -> None:
        self._link = link
        self._answers = answers

    @contextmanager
    def start(
        self, octy: Octy, *words: str, code: str = "", stdout: IO[bytes] | None = None, **variables: str
    ) -> Iterator[tuple[WarmProcess, IO[bytes], IO[bytes], IO[bytes]]]:
        """Start `octy` with these words; yield the process, its input, output and errors. `code`: run this instead."""
        pipes = [os.pipe() for _ in range(3)]
        given = [pipes[0][0], stdout.fileno() if stdout else pipes[1][1], pipes[2][1]]
        environment = octy.environment(**variables)
        request = json.dumps([list(words), code, str(octy.folder), environment]).encode()
        socket.send_fds(self._link, [request], given)
        for end in (pipes[0][0], pipes[1][1], pipes[2][1]):
            os.close(end)
        process = WarmProcess(self._answers)
        with (
            os.fdopen(pipes[0][1], "wb") as stdin,
            os.fdopen(pipes[1][0], "rb") as out,
            os.fdopen(pipes[2][0], "rb") as err,
        ):
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
            with ours.makefile("r") as answers:
                yield WarmOcty(ours, answers)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            process.wait(60)
