"""Hash limiter: how many calls run, how many wait, and that more are refused; also in a forked child."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.until import until

from octy_middleware.auth.hash_limiter import HashLimiter


def test_calls_beyond_max_running_wait_and_beyond_max_waiting_are_refused() -> None:
    limiter, go, running = HashLimiter(max_running=2, max_waiting=3), threading.Event(), threading.Semaphore(0)
    peak, now = [0], [0]
    lock = threading.Lock()

    def work() -> str:
        with lock:
            now[0] += 1
            peak[0] = max(peak[0], now[0])
        running.release()
        assert go.wait(60)
        with lock:
            now[0] -= 1
        return "done"

    with ThreadPoolExecutor(5) as threads:
        calls = [threads.submit(limiter.run, work, source=str(number)) for number in range(5)]
        assert running.acquire(timeout=60)
        assert running.acquire(timeout=60)
        until(lambda: limiter.count() == 5)
        assert limiter.run(lambda: "never", source="x") is None
        go.set()
        assert [call.result(60) for call in calls] == ["done"] * 5
    assert peak == [2]
    assert limiter.run(lambda: "free again", source="x") == "free again"
    assert limiter.count() == 0


def test_one_source_gets_four_places() -> None:
    limiter, go = HashLimiter(max_running=1, max_waiting=9), threading.Event()
    with ThreadPoolExecutor(5) as threads:
        calls = [threads.submit(limiter.run, lambda: go.wait(60), source="flood") for _ in range(4)]
        until(lambda: limiter.count(source="flood") == 4)
        assert limiter.run(lambda: True, source="flood") is None
        calls.append(threads.submit(limiter.run, lambda: True, source="customer"))
        until(lambda: limiter.count(source="customer") == 1)
        go.set()
        assert [call.result(60) for call in calls] == [True] * 5


def test_call_that_raises_frees_its_place() -> None:
    limiter = HashLimiter(max_running=1, max_waiting=1)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            limiter.run(lambda: 1 // 0, source="x")
    assert limiter.run(lambda: 1, source="x") == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the very case
def test_hash_limiter_is_empty_in_a_forked_child() -> None:
    limiter, go, running = HashLimiter(max_running=1, max_waiting=1), threading.Event(), threading.Event()

    def work() -> bool:
        running.set()
        return go.wait(60)

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(limiter.run, work, source="x")
        assert running.wait(60)
        child = os.fork()
        if child == 0:
            os._exit(limiter.run(lambda: 7, source="x") or 1)
        go.set()
        assert call.result(60)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_keys_take_turns_and_one_key_gets_a_quarter_of_the_places() -> None:
    limiter, go, order = HashLimiter(max_running=1, max_waiting=63), threading.Event(), []

    def work(name: str) -> bool:
        assert go.wait(60)
        order.append(name)
        return True

    with ThreadPoolExecutor(20) as threads:
        flood = [
            threads.submit(limiter.run, lambda: work("flood"), source=str(number), key="pk_attacked")
            for number in range(16)
        ]
        until(lambda: limiter.count(key="pk_attacked") == 16)
        assert limiter.run(lambda: True, source="another", key="pk_attacked") is None
        customer = threads.submit(limiter.run, lambda: work("customer"), source="customer", key="pk_customer")
        until(lambda: limiter.count(key="pk_customer") == 1)
        go.set()
        assert customer.result(60)
        assert all(call.result(60) for call in flood)
    assert order.index("customer") <= 2
    assert order.count("flood") == 16


def test_hash_limiter_starts_threads_again_after_they_ended() -> None:
    limiter = HashLimiter(max_running=2, max_waiting=2, idle_timeout=0.05)
    for _ in range(3):
        assert limiter.run(lambda: 5, source="x") == 5
        until(lambda: limiter.threads == 0)
