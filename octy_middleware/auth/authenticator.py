"""Decides about a request: reads its credentials, verifies them, records the outcome. Synchronous, for any server.

`decide_from_memory` decides without I/O what the caches can decide: exempt paths, malformed headers, and the right
secret of a cached key pair. Every other request, with a right or wrong secret, a known or unknown key, takes the same
steps in `finish`: one load, one digest, one commit. So neither bytes nor time show which keys exist.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import cast

from octy_middleware.auth.decisions import Decisions
from octy_middleware.auth.hash_limiter import HashLimiter
from octy_middleware.auth.hash_processes import HashProcesses
from octy_middleware.auth.hash_queue import HashRequest
from octy_middleware.auth.header_cache import HeaderCache
from octy_middleware.auth.instrumentation import Instrumentation
from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.auth.key_loader import KeyLoader
from octy_middleware.auth.pending import DecisionOrPending, PendingCredentials, PendingSlowHash
from octy_middleware.auth.short_path import choose_short_path
from octy_middleware.auth.verifier import Verifier
from octy_middleware.clock import Clock
from octy_middleware.db.batch_transaction import BatchTransaction
from octy_middleware.db.database import Database
from octy_middleware.db.schema_version import check_schema_if_available
from octy_middleware.domain.key_checks import PepperCheck
from octy_middleware.equal_work import dummy_record
from octy_middleware.http.client_address import ClientAddress, TrustedProxies, network_of
from octy_middleware.http.credentials import parse_credentials
from octy_middleware.http.decision import NO_CREDENTIALS_NEEDED, AuthDecision
from octy_middleware.http.exempt_paths import ExemptPaths
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.http.response import (
    ErrorResponse,
    Headers,
    RefusalHook,
    apply_refusal_hook,
    build_error_response,
    check_realm,
    hsts_header,
)
from octy_middleware.keys.key_record import digest_of, is_live, row_binding_of, unpack
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.process.fork import detect_fork
from octy_middleware.process.hosts import freezes_between_requests, require_threads
from octy_middleware.recording.commit_waiter import CommitWaiter, ThreadWaiter, settle
from octy_middleware.recording.heartbeat import Heartbeat
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_middleware.recording.recorder import Recorder, RecorderHealth
from octy_middleware.recording.window_rule import WindowRule
from octy_middleware.settings import Settings
from octy_middleware.states import KeyPairState

_MAX_CLIENT_ADDRESSES = 10_000  # cached, by peer address and scheme


class Authenticator:
    """Shared by the adapters of a process with equal settings (`sharing`). Safe for threads and after fork."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_refusal: RefusalHook | None = None,
        database: Database | None = None,
        clock: Clock = time.time,
    ) -> None:
        """Check the settings. Raises ConfigurationError, or SchemaError when the database has another schema version.

        The database may be unavailable now; it is used at the first request.
        """
        check_realm(settings.realm)
        require_threads(sys.modules.get("uwsgi"))
        self.settings = settings
        # Half of the commit timeout: a commit that waits for the write lock fails before its clients time out.
        self.database = database or Database(settings.database_url, busy_timeout=settings.commit_timeout / 2)
        check_schema_if_available(self.database)
        self._clock = clock
        self._hashes = HashProcesses()
        self._hasher = KeyHasher(settings.peppers, verify_slow_hash=self._hashes.verify)
        self._proxies = TrustedProxies(settings.trusted_proxies, forwarded_header=settings.forwarded_header)
        self._proxied = bool(settings.trusted_proxies)
        self._https_only = settings.require_https
        self._exemptions = ExemptPaths(settings.exempt_paths)
        self._exempts = bool(self._exemptions)
        self._hsts = hsts_header(settings.hsts)
        self._on_refusal = on_refusal
        self.key_cache = KeyCache(
            self.database,
            size=settings.key_cache_size,
            interval=settings.feed_interval,
            grace_period=settings.grace_period,
            is_cacheable=lambda digest: not self._hasher.needs_upgrade(digest),
            peppers=PepperCheck(settings.peppers),
        )
        self._outcome_writer = OutcomeWriter(
            self.database,
            threshold=settings.threshold,
            attempts_per_minute=settings.attempts_per_minute,
            sources_per_minute=settings.sources_per_minute,
            max_networks=settings.max_networks,
            clock=clock,
            window=WindowRule(settings.window_failures, settings.window),
            also_write=self._write_heartbeat,
        )
        commit_before_response = settings.commit_before_response
        if commit_before_response is None:
            commit_before_response = freezes_between_requests(os.environ)
        self._recorder = Recorder(
            self._outcome_writer.write,
            queue_limit=settings.queue_limit,
            batch_delay=settings.batch_delay,
            commit_timeout=settings.commit_timeout,
            commit_before_response=commit_before_response,
        )
        self._heartbeat = Heartbeat(self._recorder.health, clock)
        self._decisions = Decisions(self._recorder, self._hasher, clock, rate_limit=settings.rate_limit)
        self.hash_limiter = HashLimiter(
            max_running=settings.max_slow_hashes,
            max_waiting=settings.max_waiting_hashes,
            max_blocked_threads=settings.max_blocked_threads,
            on_idle=self._hashes.trim,
        )
        self._verifier = Verifier(
            self.database, self.key_cache, self._hasher, self._decisions, self._proxies, clock=clock
        )
        self.key_loader = KeyLoader(
            self.key_cache,
            self._recorder,
            self._verifier.verify,
            self._verifier.verify_without_database,
            self._decisions.unavailable,
            timeout=settings.commit_timeout,
        )
        self.header_cache = HeaderCache(settings.header_cache_size, self.key_cache.memory, self._recorder, clock)
        self._client_addresses: dict[tuple[str | None, str], ClientAddress] = {}
        self.short_path = choose_short_path(settings, self.header_cache, commit_before_response=commit_before_response)
        self._dummy = dummy_record(self._hasher.decoy_digest)
        self.instrumentation = Instrumentation() if settings.tracing else None

    def decide_from_memory(self, request: Request) -> AuthDecision | PendingCredentials:
        """Decide what needs no I/O; else return the credentials for `finish`. So does a decision with an event."""
        detect_fork()
        if self.instrumentation is None:
            return self._decide_from_memory(request)
        with self.instrumentation.verify(request) as describe:
            found = self._decide_from_memory(request)
            if isinstance(found, AuthDecision):
                describe(found)
            return found

    def _decide_from_memory(self, request: Request) -> AuthDecision | PendingCredentials:
        if self._exempts and self._exemptions.cover(request.method, request.path):
            return NO_CREDENTIALS_NEEDED
        end = request.peer, request.scheme
        client_address = None if self._proxied else self._client_addresses.get(end)
        if client_address is None:
            client_address = self.client_address(request)
        plain = self._https_only and client_address.scheme != "https"
        values = request.header(b"authorization")
        if not plain and len(values) == 1:
            decision = self.header_cache.get(values[0], client_address.source)
            if decision is not None:
                return decision
        return self._read(request, client_address, values, plain=plain)

    def _read(
        self, request: Request, client_address: ClientAddress, values: Sequence[bytes], *, plain: bool
    ) -> AuthDecision | PendingCredentials:
        """Read the header; accept it if the cached record of its key says so."""
        credentials = parse_credentials(values, schemeless=self.settings.schemeless, limit=self.settings.header_limit)
        if isinstance(credentials, Outcome):
            if self.settings.optional and credentials is Outcome.MISSING and not plain:
                return NO_CREDENTIALS_NEEDED
            return self._decisions.refuse_uncounted(
                Outcome.PLAIN_HTTP if plain else credentials, request, client_address
            )
        if plain:
            return PendingCredentials(credentials, client_address, plain=True)
        packed = self.key_cache.get_packed(credentials.public_key.encode())
        # Equal work: a dummy record where there is none, both checks whatever the other says, and only an accepted
        # record is unpacked.
        found = packed or self._dummy
        row = row_binding_of(credentials.public_key, found)
        right, live = self._hasher.verify(credentials.secret, digest_of(found), row), is_live(found, self._clock())
        if right and live and packed is not None:
            record = unpack(credentials.public_key, packed)
            decision = self._decisions.accept(record, request, client_address)
            if record.state != KeyPairState.RETIRING:  # its uses are recorded in detail
                self.header_cache.add(values[0], record, packed, decision.committed())
            return decision
        return PendingCredentials(credentials, client_address, cached=packed)

    def finish(self, found: AuthDecision | PendingCredentials, request: Request, waiter: CommitWaiter) -> None:
        """Have another thread finish what `decide_from_memory` could not decide, and settle the waiter.

        Wait for at most `commit_timeout`, then call `result_of`.
        """
        if isinstance(found, PendingCredentials):
            self.key_loader.submit(found, request, waiter)
        else:
            self._recorder.commit(found, waiter)

    def result_of(self, waiter: CommitWaiter, found: AuthDecision | PendingCredentials) -> DecisionOrPending:
        """Return what came of a wait: 503 when it lasted too long.

        A pending slow hash is passed to `submit_slow_hash` with a new waiter. That may take long, and goes on when the
        client is gone.
        """
        if waiter.result is not None:
            return cast("DecisionOrPending", waiter.result)
        waiter.cancelled = True
        return self._decisions.unavailable(found) if isinstance(found, PendingCredentials) else found.uncommitted()

    def decide(self, request: Request) -> AuthDecision:
        """Decide and wait for the commit, for adapters that may block."""
        found = self.decide_from_memory(request)
        if isinstance(found, AuthDecision) and found.event is None:
            return found
        if self.instrumentation is None:
            return self._decide_from_database(found, request)
        with self.instrumentation.record(request) as describe:
            decision = self._decide_from_database(found, request)
            describe(decision)
            return decision

    def _decide_from_database(self, found: AuthDecision | PendingCredentials, request: Request) -> AuthDecision:
        waiter = ThreadWaiter()
        self.finish(found, request, waiter)
        waiter.wait(self.settings.commit_timeout)
        result = self.result_of(waiter, found)
        if isinstance(result, PendingSlowHash):
            waiter, decided = ThreadWaiter(), False
            submitted = self.submit_slow_hash(result, request, waiter)
            while waiter.result is None and not decided:  # once more for the commit
                decided = submitted.is_decided
                waiter.wait(self.settings.commit_timeout)
            result = self.result_of(waiter, found)
        assert isinstance(result, AuthDecision)
        return result

    def submit_slow_hash(self, slow: PendingSlowHash, request: Request, waiter: CommitWaiter) -> HashRequest:
        """Have an imported hash computed, the outcome recorded and the waiter settled, all in another thread.

        Settled with 503 at once when too many wait, or later when the hash can't be computed.
        """

        def decide(submitted: HashRequest, matches: bool | None) -> None:  # noqa: FBT001
            decision = self._decisions.unavailable(slow.pending)
            try:
                decision = self._verifier.decide_by_slow_hash(
                    slow, request, matches=matches, in_turn=submitted.is_queued
                )
            finally:
                if decision.event is None:
                    settle([(waiter, decision)])
                else:  # here, as the client may be gone: what was verified is recorded
                    self._recorder.commit(decision, waiter)

        submitted = HashRequest(
            lambda: self._verifier.compute_slow_hash(slow),
            decide,
            slow.pending.credentials.public_key,
            network_of(slow.pending.client_address.source),
            is_decoy=slow.right is not None,
            holds_thread=waiter.loop is None,
        )
        self.hash_limiter.submit(submitted)
        return submitted

    def error_response(self, decision: AuthDecision, request: Request) -> ErrorResponse:
        """Return what a refused client gets, in the form of the host's `on_refusal` hook if there is one."""
        response = build_error_response(
            decision.public_outcome or decision.outcome or Outcome.DATABASE_UNAVAILABLE,
            realm=self.settings.realm,
            accept=next(iter(request.header(b"accept")), None),
            retry_after=decision.retry_after,
        )
        return response if self._on_refusal is None else apply_refusal_hook(response, request, self._on_refusal)

    def transport_headers(self, request: Request) -> Headers:
        """Return the headers of every response to this request: HSTS if configured, over HTTPS only (RFC 6797, 7.2)."""
        if not self._hsts or self.client_address(request).scheme != "https":
            return ()
        return self._hsts

    def client_address(self, request: Request) -> ClientAddress:
        """Return source address and scheme of a request, as the trusted proxies report them."""
        if self._proxied:
            return self._proxies.resolve(
                request.peer,
                request.scheme,
                request.header(b"x-forwarded-for"),
                request.header(b"x-forwarded-proto"),
                request.header(b"forwarded"),
            )
        end = request.peer, request.scheme
        client_address = self._client_addresses.get(end)
        if client_address is None:
            if len(self._client_addresses) >= _MAX_CLIENT_ADDRESSES:
                self._client_addresses.clear()
            client_address = self._client_addresses[end] = self._proxies.resolve(*end, (), (), ())
        return client_address

    def health(self) -> RecorderHealth:
        """Return the state of the recorder."""
        return self._recorder.health()

    @property
    def restores_detected(self) -> int:
        """How often this process detected that the database was restored from a backup."""
        return self.key_cache.restores_detected

    def recorded(self) -> Mapping[Outcome, int]:
        """Return how many requests this process has recorded since its start, by outcome."""
        return self._outcome_writer.recorded

    def _write_heartbeat(self, transaction: BatchTransaction) -> None:
        self._heartbeat.write_if_due(transaction)

    def commit_before_response(self) -> None:
        """From now on commit every event before its response, as the process is about to end. Takes no lock."""
        self._recorder.commit_before_response()

    def flush(self, timeout: float = 10.0) -> None:
        """Write the queued events."""
        self._recorder.flush(timeout)

    def close(self) -> None:
        """Write the queued events, stop the threads, close the connections. A later request starts them again."""
        self.key_loader.close()
        self._recorder.close()
        self._hashes.close()
        self.key_cache.close()
        self.database.close()
