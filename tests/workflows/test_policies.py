"""Retry intervals: short for the own database, long for mail servers of others."""

from datetime import timedelta

import pytest
from temporalio.common import RetryPolicy

from octy_workflows.retry import BACKGROUND_RETRY, DEFAULT_RETRY, MAIL_RETRY


def waits(policy: RetryPolicy, attempts: int) -> list[timedelta]:
    assert policy.maximum_interval is not None
    doubled = [policy.initial_interval * policy.backoff_coefficient**number for number in range(attempts)]
    return [min(wait, policy.maximum_interval) for wait in doubled]


@pytest.mark.parametrize(
    ("options", "longest"),
    [(DEFAULT_RETRY, 30), (MAIL_RETRY, 600), (BACKGROUND_RETRY, 600)],
    ids=["database_kind", "mail", "look"],
)
def test_retry_intervals_double_up_to_a_limit_without_end(options: dict, longest: int) -> None:
    policy = options["retry_policy"]
    assert policy.maximum_attempts == 0
    assert [wait.total_seconds() for wait in waits(policy, 4)] == [1, 2, 4, 8]
    assert waits(policy, 20)[-1].total_seconds() == longest
