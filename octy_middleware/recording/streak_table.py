"""Loads and writes streaks: many keys in one statement, with a limit on networks per key."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, Query, Row
from octy_middleware.http.event import OVERFLOW
from octy_middleware.recording.streak import ALL_NETWORKS, NO_STREAK, AttemptResult, FoldResult, Streak

_MICROS = 1_000_000

_STREAK_KEY = {"public_key": "text", "network": "text"}
LOAD_STREAKS = Query(
    ("s.public_key", "s.network", "s.length", "s.first_at", "s.last_at"),
    "{input} CROSS JOIN streak s WHERE s.public_key = input.public_key AND s.network = input.network",
    **_STREAK_KEY,
)
"""Input: `streak_places`. Output: `streaks_by_key`."""
_DELETE = Batch(
    "DELETE FROM streak WHERE (public_key, network) IN (SELECT public_key, network FROM {input})", **_STREAK_KEY
)
UPSERT = Batch(
    "INSERT INTO streak (public_key, network, length, first_at, last_at) "
    "SELECT public_key, network, length, first_at, last_at FROM {input} WHERE true "
    "ON CONFLICT (public_key, network) DO UPDATE SET "
    "length = excluded.length, first_at = excluded.first_at, last_at = excluded.last_at",
    **_STREAK_KEY,
    length="bigint",
    first_at="bigint",
    last_at="bigint",
)
_COUNT_NETWORKS = Batch(
    "SELECT input.public_key, (SELECT COUNT(*) FROM streak s WHERE s.public_key = input.public_key) FROM {input}",
    public_key="text",
)


def streak_places(results: Mapping[str, Sequence[AttemptResult]]) -> list[tuple[str, str]]:
    """Return the (public key, network) of each streak that these results may change."""
    return sorted(
        {
            (key, network)
            for key, some in results.items()
            for network in (ALL_NETWORKS, OVERFLOW, *(result.network for result in some))
        }
    )


def streaks_by_key(rows: Iterable[Row]) -> dict[str, dict[str, Streak]]:
    """Return the rows of `LOAD_STREAKS` as streaks, by public key and network."""
    streaks: dict[str, dict[str, Streak]] = {}
    for public_key, network, length, first_at, last_at in rows:
        streaks.setdefault(public_key, {})[network] = Streak(length, first_at / _MICROS, last_at / _MICROS)
    return streaks


def write_streaks(
    connection: Connection,
    stored: Mapping[str, Mapping[str, Streak]],
    folded: Mapping[str, FoldResult],
    ended: Iterable[tuple[str, str]],
) -> None:
    """Write what changed. `ended`: streaks to delete without having loaded them; they may not exist."""
    deleted, written = set(ended), []
    for public_key, found in folded.items():
        known = stored.get(public_key, {})
        for network, now in found.streaks.items():
            if now == known.get(network, NO_STREAK):
                continue
            if now.length == 0:
                deleted.add((public_key, network))
            else:
                written.append((public_key, network, now.length, to_micros(now.first_at), to_micros(now.last_at)))
    if deleted:
        _DELETE.execute(connection, sorted(deleted))
    if written:
        UPSERT.execute(connection, sorted(written))


def limit_networks(
    connection: Connection,
    stored: Mapping[str, Mapping[str, Streak]],
    results: Mapping[str, Sequence[AttemptResult]],
    *,
    max_networks: int,
) -> dict[str, Sequence[AttemptResult]]:
    """Move failures of networks beyond `max_networks` a key into one shared streak, since attackers choose networks.

    A success ends the streak of its own network, never the shared one, which counts failures of other networks too.
    """
    limited = dict(results)
    new = {
        key: {result.network for result in some if not result.success} - stored.get(key, {}).keys()
        for key, some in results.items()
    }
    keys_with_new = sorted((key,) for key, networks in new.items() if networks)
    if not keys_with_new:
        return limited
    for key, present in _COUNT_NETWORKS.fetch(connection, keys_with_new):
        shared = set(sorted(new[key])[max(0, max_networks - present) :])
        if shared:
            limited[key] = [
                result._replace(network=OVERFLOW) if not result.success and result.network in shared else result
                for result in results[key]
            ]
    return limited
