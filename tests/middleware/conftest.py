"""Fixtures of several tests of the middleware."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.adapters import ADAPTERS
from support.databases import make_empty_database, remove_database

from octy_middleware import Database


@pytest.fixture
def empty(tmp_path: Path, database_kind: str) -> Iterator[Database]:
    """A database without tables."""
    url = make_empty_database(tmp_path, database_kind)
    database = Database(url)
    yield database
    database.close()
    remove_database(url)


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Any:
    """What opens an adapter over a real app, and yields a function that asks it."""
    return ADAPTERS[request.param]
