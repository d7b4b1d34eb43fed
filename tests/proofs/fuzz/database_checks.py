"""What the tables must hold after all requests: each outcome counted once, and streaks of wrong secrets only."""

from collections import Counter
from collections.abc import Iterator

from support.world import World

from proofs.fuzz.keys import FuzzKeys
from proofs.fuzz.reference import OPEN, WRONG
from proofs.fuzz.reference_address import is_counted_source

_THRESHOLD = 20  # failures that open an incident
_DECOY = ""
# Attackers choose what is sent, so nothing of it may choose the number of rows.
_LIMITS = {
    "SELECT COUNT(DISTINCT source) FROM outcome_minute GROUP BY public_key, minute": 257,
    "SELECT COUNT(*) FROM attempt GROUP BY public_key, minute, outcome": 60,
    "SELECT COUNT(*) FROM streak GROUP BY public_key": 1002,
    "SELECT COUNT(*) FROM incident_count WHERE bucket < 0 GROUP BY subject": 3001,  # by name, by one commit too many
}


class ExpectedCounts:
    """What was responded, to be compared with the tables."""

    def __init__(self, keys: FuzzKeys) -> None:
        self._keys = keys
        self._outcomes: Counter[str] = Counter()
        self._wrong: Counter[str] = Counter()

    def add(self, outcome: str, public_key: str | None) -> None:
        """Count one request."""
        if outcome != OPEN:
            self._outcomes[outcome] += 1
        if outcome == WRONG and public_key is not None:
            self._wrong[public_key] += 1

    def compare(self, world: World) -> Iterator[str]:
        """Yield what is wrong in the tables."""
        recorded = world.recorded()
        if recorded != dict(self._outcomes):
            yield f"recorded {recorded}, responded {dict(self._outcomes)}"
        yield from self._check_streaks(world)
        yield from self._check_incidents(world)
        for statement, limit in _LIMITS.items():
            most = max((row[0] for row in world.rows(statement)), default=0)
            if most > limit:
                yield f"{most} rows where {limit} are allowed: {statement}"
        yield from _check_texts(world)

    def _check_streaks(self, world: World) -> Iterator[str]:
        rows = world.rows("SELECT public_key, network, length FROM streak WHERE public_key != :decoy", decoy=_DECOY)
        attacked = self._keys.attacked[0]
        wrong = self._wrong[attacked]
        lengths = {network: length for public_key, network, length in rows if public_key == attacked}
        if wrong and (lengths.pop("", 0) != wrong or sum(lengths.values()) != wrong):
            yield f"the attacked key failed {wrong} times, its streaks say {lengths}"
        for public_key, network, length in rows:
            if public_key not in self._keys.secrets or public_key == self._keys.retired[0]:
                yield f"a streak of a key that is not live: {public_key!r}"
            elif length > self._wrong[public_key]:
                yield f"{public_key} failed {self._wrong[public_key]} times, its streak of {network!r} says {length}"

    def _check_incidents(self, world: World) -> Iterator[str]:
        incidents = Counter(row[0] for row in world.rows("SELECT public_key FROM incident"))
        attacked = self._keys.attacked[0]
        if incidents[attacked] != (self._wrong[attacked] >= _THRESHOLD):
            yield f"the attacked key failed {self._wrong[attacked]} times and has {incidents[attacked]} incidents"
        for public_key, count in incidents.items():
            if count > 1 or self._wrong[public_key] < _THRESHOLD:
                yield f"{public_key} failed {self._wrong[public_key]} times and has {count} incidents"
        notices = Counter(row[0] for row in world.rows("SELECT key_pair_id FROM notice"))
        if any(count > 1 for count in notices.values()):
            yield f"a customer was notified more than once of an exposed key pair: {notices}"


def _check_texts(world: World) -> Iterator[str]:
    for (source,) in world.rows("SELECT DISTINCT source FROM outcome_minute UNION SELECT DISTINCT source FROM attempt"):
        if source != "*" and not is_counted_source(source):
            yield f"a source in no canonical form: {source!r}"
    for row in world.rows("SELECT user_agent, method, path, request_id, key_hash FROM attempt"):
        if not all(text.isascii() and text.isprintable() for text in row):
            yield f"a recorded text that a terminal would act on: {row!r}"
