"""A copy of the sources with an environment of its own, what `make dist` makes there, and versions for pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the sources whose `.venv` has the packages of this run: `make install` finds nothing to do."""
    folder = tmp_path_factory.mktemp("checkout") / "octy"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist", "build", "trial"))
    environment = folder / ".venv"
    environment.mkdir()
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment)
    for name in ("bin", "lib"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    (environment / ".installed").touch()
    return folder


@pytest.fixture(scope="session")
def wheel(checkout: Path) -> Path:
    """Return the wheel that `make dist` builds."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    done = subprocess.run(
        ["make", "dist"], cwd=checkout, env=outside, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (checkout / "dist").glob("*.whl")
    assert done.stdout.splitlines()[-1].startswith(f"octy: install in a host app: pip install dist/{wheel.name}; ")
    return wheel


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of constraints with the versions of the lock: this run tests what the others test."""
    lines = [line.split("\\")[0].strip() for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()]
    path = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    path.write_text("\n".join(line for line in lines if line and not line.startswith("--")), encoding="utf-8")
    return path
