"""Look-ups in company: whatever claims gathered during the last one are asked of the store in one statement.

Here: the queue, and who gets which answer. Not here: the statement (`key_cache`), what an answer means
(`authenticator`).

It has a thread of its own, apart from the recorder's: a store that can be read but not written still lets right pairs
in, and a first use waits for no commit.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from octy_middleware.auth.key_cache import KeyCache
from octy_middleware.auth.pending import DecisionOrPending, PendingCredentials, PendingSlowHash
from octy_middleware.clock import Clock
from octy_middleware.errors import KeyMismatchError, OctyError
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.recording.batch_queue import BatchQueue
from octy_middleware.recording.commit_waiter import CommitWaiter, settle
from octy_middleware.recording.recorder import Recorder

_logger = logging.getLogger(__name__)
_MAX_BATCH = 256  # claims a look-up: the first of them waits for the last
_MIN_INTERVAL = 0.001  # seconds between look-ups of a flood; commits follow it


class LoadRequest(NamedTuple):
    """A claim whose client waits."""

    pending: PendingCredentials
    request: Request
    waiter: CommitWaiter


Verify = Callable[[PendingCredentials, Request, KeyRecord | None], DecisionOrPending]
WithoutDatabase = Callable[[PendingCredentials, Request], AuthDecision]


class KeyLoader:
    """Finds the record of each claim and has it judged. `without_database` gives the decision where the database did not answer.

    `unavailable` gives the one, without anything to record, where this host's peppers are not the database's.

    Verdicts that must be committed first go on to the recorder with their tickets; all others are settled at once.
    """

    def __init__(
        self,
        key_cache: KeyCache,
        recorder: Recorder,
        verify: Verify,
        without_database: WithoutDatabase,
        unavailable: Callable[[PendingCredentials], AuthDecision],
        *,
        timeout: float = 5.0,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """A look-up that has lasted for `timeout` seconds counts as a store that is away: nobody waits behind it."""
        self._key_cache = key_cache
        self._recorder = recorder
        self._verify = verify
        self._without_database = without_database
        self._unavailable = unavailable
        self._timeout = timeout
        self._monotonic = monotonic
        self._last_error = ""  # logged once
        self._load_started_at: float | None = None  # when the look-up under way began
        self._batch_queue: BatchQueue[LoadRequest] = BatchQueue(
            "octy-look-ups", self._handle_batch, max_batch=_MAX_BATCH, min_interval=_MIN_INTERVAL
        )

    def submit(self, load_request: LoadRequest) -> None:
        """Have the ticket settled soon."""
        started_at = self._load_started_at
        if started_at is not None and self._monotonic() - started_at > self._timeout:
            settle([(load_request.waiter, self._without_database(load_request.pending, load_request.request))])
            return
        self._batch_queue.put_urgent(load_request)

    def close(self) -> None:
        """DecisionOrPending who has asked, and stop. Who asks later starts the thread again."""
        self._batch_queue.close()

    def _handle_batch(self, batch: list[LoadRequest]) -> list[LoadRequest]:
        results: list[DecisionOrPending]
        try:
            records = self._load({load_request.pending.credentials.public_key for load_request in batch})
            self._last_error = ""
            results = [self._verified(load_request, records) for load_request in batch]
        except KeyMismatchError:  # nothing is judged with them, so there is nothing to record either
            results = [self._unavailable(load_request.pending) for load_request in batch]
        except Exception as error:  # no client may wait for ever, no thread may die
            if not isinstance(error, OctyError):
                _logger.exception("a look-up failed by a fault of ours")
            elif str(error) != self._last_error:
                _logger.warning("look-ups: %s: %s", type(error).__name__, error)
                self._last_error = str(error)
            results = [self._without_database(load_request.pending, load_request.request) for load_request in batch]
        settled: list[tuple[CommitWaiter, DecisionOrPending]] = []
        for load_request, result in zip(batch, results, strict=True):
            if isinstance(result, PendingSlowHash) or result.event is None:
                settled.append((load_request.waiter, result))
            else:
                self._recorder.commit(result, load_request.waiter)
        settle(settled)
        return []

    def _load(self, public_keys: Iterable[str]) -> dict[str, KeyRecord]:
        self._load_started_at = self._monotonic()
        try:
            return self._key_cache.load_many(public_keys)
        finally:
            self._load_started_at = None

    def _verified(self, load_request: LoadRequest, records: Mapping[str, KeyRecord]) -> DecisionOrPending:
        if load_request.waiter.cancelled:  # it was told 503 meanwhile
            return self._without_database(load_request.pending, load_request.request)
        try:
            return self._verify(
                load_request.pending, load_request.request, records.get(load_request.pending.credentials.public_key)
            )
        except Exception:  # a host's own request class, or a fault of ours: the others go on
            _logger.exception("a claim can't be judged")
            return AuthDecision(Outcome.DATABASE_UNAVAILABLE)
