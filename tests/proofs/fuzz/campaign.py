"""Playing inputs: each goes one way, and what comes back is checked.

Here: which input goes which way. Most are read by each parser by itself, many by the authenticator, a share goes
through the adapters, and one in thousands over a socket. A claim costs a look-up and a commit, so only a share of them
is decided by the store; that the authenticator read the right pair out of the header is looked at each time. Not here:
the checks (`checks`).
"""

import time
from collections.abc import Collection

from octy_middleware.auth.pending import PendingCredentials
from proofs.fuzz import checks
from proofs.fuzz.answers import Answered
from proofs.fuzz.books import Books
from proofs.fuzz.inputs import expect, inputs, origin_of
from proofs.fuzz.installation import HeardGate
from proofs.fuzz.lanes import AsgiLane, Bare, Input, WsgiLane, decide_from_memory, joined, resolve
from proofs.fuzz.pairs import Pairs
from proofs.fuzz.reference import ACCEPTED, OPEN, Expected
from proofs.fuzz.report import Report, finding
from proofs.fuzz.sockets import REFUSED, Sockets

PARSERS, GATE, STORE, WSGI, ASGI = "parsers", "authenticator", "authenticator and store", "WSGI adapter", "ASGI adapter"
LANES = (PARSERS, GATE, STORE, WSGI, ASGI)
_PARSED = 6  # of ten
_ASGI_SHARE, _WSGI_SHARE = 250, 20  # of a thousand: those that wait for the store side by side, or one by one

Waiting = list[tuple[Input, Expected]]


class Campaign:
    """One process's share of the inputs, against one installation."""

    def __init__(self, seed: int, pairs: Pairs, authenticators: list[HeardGate], sockets: Sockets) -> None:
        self.report = Report(seed)
        self.books = Books(pairs)
        self._pairs = pairs
        self._gates = [authenticator for authenticator, _ in authenticators]
        self._listeners = [listener for _, listener in authenticators]
        self._sockets = sockets
        self._wsgi = [WsgiLane(authenticator) for authenticator in self._gates]
        self._asgi = [AsgiLane(authenticator) for authenticator in self._gates]

    def play(self, chunk: int, only: Collection[int] = ()) -> None:
        """Play a chunk, or only some numbers of it."""
        begun = time.perf_counter()
        waiting: list[Waiting] = [[] for _ in self._gates]
        for given in inputs(self.report.seed, chunk, self._pairs):
            if not only or given.number in only:
                self.report.played += 1
                self._send(given, waiting)
        for lane, some in zip(self._asgi, waiting, strict=True):
            self._ask_asgi(lane, some)
        self.report.seconds += time.perf_counter() - begun

    def close(self) -> None:
        """Stop the adapters' threads; the authenticators are their owner's to close."""
        for lane in self._asgi:
            lane.close()

    def _send(self, given: Input, waiting: list[Waiting]) -> None:
        turn, rate_limited = given.number % 1000, given.around.site == len(self._gates) - 1
        if turn % 10 < _PARSED:
            self._ask_parsers(given)
        elif rate_limited:  # the authenticator alone tells whether it was rate_limited
            self._ask_authenticator(given, decided=True)
        elif turn % 10 == 8:
            self._keep_for_asgi(given, waiting[given.around.site])
        elif turn % 10 == 9:
            self._ask_wsgi(joined(given))
        elif turn in self._sockets.turns and self._sockets.can_carry(given):
            self._ask_socket(given)
        else:
            self._ask_authenticator(given, decided=turn % 250 == 7)

    def _ask_parsers(self, given: Input) -> None:
        try:
            name, fault = checks.parsers(given, self._gates[given.around.site])
            self.report.seen[PARSERS, name] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            fault = _words(error)
        self._check(given, PARSERS, fault)

    def _ask_authenticator(self, given: Input, *, decided: bool) -> None:
        """Ask the authenticator; have a claim decided by the store now and then."""
        authenticator, request, expected = self._gates[given.around.site], Bare(given), expect(given, self._pairs)
        lane = GATE
        try:
            self._check(given, lane, checks.client_address(authenticator.client_address(request), origin_of(given)))
            found = decide_from_memory(authenticator, request)
            if isinstance(found, PendingCredentials):
                self._check(given, lane, checks.check_pending(found, expected))
                if not decided:
                    self.report.seen[lane, checks.CLAIM] += 1
                    return
                lane = STORE
                found = resolve(authenticator, found, request)
            self._check(given, lane, checks.decision(found, authenticator, request, expected, self._pairs))
            self._enter(
                lane, OPEN if found.outcome is None else str(found.outcome), expected, told=found.public_outcome
            )
        except Exception as error:  # noqa: BLE001
            self._check(given, lane, _words(error))
        self._check(given, lane, *self._listeners[given.around.site].take_faults())

    def _keep_for_asgi(self, given: Input, waiting: Waiting) -> None:
        """Keep it for the ASGI adapter; of those that wait for the store a share, as they take most of the time."""
        expected = expect(given, self._pairs)
        if _needs_store(expected) and given.number % 1000 > _ASGI_SHARE:
            self._ask_authenticator(given, decided=False)
        else:
            waiting.append((given, expected))

    def _ask_wsgi(self, given: Input) -> None:
        """Ask the WSGI adapter for what waits for no commit; those that do would take all the time there is."""
        expected = expect(given, self._pairs)
        if _needs_store(expected) and given.number % 1000 > _WSGI_SHARE:
            self._ask_authenticator(given, decided=False)
            return
        try:
            self._take(WSGI, given, expected, self._wsgi[given.around.site].ask(given))
        except Exception as error:  # noqa: BLE001
            self._check(given, WSGI, _words(error))

    def _ask_asgi(self, lane: AsgiLane, some: Waiting) -> None:
        """Ask the ASGI adapter for all of them; those that wait for the store wait together."""
        slow = [item for item in some if _needs_store(item[1])]
        quick = [item for item in some if not _needs_store(item[1])]
        answers = lane.ask_all([given for given, _ in quick], [given for given, _ in slow])
        for (given, expected), found in zip([*quick, *slow], answers, strict=True):
            self._take(ASGI, given, expected, found)

    def _ask_socket(self, given: Input) -> None:
        name, sent, found = self._sockets.ask(given)
        expected = expect(sent, self._pairs)
        if found is not None:
            self._take(name, sent, expected, found)
        elif self._sockets.may_refuse(sent):
            self.report.seen[name, REFUSED] += 1
        else:
            self._check(sent, name, f"the server refused it or hung up, expected {sorted(expected.outcomes)}")

    def _take(self, lane: str, given: Input, expected: Expected, found: Answered | BaseException) -> None:
        """Check an answer, and enter what it says into the books."""
        if isinstance(found, BaseException):
            self._check(given, lane, _words(found))
            return
        self._check(given, lane, checks.answer(found, given, expected, self._pairs))
        outcome = checks.outcome_of(found, expected)
        if outcome is not None:
            self._enter(lane, outcome, expected)

    def _enter(self, lane: str, outcome: str, expected: Expected, *, told: str | None = None) -> None:
        """Note what was answered; the books of what is recorded hold the outcome, whatever was told."""
        self.report.seen[lane, str(told or outcome)] += 1
        self.books.enter(outcome, expected.pair[0] if expected.pair else None)

    def _check(self, given: Input, lane: str, *faults: checks.Fault) -> None:
        for fault in filter(None, faults):
            self.report.findings.append(finding(self.report.seed, given, lane, fault))


def _needs_store(expected: Expected) -> bool:
    return expected.pair is not None and ACCEPTED not in expected.outcomes


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
