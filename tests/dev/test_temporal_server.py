"""The Temporal dev server keeps its state in its file and leaves no process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octy_middleware.errors import ConfigurationError
from octy_worker.dev.processes import ProcessError, ProcessGroup, free_port, is_free
from octy_worker.dev.temporal_server import find_temporal, start_temporal


@pytest.fixture
def group(tmp_path):
    with ProcessGroup(tmp_path / "logs", dict(os.environ)) as group:
        yield group


def test_temporal_server_keeps_its_state_over_a_kill_and_stops(group, tmp_path):
    database, port, ui_port = tmp_path / "temporal.db", free_port(), free_port()
    first = start_temporal(group, database, port=port, ui_port=ui_port)
    assert not is_free(port)
    assert not is_free(ui_port)
    temporal(port, "start", "--type", "Nothing", "--task-queue", "no-worker", "--workflow-id", "kept")
    os.kill(first.pid, signal.SIGKILL)
    second = start_temporal(group, database, port=port, ui_port=None)
    assert '"workflowId": "kept"' in temporal(port, "describe", "--workflow-id", "kept", "--output", "json")
    assert is_free(ui_port)  # it was started without
    group.stop()
    assert is_free(port)
    assert session_members(second.pid) == []


def test_failed_start_shows_the_log_of_the_server(group, tmp_path):
    database = tmp_path / "no-such-folder" / "temporal.db"
    with pytest.raises(ProcessError, match=r"(?s)temporal ended with status 1.*no such file or directory"):
        start_temporal(group, database, port=free_port(), ui_port=None)


def test_binary_in_the_folder_of_python_is_preferred(tmp_path, monkeypatch):
    for folder in ("venv", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "temporal").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_temporal() == str(tmp_path / "venv" / "temporal")
    (tmp_path / "venv" / "temporal").unlink()
    assert find_temporal() == str(tmp_path / "path" / "temporal")
    (tmp_path / "path" / "temporal").unlink()
    with pytest.raises(ConfigurationError, match=r"pip install 'octy-middleware\[dev\]'"):
        find_temporal()


def temporal(port: int, *arguments: str) -> str:
    command = [find_temporal(), "workflow", *arguments, "--address", f"127.0.0.1:{port}"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def session_members(leader: int) -> list[str]:
    """Return the processes of the session that the child led."""
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if fields[3] == str(leader):
            members.append(entry.parent.name)
    return members
