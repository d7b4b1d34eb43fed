"""The arms of the timing test: refused headers that differ in what they are refused for, and in nothing else.

Here: accounts and headers. Not here: sending them (`timing`), what the times mean (`statistics`).
"""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from support.paths import TESTS
from support.world import Keys, World

from octy_middleware.db.bulk_sql import run
from octy_middleware.domain import key_pairs
from octy_middleware.keys.secret import make_key_pair

WRONG, CONTROL, UNKNOWN = "wrong", "wrong again (A/A)", "unknown"
RETIRED, RETIRED_WRONG, EMPTY = "retired", "retired, wrong", "empty secret"
ARMS = (WRONG, CONTROL, UNKNOWN, RETIRED, RETIRED_WRONG, EMPTY)


@dataclass(frozen=True)
class Prepared:
    """A world with a live and a retired pair, and the header of each arm."""

    world: World
    live: Keys
    headers: dict[str, bytes]

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs. The connection is plain: the proxy in front, which we play, says https."""
        return {
            "OCTY_DATABASE_URL": self.world.url,
            "OCTY_PEPPERS": self.world.peppers.export(),
            "OCTY_TRUSTED_PROXIES": "127.0.0.1",
            "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'examples'}",
        }


def prepare(folder: Path) -> Prepared:
    """Make the accounts. All keys are of one length, so all headers are, but for the empty secret's."""
    world = World(folder)
    live, retired = world.register("live"), world.register("retired")
    with world.database.write() as connection:
        [(pair_id,)] = run(connection, "SELECT id FROM key_pair WHERE public_key = ?", retired.public_key)
        assert key_pairs.retire(connection, pair_id, now=0.0)
    world.database.close()
    wrong, stranger = make_key_pair().secret.reveal(), make_key_pair()
    texts = {
        WRONG: (live.public_key, wrong),
        CONTROL: (live.public_key, wrong),
        UNKNOWN: (stranger.public_key, wrong),
        RETIRED: (retired.public_key, retired.secret),
        RETIRED_WRONG: (retired.public_key, wrong),
        EMPTY: (live.public_key, ""),
    }
    return Prepared(world, live, {arm: b64encode(f"{key}:{secret}".encode()) for arm, (key, secret) in texts.items()})
