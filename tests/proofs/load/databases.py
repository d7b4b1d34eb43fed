"""The command of a proof: its options, and a fresh world on each database that they name."""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import product
from pathlib import Path

from support.databases import DATABASES
from support.postgres import PostgresServer
from support.world import World

from proofs.load.report import Report, conclude


def proof_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option `--database`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    return parser


def chosen_databases(database: str) -> tuple[str, ...]:
    """Return what the option `--database` names."""
    return DATABASES if database == "both" else (database,)


@contextmanager
def fresh_world(database: str, server: PostgresServer | None = None, *, folder: Path | None = None) -> Iterator[World]:
    """Make a world with a database of its own, and remove it at the end. A `folder` that is given is left there."""
    with ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "world"  # some rename it
        home.mkdir()
        world = World(home, database, server)
        stack.callback(world.close)
        yield world


def run_proof(
    name: str,
    parser: argparse.ArgumentParser,
    measure: Callable[..., Report],
    *,
    variants: Sequence[Mapping[str, object]] = ({},),
    make_world: Callable[[str], AbstractContextManager[World]] = fresh_world,
) -> int:
    """Measure each variant on each chosen database, with the command's options as arguments; return the exit status."""
    options = vars(parser.parse_args())
    reports = []
    for database, variant in product(chosen_databases(options.pop("database")), variants):
        with make_world(database) as world:
            reports.append(measure(world, **variant, **options))
    return conclude(name, reports)
