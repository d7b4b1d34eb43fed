"""A collected sealed secret is in none of SQLite's files: neither in the log nor in free pages."""

from pathlib import Path

import pytest
from support.in_session import in_session
from support.world import World

from octy_middleware.states import RegenerationState
from octy_worker.domain import regenerations
from worker.domain.test_regenerations import NOW, finish, issue, order

pytestmark = pytest.mark.sqlite


def files_with(world: World, text: str) -> list[str]:
    database = Path(str(world.database.url.database))
    return [path.name for path in database.parent.glob(f"{database.name}*") if text.encode() in path.read_bytes()]


def sealed_secret(world: World) -> tuple[str, str]:
    """Return the id of a regeneration whose secret waits, and what is stored of that secret."""
    opened = order(world, world.register())
    issue(world, opened.regeneration_id)
    [(sealed,)] = world.rows("SELECT sealed FROM sealed_secret WHERE regeneration_id = :id", id=opened.regeneration_id)
    assert files_with(world, sealed)
    return opened.regeneration_id, sealed


def collect(world: World, regeneration_id: str) -> None:
    assert in_session(world.database, regenerations.collect, world.sealer, regeneration_id, 1, NOW)


def test_collected_secret_is_in_no_file_of_the_database(world: World) -> None:
    regeneration_id, sealed = sealed_secret(world)
    collect(world, regeneration_id)
    assert files_with(world, sealed) == []


def test_secret_of_an_abandoned_regeneration_is_in_no_file_of_the_database(world: World) -> None:
    regeneration_id, sealed = sealed_secret(world)
    finish(world, regeneration_id, RegenerationState.ABANDONED)
    assert files_with(world, sealed) == []


def test_secret_collected_beside_a_reader_leaves_with_the_next_commit(world: World) -> None:
    regeneration_id, sealed = sealed_secret(world)
    with world.database.read() as connection:
        connection.exec_driver_sql("SELECT COUNT(*) FROM account").scalar_one()
        collect(world, regeneration_id)
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE account SET reference = reference")
    assert files_with(world, sealed) == []
