"""Loads key records in batches: all keys requested during one load are loaded by the next statement.

Its thread is not the recorder's. So requests with a right secret are accepted while the database can be read but not
written, and a first use waits for no commit.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.auth.pending import DecisionOrPending, PendingCredentials, PendingSlowHash
from octy_middleware.errors import KeyMismatchError, OctyError
from octy_middleware.http.client_address import network_of
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.recording.batch_queue import BatchQueue
from octy_middleware.recording.commit_waiter import CommitWaiter, settle
from octy_middleware.recording.recorder import Recorder

_logger = logging.getLogger(__name__)
_MAX_BATCH = 64  # requests a statement; verifying them holds the interpreter's lock for a millisecond


_LoadRequest: TypeAlias = tuple[PendingCredentials, Request, CommitWaiter]
Verify = Callable[[PendingCredentials, Request, KeyRecord | None], DecisionOrPending]
WithoutDatabase = Callable[[PendingCredentials, Request], AuthDecision]


class KeyLoader:
    """Loads the key record of each request and passes it to `verify`.

    `without_database` decides when the database is unavailable, `unavailable` when this host's peppers are not those
    of the database. Decisions that must be committed first go to the recorder with their waiters; all others are
    settled at once.
    """

    def __init__(
        self,
        key_cache: KeyCache,
        recorder: Recorder,
        verify: Verify,
        without_database: WithoutDatabase,
        unavailable: Callable[[PendingCredentials], AuthDecision],
        *,
        timeout: float,
    ) -> None:
        """When a batch takes longer than `timeout` seconds the database counts as unavailable: no request waits."""
        self._key_cache = key_cache
        self._recorder = recorder
        self._verify = verify
        self._without_database = without_database
        self._unavailable = unavailable
        self._timeout = timeout
        self._last_error = ""  # each error is logged once
        self._started_at: float | None = None  # of the batch that is being handled, if any
        self._batch_queue: BatchQueue[_LoadRequest] = BatchQueue(
            "octy-key-loader",
            self._handle_batch,
            max_batch=_MAX_BATCH,
            groups_of=_groups_of,
        )

    def submit(self, pending: PendingCredentials, request: Request, waiter: CommitWaiter) -> None:
        """Load the record; the waiter is settled with a decision or a pending slow hash."""
        started_at = self._started_at
        if started_at is not None and time.monotonic() - started_at > self._timeout:
            self._pass_on([(waiter, self._without_database(pending, request))])
            return
        self._batch_queue.put_urgent((pending, request, waiter))

    def close(self) -> None:
        """Handle the queued requests and stop the thread. Later requests start it again."""
        self._batch_queue.close()

    def _handle_batch(self, batch: list[_LoadRequest]) -> list[_LoadRequest]:
        self._started_at = time.monotonic()
        try:
            self._pass_on(self._decide(batch), alone=len(batch) == 1 and not self._batch_queue)
        finally:
            self._started_at = None
        return []

    def _decide(self, batch: list[_LoadRequest]) -> list[tuple[CommitWaiter, DecisionOrPending]]:
        results: list[DecisionOrPending]
        try:
            records = self._key_cache.load_many({pending.credentials.public_key for pending, _, _ in batch})
            self._last_error = ""
            results = [self._verified(pending, request, waiter, records) for pending, request, waiter in batch]
        except KeyMismatchError:  # nothing can be verified, so nothing is recorded
            results = [self._unavailable(pending) for pending, _, _ in batch]
        except Exception as error:  # clients wait, and the thread must go on
            if not isinstance(error, OctyError):
                _logger.exception("key loader: internal error, key records were not loaded")
            elif str(error) != self._last_error:
                _logger.warning("key loader: %s: %s", type(error).__name__, error)
                self._last_error = str(error)
            results = [self._without_database(pending, request) for pending, request, _ in batch]
        return [(waiter, result) for (_, _, waiter), result in zip(batch, results, strict=True)]

    def _pass_on(self, results: Iterable[tuple[CommitWaiter, DecisionOrPending]], *, alone: bool = False) -> None:
        """Settle the waiters, but for those of decisions that must be committed first."""
        settled = []
        for waiter, result in results:
            if isinstance(result, PendingSlowHash) or result.event is None:
                settled.append((waiter, result))
            else:
                self._recorder.commit(result, waiter, alone=alone)
        settle(settled)

    def _verified(
        self, pending: PendingCredentials, request: Request, waiter: CommitWaiter, records: Mapping[str, KeyRecord]
    ) -> DecisionOrPending:
        if waiter.cancelled:  # already answered 503
            return self._without_database(pending, request)
        try:
            return self._verify(pending, request, records.get(pending.credentials.public_key))
        except Exception:  # a host's own request class, or a bug of ours: the other requests go on
            _logger.exception("key loader: internal error, a request could not be decided")
            return AuthDecision(Outcome.DATABASE_UNAVAILABLE)


def _groups_of(load_request: _LoadRequest) -> tuple[str, str]:
    pending = load_request[0]
    return pending.credentials.public_key, network_of(pending.client_address.source)
