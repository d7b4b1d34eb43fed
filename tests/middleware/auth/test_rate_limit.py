"""Rate limit: a rate a minute and source, bursts up to that rate, bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.auth.rate_limit import RateLimit


class Watch:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_burst_within_the_rate_is_allowed_and_the_next_attempt_is_limited() -> None:
    watch = Watch()
    limit = RateLimit(10, monotonic=watch)
    assert [limit.count_attempt("a") for _ in range(10)] == [0.0] * 10
    assert limit.count_attempt("a") == pytest.approx(6.0)
    assert limit.count_attempt("b") == 0.0
    watch.now += 5.9
    assert limit.count_attempt("a") == pytest.approx(0.1)
    watch.now += 0.2
    assert limit.count_attempt("a") == 0.0
    assert limit.count_attempt("a") > 5


def test_minute_without_attempts_allows_the_whole_rate_again() -> None:
    watch = Watch()
    limit = RateLimit(3, monotonic=watch)
    for _ in range(4):
        assert [limit.count_attempt("a") > 0 for _ in range(5)] == [False, False, False, True, True]
        watch.now += 60


@given(st.integers(1, 30), st.lists(st.floats(0, 30), min_size=1, max_size=80))
def test_at_most_twice_the_rate_passes_in_a_minute_and_the_rate_itself_always(rate: int, gaps: list[float]) -> None:
    watch, passed = Watch(), []
    limit = RateLimit(rate, monotonic=watch)
    steady = RateLimit(rate, monotonic=watch)
    for gap in gaps:
        watch.now += gap
        if limit.count_attempt("a") == 0.0:
            passed.append(watch.now)
        assert sum(1 for at in passed if at > watch.now - 60) <= 2 * rate
        watch.now += 60 / rate + 1e-6
        assert steady.count_attempt("a") == 0.0


def test_rate_limit_keeps_a_bounded_number_of_sources() -> None:
    limit = RateLimit(1, max_sources=3, monotonic=Watch())
    for source in "abcd":
        assert limit.count_attempt(source) == 0.0
    assert len(limit) == 3
    assert limit.count_attempt("d") > 0
    assert limit.count_attempt("a") == 0.0
