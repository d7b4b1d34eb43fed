"""Look-ups in company: whatever claims gathered during the last one are asked of the store in one statement.

Here: the queue, and who gets which answer. Not here: the statement (`keyring`), what an answer means (`authenticator`).

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
from octy_middleware.errors import ForeignKeysError, OctyError
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.request import Request
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.recording.batch_queue import BatchQueue
from octy_middleware.recording.commit_waiter import CommitWaiter, settle
from octy_middleware.recording.recorder import Recorder

_logger = logging.getLogger(__name__)
_BATCH = 256  # claims a look-up: the first of them waits for the last
_PACE = 0.001  # seconds between look-ups of a flood; commits follow it


class LoadRequest(NamedTuple):
    """A claim whose client waits."""

    claim: PendingCredentials
    request: Request
    ticket: CommitWaiter


Judge = Callable[[PendingCredentials, Request, KeyRecord | None], DecisionOrPending]
Excuse = Callable[[PendingCredentials, Request], AuthDecision]


class KeyLoader:
    """Finds the record of each claim and has it judged. `excuse` gives the decision where the database did not answer.

    `refuse_to_judge` gives the one, without anything to record, where this host's peppers are not the database's.

    Verdicts that must be committed first go on to the recorder with their tickets; all others are settled at once.
    """

    def __init__(
        self,
        keyring: KeyCache,
        recorder: Recorder,
        judge: Judge,
        excuse: Excuse,
        refuse_to_judge: Callable[[PendingCredentials], AuthDecision],
        *,
        patience: float = 5.0,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """A look-up that has lasted for `patience` seconds counts as a store that is away: nobody waits behind it."""
        self._keyring = keyring
        self._recorder = recorder
        self._judge = judge
        self._excuse = excuse
        self._refuse_to_judge = refuse_to_judge
        self._patience = patience
        self._monotonic = monotonic
        self._last_error = ""  # logged once
        self._begun: float | None = None  # when the look-up under way began
        self._drain: BatchQueue[LoadRequest] = BatchQueue("octy-look-ups", self._handle, most=_BATCH, pace=_PACE)

    def ask(self, asked: LoadRequest) -> None:
        """Have the ticket settled soon."""
        begun = self._begun
        if begun is not None and self._monotonic() - begun > self._patience:
            settle([(asked.ticket, self._excuse(asked.claim, asked.request))])
            return
        self._drain.put_urgently(asked)

    def close(self) -> None:
        """DecisionOrPending who has asked, and stop. Who asks later starts the thread again."""
        self._drain.close()

    def _handle(self, batch: list[LoadRequest]) -> list[LoadRequest]:
        answers: list[DecisionOrPending]
        try:
            records = self._look_up({asked.claim.credentials.public_key for asked in batch})
            self._last_error = ""
            answers = [self._answer(asked, records) for asked in batch]
        except ForeignKeysError:  # nothing is judged with them, so there is nothing to record either
            answers = [self._refuse_to_judge(asked.claim) for asked in batch]
        except Exception as error:  # no client may wait for ever, no thread may die
            if not isinstance(error, OctyError):
                _logger.exception("a look-up failed by a fault of ours")
            elif str(error) != self._last_error:
                _logger.warning("look-ups: %s: %s", type(error).__name__, error)
                self._last_error = str(error)
            answers = [self._excuse(asked.claim, asked.request) for asked in batch]
        settled: list[tuple[CommitWaiter, DecisionOrPending]] = []
        for asked, answer in zip(batch, answers, strict=True):
            if isinstance(answer, PendingSlowHash) or answer.entry is None:
                settled.append((asked.ticket, answer))
            else:
                self._recorder.submit(answer, asked.ticket)
        settle(settled)
        return []

    def _look_up(self, public_keys: Iterable[str]) -> dict[str, KeyRecord]:
        self._begun = self._monotonic()
        try:
            return self._keyring.look_up_all(public_keys)
        finally:
            self._begun = None

    def _answer(self, asked: LoadRequest, records: Mapping[str, KeyRecord]) -> DecisionOrPending:
        if asked.ticket.withdrawn:  # it was told 503 meanwhile
            return self._excuse(asked.claim, asked.request)
        try:
            return self._judge(asked.claim, asked.request, records.get(asked.claim.credentials.public_key))
        except Exception:  # a host's own request class, or a fault of ours: the others go on
            _logger.exception("a claim can't be judged")
            return AuthDecision(Outcome.DATABASE_UNAVAILABLE)
