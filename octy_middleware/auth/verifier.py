"""Verifies credentials by the key record from the database, or by its imported hash, and decides about the request."""

import logging

from octy_middleware.auth.decisions import Decisions
from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.auth.pending import DecisionOrPending, PendingCredentials, PendingSlowHash
from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.domain import key_pairs
from octy_middleware.equal_work import decoy_hash, dummy_record
from octy_middleware.errors import DatabaseUnavailableError, KeyMismatchError
from octy_middleware.http.client_address import TrustedProxies, claims_tls
from octy_middleware.http.credentials import Secret
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.keys.key_record import KeyRecord, unpack
from octy_middleware.keys.secret import KeyHasher, row_binding

_logger = logging.getLogger(__name__)

_RENEWAL_TIMEOUT = 0.05  # seconds that a request waits for the renewal of its digest; the next one tries again
_MAX_REPORTED = 1000  # key pairs with forged hashes that are logged, each once


class Verifier:
    """One per authenticator. Safe for threads."""

    def __init__(
        self,
        database: Database,
        key_cache: KeyCache,
        hasher: KeyHasher,
        decisions: Decisions,
        proxies: TrustedProxies,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._key_cache = key_cache
        self._hasher = hasher
        self._decisions = decisions
        self._proxies = proxies
        self._clock = clock
        self._dummy = dummy_record(hasher.decoy_digest)
        self._dummy_record = unpack("", self._dummy)
        self._reported_forged: set[str] = set()  # ids of key pairs whose forged hash was logged
        self._warned = False  # of a proxy that is not trusted, or of an unknown scheme

    def verify(self, pending: PendingCredentials, request: Request, record: KeyRecord | None) -> DecisionOrPending:
        """Decide by the key record, or return what `compute_slow_hash` takes."""
        credentials, hasher = pending.credentials, self._hasher
        found = self._dummy_record if record is None else record  # equal work
        row = row_binding(found.pair_id, credentials.public_key)
        if hasher.is_sealed(found.digest, row) and record is not None:
            return PendingSlowHash(pending, record, record.digest, right=None)
        right = hasher.verify(credentials.secret, None if record is None else found.digest, row)
        live = found.is_live(self._clock())
        if not (right and live):
            decoy = decoy_hash(hasher, credentials.public_key, self._key_cache.imported_hashes)
            if decoy is not None:
                return PendingSlowHash(pending, record, decoy, right=right)
        return self._decide(pending, request, record, right=right)

    def compute_slow_hash(self, slow: PendingSlowHash) -> bool | None:
        """Return whether the secret matches the imported hash; None if it can't be computed. Takes long."""
        try:
            return self._hasher.verify_imported(slow.pending.credentials.secret, slow.stored)
        except MemoryError:  # argon2 and scrypt take up to a gigabyte
            _logger.error("an imported hash could not be computed: there is not enough memory")  # noqa: TRY400
            return None

    def decide_by_slow_hash(
        self, slow: PendingSlowHash, request: Request, *, matches: bool | None, in_turn: bool
    ) -> AuthDecision:
        """Decide by the result of an imported hash, and by the key record as it is then. Blocks for the database.

        503 when there is no result, and, unless the request is `in_turn`, for a wrong secret: others got 503 meanwhile.
        """
        if matches is None:
            return self._decide_without_hash(slow, request)
        decision = self._decide_with_hash(slow, request, matches=matches)
        return decision if in_turn or decision.principal is not None else _as_unavailable(decision)

    def _decide_with_hash(self, slow: PendingSlowHash, request: Request, *, matches: bool) -> AuthDecision:
        right = matches if slow.right is None else slow.right
        try:  # the hash took a while: the key pair may have been retired or renewed
            record = self._key_cache.load(slow.pending.credentials.public_key)
        except DatabaseUnavailableError:
            if right:
                return self._decisions.unavailable_after_commit(slow.pending, request)
            return self._decide(slow.pending, request, slow.record, right=False)
        except KeyMismatchError:
            return self._decisions.unavailable(slow.pending)
        if record is not None and slow.record is not None and record.digest != slow.record.digest:
            right = self._hasher.is_fast(record.digest) and self._hasher.verify(
                slow.pending.credentials.secret, record.digest, record.row
            )
        return self._decide(slow.pending, request, record, right=right)

    def _decide_without_hash(self, slow: PendingSlowHash, request: Request) -> AuthDecision:
        """Decide 503 when the hash was not computed. A secret verified by its fast digest is recorded all the same."""
        if slow.right is None:
            return self._decisions.unavailable_after_commit(slow.pending, request)
        decision = self._decide(slow.pending, request, slow.record, right=slow.right)
        return _as_unavailable(decision)

    def verify_without_database(self, pending: PendingCredentials, request: Request) -> AuthDecision:
        """Decide 503 when the database is unavailable.

        With a cached live record the right secret would have been accepted, so this one is wrong, and it counts.
        """
        found = pending.cached or self._dummy
        record = unpack(pending.credentials.public_key, found)
        right = self._hasher.verify(pending.credentials.secret, record.digest, record.row)
        if pending.cached is None or pending.plain or right or not record.is_live(self._clock()):
            return self._decisions.unavailable_and_recorded(pending, request)
        return self._decisions.wrong_secret_without_database(pending, request, record.public_key)

    def _decide(
        self, pending: PendingCredentials, request: Request, record: KeyRecord | None, *, right: bool
    ) -> AuthDecision:
        hasher, found = self._hasher, self._dummy_record if record is None else record  # equal work
        row = b"" if hasher.is_fast(found.digest) else found.row  # imported hashes are bound to it
        can_verify, forged = hasher.can_verify(found.digest, row), hasher.is_forged(found.digest, row)
        known, live = found.is_known, found.is_live(self._clock())
        if record is not None and not can_verify:
            return self._decisions.unverifiable(record, request, pending)
        if record is not None and forged:
            self._report_forged(record)
        if pending.plain:
            exposed = right and live and self._is_plain_http(pending, request)
            return self._decisions.refuse_plain(pending, request, record, exposed=exposed)
        if record is None or not known:
            return self._decisions.refuse(Outcome.UNKNOWN_KEY, pending, request, None)
        if not live:
            return self._decisions.refuse(Outcome.RETIRED if right else Outcome.RETIRED_WRONG, pending, request, record)
        if not right:
            return self._decisions.refuse(Outcome.WRONG_SECRET, pending, request, record)
        if hasher.needs_upgrade(record.digest):
            self._renew(record, pending.credentials.secret)
        return self._decisions.accept(record, request, pending.client_address)

    def _renew(self, record: KeyRecord, secret: Secret) -> None:
        """Replace an imported hash, or a digest under an old pepper, by a new digest; or at the next success."""
        fresh = self._hasher.digest(secret, record.row)
        try:
            with self._database.write(timeout=_RENEWAL_TIMEOUT) as connection:
                key_pairs.replace_digest(connection, record.pair_id, record.digest, fresh, self._clock())
            self._key_cache.reload_renewed(record.public_key)
        except DatabaseUnavailableError as error:
            _logger.warning("the digest of a key pair could not be renewed, the next request tries again: %s", error)

    def _report_forged(self, record: KeyRecord) -> None:
        """Log once that a stored hash was not written by an import; no secret matches it."""
        if record.pair_id not in self._reported_forged and len(self._reported_forged) < _MAX_REPORTED:
            self._reported_forged.add(record.pair_id)
            _logger.error(
                "the stored hash of %s was not written by an import, or was changed or copied afterwards: "
                "no secret matches it. Find out who wrote it; `octy doctor` lists such key pairs",
                record.public_key,
            )

    def _is_plain_http(self, pending: PendingCredentials, request: Request) -> bool:
        """Return whether the request certainly came over plain HTTP."""
        if pending.client_address.scheme == "unknown":
            if not self._warned:
                self._warned = True
                _logger.error(
                    "requests are refused as plain HTTP, since the server does not say whether they came over TLS: "
                    "terminate TLS at a proxy and set OCTY_TRUSTED_PROXIES to it, or set OCTY_REQUIRE_HTTPS=0 if no "
                    "plain HTTP reaches the server"
                )
            return False
        return not self._is_tls_behind_untrusted_proxy(request)

    def _is_tls_behind_untrusted_proxy(self, request: Request) -> bool:
        """Return whether a proxy that is not trusted says that it terminated TLS.

        Then probably the setting is wrong and the key pair was not exposed; else every customer would be alerted.
        Headers that say "http", or nothing about it, change nothing: the connection to us is plain.
        """
        claimed = claims_tls(request.header(b"x-forwarded-proto"), request.header(b"forwarded"))
        if not claimed or self._proxies.trust(request.peer):
            return False
        if not self._warned:
            self._warned = True
            self._warn_of_untrusted_proxy(request)
        return True

    def _warn_of_untrusted_proxy(self, request: Request) -> None:
        source = self._proxies.resolve(request.peer, request.scheme, (), (), ()).source
        if request.has_replaced_peer or source in _forwarded_addresses(request):
            _logger.error(
                "requests are refused as plain HTTP although their headers claim TLS, and the address of the proxy is "
                "not visible: the PROXY protocol or a middleware before this one has replaced it by the client's "
                "address, %s. Switch that off, then set OCTY_TRUSTED_PROXIES to the address of your proxy, "
                "never addresses of clients",
                source,
            )
            return
        _logger.error(
            "requests from %s are refused as plain HTTP although their headers claim TLS: if that is your proxy, "
            "set OCTY_TRUSTED_PROXIES to it",
            source,
        )


def _as_unavailable(decision: AuthDecision) -> AuthDecision:
    """Return the decision with 503 for the client; what is recorded stays."""
    if decision.event is None:
        return decision
    return decision._replace(public_outcome=Outcome.DATABASE_UNAVAILABLE, retry_after=None)


def _forwarded_addresses(request: Request) -> list[str]:
    """Return the addresses in X-Forwarded-For, which anybody can write."""
    values = b",".join(request.header(b"x-forwarded-for"))
    return [value.strip(b" \t").decode("latin-1") for value in values.split(b",")]
