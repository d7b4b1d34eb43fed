"""Key pairs that a seed names: the same in every process and every run, so that a header can be made again.

Here: the pairs, and what the fuzzer takes for each. Not here: the database that holds them (`installation`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random

from octy_middleware.keys.secret import make_key_pair

Pair = tuple[str, str]
_SHAPES = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Pairs:
    """`attacked` is live, but its right secret is never sent: each of its failures makes its streak longer."""

    live: Pair
    old: Pair
    attacked: Pair
    retired: Pair
    sent: tuple[Pair, ...]
    limits: tuple[int, ...] = (1024, 256)

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        """The right secret of each key that a stranger may be let in with or once was."""
        return dict((self.live, self.old, self.attacked, self.retired))

    @cached_property
    def references(self) -> Mapping[str, str]:
        """Whose account a key is of."""
        return {self.live[0]: "live", self.old[0]: "old", self.attacked[0]: "attacked", self.retired[0]: "retired"}


def make_pairs(seed: int) -> Pairs:
    """Return the pairs of a seed: three of the new shape, one of Octy's old ones."""
    rng = Random(f"pairs/{seed}")
    live, attacked, retired, other = (_make(rng) for _ in range(4))
    groups = ("".join(rng.choices(_SHAPES, k=length)) for length in (8, 4, 4, 4, 10))
    old = ("pk_" + "-".join(groups), "sk_" + "".join(rng.choices(_SHAPES, k=40)))
    return Pairs(live, old, attacked, retired, sent=(live, old, (attacked[0], other[1]), retired))


def _make(rng: Random) -> Pair:
    made = make_key_pair(rng.randbytes)
    return made.public_key, made.secret.reveal()
