"""What every bench works with: a folder, databases of its own, one source of randomness, a progress bar."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import Progress
from support.postgres import PostgresServer
from support.world import World

from proofs.benchmarks.presentation import Table, markdown
from proofs.benchmarks.sizes import Sizes
from proofs.benchmarks.spread import Figures, Series, play

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass
class Lab:
    """One run's folder, and a PostgreSQL server that commits to disk as in production."""

    folder: Path
    sizes: Sizes
    rng: Random
    databases: tuple[str, ...]
    bar: Progress
    _opened: ExitStack = field(default_factory=ExitStack)
    _server: PostgresServer | None = None
    _worlds: int = 0

    @contextmanager
    def world(self, database: str) -> Iterator[World]:
        """Open a fresh database of that kind."""
        self._worlds += 1
        folder = self.folder / f"{database}-{self._worlds}"
        folder.mkdir()
        if database != "sqlite" and self._server is None:
            self._server = self._opened.enter_context(PostgresServer(durable=True))
        world = World(folder, database, None if database == "sqlite" else self._server)
        try:
            yield world
        finally:
            world.close()

    @contextmanager
    def worlds(self) -> Iterator[dict[str, World]]:
        """Open one fresh database of each kind."""
        with ExitStack() as stack:
            yield {database: stack.enter_context(self.world(database)) for database in self.databases}

    def play(self, what: str, arms: Sequence[str], rounds: int, measure: Callable[[str], Figures]) -> dict[str, Series]:
        """Measure every arm in every round after one that warms up (`spread.play`), and show the progress."""
        with self.steps(what, len(arms) * (rounds + 1)) as step:

            def turn(arm: str) -> Figures:
                figures = measure(arm)
                step()
                return figures

            return play(arms, rounds, self.rng, turn)

    @contextmanager
    def steps(self, what: str, number: int) -> Iterator[Callable[[], None]]:
        """Show a progress bar; call the function after each step."""
        task = self.bar.add_task(what, total=number)
        try:
            yield lambda: self.bar.advance(task)
        finally:
            self.bar.stop_task(task)
            if not self.bar.console.is_terminal:  # a bar is drawn at the end only
                self.bar.console.print(f"octy: {what}: {self.bar.tasks[task].completed:.0f} of {number}")

    def close(self) -> None:
        """Stop the PostgreSQL server, if one was needed."""
        self._opened.close()


@contextmanager
def open_lab(command: str, sizes: Sizes, seed: int, databases: tuple[str, ...]) -> Iterator[Lab]:
    """Open the lab of a command that prints its tables: its progress is on stderr."""
    with (
        tempfile.TemporaryDirectory(prefix=f"octy-{command}-") as folder,
        Progress(console=Console(file=sys.stderr)) as bar,
    ):
        lab = Lab(Path(folder), sizes, Random(seed), databases, bar)
        try:
            yield lab
        finally:
            lab.close()


def show(table: Table) -> None:
    """Print a table at once."""
    sys.stdout.write(markdown(table) + "\n")
    sys.stdout.flush()


def names_among(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Return what reads an option of names with commas between them."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are only {', '.join(known)}")
        return names

    return read
