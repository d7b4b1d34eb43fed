"""Fixtures of several files of this folder."""

from pathlib import Path

import pytest
from support.compared_tables import share_comparisons
from support.compiled_mails import share_compiled_mails

from octy_worker import system_log

share_comparisons()
share_compiled_mails()


@pytest.fixture
def no_system_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have audit lines go to stderr, as in a container."""
    monkeypatch.setattr(system_log, "SOCKETS", (tmp_path / "no-such-socket",))
