"""The third rule: so many failures in a window, whatever succeeds in between. Off by default (POLICY).

Here: what stands in the counts of a window, and where a batch crosses it. Not here: streaks (`streak`), what a crossing
leads to (`ledger`). Counts are kept by the minute, so a window reaches up to a minute further back than it says, which
errs towards an alert. What an earlier case of the pair has told of is not counted again.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from octy_middleware.db.bulk_sql import Batch
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.streak import ALL_NETWORKS, AttemptResult, Rule, RuleMatch

_COUNT = Batch(
    "SELECT input.public_key, SUM(o.count), MIN(o.minute) FROM {input} CROSS JOIN outcome_minute o "  # noqa: S608
    "WHERE o.public_key = input.asked AND o.minute >= input.since "
    f"AND o.outcome = '{Outcome.WRONG_SECRET}' AND o.minute > (SELECT COALESCE(MAX(i.closed_at), 0) / 60000000 "
    "FROM incident i JOIN key_pair p ON p.id = i.key_pair_id WHERE p.public_key = input.asked) "
    "GROUP BY input.public_key",
    public_key="text",
    asked="text",
    since="bigint",
)


class WindowRule(NamedTuple):
    """So many failures within so many seconds open an incident; none do when `failures` is 0."""

    failures: int = 0
    seconds: float = 3600.0


OFF = WindowRule()


def find_window_matches(
    connection: Connection, failing: Mapping[str, Sequence[AttemptResult]], asked: Mapping[str, str], window: WindowRule
) -> dict[str, RuleMatch]:
    """Return where a batch, which is not among the counts yet, crosses the window, by key.

    `asked` names the key whose counts are read for each: the decoy's are another one's, for equal work (T7).
    """
    if not window.failures:
        return {}
    failed = {key: [result for result in results if not result.success] for key, results in failing.items()}
    since = {key: int(results[-1].at - window.seconds) // 60 for key, results in failed.items()}
    rows = _COUNT.fetch(connection, [(key, asked[key], since[key]) for key in sorted(failed)])
    before = {key: (int(count), minute * 60.0) for key, count, minute in rows}
    found = {
        key: match_window(results, *before.get(key, (0, results[0].at)), window) for key, results in failed.items()
    }
    return {key: there for key, there in found.items() if there is not None}


def match_window(failed: Sequence[AttemptResult], before: int, first_at: float, window: WindowRule) -> RuleMatch | None:
    """Return the failure of a batch with which the window, which held `before` since `first_at`, is full."""
    if before + len(failed) < window.failures:
        return None
    place = max(0, window.failures - before - 1)
    result = failed[place]
    return RuleMatch(
        Rule.WINDOW, ALL_NETWORKS, before + place + 1, min(first_at, failed[0].at), result.at, result.request_id
    )
