"""What the extra `[staff]` needs is enough to work from a laptop: its packages alone, linked into a folder.

`test_staff_install` installs the wheel with pip, logs in and decides; `make proofs` runs it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from support.cli_rig import DENIED
from support.installed_packages import NOT_FOR_STAFF, RUN_OCTY, link_packages
from support.staff_rig import StaffKeys

import octy_middleware
import octy_worker
import octy_workflows

_FIND = "import sys; sys.path.insert(0, sys.argv.pop(1))"  # the folder with the packages


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages that `octy-middleware[staff]` needs, and with Octy's own."""
    folder = tmp_path_factory.mktemp("staff") / "packages"
    link_packages(folder, ("octy-middleware[staff]",), folder)
    for package in (octy_middleware, octy_workflows, octy_worker):
        (folder / package.__name__).symlink_to(Path(str(package.__file__)).parent)
    return folder


def run(packages: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `octy` with these packages and no others: without the folders of this environment."""
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", _FIND + RUN_OCTY, str(packages), *words]
    environ = {"PATH": os.environ["PATH"], "HOME": str(packages), "XDG_STATE_HOME": str(packages)}
    return subprocess.run(command, env=environ, cwd=packages, capture_output=True, text=True, check=False)


def test_staff_packages_have_nothing_of_temporal_databases_and_servers(packages: Path) -> None:
    found = {canonicalize_name(path.name) for path in packages.iterdir()}
    assert {"octy-worker", "typer", "rich", "httpx2"} <= found
    assert not set(map(canonicalize_name, NOT_FOR_STAFF)) & found


def test_commands_of_a_laptop_need_the_staff_packages_only(packages: Path, tmp_path: Path) -> None:
    """One that signs nothing yet asks the server, and what another imports before it finds that there is no session."""
    keys, denied = StaffKeys.make(tmp_path), f"https://{DENIED}"
    key = str(keys.keys["ada"].path)
    for words, told in (
        (("--sign", key, "login", denied), DENIED),
        (("--sign", key, "--server", denied, "incidents", "decide", "i1", "dismiss", "--reason", "x"), "not logged in"),
    ):
        done = run(packages, *words)
        output, _, loaded = done.stderr.partition("loaded: ")
        assert told in output, done
        assert "Traceback" not in output, done
        assert "httpx2" in loaded.split(), done
        assert not set(NOT_FOR_STAFF) & set(loaded.split())
