"""The window rule: so many failures of a key within a window open an incident, even with successes in between.

Off by default. Failures are counted by the minute, so a window may begin up to a minute early: rather one alert too
many. Failures before the end of the key pair's last incident are not counted again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from octy_middleware.db.bulk_sql import Query, Row
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.streak import ALL_NETWORKS, AttemptResult, Rule, RuleMatch

COUNT_FAILURES = Query(
    ("found.public_key", "found.failures", "found.first_minute"),
    "(SELECT input.public_key, SUM(o.count) AS failures, MIN(o.minute) AS first_minute "  # noqa: S608  # our own names
    "FROM {input} CROSS JOIN outcome_minute o WHERE o.public_key = input.lookup_key AND o.minute >= input.since "
    f"AND o.outcome = '{Outcome.WRONG_SECRET}' AND o.minute > (SELECT COALESCE(MAX(i.closed_at), 0) / 60000000 "
    "FROM incident i JOIN key_pair p ON p.id = i.key_pair_id WHERE p.public_key = input.lookup_key) "
    "GROUP BY input.public_key) AS found",
    public_key="text",
    lookup_key="text",
    since="bigint",
)
"""Input: `window_places`. Output: for `find_window_matches`."""


class WindowRule(NamedTuple):
    """How many failures within how many seconds open an incident. `failures` 0: the rule is off."""

    failures: int = 0
    seconds: float = 3600.0


OFF = WindowRule()


def window_places(
    failing: Mapping[str, Sequence[AttemptResult]], lookup_keys: Mapping[str, str], window: WindowRule
) -> list[tuple[str, str, int]]:
    """Return the key, the key whose failures are counted, and the minute since which; none if the rule is off.

    `lookup_keys`: by key; that of the decoy key is another one (`equal_work`).
    """
    if not window.failures:
        return []
    failed = _failures_of(failing)
    return [(key, lookup_keys[key], int(failed[key][-1].at - window.seconds) // 60) for key in sorted(failed)]


def find_window_matches(
    failing: Mapping[str, Sequence[AttemptResult]], counted: Iterable[Row], window: WindowRule
) -> dict[str, RuleMatch]:
    """Return the rule matches of a batch that is not counted yet, by public key. `counted`: of `COUNT_FAILURES`."""
    if not window.failures:
        return {}
    before = {key: (int(count), minute * 60.0) for key, count, minute in counted}
    found = {
        key: match_window(results, *before.get(key, (0, results[0].at)), window)
        for key, results in _failures_of(failing).items()
    }
    return {key: match for key, match in found.items() if match is not None}


def _failures_of(failing: Mapping[str, Sequence[AttemptResult]]) -> dict[str, list[AttemptResult]]:
    return {key: [result for result in results if not result.success] for key, results in failing.items()}


def match_window(failed: Sequence[AttemptResult], before: int, first_at: float, window: WindowRule) -> RuleMatch | None:
    """Return the failure of a batch that meets the rule. `before`: failures already counted, since `first_at`."""
    if before + len(failed) < window.failures:
        return None
    place = max(0, window.failures - before - 1)
    result, first_at = failed[place], min(first_at, failed[0].at)
    request_id = result.description.read().request_id
    return RuleMatch(Rule.WINDOW, ALL_NETWORKS, before + place + 1, first_at, result.at, request_id)
