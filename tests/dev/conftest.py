"""Fixtures of several files of this folder."""

import tempfile

import pytest


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The place for temporary folders, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
