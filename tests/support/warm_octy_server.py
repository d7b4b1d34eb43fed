"""A process that has imported what commands need, and is forked for each one. No test; see `warm_octy`.

Its argument is the descriptor of a socket that brings numbered requests, and takes each process's id and exit code,
each after the number of its request.

It is not `preloaded`: here a process has its test's own pipes, can be sent signals while it runs, and ends as the
interpreter ends, with what that writes and which exit code it gives.
"""

import importlib
import io
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PRELOADED = ("octy_worker.cli.app", "octy_worker.cli.context", "octy_worker.cli.views")
_MAX = 1_000_000  # bytes of a request


def _serve(link: socket.socket) -> None:
    for module in _PRELOADED:
        importlib.import_module(module)
    while True:
        request, descriptors, _, _ = socket.recv_fds(link, _MAX, 3)
        if not request:
            return
        number, *program = json.loads(request)
        child = os.fork()
        if child == 0:
            link.close()
            _become(*program, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        link.send(f"{number} {child}".encode())
        with suppress(BrokenPipeError):
            link.send(f"{number} {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}".encode())


def _become(
    words: Sequence[str], code: str, folder: str, environment: Mapping[str, str], descriptors: Sequence[int]
) -> None:
    """Be the process: what it raises leaves this program, too."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    at_once = bool(environment.get("PYTHONUNBUFFERED"))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout = _writer(1, at_once=at_once)
    sys.stderr = _writer(2, at_once=at_once)
    sys.argv = ["octy", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if code:
        exec(code, {"__name__": "__main__"})
    else:
        runpy.run_module("octy_worker", run_name="__main__", alter_sys=True)


def _writer(descriptor: int, *, at_once: bool) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        raw if at_once else io.BufferedWriter(raw),  # type: ignore[arg-type] - as the interpreter does
        encoding="utf-8",
        errors="backslashreplace" if descriptor == 2 else "strict",
        write_through=at_once,
        line_buffering=descriptor == 2,
    )


if __name__ == "__main__":
    ours = str(Path(__file__).parent)  # not there with PYTHONSAFEPATH
    sys.path[:] = [path for path in sys.path if path != ours]
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        _serve(asked)
