"""Tests' TLS contexts read no file of all authorities, where the system's folder has each by its hash."""

import os
from pathlib import Path

import pytest
from support.few_authorities import look_authorities_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("all.crt", "0a1b2c3d.0"):
        tmp_path.joinpath(name).touch()
    return tmp_path


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.delenv("SSL_CERT_FILE")


def test_one_authority_is_read_beforehand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_authorities_up(folder)
    assert os.environ["SSL_CERT_FILE"] == str(folder / "0a1b2c3d.0")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "all.crt"))  # the system's own file
    assert look_authorities_up(folder)
    assert os.environ["SSL_CERT_FILE"] == str(folder / "0a1b2c3d.0")


def test_file_that_somebody_named_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/somewhere/else.pem")
    assert not look_authorities_up(folder)
    assert os.environ["SSL_CERT_FILE"] == "/somewhere/else.pem"


def test_folder_without_links_by_hash_changes_nothing(tmp_path: Path) -> None:
    assert not look_authorities_up(tmp_path)
    assert "SSL_CERT_FILE" not in os.environ
