"""A process that has imported packages once and runs each Python program in a fork of itself.

For programs whose imports take far longer than they do. Run as a program: names of modules to import as arguments,
then a line of JSON in for each program, and a line of JSON out with its exit code and output.

Here only the exit code and the text count: both outputs go to one file, and the fork ends at once, without the
interpreter's end. `warm_octy` is for tests of signals, pipes and the end itself; `fresh_processes` calls a function.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Preloaded:
    """Runs programs as `python` would in their folder, with these variables and no others."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Return the exit code, and what was written to both outputs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), list(command), dict(environment)]) + "\n")
        self._process.stdin.flush()
        code, output = json.loads(self._process.stdout.readline())
        return code, output


@contextmanager
def preloaded(*modules: str, options: Sequence[str] = ()) -> Iterator[Preloaded]:
    """Start the process, with Python's `options`; end it with the block."""
    command = [sys.executable, *options, __file__, *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Preloaded(process)


def _main(modules: Sequence[str]) -> None:
    ours = str(Path(__file__).parent)  # not there with PYTHONSAFEPATH
    sys.path[:] = [folder for folder in sys.path if folder != ours]
    sys.dont_write_bytecode = True  # the programs are copies, in folders that are thrown away
    for module in modules:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_run(*json.loads(line))), flush=True)  # noqa: T201


def _run(folder: str, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            _become(folder, command, environment, output.fileno())
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode()


def _become(folder: str, command: list[str], environment: dict[str, str], output: int) -> None:
    """Be the program, in the fork; does not return."""
    code: object = 1
    try:
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.path[:0] = command, [folder]
        runpy.run_path(command[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - the interpreter would print it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _main(sys.argv[1:])
