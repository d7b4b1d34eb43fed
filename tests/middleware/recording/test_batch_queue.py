"""Batch queue: one thread or the calling one handles items in order, whatever the handler does."""

import threading

import pytest
from support.until import until

from octy_middleware.recording.batch_queue import BatchQueue


def test_queue_woken_during_its_last_batch_starts_again() -> None:
    """The thread ends with a call that its last batch has answered already; the next one must start it again."""
    handled: list[int] = []
    inside, go_on = threading.Event(), threading.Event()

    def handle(batch: list[int]) -> list[int]:
        handled.extend(batch)
        inside.set()
        go_on.wait(60)
        return []

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=10)
    queue.put(1)
    inside.wait(60)
    closing = threading.Thread(target=queue.close)
    closing.start()
    until(lambda: queue.closing)
    queue.put(2)
    go_on.set()
    closing.join()
    queue.put(3)
    until(lambda: handled == [1, 2, 3])
    queue.close()


def test_queue_goes_on_after_its_handler_raised() -> None:
    handled: list[int] = []

    def handle(batch: list[int]) -> list[int]:
        if 1 in batch:
            raise ZeroDivisionError("a bug")
        handled.extend(batch)
        return []

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=1)
    queue.put(1)
    queue.put_urgent(2)
    until(lambda: handled == [2])
    queue.close()


def test_item_that_comes_alone_is_handled_in_the_calling_thread_after_those_before_it() -> None:
    handled: list[tuple[list[int], str]] = []

    def handle(batch: list[int]) -> list[int]:
        handled.append((batch, threading.current_thread().name))
        return []

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=10, batch_delay=60.0)
    queue.put(1)
    queue.put_alone(2)
    assert handled == [([1, 2], threading.current_thread().name)]
    queue.close()
    queue.put_alone(3)
    assert handled[1:] == [([3], threading.current_thread().name)]
    assert not queue.closing  # a handler may keep what it cannot handle now
    queue.close()


def test_item_that_comes_during_a_batch_is_handled_after_it_and_flushed() -> None:
    handled: list[int] = []
    inside, go_on = threading.Event(), threading.Event()

    def handle(batch: list[int]) -> list[int]:
        inside.set()
        go_on.wait(60)
        handled.extend(batch)
        return []

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=10)
    alone = threading.Thread(target=queue.put_alone, args=(1,))
    alone.start()
    inside.wait(60)
    queue.put_alone(2)  # returns at once
    assert handled == []
    flushing = threading.Thread(target=queue.flush, args=(60,))
    flushing.start()
    go_on.set()
    flushing.join()
    assert handled == [1, 2]
    alone.join()
    queue.close()


def test_item_that_comes_alone_and_cannot_be_handled_is_tried_again() -> None:
    attempts: list[str] = []

    def handle(batch: list[int]) -> list[int]:
        attempts.append(threading.current_thread().name)
        return batch if len(attempts) == 1 else []

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=10)
    queue.put_alone(1)
    until(lambda: attempts == [threading.current_thread().name, "test"] and not len(queue))
    queue.close()


def test_item_that_cannot_be_handled_at_the_close_is_tried_again_at_once() -> None:
    attempts: list[int] = []

    def handle(batch: list[int]) -> list[int]:
        attempts.append(len(attempts))
        return batch if len(attempts) < 200 else []

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=10, batch_delay=60.0)
    queue.put(1)
    queue.close(timeout=30.0)  # with the delay between attempts it would take 100 seconds
    assert attempts == list(range(200))


def test_queue_whose_thread_could_not_be_started_starts_it_with_the_next_item(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller goes on: an accepted request is not refused for want of a thread. What comes alone needs none."""
    handled: list[int] = []

    def handle(batch: list[int]) -> list[int]:
        handled.extend(batch)
        return []

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue: BatchQueue[int] = BatchQueue("test", handle, max_batch=10)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        queue.put(1)
        queue.put_urgent(2)
        assert handled == []
        queue.put_alone(3)
        assert handled == [1, 2, 3]
        queue.put(4)
    assert [record.message for record in caplog.records] == [
        "test: no thread can be started, 1 items wait: can't start new thread"
    ]
    queue.put(5)
    until(lambda: handled == [1, 2, 3, 4, 5])
    queue.close()
