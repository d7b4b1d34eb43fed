"""Key pairs made from a seed, so that every process and every run with this seed has the same ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random

from octy_middleware.keys.secret import make_key_pair

KeyPair = tuple[str, str]
_OLD_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class FuzzKeys:
    """`attacked` is live, but its right secret is never sent, so each failure makes its streak longer.

    `old` has the shape of keys that Octy issued before. `sent`: what requests are made from.
    """

    live: KeyPair
    old: KeyPair
    attacked: KeyPair
    retired: KeyPair
    sent: tuple[KeyPair, ...]

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        """The right secret of each public key."""
        return dict((self.live, self.old, self.attacked, self.retired))

    @cached_property
    def references(self) -> Mapping[str, str]:
        """The account of each public key."""
        return {self.live[0]: "live", self.old[0]: "old", self.attacked[0]: "attacked", self.retired[0]: "retired"}


def make_keys(seed: int) -> FuzzKeys:
    rng = Random(f"keys/{seed}")
    live, attacked, retired, other = (_make(rng) for _ in range(4))
    groups = ("".join(rng.choices(_OLD_ALPHABET, k=length)) for length in (8, 4, 4, 4, 10))
    old = ("pk_" + "-".join(groups), "sk_" + "".join(rng.choices(_OLD_ALPHABET, k=40)))
    return FuzzKeys(live, old, attacked, retired, sent=(live, old, (attacked[0], other[1]), retired))


def _make(rng: Random) -> KeyPair:
    made = make_key_pair(rng.randbytes)
    return made.public_key, made.secret.reveal()
