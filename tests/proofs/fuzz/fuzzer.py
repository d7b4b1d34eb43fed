"""The requests of one process: first by Hypothesis, then many more by random edits of those.

Hypothesis makes some hundred requests a second and reduces one that fails to its smallest form; random edits make a
hundred times as many, and need no more than the request itself to be played again.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from logging.handlers import BufferingHandler
from pathlib import Path
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from proofs.fuzz import sockets
from proofs.fuzz.installation import install, open_authenticators
from proofs.fuzz.keys import FuzzKeys, make_keys
from proofs.fuzz.mutations import mutate
from proofs.fuzz.reference import SETUPS
from proofs.fuzz.report import Finding, Report
from proofs.fuzz.request import FuzzRequest
from proofs.fuzz.session import ASGI, DATABASE, MEMORY, WSGI, Session, recorded_events
from proofs.fuzz.strategies import requests

_BATCH = 1000  # mutated requests; those for the ASGI adapter are sent at once
_MAX_FINDINGS = 10  # of mutated requests; then the run ends
_PROGRESS_INTERVAL = 10.0  # seconds
_MAX_EXAMPLES = 10_000  # by Hypothesis in each process, one in twenty of all at most
_TURNS = (*[MEMORY] * 8, WSGI, ASGI)
_DATABASE_TURNS, _SERVER_TURNS = 250, 500  # one of so many requests
_EXPECTED_WARNINGS = (
    "set OCTY_TRUSTED_PROXIES to it",  # many peers here forward and are not trusted
    "this process was paused for",  # by a busy machine
)


@dataclass(frozen=True)
class Share:
    """What one of several processes does. `headers`: of all processes. `only`: one request by one entry point."""

    seed: int
    headers: int
    index: int = 0
    processes: int = 1
    servers: tuple[str, ...] = sockets.NAMES
    only: tuple[FuzzRequest, str] | None = None

    @property
    def size(self) -> int:
        return len(range(self.index, self.headers, self.processes))


def run(share: Share) -> Report:
    """Play a share and return what was seen."""
    keys = make_keys(share.seed)
    report = Report(share.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        handler = BufferingHandler(sys.maxsize)
        handler.setLevel(logging.WARNING)
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        world = install(folder, keys)
        stack.callback(world.close)
        with recorded_events() as events, open_authenticators(world) as authenticators:
            with sockets.serve(world, folder, share.servers) as servers:
                session = Session(keys, authenticators, servers, events)
                report.seen = session.seen
                _Fuzzer(share, keys, session, report).play()
                session.close()
            health = [authenticator.health() for authenticator in authenticators]
        logged = [handler.format(record) for record in handler.buffer]
        unexpected = [line for line in logged if not any(text in line for text in _EXPECTED_WARNINGS)]
        problems = [*session.counts.compare(world), *(f"logged: {line}" for line in unexpected)]
        problems += [f"the recorder lost events: {state}" for state in health if state.lost or state.last_error]
        problems += _shown_secrets(
            keys, [*logged, *(file.read_text(errors="replace") for file in folder.rglob("*.log"))]
        )
        report.findings += [Finding(share.seed, problem) for problem in problems]
    return report


class _FailedError(Exception):
    """A request had problems: Hypothesis looks for a smaller one."""


@dataclass
class _Fuzzer:
    share: Share
    keys: FuzzKeys
    session: Session
    report: Report
    corpus: list[FuzzRequest] = field(default_factory=list)
    failed: Finding | None = None
    progress_at: float = field(default_factory=time.monotonic)

    def play(self) -> None:
        if self.share.only:
            self._take(*self.share.only, self.session.check(*self.share.only))
        else:
            self._play_by_hypothesis(min(_MAX_EXAMPLES, max(1, self.share.size // 20)))
            self._play_mutated()

    def _play_by_hypothesis(self, examples: int) -> None:
        """Add one finding at most: the smallest request that fails. All requests become the corpus."""

        @hypothesis.seed(f"{self.share.seed}/{self.share.index}")
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink],
            database=None,  # not used with a seed; a finding holds its request
            suppress_health_check=list(HealthCheck),
        )
        @given(requests(self.keys), st.sampled_from(self.session.entry_points))
        def play(request: FuzzRequest, entry_point: str) -> None:
            self.corpus.append(request)
            self.report.headers += 1
            self._show_progress()
            problems = self.session.check(request, entry_point)
            if problems:
                self.failed = Finding(self.share.seed, "; ".join(problems), request, entry_point)
                raise _FailedError

        try:
            play()
        except (_FailedError, hypothesis.errors.Flaky):
            assert self.failed is not None
            self.report.findings.append(self.failed)
        self.report.by_hypothesis = self.report.headers

    def _play_mutated(self) -> None:
        rng = Random(f"{self.share.seed}/{self.share.index}")
        while self.report.headers < self.share.size and len(self.report.findings) < _MAX_FINDINGS:
            at_once = []
            for number in range(self.report.headers, min(self.report.headers + _BATCH, self.share.size)):
                request = mutate(rng, self.corpus)
                entry_point = self._entry_point(number)
                if entry_point == ASGI and not SETUPS[request.setup].rate_limited:
                    at_once.append(request)
                else:
                    self._take(request, entry_point, self.session.check(request, entry_point))
            for request, problems in zip(at_once, self.session.check_asgi(at_once), strict=True):
                self._take(request, ASGI, problems)
            self._show_progress()

    def _entry_point(self, number: int) -> str:
        """Most are decided from memory: a server or a commit takes as long as a hundred of those."""
        servers = self.share.servers
        if servers and number % _SERVER_TURNS == 0:
            return servers[number // _SERVER_TURNS % len(servers)]
        return DATABASE if number % _DATABASE_TURNS == 0 else _TURNS[number % len(_TURNS)]

    def _take(self, request: FuzzRequest, entry_point: str, problems: list[str]) -> None:
        self.report.headers += 1
        self.report.findings += [Finding(self.share.seed, problem, request, entry_point) for problem in problems]

    def _show_progress(self) -> None:
        if self.share.index == 0 and time.monotonic() - self.progress_at > _PROGRESS_INTERVAL:
            self.progress_at = time.monotonic()
            headers = self.report.headers * self.share.processes
            print(f"octy: about {headers:,} of {self.share.headers:,} headers", flush=True)  # noqa: T201


def _shown_secrets(keys: FuzzKeys, texts: Iterable[str]) -> list[str]:
    secrets = [*keys.secrets.values(), *(secret for _, secret in keys.sent)]
    return [f"a log shows a secret: {text[:200]!r}" for text in texts if any(secret in text for secret in secrets)]
