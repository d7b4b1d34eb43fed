"""Recorder: group commit, order, what clients get, and unavailable databases."""

import gc
import threading
import weakref
from collections.abc import Sequence

import pytest
from support.until import until
from support.world import FakeRequest

from octy_middleware import DatabaseUnavailableError, Outcome
from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent, Description, build_event
from octy_middleware.recording.commit_waiter import ThreadWaiter
from octy_middleware.recording.recorder import Recorder

NOW = 1_800_000_000.0


class FakeWriter:
    """Takes batches, or fails as told."""

    def __init__(self) -> None:
        self.batches: list[list[AuthEvent]] = []
        self.fault: Exception | None = None
        self.released = threading.Event()
        self.released.set()

    def write(self, batch: Sequence[AuthEvent]) -> None:
        self.released.wait(60)
        if self.fault is not None:
            raise self.fault
        self.batches.append(list(batch))

    @property
    def outcomes(self) -> list[Outcome]:
        return [event.outcome for batch in self.batches for event in batch]


def one(outcome: Outcome = Outcome.WRONG_SECRET, number: int = 0) -> AuthEvent:
    return AuthEvent(outcome, NOW, "s", "n", description=Description(request_id=str(number)))


def submit(recorder: Recorder, event: AuthEvent) -> ThreadWaiter:
    waiter = ThreadWaiter()
    recorder.commit(AuthDecision(event.outcome, event=event), waiter)
    return waiter


def told(waiter: ThreadWaiter) -> Outcome | None:
    """Return what the waiting client is told."""
    waiter.wait(60)
    assert isinstance(waiter.result, AuthDecision)
    assert waiter.result.event is None
    return waiter.result.outcome


def test_events_queued_during_a_commit_are_one_batch() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=100, batch_delay=0)
    writer.released.clear()
    first = submit(recorder, one())
    until(lambda: recorder.health().queued == 0)
    rest = [submit(recorder, one(number=n)) for n in range(30)]
    assert first.result is None
    writer.released.set()
    assert {told(each) for each in [first, *rest]} == {Outcome.WRONG_SECRET}
    assert [len(batch) for batch in writer.batches] == [1, 30]
    recorder.close()


def test_events_keep_their_order_whether_awaited_or_not() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=1000, batch_delay=0.01)
    for number in range(50):
        recorder.record(one(Outcome.ACCEPTED, number * 2))
        submit(recorder, one(number=number * 2 + 1))
    recorder.close()
    numbers = [int(event.request_id) for batch in writer.batches for event in batch]
    assert numbers == list(range(100))


def test_close_writes_queued_events_and_later_events_start_the_thread_again() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=1.0)
    recorder.record(one(Outcome.ACCEPTED))
    recorder.close()
    assert writer.outcomes == [Outcome.ACCEPTED]
    assert told(submit(recorder, one())) is Outcome.WRONG_SECRET
    recorder.close()
    assert writer.outcomes == [Outcome.ACCEPTED, Outcome.WRONG_SECRET]


def test_failed_commit_is_503_and_its_events_are_written_later() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    writer.fault = DatabaseUnavailableError("disk full")
    recorder.record(one(Outcome.ACCEPTED))
    refused = submit(recorder, one())
    assert told(refused) is Outcome.DATABASE_UNAVAILABLE
    assert "disk full" in recorder.health().last_error
    writer.fault = None
    until(lambda: recorder.health().last_error == "")
    assert told(submit(recorder, one(Outcome.UNKNOWN_KEY))) is Outcome.UNKNOWN_KEY
    recorder.close()
    assert sorted(writer.outcomes) == ["accepted", "unknown_key", "wrong_secret"]


def test_events_that_wait_for_the_end_of_an_outage_hold_no_request() -> None:
    writer = FakeWriter()
    writer.fault = DatabaseUnavailableError("disk full")
    recorder = Recorder(writer.write, queue_limit=1, batch_delay=0)
    held = []
    for _ in range(3):  # one whose commit fails, one that is queued, one in the reserve
        request = FakeRequest()
        held.append(weakref.ref(request))
        address = ClientAddress("192.0.2.1", "https")
        submit(recorder, build_event(Outcome.WRONG_SECRET, request, address, NOW, described=False)).wait(60)
        del request
    gc.collect()
    assert [request() for request in held] == [None] * 3
    writer.fault = None
    recorder.close()
    assert [event.path for batch in writer.batches for event in batch] == ["/v1/things"] * 3


