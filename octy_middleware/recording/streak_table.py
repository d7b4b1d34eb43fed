"""Loads and writes streaks: many keys in one statement, with a limit on networks per key."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from octy_middleware.clock import to_micros
from octy_middleware.db.batch_transaction import BatchTransaction
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
COUNT_NETWORKS = Query(
    ("input.public_key", "(SELECT COUNT(*) FROM streak s WHERE s.public_key = input.public_key)"),
    "{input}",
    public_key="text",
)
"""Input: the keys of `find_new_networks`. Returns how many streaks each has, for `limit_networks`."""


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
    transaction: BatchTransaction,
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
    transaction.add(_DELETE, sorted(deleted))
    transaction.add(UPSERT, sorted(written))


def find_new_networks(
    stored: Mapping[str, Mapping[str, Streak]], results: Mapping[str, Sequence[AttemptResult]]
) -> dict[str, AbstractSet[str]]:
    """Return the networks with a failure and without a streak, by public key; no keys without any."""
    new = {
        key: {network for success, network, *_ in some if not success} - stored.get(key, {}).keys()
        for key, some in results.items()
    }
    return {key: networks for key, networks in new.items() if networks}


def limit_networks(
    results: Mapping[str, Sequence[AttemptResult]],
    new: Mapping[str, AbstractSet[str]],
    present: Iterable[Row],
    *,
    max_networks: int,
) -> Mapping[str, Sequence[AttemptResult]]:
    """Move failures of networks beyond `max_networks` a key into one shared streak, since attackers choose networks.

    `new`: of `find_new_networks`; `present`: the result of `COUNT_NETWORKS`. A success ends the streak of its own
    network, never the shared one, which counts failures of other networks too.
    """
    limited = dict(results)
    for key, known in present:
        shared = set(sorted(new[key])[max(0, max_networks - known) :])
        if shared:
            limited[key] = [
                result._replace(network=OVERFLOW) if not result.success and result.network in shared else result
                for result in results[key]
            ]
    return limited
