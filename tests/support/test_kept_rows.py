"""Rows that are copied into new worlds are those that `write` added; what a test added before it is not among them."""

from collections.abc import Callable
from contextlib import closing

import pytest

from octy_middleware.db.models.maintenance import Job
from support.kept_rows import write_or_copy
from support.world import World


@pytest.fixture
def make_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], World]:
    return lambda: World(tmp_path_factory.mktemp("world"))


def test_rows_of_a_new_world_are_copied_into_new_ones_only(make_world: Callable[[], World]) -> None:
    key, written = object(), []
    for has_rows in (True, False, False, True):
        with closing(make_world()) as world:
            if has_rows:
                add_job(world, "prune")

            def write(world: World = world) -> None:
                written.append(world)
                add_job(world, "reconcile")

            write_or_copy(world, key, write)
            names = [name for (name,) in world.rows("SELECT name FROM job ORDER BY name")]
            assert names == (["prune", "reconcile"] if has_rows else ["reconcile"])
    assert len(written) == 3


def add_job(world: World, name: str) -> None:
    with world.database.write_session() as session:
        session.add(Job(name=name))