def test_unverified_refusals_leave_half_of_the_queue_to_accepted_events() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    writer.fault = DatabaseUnavailableError("locked")
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    writer.released.clear()
    for _ in range(20):
        submit(recorder, one(Outcome.DATABASE_UNAVAILABLE))
    for _ in range(3):
        recorder.record(one(Outcome.ACCEPTED))
    assert recorder.health().lost >= 15
    writer.fault = None
    writer.released.set()
    until(lambda: recorder.health().last_error == "")
    recorder.close()
    assert writer.outcomes.count(Outcome.ACCEPTED) == 3
    assert 4 <= writer.outcomes.count(Outcome.DATABASE_UNAVAILABLE) <= 6


def test_refusals_in_an_outage_are_503_at_once_and_written_later() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    writer.fault = DatabaseUnavailableError("locked")
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    writer.released.clear()  # the next try hangs, as one that waits for a lock does
    refused = [submit(recorder, one(Outcome.UNKNOWN_KEY)) for _ in range(3)]
    assert all(each.result is not None for each in refused)
    assert [told(each) for each in refused] == [Outcome.DATABASE_UNAVAILABLE] * 3
    writer.fault = None
    writer.released.set()
    until(lambda: recorder.health().last_error == "")
    recorder.close()
    assert writer.outcomes == ["wrong_secret", *["unknown_key"] * 3]


def test_internal_error_settles_every_waiter() -> None:
    writer = FakeWriter()
    writer.fault = ZeroDivisionError("a bug")
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    writer.fault = None
    recorder.close()


def test_full_queue_answers_refusals_503_and_makes_accepted_requests_wait() -> None:
    writer = FakeWriter()
    writer.released.clear()
    recorder = Recorder(writer.write, queue_limit=3, batch_delay=0)
    submit(recorder, one())
    until(lambda: recorder.health().queued == 0)
    for _ in range(3):
        submit(recorder, one())
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    assert not recorder.record(one(Outcome.ACCEPTED))
    paced = submit(recorder, one(Outcome.ACCEPTED))
    assert paced.result is None
    writer.released.set()
    assert told(paced) is Outcome.ACCEPTED
    recorder.close()
    assert writer.outcomes.count(Outcome.ACCEPTED) == 1
    assert recorder.health().lost == 0


def test_full_queue_in_an_outage_counts_lost_events() -> None:
    writer = FakeWriter()
    writer.fault = DatabaseUnavailableError("away")
    recorder = Recorder(writer.write, queue_limit=2, batch_delay=0)
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    for _ in range(5):
        assert recorder.record(one(Outcome.ACCEPTED))
    assert recorder.health().lost >= 3
    writer.fault = None
    recorder.close()


def test_attempt_whose_client_has_waited_too_long_is_recorded() -> None:
    writer = FakeWriter()
    writer.released.clear()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    submit(recorder, one()).cancelled = True  # while its commit is under way
    until(lambda: recorder.health().queued == 0)
    late, kept = submit(recorder, one(number=1)), submit(recorder, one(number=2))
    late.cancelled = True
    writer.released.set()
    assert told(kept) is Outcome.WRONG_SECRET
    recorder.close()
    assert writer.outcomes == [Outcome.WRONG_SECRET] * 3


def test_reserve_is_shared_by_keys_and_lost_events_are_counted() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    writer.fault = DatabaseUnavailableError("locked")
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    writer.released.clear()
    for number in range(1000):  # the attacker's own key
        submit(recorder, one(number=number)._replace(public_key="pk_own"))
    for number in range(30):
        submit(recorder, one(number=number)._replace(public_key="pk_victim"))
    for _ in range(3):
        assert recorder.record(one(Outcome.ACCEPTED))
    writer.fault = None
    writer.released.set()
    until(lambda: recorder.health().last_error == "")
    recorder.close()
    written = [(event.public_key, event.outcome) for batch in writer.batches for event in batch]
    own = written.count(("pk_own", Outcome.WRONG_SECRET))
    assert written.count(("pk_victim", Outcome.WRONG_SECRET)) == 30
    assert writer.outcomes.count(Outcome.ACCEPTED) == 3
    assert 20 <= own < 100
    assert own + recorder.health().lost == 1000


