"""What an outage is: something that is done to a store, and undone at the end of its block."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from support.world import World

from proofs.load.servers import Server

Outage = Callable[[World, Server], AbstractContextManager[None]]


@dataclass(frozen=True)
class Kind:
    """An outage. `blind`: the store can't even be read, so remembered pairs live on the grace alone."""

    outage: Outage
    blind: bool
