"""Makes the decisions about requests, each with its event recorded or still to be committed."""

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
    """One per authenticator. `rate_limit`: wrong attempts a minute and source before 429; 0: no limit."""

    def __init__(self, recorder: Recorder, hasher: KeyHasher, clock: Clock, *, rate_limit: int) -> None:
        self._recorder = recorder
        self._hasher = hasher
        self._clock = clock
        self._rate_limit = RateLimit(rate_limit) if rate_limit else None

    def accept(self, record: KeyRecord, request: Request, client_address: ClientAddress) -> AuthDecision:
        """Accept the request. Its event is written soon; the response does not wait for it.

        A use of a retiring key pair is recorded in detail, so that its owner can be told who still uses it.
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
        """Refuse well-formed credentials after the commit. The rate limit changes the response, not what is recorded.

        Any response but that of the right secret shows the client that this secret is wrong, so it is recorded.
        """
        key_hash = self._hasher.key_hash(pending.credentials.public_key)  # computed for all: equal work
        public_key, key_hash = ("", key_hash) if record is None else (record.public_key, "")
        wait = (
            0.0
            if self._rate_limit is None
            else self._rate_limit.count_attempt(network_of(pending.client_address.source))
        )
        event = build_event(
            outcome,
            request,
            pending.client_address,
            self._clock(),
            public_key=public_key,
            key_hash=key_hash,
            described=False,
        )
        if not wait:
            return AuthDecision(outcome, event=event)
        # Octy's own clients, which send no scheme, do not know 429: they get 401.
        public_outcome = outcome if pending.credentials.schemeless else Outcome.RATE_LIMITED
        return AuthDecision(outcome, event=event, public_outcome=public_outcome, retry_after=ceil(wait))

    def refuse_plain(
        self, pending: PendingCredentials, request: Request, record: KeyRecord | None, *, exposed: bool
    ) -> AuthDecision:
        """Refuse plain HTTP. `exposed`: with the right secret of a live key pair; its customer is notified."""
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
        """Decide 503 without an event: the outcome is recorded elsewhere, or must not be recorded."""
        return AuthDecision(Outcome.PLAIN_HTTP if pending.plain else Outcome.DATABASE_UNAVAILABLE)

    def wrong_secret_without_database(
        self, pending: PendingCredentials, request: Request, public_key: str
    ) -> AuthDecision:
        """Decide 503 for a secret that is wrong by the cached record of a live key, and record it as wrong."""
        event = build_event(Outcome.WRONG_SECRET, request, pending.client_address, self._clock(), public_key=public_key)
        return self._recorded(AuthDecision(Outcome.DATABASE_UNAVAILABLE), event)

    def unavailable_after_commit(self, pending: PendingCredentials, request: Request) -> AuthDecision:
        """Decide 503 after the commit, so that it takes the time of a verified secret (`equal_work`)."""
        outcome = Outcome.PLAIN_HTTP if pending.plain else Outcome.DATABASE_UNAVAILABLE
        return AuthDecision(outcome, event=build_event(outcome, request, pending.client_address, self._clock()))

    def unavailable_and_recorded(self, pending: PendingCredentials, request: Request) -> AuthDecision:
        """Decide 503, since the secret can't be verified now; plain HTTP is refused in any case."""
        outcome = Outcome.PLAIN_HTTP if pending.plain else Outcome.DATABASE_UNAVAILABLE
        return self.refuse_uncounted(outcome, request, pending.client_address)

    def unverifiable(self, record: KeyRecord, request: Request, pending: PendingCredentials) -> AuthDecision:
        """Decide 503 where this host cannot verify the stored digest, not even with the right secret."""
        _logger.error(
            "a key pair can't be verified on this host, so its requests are answered 503: %s",
            self._missing_requirement(record),
        )
        return self.unavailable_and_recorded(pending, request)

    def _missing_requirement(self, record: KeyRecord) -> str:
        if self._hasher.is_fast(record.digest):
            return f"OCTY_PEPPERS lacks the key {self._hasher.pepper_of(record.digest)!r}, or the digest is damaged"
        return "its imported hash needs `pip install 'octy-middleware[imports]'`, or it is damaged or costs too much"

    def refuse_uncounted(self, outcome: Outcome, request: Request, client_address: ClientAddress) -> AuthDecision:
        """Refuse a request that counts in no streak; its event is written soon."""
        return self._recorded(AuthDecision(outcome), build_event(outcome, request, client_address, self._clock()))

    def _recorded(self, decision: AuthDecision, event: AuthEvent) -> AuthDecision:
        """Queue the event; when the queue is full, return the decision with the event, to be committed first."""
        return decision if self._recorder.record(event) else decision._replace(event=event)
