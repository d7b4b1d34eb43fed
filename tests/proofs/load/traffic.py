"""What many threads of many processes send at the same keys, the same for the same seed.

Here: who asks for what, from where, and how it has to end. Not here: who runs it (`exactness`).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from support.world import FakeRequest, Keys, World, basic

from octy_worker.staff import key_orders

_HOT, _WARM, _RETIRED = 2, 6, 4
_BURST = 40  # requests between two changes from few keys to many, and back
_SHARED = 4  # IPv4 networks that up to `_HOSTS` threads stand in
_HOSTS = 200  # threads in one IPv4 network
_STRANGERS = [f"pk_{number:028d}" for number in range(5)]


class Attempt(NamedTuple):
    """One request and its end. Each source is one thread's alone, so that the log tells whose an outcome is."""

    outcome: str
    public_key: str  # as it is recorded: empty for a stranger's
    source: str
    request: FakeRequest


@dataclass(frozen=True)
class TrafficKeys:
    """The pairs: few that all want at once, some, many for batches of many keys, and some that are no longer in use."""

    hot: list[Keys]
    warm: list[Keys]
    cold: list[Keys]
    retired: list[Keys]

    @classmethod
    def of(cls, world: World, cold: int) -> "TrafficKeys":
        sizes = {"hot": _HOT, "warm": _WARM, "cold": cold, "retired": _RETIRED}
        cast = cls(**{role: [world.register(f"{role}-{n}") for n in range(size)] for role, size in sizes.items()})
        for keys in cast.retired:
            key_orders.revoke(world.database, keys.public_key, actor="staff", reason="under load", now=1.0)
        return cast


def sources(thread: int) -> list[str]:
    """Return a thread's addresses: one in a network of its own, others in networks that it shares."""
    shared = [f"203.{number}.{thread // _HOSTS}.{1 + thread % _HOSTS}" for number in range(_SHARED)]
    own = f"2001:db8:1:{thread:x}::1"
    return [str(ip_address(text)) for text in (own, f"198.51.{100 + thread // _HOSTS}.{1 + thread % _HOSTS}", *shared)]


def attempts(cast: TrafficKeys, thread: int, requests: int, seed: int) -> Iterator[Attempt]:
    """Yield what one thread sends, in order."""
    chance = random.Random(f"{seed}/{thread}")
    own, *shared = sources(thread)
    for number in range(requests):
        kind = chance.random()
        if kind < 0.05:
            yield _attempt(
                "unknown_key", "", chance.choice(shared), basic(chance.choice(_STRANGERS), "sk_guess"), number
            )
        elif kind < 0.1:
            keys, right = chance.choice(cast.retired), chance.random() < 0.5
            outcome, secret = ("retired", None) if right else ("retired_wrong", "sk_wrong")
            yield _attempt(outcome, keys.public_key, chance.choice(shared), keys.basic(secret), number)
        else:
            keys, share = _pick(cast, chance, crowd=number // _BURST % 2 == 1)
            right = chance.random() < share
            # Who has the key mostly uses it from one network; an attacker's comes and goes.
            source = own if right and chance.random() < 0.8 else chance.choice([own, *shared])
            outcome, secret = ("accepted", None) if right else ("wrong_secret", "sk_wrong")
            yield _attempt(outcome, keys.public_key, source, keys.basic(secret), number)


def _pick(cast: TrafficKeys, chance: random.Random, *, crowd: bool) -> tuple[Keys, float]:
    """Return a pair, and how often its secret is right: the hottest never, the next now and then."""
    if crowd:
        place = chance.randrange(len(cast.cold))
        return cast.cold[place], 0.95 if place % 3 else 0.2
    if chance.random() < 0.6:
        place = chance.randrange(len(cast.hot))
        return cast.hot[place], 0.01 * place
    place = chance.randrange(len(cast.warm))
    return cast.warm[place], 0.05 * (place + 1)


def _attempt(outcome: str, public_key: str, source: str, authorization: str, number: int) -> Attempt:
    headers = {b"x-request-id": [f"{source.replace(':', '-')}.{number}".encode()]}
    return Attempt(outcome, public_key, source, FakeRequest(authorization, peer=source, headers=headers))
