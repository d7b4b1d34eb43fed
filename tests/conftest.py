"""Fixtures that every folder of tests may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.world import World

settings.register_profile("octy", deadline=None)  # a slow day is no fault of the code
settings.load_profile("octy")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.database.close()
