"""Events for the tests of the outcome writer."""

from support.world import Keys, World

from octy_middleware import Outcome
from octy_middleware.http.event import AuthEvent, Description

NOW = 1_800_000_000.0
UNKNOWN = Keys("", "", "", "", "sk_guess")  # of no customer


def event(
    keys: Keys,
    outcome: Outcome = Outcome.WRONG_SECRET,
    number: int = 0,
    *,
    at: float = NOW,
    source: str = "203.0.113.9",
    pair_id: str = "",
) -> AuthEvent:
    """Return the event of one request; `number` is its request id."""
    network = source.rsplit(".", 1)[0] + ".0/24"
    description = Description("curl/8.5", request_id=str(number))
    return AuthEvent(outcome, at, source, network, keys.public_key, pair_id, description=description)


def pair_id_of(world: World, keys: Keys) -> str:
    """Return the id of the customer's key pair."""
    return str(world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=keys.public_key)[0][0])
