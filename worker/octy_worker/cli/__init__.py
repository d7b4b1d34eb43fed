"""The `octy` command.

    app           the groups of commands and the options before them
    accounts, incidents, keys, mail, outbox, webhooks, services, temporal, upkeep
                  the faces: what can be typed, with its help
    frame, exits  every fault becomes one line on stderr and an exit code
    surroundings  variables, the store
    deciding, temporal_place
                  what commands do beyond reading
    checks        what `octy doctor` looks at
    views, console
                  how anything is shown

Faces import what they need when they run: `octy --help` loads neither SQLAlchemy nor the Temporal SDK.
"""

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn, TextIO


def main() -> NoReturn:
    """Run the command that was typed, and end the process with its exit code."""
    # Imported here: the package's parts shall be importable without building the app.
    try:
        from octy_worker.cli.app import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("octy: this command belongs to a worker host → pip install 'octy-middleware[worker]'\n")
        sys.exit(2)
    from octy_worker.cli.exit_codes import ExitCode  # noqa: PLC0415

    sys.stdout = sys.stdout or _nobody()
    sys.stderr = sys.stderr or _nobody()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal of any encoding
    try:
        app(prog_name="octy")
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else ExitCode.FAILED)
    except KeyboardInterrupt:  # before the frame is there to catch it
        leave(ExitCode.INTERRUPTED)
    raise AssertionError("the frame always exits")


def leave(code: int) -> NoReturn:
    """End the process; at once if it may have connected a Temporal client.

    About one clean exit in twelve of such a process aborts in the interpreter's end (sdk-python#300), and one in two
    after a connection that was refused.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more; the interpreter's end would try again, and complain
        os._exit(code or 1)
    if "temporalio.client" in sys.modules:
        logging.shutdown()
        os._exit(code)
    sys.exit(code)


def _nobody() -> TextIO:
    """Return a stream for what the caller has closed: nobody listens."""
    return Path(os.devnull).open("w", encoding="utf-8")