def fill_reserve(recorder: Recorder, writer: FakeWriter) -> None:
    """Queue more wrong secrets of one key than fit during a slow commit, which is released then."""
    writer.released.clear()
    submit(recorder, one())
    until(lambda: recorder.health().queued == 0)
    for _ in range(100):
        submit(recorder, one())
    writer.released.set()


def test_each_time_that_verified_refusals_are_dropped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=3, batch_delay=0)
    for _ in range(2):
        fill_reserve(recorder, writer)
        recorder.flush()
    recorder.close()
    assert caplog.text.count("failed attempts are dropped") == 2


@pytest.mark.parametrize("fault", [ZeroDivisionError("a bug"), DatabaseUnavailableError("away at the exit")])
def test_lost_events_leave_their_places_in_the_reserve(fault: Exception) -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=3, batch_delay=0)
    writer.fault = fault
    fill_reserve(recorder, writer)
    recorder.close()
    writer.fault = None
    fill_reserve(recorder, writer)
    recorder.close()
    assert len(writer.outcomes) > 30  # the first commit, the queue, and the key's part of the reserve


def test_full_queue_of_a_slow_database_keeps_the_wrong_secret_that_is_answered_503() -> None:
    writer = FakeWriter()
    writer.released.clear()
    recorder = Recorder(writer.write, queue_limit=3, batch_delay=0)
    submit(recorder, one())
    until(lambda: recorder.health().queued == 0)
    for _ in range(3):
        submit(recorder, one())
    assert [told(submit(recorder, one())) for _ in range(5)] == [Outcome.DATABASE_UNAVAILABLE] * 5
    writer.released.set()
    recorder.close()
    assert writer.outcomes == [Outcome.WRONG_SECRET] * 9


def test_event_that_cannot_be_written_loses_no_other() -> None:
    written: list[AuthEvent] = []

    def write(batch: Sequence[AuthEvent]) -> None:
        if any(event.request_id == "13" for event in batch):
            raise ZeroDivisionError("a bug")
        written.extend(batch)

    recorder = Recorder(write, queue_limit=100, batch_delay=0.2)
    for number in range(12):
        recorder.record(one(Outcome.ACCEPTED, number))
    poison, last = submit(recorder, one(number=13)), submit(recorder, one(number=14))
    assert told(last) is Outcome.WRONG_SECRET
    assert told(poison) is Outcome.DATABASE_UNAVAILABLE
    recorder.close()
    assert [int(event.request_id) for event in written] == [*range(12), 14]
    assert recorder.health().lost == 1


def test_event_recorded_after_close_during_a_commit_is_written() -> None:
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0)
    writer.released.clear()
    submit(recorder, one())
    until(lambda: recorder.health().queued == 0)
    closing = threading.Thread(target=recorder.close)
    closing.start()
    writer.released.set()
    closing.join()
    for _ in range(3):
        recorder.record(one(Outcome.ACCEPTED))
        recorder.close()
    assert writer.outcomes.count(Outcome.ACCEPTED) == 3


def test_hanging_commit_counts_as_unavailable_database() -> None:
    now = 1000.0
    writer = FakeWriter()
    writer.released.clear()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=0, commit_timeout=5.0, monotonic=lambda: now)
    first = submit(recorder, one())
    until(lambda: recorder.health().queued == 0)
    assert submit(recorder, one()).result is None  # it may still be in time
    now += 5.1
    assert recorder.health().current_commit_seconds > 5
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    writer.released.set()
    assert told(first) is Outcome.WRONG_SECRET
    recorder.close()
    assert writer.outcomes == [Outcome.WRONG_SECRET] * 3


def test_event_before_whose_response_no_commit_is_possible_is_queued() -> None:
    """A host that stops the process after each response must not wait for a database that is away."""
    writer = FakeWriter()
    recorder = Recorder(writer.write, queue_limit=10, batch_delay=60.0)
    assert recorder.record(one(Outcome.ACCEPTED))
    recorder.commit_before_response()
    assert not recorder.record(one(Outcome.ACCEPTED))
    writer.fault = DatabaseUnavailableError("away")
    assert told(submit(recorder, one())) is Outcome.DATABASE_UNAVAILABLE
    assert all(recorder.record(one(Outcome.ACCEPTED)) for _ in range(7))  # beyond half of the queue, too
    writer.fault = None
    until(lambda: recorder.health().last_error == "")
    recorder.close()
    assert sorted(writer.outcomes) == ["accepted"] * 8 + ["wrong_secret"]
