"""How a request ends: each way is recorded, and becomes the decision that an adapter acts on.

Here: what each ending writes, and who waits for the commit. Not here: which ending it is (`authenticator`), how it
looks (`refusal`).
"""

import logging
from math import ceil

from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.auth.rate_limit import RateLimit
from octy_middleware.clock import Clock
from octy_middleware.http.client_address import ClientAddress, counted_source, network_of
from octy_middleware.http.decision import AuthDecision, Principal
from octy_middleware.http.event import AuthEvent, build_event
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.recording.recorder import Recorder
from octy_middleware.states import KeyPairState

_logger = logging.getLogger(__name__)


class Decisions:
    """One per authenticator. `rate_limit`: the rate of wrong attempts a minute and source; 0 for any."""

    def __init__(self, recorder: Recorder, hasher: KeyHasher, clock: Clock, *, rate_limit: int) -> None:
        self._recorder = recorder
        self._hasher = hasher
        self._clock = clock
        self._rate_limit = RateLimit(rate_limit) if rate_limit else None

    def accept(self, record: KeyRecord, request: Request, client_address: ClientAddress) -> AuthDecision:
        """Let the request pass. Its event lingers for company, and nobody waits for it.

        One with a pair that will end is described as a refused one is: its owner is told who still uses it.
        """
        now, key, pair_id = self._clock(), record.public_key, record.pair_id
        if record.state == KeyPairState.RETIRING:
            event = build_event(Outcome.ACCEPTED, request, client_address, now, public_key=key, pair_id=pair_id)
        else:
            event = AuthEvent(
                Outcome.ACCEPTED,
                now,
                counted_source(client_address.source),
                network_of(client_address.source),
                key,
                pair_id,
            )
        principal = Principal(record.reference, record.account_id, record.public_key)
        return self._recorded(AuthDecision(Outcome.ACCEPTED, principal), event)

    def refuse(
        self, outcome: Outcome, pending: PendingCredentials, request: Request, record: KeyRecord | None
    ) -> AuthDecision:
        """Refuse well-formed credentials after the commit. The rate of their source changes the answer, not the record.

        An answer that is not the right secret's tells that this one is wrong, whatever its status: it is recorded.
        """
        key_hash = self._hasher.key_hash(pending.credentials.public_key)  # computed for all: equal work
        public_key, key_hash = ("", key_hash) if record is None else (record.public_key, "")
        wait = (
            0.0
            if self._rate_limit is None
            else self._rate_limit.count_attempt(network_of(pending.client_address.source))
        )
        event = build_event(
            outcome, request, pending.client_address, self._clock(), public_key=public_key, key_hash=key_hash
        )
        if not wait:
            return AuthDecision(outcome, event=event)
        # Octy's own clients know no 429: a wrong key is 401 to them, whatever else is going on.
        public_outcome = outcome if pending.credentials.schemeless else Outcome.RATE_LIMITED
        return AuthDecision(outcome, event=event, public_outcome=public_outcome, retry_after=ceil(wait))

    def refuse_plain(
        self, pending: PendingCredentials, request: Request, record: KeyRecord | None, *, exposed: bool
    ) -> AuthDecision:
        """Refuse plain HTTP. A live pair with its right secret is exposed: the ledger has its customer told."""
        known = record if record is not None and record.is_known else None
        event = build_event(
            Outcome.PLAIN_HTTP,
            request,
            pending.client_address,
            self._clock(),
            public_key=known.public_key if known else "",
            pair_id=known.pair_id if known and exposed else "",
        )
        return self._recorded(AuthDecision(Outcome.PLAIN_HTTP), event)

    def unavailable(self, pending: PendingCredentials) -> AuthDecision:
        """Answer 503 for what somebody else has in hand, and will record."""
        return AuthDecision(Outcome.PLAIN_HTTP if pending.plain else Outcome.DATABASE_UNAVAILABLE)

    def wrong_secret_without_database(
        self, pending: PendingCredentials, request: Request, public_key: str
    ) -> AuthDecision:
        """Answer 503 for a secret that is wrong by what is remembered of a live key, and record it as what it is."""
        event = build_event(Outcome.WRONG_SECRET, request, pending.client_address, self._clock(), public_key=public_key)
        return self._recorded(AuthDecision(Outcome.DATABASE_UNAVAILABLE), event)

    def unavailable_after_commit(self, pending: PendingCredentials, request: Request) -> AuthDecision:
        """Answer 503 like `unavailable_and_recorded`, at the time at which a judged secret is answered (T7)."""
        outcome = Outcome.PLAIN_HTTP if pending.plain else Outcome.DATABASE_UNAVAILABLE
        return AuthDecision(outcome, event=build_event(outcome, request, pending.client_address, self._clock()))

    def unavailable_and_recorded(self, pending: PendingCredentials, request: Request) -> AuthDecision:
        """Answer 503: nobody knows whether the secret is right. Plain HTTP is refused whether it is or not."""
        outcome = Outcome.PLAIN_HTTP if pending.plain else Outcome.DATABASE_UNAVAILABLE
        return self.refuse_uncounted(outcome, request, pending.client_address)

    def unverifiable(self, record: KeyRecord, request: Request, pending: PendingCredentials) -> AuthDecision:
        """Answer 503 where this host lacks what the digest needs: even its owner's secret would be called wrong."""
        _logger.error(
            "a pair can't be checked on this host, its requests are answered 503: %s", self._missing_requirement(record)
        )
        return self.unavailable_and_recorded(pending, request)

    def _missing_requirement(self, record: KeyRecord) -> str:
        if self._hasher.is_fast(record.digest):
            return f"OCTY_PEPPERS lacks the key {self._hasher.pepper_of(record.digest)!r}, or the digest is damaged"
        return "its imported hash needs `pip install 'octy-middleware[imports]'`, or it is damaged or costs too much"

    def refuse_uncounted(self, outcome: Outcome, request: Request, client_address: ClientAddress) -> AuthDecision:
        """Refuse what touches no streak; its event is written soon."""
        return self._recorded(AuthDecision(outcome), build_event(outcome, request, client_address, self._clock()))

    def _recorded(self, decision: AuthDecision, event: AuthEvent) -> AuthDecision:
        """Have the event written soon; when too much waits, only after its commit: the store sets the pace."""
        return decision if self._recorder.record(event) else decision._replace(event=event)
