"""Fixtures of several tests of the database."""

import pytest
from support import compared_tables

from octy_middleware.db.migrations import comparison


@pytest.fixture
def compared_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare tables by the code itself, also in a process in which other tests share comparisons."""
    monkeypatch.setattr(comparison, "differences", compared_tables.compare)
