"""Where a measurement has its database: the option `--store`, and a fresh world on each store that it names.

Here: the choice and the making. Not here: what is measured.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.postgres import PostgresServer
from support.stores import STORES
from support.world import World


def add_database_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", choices=[*STORES, "both"], default="both")


def chosen_databases(options: argparse.Namespace) -> tuple[str, ...]:
    return STORES if options.store == "both" else (options.store,)


@contextmanager
def fresh_world(store: str, server: PostgresServer | None = None, *, folder: Path | None = None) -> Iterator[World]:
    """Make a world with a database of its own, and take it away at the end. A `folder` that is given is left there."""
    with ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "world"  # some rename it
        home.mkdir()
        world = World(home, store, server)
        try:
            yield world
        finally:
            world.close()
