"""Log lines that clients can cause are limited, kind by kind."""

import logging

from octy_worker.log_output import RateLimitFilter


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, None, None)


def test_more_kinds_than_are_counted_begin_again() -> None:
    limited = RateLimitFilter(lambda: 0.0)
    assert [limited.filter(record("many")) for _ in range(11)] == [True] * 10 + [False]
    assert all(limited.filter(record(f"kind {number}")) for number in range(256))
    assert limited.filter(record("many"))
