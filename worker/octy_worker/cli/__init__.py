"""The `octy` command.

    app           every command by name, with the module that runs it; the options before it
    accounts, alerts, db*, dev, find, incidents*, keys*, mail, outbox, secrets, services, temporal, webhooks
                  the commands: options, help pages and what they print
    lazy_command  imports a command's module when it runs: `octy --help` loads neither SQLAlchemy nor the Temporal SDK
    main_group    turns every error into one line on stderr and an exit code
    files         files that commands read and write
    variables     settings from environment, file and options
    context       database and Temporal connection of a command
    doctor        the checks of `octy doctor`
    views         tables and pages that several commands print
    output        printing: tables, JSON, errors

A command's module imports what it needs at its top, because it is loaded only when the command runs.
"""

import logging
import os
import sys
from typing import NoReturn, TextIO


def main() -> NoReturn:
    """Run the command that was typed, and end the process with its exit code."""
    # Imported here, so that the package's modules can be imported without building the app.
    try:
        from octy_worker.cli.app import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("octy: the packages of the worker are not installed → pip install 'octy-middleware[worker]'\n")
        sys.exit(2)
    from octy_worker.cli.exit_codes import ExitCode  # noqa: PLC0415

    sys.stdin, sys.stdout, sys.stderr = (each or _null_stream() for each in (sys.stdin, sys.stdout, sys.stderr))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # of any encoding
    code: object = ExitCode.INTERRUPTED
    try:
        app(prog_name="octy")
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:  # typer catches one that comes while a command runs
        pass
    exit_process(code if isinstance(code, int) else ExitCode.FAILED)


def exit_process(code: int) -> NoReturn:
    """End the process; without the interpreter's shutdown if it may have connected a Temporal client.

    About one exit in twelve of such a process crashes in the interpreter's shutdown (sdk-python#300), and one in two
    after a refused connection.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader has closed the pipe; the interpreter's shutdown would try again and print an error
        os._exit(code or 1)
    if "temporalio.client" in sys.modules:
        logging.shutdown()
        os._exit(code)
    sys.exit(code)


def _null_stream() -> TextIO:
    """Return a stream that is empty and discards its text, in place of one that the caller has closed."""
    return open(os.open(os.devnull, os.O_RDWR), "r+", encoding="utf-8", closefd=False)
