"""Where streaks are kept: the SQL of one table, many keys in one statement.

Here: loading, bounding and storing runs. Not here: their transitions (`streak`), what a crossing leads to (`ledger`).
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, Query, Row
from octy_middleware.http.event import OVERFLOW
from octy_middleware.recording.streak import ALL_NETWORKS, NO_STREAK, AttemptResult, FoldResult, Streak

_MICROS = 1_000_000

_PLACE = {"public_key": "text", "network": "text"}
LOAD_STREAKS = Query(
    ("s.public_key", "s.network", "s.length", "s.first_at", "s.last_at"),
    "{input} CROSS JOIN streak s WHERE s.public_key = input.public_key AND s.network = input.network",
    **_PLACE,
)
"""Of the places of `streak_places`: what is stored there. `loaded` reads it."""
_DELETE = Batch("DELETE FROM streak WHERE (public_key, network) IN (SELECT public_key, network FROM {input})", **_PLACE)
_UPSERT = Batch(
    "INSERT INTO streak (public_key, network, length, first_at, last_at) "
    "SELECT public_key, network, length, first_at, last_at FROM {input} WHERE true "
    "ON CONFLICT (public_key, network) DO UPDATE SET "
    "length = excluded.length, first_at = excluded.first_at, last_at = excluded.last_at",
    **_PLACE,
    length="bigint",
    first_at="bigint",
    last_at="bigint",
)
_COUNT_NETWORKS = Batch(
    "SELECT input.public_key, (SELECT COUNT(*) FROM streak s WHERE s.public_key = input.public_key) FROM {input}",
    public_key="text",
)


def streak_places(results: Mapping[str, Sequence[AttemptResult]]) -> list[tuple[str, str]]:
    """Return where the runs stand that these hits may change: by key and network."""
    return sorted(
        {
            (key, network)
            for key, some in results.items()
            for network in (ALL_NETWORKS, OVERFLOW, *(h.network for h in some))
        }
    )


def streaks_by_key(rows: Iterable[Row]) -> dict[str, dict[str, Streak]]:
    """Return the runs that `LOAD_STREAKS` has found, by key and network."""
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
    """Write what changed; `ended` are streaks that ended for certain, if they were there at all."""
    over, grown = set(ended), []
    for public_key, found in folded.items():
        known = stored.get(public_key, {})
        for network, now in found.streaks.items():
            if now == known.get(network, NO_STREAK):
                continue
            if now.length == 0:
                over.add((public_key, network))
            else:
                grown.append((public_key, network, now.length, to_micros(now.first_at), to_micros(now.last_at)))
    if over:
        _DELETE.execute(connection, sorted(over))
    if grown:
        _UPSERT.execute(connection, sorted(grown))


def limit_networks(
    connection: Connection,
    stored: Mapping[str, Mapping[str, Streak]],
    results: Mapping[str, Sequence[AttemptResult]],
    *,
    most: int,
) -> dict[str, Sequence[AttemptResult]]:
    """Let failures of networks beyond the cap share one streak; attackers choose their networks freely.

    A success ends what its own network has, but never the shared streak: others stand in it.
    """
    within = dict(results)
    new = {
        key: {result.network for result in some if not result.success} - stored.get(key, {}).keys()
        for key, some in results.items()
    }
    newcomers = sorted((key,) for key, networks in new.items() if networks)
    if not newcomers:
        return within
    for key, present in _COUNT_NETWORKS.fetch(connection, newcomers):
        shared = set(sorted(new[key])[max(0, most - present) :])
        if shared:
            within[key] = [
                result._replace(network=OVERFLOW) if not result.success and result.network in shared else result
                for result in results[key]
            ]
    return within
