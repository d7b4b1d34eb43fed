"""The database's minimum version, and settings that lose commits at a power loss."""

import sqlite3

import pytest
from support.world import World

from octy_worker.cli.doctor.check import State
from octy_worker.cli.doctor.database_server import version_check
from octy_worker.observability.database_server import (
    DatabaseVersion,
    postgresql_version,
    read_version,
    sqlite_version,
    unsafe_settings,
)


@pytest.mark.parametrize(
    ("version", "too_old"),
    [
        (sqlite_version("3.34.1"), True),
        (sqlite_version("3.35.0"), False),
        (sqlite_version("3.40.1"), False),
        (sqlite_version("4.0"), False),
        (postgresql_version("9.6.24", 90_624), True),
        (postgresql_version("10.0", 100_000), False),
        (postgresql_version("18.1 (Debian 18.1-1)", 180_001), False),
    ],
)
def test_database_version_below_the_minimum_is_too_old(version: DatabaseVersion, too_old: bool) -> None:
    check = version_check(version)
    assert (check.state is State.PROBLEM, check.code == "database-too-old") == (too_old, too_old)
    assert version.name in check.found


def test_database_version_is_read_from_the_server(world: World) -> None:
    found = read_version(world.database)
    assert not found.is_too_old
    if world.database_kind == "sqlite":
        assert (found.product, found.name) == ("SQLite", sqlite3.sqlite_version)
    else:
        [(name,)] = world.rows("SHOW server_version")
        assert (found.product, found.name) == ("PostgreSQL", name)


def test_durability_settings_that_are_off_are_named(world: World) -> None:
    own = ["fsync", "full_page_writes"]  # the tests' server is fast, not durable
    assert unsafe_settings(world.database) == ([] if world.database_kind == "sqlite" else own)
