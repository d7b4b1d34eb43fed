"""What many threads of many processes send at the same keys, and how each request has to end; the same for a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from support.in_session import in_session
from support.world import FakeRequest, Keys, World, basic

from octy_worker.staff import key_orders

_HOT, _WARM, _RETIRED = 2, 6, 4
_BURST = 40  # requests between two changes from few keys to many, and back
_SHARED = 4  # IPv4 networks that up to `_HOSTS` threads send from
_HOSTS = 200  # threads in one IPv4 network
_UNKNOWN_KEYS = [f"pk_{number:028d}" for number in range(5)]


class ExpectedOutcome(NamedTuple):
    """How a request has to be recorded. `public_key` is empty where it is unknown."""

    outcome: str
    public_key: str
    source: str


class Attempt(NamedTuple):
    """One request and its end. Each source is one thread's alone, so that the log shows whose an outcome is."""

    expected: ExpectedOutcome
    request: FakeRequest


@dataclass(frozen=True)
class TrafficKeys:
    """Key pairs: few that all use at once, some, many for batches of many keys, and some that are retired."""

    hot: list[Keys]
    warm: list[Keys]
    cold: list[Keys]
    retired: list[Keys]

    @classmethod
    def register(cls, world: World, cold: int) -> "TrafficKeys":
        sizes = {"hot": _HOT, "warm": _WARM, "cold": cold, "retired": _RETIRED}
        made = cls(**{role: [world.register(f"{role}-{n}") for n in range(size)] for role, size in sizes.items()})
        for keys in made.retired:
            in_session(world.database, key_orders.revoke, keys.public_key, actor="staff", reason="under load", now=1.0)
        return made


def sources(thread: int) -> list[str]:
    """Return a thread's addresses: one in a network of its own, others in networks that it shares."""
    network, host = divmod(thread, _HOSTS)
    shared = [f"203.{number}.{network}.{1 + host}" for number in range(_SHARED)]
    own = str(ip_address(f"2001:db8:1:{thread:x}::1"))
    return [own, f"198.51.{100 + network}.{1 + host}", *shared]


def attempts(keys: TrafficKeys, thread: int, requests: int, seed: int) -> Iterator[Attempt]:
    """Yield what one thread sends, in order."""
    chance = random.Random(f"{seed}/{thread}")
    own, *shared = sources(thread)
    for number in range(requests):
        kind = chance.random()
        source, public_key = chance.choice(shared), ""
        if kind < 0.05:
            outcome, authorization = "unknown_key", basic(chance.choice(_UNKNOWN_KEYS), "sk_guess")
        else:
            used, share = (
                (chance.choice(keys.retired), 0.5)
                if kind < 0.1
                else _choose(keys, chance, bulk=number // _BURST % 2 == 1)
            )
            right, public_key = chance.random() < share, used.public_key
            authorization = used.basic(None if right else "sk_wrong")
            if kind < 0.1:
                outcome = "retired" if right else "retired_wrong"
            else:
                outcome = "accepted" if right else "wrong_secret"
                # A customer mostly uses a key from one network; an attacker's networks change.
                source = own if right and chance.random() < 0.8 else chance.choice([own, *shared])
        headers = {b"x-request-id": [f"{source.replace(':', '-')}.{number}".encode()]}
        request = FakeRequest(authorization, peer=source, headers=headers)
        yield Attempt(ExpectedOutcome(outcome, public_key, source), request)


def _choose(keys: TrafficKeys, chance: random.Random, *, bulk: bool) -> tuple[Keys, float]:
    """Return a key pair, and how often its secret is right: the hottest never, the next now and then."""
    if bulk:
        index = chance.randrange(len(keys.cold))
        return keys.cold[index], 0.95 if index % 3 else 0.2
    if chance.random() < 0.6:
        index = chance.randrange(len(keys.hot))
        return keys.hot[index], 0.01 * index
    index = chance.randrange(len(keys.warm))
    return keys.warm[index], 0.05 * (index + 1)
