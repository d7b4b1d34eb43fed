"""Where streaks are kept: the SQL of one table, many keys in one statement.

Here: loading, bounding and storing runs. Not here: their transitions (`streak`), what a crossing leads to (`ledger`).
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection

from octy_middleware.clock import to_micros
from octy_middleware.db.bulk_sql import Batch, Query, Row
from octy_middleware.http.event import OVERFLOW
from octy_middleware.recording.streak import NO_RUN, POLICY, Folded, Hit, Run

_MICROS = 1_000_000

_PLACE = {"public_key": "text", "network": "text"}
STORED = Query(
    ("s.public_key", "s.network", "s.length", "s.first_at", "s.last_at"),
    "{input} CROSS JOIN streak s WHERE s.public_key = input.public_key AND s.network = input.network",
    **_PLACE,
)
"""Of the places of `places_of`: what is stored there. `loaded` reads it."""
_END = Batch("DELETE FROM streak WHERE (public_key, network) IN (SELECT public_key, network FROM {input})", **_PLACE)
_GROW = Batch(
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


def places_of(hits: Mapping[str, Sequence[Hit]]) -> list[tuple[str, str]]:
    """Return where the runs stand that these hits may change: by key and network."""
    return sorted(
        {(key, network) for key, some in hits.items() for network in (POLICY, OVERFLOW, *(h.network for h in some))}
    )


def loaded(rows: Iterable[Row]) -> dict[str, dict[str, Run]]:
    """Return the runs that `STORED` has found, by key and network."""
    runs: dict[str, dict[str, Run]] = {}
    for public_key, network, length, first_at, last_at in rows:
        runs.setdefault(public_key, {})[network] = Run(length, first_at / _MICROS, last_at / _MICROS)
    return runs


def store(
    connection: Connection,
    before: Mapping[str, Mapping[str, Run]],
    folded: Mapping[str, Folded],
    ended: Iterable[tuple[str, str]],
) -> None:
    """Write what changed; `ended` are streaks that ended for certain, if they were there at all."""
    over, grown = set(ended), []
    for public_key, found in folded.items():
        known = before.get(public_key, {})
        for network, now in found.runs.items():
            if now == known.get(network, NO_RUN):
                continue
            if now.length == 0:
                over.add((public_key, network))
            else:
                grown.append((public_key, network, now.length, to_micros(now.first_at), to_micros(now.last_at)))
    if over:
        _END.execute(connection, sorted(over))
    if grown:
        _GROW.execute(connection, sorted(grown))


def bounded(
    connection: Connection,
    before: Mapping[str, Mapping[str, Run]],
    hits: Mapping[str, Sequence[Hit]],
    *,
    most: int,
) -> dict[str, Sequence[Hit]]:
    """Let failures of networks beyond the cap share one streak; attackers choose their networks freely.

    A success ends what its own network has, but never the shared streak: others stand in it.
    """
    within = dict(hits)
    new = {
        key: {hit.network for hit in some if not hit.success} - before.get(key, {}).keys() for key, some in hits.items()
    }
    newcomers = sorted((key,) for key, networks in new.items() if networks)
    if not newcomers:
        return within
    for key, present in _COUNT_NETWORKS.fetch(connection, newcomers):
        shared = set(sorted(new[key])[max(0, most - present) :])
        if shared:
            within[key] = [
                hit._replace(network=OVERFLOW) if not hit.success and hit.network in shared else hit
                for hit in hits[key]
            ]
    return within
