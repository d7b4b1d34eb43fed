"""Temporary files of tests are in memory when there is room and TMPDIR is not set."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.memory_folder import LEAST_ROOM, use_memory_folder


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())


def have(monkeypatch: pytest.MonkeyPatch, free: int, flags: int = 0) -> None:
    found = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda _folder: found)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=64 << 30))


def test_temporary_folders_are_in_memory_when_it_has_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    have(monkeypatch, LEAST_ROOM)
    assert use_memory_folder(tmp_path)
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)


@pytest.mark.parametrize(("free", "flags"), [(LEAST_ROOM - 4096, 0), (LEAST_ROOM, getattr(os, "ST_NOEXEC", 8))])
def test_temporary_folders_stay_on_disk_without_room_or_exec_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, flags: int
) -> None:
    have(monkeypatch, free, flags)
    assert not use_memory_folder(tmp_path)
    assert "TMPDIR" not in os.environ


def test_temporary_folders_follow_the_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    have(monkeypatch, LEAST_ROOM)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert not use_memory_folder(tmp_path)
    assert os.environ["TMPDIR"] == "/elsewhere"


def test_missing_memory_folder_is_not_used(tmp_path: Path) -> None:
    assert not use_memory_folder(tmp_path / "missing")
