"""What the database must hold when all is played: every outcome counted once, and no streak but those of wrong secrets.

Here: keeping our own books of what was answered, and comparing. Not here: answers (`campaign`).
"""

from collections import Counter
from collections.abc import Iterator

from support.world import World

from proofs.fuzz.origin import is_counted
from proofs.fuzz.pairs import Pairs
from proofs.fuzz.reference import OPEN, WRONG

_THRESHOLD, _DETAILS, _SOURCES, _NETWORKS = 20, 60, 256, 1000
_NAMED_SOURCES = 1000 + 2000 + 1  # by name, by one commit too many, and all others
_DECOY = ""


class Books:
    """What was answered, as the database must say it too."""

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self._outcomes: Counter[str] = Counter()
        self._wrong: Counter[str] = Counter()

    def enter(self, outcome: str, public_key: str | None) -> None:
        """Note one answered request."""
        if outcome != OPEN:
            self._outcomes[outcome] += 1
        if outcome == WRONG and public_key is not None:
            self._wrong[public_key] += 1

    def faults(self, world: World) -> Iterator[str]:
        """Yield what the database holds otherwise."""
        recorded = world.recorded()
        if recorded != dict(self._outcomes):
            yield f"recorded {recorded}, answered {dict(self._outcomes)}"
        yield from self._streaks(world)
        yield from self._cases(world)
        yield from _bounds(world)
        yield from _texts(world)

    def _streaks(self, world: World) -> Iterator[str]:
        rows = world.rows("SELECT public_key, network, length FROM streak WHERE public_key != :decoy", decoy=_DECOY)
        attacked = self._pairs.attacked[0]
        wrong = self._wrong[attacked]
        lengths = {network: length for public_key, network, length in rows if public_key == attacked}
        if wrong and (lengths.pop("", 0) != wrong or sum(lengths.values()) != wrong):
            yield f"the attacked key failed {wrong} times, its streaks say {lengths}"
        for public_key, network, length in rows:
            if public_key not in self._pairs.secrets or public_key == self._pairs.retired[0]:
                yield f"a streak of a key that is not live: {public_key!r}"
            elif length > self._wrong[public_key]:
                yield f"{public_key} failed {self._wrong[public_key]} times, its streak of {network!r} says {length}"

    def _cases(self, world: World) -> Iterator[str]:
        cases = Counter(row[0] for row in world.rows("SELECT public_key FROM incident"))
        attacked = self._pairs.attacked[0]
        if cases[attacked] != (self._wrong[attacked] >= _THRESHOLD):
            yield f"the attacked key failed {self._wrong[attacked]} times and has {cases[attacked]} cases"
        for public_key, count in cases.items():
            if count > 1 or self._wrong[public_key] < _THRESHOLD:
                yield f"{public_key} failed {self._wrong[public_key]} times and has {count} cases"
        told = Counter(row[0] for row in world.rows("SELECT key_pair_id FROM notice"))
        if any(count > 1 for count in told.values()):
            yield f"a customer was told more than once that a pair is exposed: {told}"


def _bounds(world: World) -> Iterator[str]:
    """Attackers choose what is sent, so nothing of it may choose how many rows there are."""
    limits = {
        "SELECT COUNT(DISTINCT source) FROM outcome_minute GROUP BY public_key, minute": _SOURCES + 1,
        "SELECT COUNT(*) FROM attempt GROUP BY public_key, minute, outcome": _DETAILS,
        "SELECT COUNT(*) FROM streak GROUP BY public_key": _NETWORKS + 2,
        "SELECT COUNT(*) FROM incident_count WHERE bucket < 0 GROUP BY subject": _NAMED_SOURCES,
    }
    for statement, limit in limits.items():
        most = max((row[0] for row in world.rows(statement)), default=0)
        if most > limit:
            yield f"{most} rows where {limit} may be: {statement}"


def _texts(world: World) -> Iterator[str]:
    for (source,) in world.rows("SELECT DISTINCT source FROM outcome_minute UNION SELECT DISTINCT source FROM attempt"):
        if source != "*" and not is_counted(source):
            yield f"a source in no canonical form: {source!r}"
    for row in world.rows("SELECT user_agent, method, path, request_id, key_hash FROM attempt"):
        if not all(text.isascii() and text.isprintable() for text in row):
            yield f"a recorded text that a terminal would act on: {row!r}"
