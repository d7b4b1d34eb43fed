"""What every bench works with: a folder, databases of its own, one source of randomness, a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.progress import Progress
from support.postgres import PostgresServer
from support.world import World

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
