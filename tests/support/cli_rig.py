"""The `octy` command over a real database, in this process or as a process of its own.

Here: running it, and the attempts and incidents that its tests need. Commands that connect a Temporal client are run
beside this process only: it might not survive its own end (see `octy_worker.cli.exit_process`). Not here: tests.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from octy_middleware import Outcome
from octy_middleware.errors import DatabaseUnavailableError
from octy_middleware.http.event import UNDESCRIBED, AuthEvent, Description
from octy_worker.cli.app import app
from support.world import Keys, World

TIMEOUT = 120  # a busy machine takes its time
DENIED = "127.0.0.1:9"  # the discard port: nothing listens there


@dataclass(frozen=True)
class CommandResult:
    """The exit code and the output of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        return json.loads(self.stdout)

    def must(self, code: int = 0) -> "CommandResult":
        """Return this result; fail if it has another exit code or a traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.stderr, self
        return self


@dataclass
class Octy:
    """Runs `octy` with these OCTY_* variables and no others."""

    variables: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    _shell: subprocess.Popen[str] | None = None

    def __call__(self, *words: str, typed: str = "", **variables: str) -> CommandResult:
        """Run it in this process."""
        others = {name: None for name in os.environ if name.startswith(("OCTY_", "COLUMNS", "NO_COLOR", "FORCE_COLOR"))}
        result = CliRunner(env={**others, **self.variables, **variables}).invoke(app, words, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return CommandResult(result.exit_code, result.stdout, result.stderr)

    def process(self, *words: str, module: Sequence[str] = ("octy_worker",), **variables: str) -> CommandResult:
        """Run it as a process of its own, with warnings as errors. `module`: what runs `octy`, and its arguments."""
        done = subprocess.run(
            [sys.executable, "-m", *module, *words],
            env=self.environment(**variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start it as a process of its own, whose output is not read."""
        command, quiet = [sys.executable, "-m", "octy_worker", *words], subprocess.DEVNULL
        return subprocess.Popen(command, env=self.environment(), cwd=self.folder, stdout=quiet, stderr=quiet)

    def shell(self, *words: str, **variables: str) -> CommandResult:
        """Run it in a lasting process beside this one: for commands that connect a Temporal client."""
        if self._shell is None:
            self._shell = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("cli_shell.py"))],
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self._shell.stdin.write(json.dumps([words, variables]) + "\n")
        self._shell.stdin.flush()
        answer = self._shell.stdout.readline()
        assert answer, "cli_shell has ended; its standard error says why"
        return CommandResult(**json.loads(answer))

    def close(self) -> None:
        if self._shell is not None:
            self._shell.communicate(timeout=TIMEOUT)

    def environment(self, **variables: str) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("OCTY_")}
        paths = os.pathsep.join([*(path for path in sys.path if path), ours.get("PYTHONPATH", "")])
        return {**ours, "PYTHONPATH": paths, "PYTHONWARNINGS": "error", **self.variables, **variables}


def octy_for(world: World, **variables: str) -> Octy:
    return Octy(
        {"OCTY_DATABASE_URL": world.url, "OCTY_ACTOR": "ada", "OCTY_STAFF_AUTH": "off", **variables}, world.folder
    )


def fail(
    world: World,
    keys: Keys,
    count: int = 20,
    *,
    source: str = "203.0.113.9",
    user_agent: str = "curl/8.5",
    at: float | None = None,
    outcome: Outcome = Outcome.WRONG_SECRET,
) -> None:
    """Record so many requests as the middleware does; the twentieth wrong one in a row opens an incident."""
    now = time.time() if at is None else at
    writer = world.outcome_writer(now)
    pair_id = world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=keys.public_key)[0][0]
    network = source.rsplit(".", 1)[0] + ".0/24"
    description = UNDESCRIBED if outcome is Outcome.ACCEPTED else Description(user_agent, "GET", "/v1")
    event = AuthEvent(outcome, now, source, network, keys.public_key, pair_id=pair_id, description=description)
    batch = [event._replace() for _ in range(count)]  # one object is one request, however often it is given
    try:
        writer.write(batch)
    except DatabaseUnavailableError:  # nothing of it is written: a busy machine kept us from the server for too long
        writer.write(batch)


def open_incident(world: World, reference: str = "acme", **options) -> tuple[Keys, str]:
    """Register a customer with an open incident; return its keys and the incident's id."""
    keys = world.register(reference)
    fail(world, keys, **options)
    query = "SELECT id FROM incident WHERE public_key = :key"
    return keys, world.rows(query, key=keys.public_key)[0][0]


def audited(stderr: str) -> list[dict[str, Any]]:
    """Return the audit lines of a command."""
    return [json.loads(line.removeprefix("octy-audit: ")) for line in stderr.splitlines() if "octy-audit" in line]
