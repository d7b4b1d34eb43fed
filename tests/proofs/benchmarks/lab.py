"""What every bench works with: a folder, databases of its own, one source of chance, a bar that moves.

Here: opening and closing these. Not here: what is measured.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.progress import Progress
from support.postgres import PostgresServer
from support.world import World

from proofs.benchmarks.sizes import Sizes

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass
class Lab:
    """One run's folder and PostgreSQL server, which commits to disk as in earnest; closed with its block."""

    folder: Path
    sizes: Sizes
    rng: Random
    stores: tuple[str, ...]
    bar: Progress
    _opened: ExitStack = field(default_factory=ExitStack)
    _server: PostgresServer | None = None
    _worlds: int = 0

    @contextmanager
    def world(self, store: str) -> Iterator[World]:
        """Open a fresh database of that kind."""
        self._worlds += 1
        folder = self.folder / f"{store}-{self._worlds}"
        folder.mkdir()
        world = World(folder, store, None if store == "sqlite" else self._postgres())
        try:
            yield world
        finally:
            world.close()

    @contextmanager
    def worlds(self) -> Iterator[dict[str, World]]:
        """Open one fresh database of each kind."""
        with ExitStack() as stack:
            yield {store: stack.enter_context(self.world(store)) for store in self.stores}

    @contextmanager
    def steps(self, what: str, number: int) -> Iterator[Callable[[], None]]:
        """Show a bar of so many steps; call what you get after each."""
        task = self.bar.add_task(what, total=number)
        try:
            yield lambda: self.bar.advance(task)
        finally:
            self.bar.stop_task(task)
            if not self.bar.console.is_terminal:  # a bar is drawn in the end only: say that there is life
                self.bar.console.print(f"octy: {what}: {self.bar.tasks[task].completed:.0f} of {number}")

    def close(self) -> None:
        """End the PostgreSQL server, if one was needed."""
        self._opened.close()

    def _postgres(self) -> PostgresServer:
        if self._server is None:
            self._server = self._opened.enter_context(PostgresServer(durable=True))
        return self._server
