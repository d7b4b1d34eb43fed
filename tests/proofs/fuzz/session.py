"""Requests by each entry point of one installation, and the check of what came of them.

A key pair that is not in memory costs a look-up and a commit. Where the entry point is the authenticator's memory, it
is enough that the authenticator has read the right key pair.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from octy_middleware import Authenticator, OctyASGIMiddleware, OctyWSGIMiddleware
from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording.commit_waiter import CommitWaiter
from octy_middleware.recording.recorder import Recorder
from proofs.fuzz import checks
from proofs.fuzz.adapters import Response, asgi_app, send_asgi, send_wsgi, wsgi_app
from proofs.fuzz.checks import Problem
from proofs.fuzz.database_checks import ExpectedCounts
from proofs.fuzz.keys import FuzzKeys
from proofs.fuzz.reference import OPEN, SETUPS, Expected, expect
from proofs.fuzz.request import FuzzRequest
from proofs.fuzz.sockets import ServerClient, can_carry, may_be_refused

MEMORY, DATABASE = "authenticator", "authenticator and database"
WSGI, ASGI = "WSGI adapter", "ASGI adapter"
ENTRY_POINTS = (MEMORY, DATABASE, WSGI, ASGI)
_PENDING, _REFUSED = "left to the database", "refused by the server"


class Session:
    """Sends requests to one installation. `seen`: how often each outcome came from each entry point."""

    def __init__(
        self,
        keys: FuzzKeys,
        authenticators: Sequence[Authenticator],
        servers: dict[str, ServerClient],
        events: list[AuthEvent],
    ) -> None:
        """`events`: what `recorded_events` yields."""
        self.seen: Counter[tuple[str, str]] = Counter()
        self.counts = ExpectedCounts(keys)
        self.entry_points = (*ENTRY_POINTS, *servers)
        self._keys = keys
        self._authenticators = authenticators
        self._servers = servers
        self._events = events
        self._wsgi = [OctyWSGIMiddleware(wsgi_app, authenticator=authenticator) for authenticator in authenticators]
        self._asgi = [OctyASGIMiddleware(asgi_app, authenticator=authenticator) for authenticator in authenticators]
        self._runner = asyncio.Runner()

    def close(self) -> None:
        self._runner.close()

    def check(self, request: FuzzRequest, entry_point: str) -> list[str]:
        """Send a request and return what is wrong."""
        if entry_point == ASGI and not SETUPS[request.setup].rate_limited:
            return self.check_asgi([request])[0]
        try:
            return list(filter(None, self._check(request, entry_point)))
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            self._events.clear()
            return [f"{type(error).__name__}: {error}"]

    def check_asgi(self, requests: Sequence[FuzzRequest]) -> list[list[str]]:
        """Send requests to the ASGI adapter at once and return what is wrong with each."""
        found = self._runner.run(send_asgi(self._asgi, requests))
        problems = [
            list(filter(None, self._check_response(ASGI, request, expect(request, self._keys), response)))
            for request, response in zip(requests, found, strict=True)
        ]
        if problems:
            problems[-1] += filter(None, (checks.check_event(event, None) for event in self._take_events()))
        return problems

    def _check(self, request: FuzzRequest, entry_point: str) -> Iterator[Problem]:
        if SETUPS[request.setup].rate_limited:  # a response alone does not show which outcome was recorded
            yield from self._check_authenticator(DATABASE, request)
        elif entry_point == WSGI:
            sent = request.as_wsgi()
            expected = expect(sent, self._keys)
            response = send_wsgi(self._wsgi[request.setup], sent)
            yield from self._check_response(WSGI, sent, expected, response)
            yield from self._check_events(expected)
        elif entry_point in self._servers and can_carry(request):
            yield from self._check_server(entry_point, request)
        else:
            yield from self._check_authenticator(DATABASE if entry_point == DATABASE else MEMORY, request)

    def _check_authenticator(self, entry_point: str, request: FuzzRequest) -> Iterator[Problem]:
        authenticator, expected = self._authenticators[request.setup], expect(request, self._keys)
        yield checks.check_address(authenticator.client_address(request), expected.address)
        found = authenticator.decide_from_memory(request)
        if isinstance(found, PendingCredentials):
            yield checks.check_pending(found, request, expected)
            if entry_point == MEMORY:
                self.seen[MEMORY, _PENDING] += 1
                return
        if isinstance(found, PendingCredentials) or found.event is not None:  # the queue of events was full
            found = authenticator.decide(request)
        yield checks.check_decision(found, expected, self._keys)
        shown = str(found.public_outcome or found.outcome or OPEN)
        if not found.passes:
            sent = authenticator.error_response(found, request)
            response = Response(sent.status, sent.headers, sent.body)
            yield checks.check_response(response, request, replace(expected, outcomes=frozenset({shown})), self._keys)
        self._count(entry_point, shown, str(found.outcome or OPEN), expected)
        yield from self._check_events(expected)

    def _check_server(self, name: str, request: FuzzRequest) -> Iterator[Problem]:
        sent, response = self._servers[name].send(request)
        expected = expect(sent, self._keys)
        if response is not None:
            yield from self._check_response(name, sent, expected, response)
        elif may_be_refused(sent):
            self.seen[name, _REFUSED] += 1
        else:
            yield f"the server refused it or closed the connection, expected {sorted(expected.outcomes)}"

    def _check_response(
        self, entry_point: str, request: FuzzRequest, expected: Expected, response: Response | BaseException
    ) -> Iterator[Problem]:
        if isinstance(response, BaseException):
            yield f"{type(response).__name__}: {response}"
            return
        yield checks.check_response(response, request, expected, self._keys)
        outcome = checks.outcome_of(response, expected)
        if outcome is not None:
            self._count(entry_point, outcome, outcome, expected)

    def _check_events(self, expected: Expected) -> Iterator[Problem]:
        events = self._take_events()
        if not events and OPEN not in expected.outcomes:
            yield "nothing was recorded"
        yield from (checks.check_event(event, expected) for event in events)

    def _count(self, entry_point: str, shown: str, outcome: str, expected: Expected) -> None:
        """Count a request; the tables must hold its outcome, whatever the client was shown."""
        self.seen[entry_point, shown] += 1
        self.counts.add(outcome, expected.pair[0] if expected.pair else None)

    def _take_events(self) -> list[AuthEvent]:
        events = list(self._events)
        self._events.clear()
        return events


@contextmanager
def recorded_events() -> Iterator[list[AuthEvent]]:
    """Yield a list that gets every event on its way into a recorder of this process."""
    events: list[AuthEvent] = []
    record, commit = Recorder.record, Recorder.commit

    def watched_record(recorder: Recorder, event: AuthEvent) -> bool:
        events.append(event)
        return record(recorder, event)

    def watched_commit(
        recorder: Recorder, decision: AuthDecision, waiter: CommitWaiter, *, alone: bool = False
    ) -> None:
        assert decision.event is not None
        events.append(decision.event)
        commit(recorder, decision, waiter, alone=alone)

    Recorder.record, Recorder.commit = watched_record, watched_commit
    try:
        yield events
    finally:
        Recorder.record, Recorder.commit = record, commit
