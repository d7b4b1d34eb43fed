"""The story of a request: read → verify → record → verdict. Synchronous and free of any server.

Here: the order of the questions and what each answer means. Not here: HTTP (`asgi`, `wsgi`, `refusal`), the
questions' own details (`credentials`, `network`, `keyring`, `keys`), writing (`recorder`, `ledger`).

`admit` answers without any I/O what memory can answer: exempt paths, malformed input, and the right secret of a
remembered pair. Everything else, right or wrong, known or unknown, takes one and the same way through `resolve`:
one look-up, one digest, one commit. A stranger learns nothing from its bytes, nor from its time.
"""

import logging
import re
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from octy_middleware.clock import Clock, uuid7
from octy_middleware.credentials import Credentials, read_credentials
from octy_middleware.database import Database
from octy_middleware.errors import OctyError, StoreUnavailableError
from octy_middleware.keyring import KeyRecord, Keyring
from octy_middleware.keys import KeyHasher
from octy_middleware.ledger import Entry, Ledger
from octy_middleware.network import Client, TrustedProxies, network_of
from octy_middleware.outcome import Outcome
from octy_middleware.recorder import Health, Recorder
from octy_middleware.refusal import check_realm
from octy_middleware.settings import Settings
from octy_middleware.verdict import EXEMPT, Claim, Principal, Request, Verdict

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_is_request_id = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_CLIENT_LIMIT, _PATH_LIMIT, _METHOD_LIMIT = 200, 200, 16

_logger = logging.getLogger(__name__)


