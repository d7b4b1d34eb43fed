"""`python -m proofs.security.timing`: does the time of a refusal tell which keys exist? (T7)

A real server, one connection, refusals in interleaved rounds: each round asks once for each arm, in random order. The
statistics are explained in `figures`. Here: servers, rounds, the table. Not here: whose headers (`arms`).
"""

import argparse
import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from proofs.conformance.raw_http import RawConnection, Response
from proofs.conformance.servers import SERVERS, RunningServer
from proofs.security.arms import ARMS, CONTROL, WRONG, Prepared, prepare
from proofs.security.figures import Figures, compare, verdict

_PATH = "/v1/account/authenticate"
_WARM_UP = 50  # rounds that are not measured: 100 failures, so the case is open and its first doublings are over


@dataclass(frozen=True)
class Target:
    """A server, and an app of the examples on it."""

    server: str
    app: str


TARGETS = (Target("uvicorn-h11", "starlette_app:app"), Target("gunicorn-sync", "flask_app:app"))


@dataclass
class Measured:
    """One target's times in microseconds, a list an arm, and every different answer that was seen of it."""

    times: dict[str, list[float]]
    answers: dict[str, set[bytes]]


class Line:
    """A connection to the server. Where it hangs up after an answer, the next one is made before the clock starts."""

    def __init__(self, port: int) -> None:
        self._wire = RawConnection(port)

    def ask(self, token: bytes) -> tuple[float, Response]:
        """Return the microseconds from the request's first byte to the answer's last, and the answer."""
        request = (
            f"GET {_PATH} HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-Proto: https\r\nAuthorization: Basic ".encode()
            + token
            + b"\r\n\r\n"
        )
        begun = time.perf_counter_ns()
        self._wire.send(request)
        answer = self._wire.read_response()
        taken = (time.perf_counter_ns() - begun) / 1000
        if answer.fields.get("connection", "").lower() == "close":
            self._wire.reconnect()
        return taken, answer

    def close(self) -> None:
        self._wire.__exit__(None, None, None)


@contextmanager
def serving(
    target: Target, folder: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[Prepared, Line]]:
    """Start the target over a fresh database in `folder`."""
    prepared = prepare(folder)
    [server] = [server for server in SERVERS if server.name == target.server]
    running = RunningServer(server, target.app, folder, {**prepared.environment, **environment})
    try:
        running.wait()
        line = Line(running.port)
        try:
            yield prepared, line
        finally:
            line.close()
    finally:
        running.stop()


def measure(prepared: Prepared, line: Line, rounds: int, rng: Random) -> Measured:
    """Ask each arm once a round, in random order."""
    measured = Measured({arm: [] for arm in ARMS}, {arm: set() for arm in ARMS})
    for number in range(_WARM_UP + rounds):
        for arm in rng.sample(ARMS, len(ARMS)):
            taken, answer = line.ask(prepared.headers[arm])
            measured.answers[arm].add(_without_date(answer))
            if number >= _WARM_UP:
                measured.times[arm].append(taken)
    return measured


def _without_date(answer: Response) -> bytes:
    """Return the whole answer but for the one line that changes with the clock."""
    head, blank, body = answer.raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:")]
    return b"\r\n".join(lines) + blank + body


def table(target: Target, found: dict[str, Figures]) -> Table:
    title = f"{target.app} on {target.server}: microseconds a refusal"
    shown = Table(
        "arm", "samples", "median", "p10", "p90", "trimmed mean", "against wrong", "99 % interval", "", title=title
    )
    for arm, figures in found.items():
        own = (figures.median, figures.p10, figures.p90, figures.trimmed_mean)
        word = "control" if arm in (WRONG, CONTROL) else verdict(figures, found[CONTROL])
        between = f"{figures.low:+.1f} to {figures.high:+.1f}"
        shown.add_row(
            arm, str(figures.samples), *(f"{x:.1f}" for x in own), f"{figures.difference:+.1f}", between, word
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="timing", description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=5000, help="rounds: samples of each arm")
    parser.add_argument("--seed", type=int, default=None, help="of the order of the arms")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    rng = Random(seed)
    console = Console(width=140)
    figures = {}
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as folder, serving(target, Path(folder)) as (prepared, line):
            measured = measure(prepared, line, options.samples, rng)
        found = compare(measured.times, rng)
        figures[target.server] = {arm: asdict(some) for arm, some in found.items()}
        console.print(table(target, found))
        different = len(set.union(*measured.answers.values()))
        console.print(f"different answers, but for their Date: {different}", highlight=False)
    if options.json:
        options.json.write_text(json.dumps({"seed": seed, "microseconds": figures}, indent=2) + "\n", encoding="utf-8")
    console.print(f"octy: timing is done, seed {seed}", highlight=False)


if __name__ == "__main__":
    main()
