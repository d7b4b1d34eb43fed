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
from octy_middleware.recording.streak import POLICY, Crossing, Hit, Rule

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


def crossings(
    connection: Connection, failing: Mapping[str, Sequence[Hit]], asked: Mapping[str, str], window: WindowRule
) -> dict[str, Crossing]:
    """Return where a batch, which is not among the counts yet, crosses the window, by key.

    `asked` names the key whose counts are read for each: the decoy's are another one's, for equal work (T7).
    """
    if not window.failures:
        return {}
    failed = {key: [hit for hit in hits if not hit.success] for key, hits in failing.items()}
    since = {key: int(hits[-1].at - window.seconds) // 60 for key, hits in failed.items()}
    rows = _COUNT.fetch(connection, [(key, asked[key], since[key]) for key in sorted(failed)])
    before = {key: (int(count), minute * 60.0) for key, count, minute in rows}
    found = {key: crossing(hits, *before.get(key, (0, hits[0].at)), window) for key, hits in failed.items()}
    return {key: there for key, there in found.items() if there is not None}


def crossing(failed: Sequence[Hit], before: int, first_at: float, window: WindowRule) -> Crossing | None:
    """Return the failure of a batch with which the window, which held `before` since `first_at`, is full."""
    if before + len(failed) < window.failures:
        return None
    place = max(0, window.failures - before - 1)
    hit = failed[place]
    return Crossing(Rule.WINDOW, POLICY, before + place + 1, min(first_at, failed[0].at), hit.at, hit.request_id)