class Gate:
    """One per middleware. Safe for threads and after fork."""

    def __init__(self, settings: Settings, *, database: Database | None = None, clock: Clock = time.time) -> None:
        """Check the set-up; raises ConfigurationError. The store may still be away: it is asked on first use."""
        check_realm(settings.realm)
        self.settings = settings
        # Half the clients' patience: a commit that waits for the write lock gives up before they do.
        self.database = database or Database(settings.database_url, busy_timeout=settings.commit_timeout / 2)
        self._clock = clock
        self._hasher = KeyHasher(settings.peppers)
        self._proxies = TrustedProxies(settings.trusted_proxies, forwarded_header=settings.forwarded_header)
        self._exempt = frozenset(path for path in settings.exempt_paths if not path.endswith("*"))
        self._exempt_below = tuple(path[:-1] for path in settings.exempt_paths if path.endswith("*"))
        self._keyring = Keyring(
            self.database, size=settings.cache_size, interval=settings.feed_interval, grace=settings.grace
        )
        ledger = Ledger(
            self.database,
            threshold=settings.threshold,
            attempts_per_minute=settings.attempts_per_minute,
            sources_per_minute=settings.sources_per_minute,
            networks=settings.networks,
            clock=clock,
        )
        self._recorder = Recorder(ledger.write, limit=settings.queue_limit, linger=settings.linger)

    def admit(self, request: Request) -> Verdict | Claim:
        """Decide what needs no I/O; else return the claim that `resolve` takes."""
        if self._is_exempt(request.path):
            return EXEMPT
        client = self._client(request)
        if self.settings.require_https and client.scheme != "https":
            return self._note(Outcome.PLAIN_HTTP, request, client)
        credentials = read_credentials(
            request.header(b"authorization"),
            schemeless=self.settings.schemeless,
            limit=self.settings.header_limit,
        )
        if isinstance(credentials, Outcome):
            return self._note(credentials, request, client)
        record = self._keyring.remembered(credentials.public_key)
        if record is not None and self._hasher.is_fast(record.digest) and self._opens(credentials, record):
            return self._accept(record, client)
        return Claim(credentials, client)

    def resolve(self, claim: Claim, request: Request) -> Verdict:
        """Decide by the store. Blocks for one look-up; the verdict may still wait for its commit."""
        try:
            record = self._keyring.look_up(claim.credentials.public_key)
        except StoreUnavailableError:
            self._recorder.note(self._entry(Outcome.STORE_UNAVAILABLE, request, claim.client))
            return Verdict(Outcome.STORE_UNAVAILABLE)
        right = self._hasher.verify(claim.credentials.secret, None if record is None else record.digest)
        if record is not None and not self._hasher.can_judge(record.digest):
            return self._unable(record, request, claim.client)
        if record is None or not record.is_known:
            return self._refuse(Outcome.UNKNOWN_KEY, claim, request, None)
        if not record.is_live(self._clock()):
            return self._refuse(Outcome.RETIRED if right else Outcome.RETIRED_WRONG, claim, request, record)
        if not right:
            return self._refuse(Outcome.WRONG_SECRET, claim, request, record)
        return self._accept(record, claim.client)

    def decide(self, request: Request) -> Verdict:
        """Decide and wait for the commit: the whole story, for a door that may block."""
        verdict = self.admit(request)
        if isinstance(verdict, Claim):
            verdict = self.resolve(verdict, request)
        if verdict.committed is None:
            return verdict
        try:
            verdict.committed.result(self.settings.commit_timeout)
        except FutureTimeoutError:
            if verdict.committed.cancel():
                return verdict.uncommitted()
            return self._outcome_of(verdict, verdict.committed)
        except OctyError:
            return verdict.uncommitted()
        return verdict

    @staticmethod
    def _outcome_of(verdict: Verdict, committed: "Future[None]") -> Verdict:
        """Wait for a commit that has begun: only its end says whether the attempt counts."""
        return verdict if committed.exception() is None else verdict.uncommitted()

    def health(self) -> Health:
        """Return how the recorder is doing."""
        return self._recorder.health()

    def close(self) -> None:
        """Write what is queued, stop the threads, close the connections. A later request starts them again."""
        self._recorder.close()
        self._keyring.close()
        self.database.close()

    def _is_exempt(self, path: str) -> bool:
        return path in self._exempt or (bool(self._exempt_below) and path.startswith(self._exempt_below))

    def _client(self, request: Request) -> Client:
        if not self.settings.trusted_proxies:
            return self._proxies.client(request.peer, request.scheme, (), (), ())
        return self._proxies.client(
            request.peer,
            request.scheme,
            request.header(b"x-forwarded-for"),
            request.header(b"x-forwarded-proto"),
            request.header(b"forwarded"),
        )

    def _opens(self, credentials: Credentials, record: KeyRecord) -> bool:
        return self._hasher.verify(credentials.secret, record.digest) and record.is_live(self._clock())

    def _accept(self, record: KeyRecord, client: Client) -> Verdict:
        entry = Entry(
            Outcome.ACCEPTED,
            self._clock(),
            client.source,
            network_of(client.source),
            record.public_key,
            record.pair_id,
        )
        principal = Principal(record.reference, record.account_id, record.public_key)
        return Verdict(Outcome.ACCEPTED, principal, self._recorder.note(entry))

    def _refuse(self, outcome: Outcome, claim: Claim, request: Request, record: KeyRecord | None) -> Verdict:
        key_hash = self._hasher.key_hash(claim.credentials.public_key)  # computed for all: equal work
        entry = self._entry(
            outcome,
            request,
            claim.client,
            public_key="" if record is None else record.public_key,
            key_hash=key_hash if record is None else "",
        )
        return Verdict(outcome, committed=self._recorder.submit(entry))

    def _unable(self, record: KeyRecord, request: Request, client: Client) -> Verdict:
        """Answer 503 where this host lacks a pair's pepper: even its owner's secret would be called wrong."""
        pepper = self._hasher.pepper_of(record.digest)
        _logger.error(
            "OCTY_PEPPERS lacks the key %r that a pair is digested with: its requests are answered 503", pepper
        )
        self._recorder.note(self._entry(Outcome.STORE_UNAVAILABLE, request, client))
        return Verdict(Outcome.STORE_UNAVAILABLE)

    def _note(self, outcome: Outcome, request: Request, client: Client) -> Verdict:
        return Verdict(outcome, committed=self._recorder.note(self._entry(outcome, request, client)))

    def _entry(
        self, outcome: Outcome, request: Request, client: Client, *, public_key: str = "", key_hash: str = ""
    ) -> Entry:
        now = self._clock()
        return Entry(
            outcome,
            now,
            client.source,
            network_of(client.source),
            public_key=public_key,
            key_hash=key_hash,
            client=_printable(_first(request, b"user-agent"), _CLIENT_LIMIT),
            method=_printable(request.method, _METHOD_LIMIT),
            path=_printable(request.path, _PATH_LIMIT),
            request_id=_request_id(_first(request, b"x-request-id")) or uuid7(now),
        )


def _first(request: Request, name: bytes) -> str:
    values = request.header(name)
    return values[0].decode("latin-1") if values else ""


def _request_id(text: str) -> str:
    """Return an id that is one; free text would stand in the alert mail as if it were ours."""
    return text if _is_request_id(text) else ""


def _printable(text: str, limit: int) -> str:
    """Keep what can go into a log, a mail or a terminal without doing anything there (T11)."""
    return _UNPRINTABLE.sub("?", text[:limit])
