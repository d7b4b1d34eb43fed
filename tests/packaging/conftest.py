"""A copy of the sources with an environment of its own, what `make dist` makes there, and environments with it."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installed_packages import OURS, link_packages
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
def install(wheel: Path) -> Callable[[Path, str], Path]:
    """Return what installs the wheel with an extra, or with none, into a new environment, and returns its Python.

    What the requirements need is linked into it from this environment, and pip has no index: it refuses a wheel that
    needs anything else.
    """

    def install(folder: Path, extra: str) -> Path:
        environment, packages = folder / "venv", folder / "packages"
        venv.create(environment)
        link_packages(packages, (f"{OURS}{extra}",), folder)
        [site] = environment.glob("lib/python*/site-packages")
        (site / "others.pth").write_text(f"{packages}\n")
        python = environment / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
        command = [*pip, "install", "--quiet", "--no-index", "--no-compile", f"{wheel}{extra}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return python

    return install
