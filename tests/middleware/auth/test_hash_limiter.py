"""Hash limiter: how many hashes run, how many wait, and that more are turned away; also in a forked child."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.until import until

from octy_middleware.auth.hash_limiter import HashLimiter
from octy_middleware.auth.hash_queue import HashRequest


def limiter_of(**given: Any) -> HashLimiter:
    return HashLimiter(**{"max_running": 1, "max_waiting": 9, "max_blocked_threads": 5, **given})


def submit(
    limiter: HashLimiter, compute: Callable[[], bool | None], results: list[bool | None], source: str = "a"
) -> None:
    """Submit a request of a key of its own that the hash decides about; its result is appended."""
    key = f"pk_{len(results)}_{source}"
    limiter.submit(HashRequest(compute, lambda _, result: results.append(result), key, source))


def test_no_more_than_max_running_hashes_run_at_once_and_those_beyond_max_waiting_are_turned_away() -> None:
    limiter = limiter_of(max_running=2, max_waiting=3, idle_timeout=0.05)
    go, running, lock = threading.Event(), threading.Semaphore(0), threading.Lock()
    peak, now, results, turned_away = [0], [0], list[bool | None](), list[bool | None]()

    def work() -> bool:
        with lock:
            now[0] += 1
            peak[0] = max(peak[0], now[0])
        running.release()
        assert go.wait(60)
        with lock:
            now[0] -= 1
        return True

    for number in range(5):
        submit(limiter, work, results, str(number))
    assert running.acquire(timeout=60)
    assert running.acquire(timeout=60)
    assert len(limiter) == 5
    limiter.submit(HashRequest(work, lambda _, result: turned_away.append(result), "pk", "x", is_decoy=True))
    assert turned_away == [None]
    go.set()
    until(lambda: results == [True] * 5)
    assert peak == [2]
    assert len(limiter) == 0
    until(lambda: limiter.threads == 0)
    submit(limiter, lambda: False, results, "free again")
    until(lambda: results == [*[True] * 5, False])


def test_hash_or_decision_that_raises_frees_its_place_and_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    limiter, results = limiter_of(max_waiting=1), list[bool | None]()

    def fail(*_: object) -> bool:
        raise ZeroDivisionError

    for number in range(5):
        submit(limiter, fail, results)
        until(lambda number=number: len(results) == number + 1)
    limiter.submit(HashRequest(lambda: True, fail, "pk", "x"))  # type: ignore[arg-type]
    submit(limiter, lambda: True, results, "another")
    until(lambda: results == [None] * 5 + [True])
    assert caplog.text.count("could not be computed: internal error") == 5
    assert caplog.text.count("could not be decided: internal error") == 1


def test_decision_that_waits_for_the_database_keeps_no_other_hash_from_being_computed() -> None:
    limiter, go, results = limiter_of(), threading.Event(), list[bool | None]()
    limiter.submit(HashRequest(lambda: True, lambda *_: go.wait(60), "pk", "hangs"))  # type: ignore[arg-type]
    submit(limiter, lambda: True, results)
    until(lambda: results == [True])
    go.set()
    until(lambda: len(limiter) == 0)


def test_hash_waits_while_all_threads_wait_for_the_database() -> None:
    limiter, go, results = limiter_of(), threading.Event(), list[bool | None]()
    for number in range(5):  # one that computes, and four more that decide
        limiter.submit(HashRequest(lambda: True, lambda *_: go.wait(60), f"pk_{number}", f"{number}"))  # type: ignore[arg-type]
        until(lambda: len(limiter) == 0)
    submit(limiter, lambda: True, results)
    assert (limiter.threads, len(limiter), results) == (5, 1, [])
    go.set()
    until(lambda: results == [True])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very case
def test_hash_limiter_is_empty_in_a_forked_child() -> None:
    limiter, go, running, results = limiter_of(), threading.Event(), threading.Event(), list[bool | None]()

    def work() -> bool:
        running.set()
        return go.wait(60)

    submit(limiter, work, results)
    assert running.wait(60)
    child = os.fork()
    if child == 0:
        decided = threading.Event()
        limiter.submit(HashRequest(lambda: True, lambda *_: decided.set(), "pk", "x"))
        os._exit(7 if decided.wait(30) else 1)
    go.set()
    until(lambda: results == [True])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_hash_limiter_starts_threads_again_after_they_ended() -> None:
    limiter, results = limiter_of(max_running=2, idle_timeout=0.05), list[bool | None]()
    for number in range(3):
        submit(limiter, lambda: True, results)
        until(lambda number=number: len(results) == number + 1)
        until(lambda: limiter.threads == 0)
