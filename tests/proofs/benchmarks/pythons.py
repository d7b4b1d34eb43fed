"""Other interpreters: which are here, and an environment with everything that a bench needs for each."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

OLDEST = "3.11"
_VERSIONS = (OLDEST, "3.12", "3.13", "3.14")
_ASK = "import sys, venv; print('%d.%d' % sys.version_info[:2])"


def running() -> str:
    """Return the version of this interpreter, as `find` names them."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def find(path: str | None = None, home: Path | None = None) -> dict[str, str]:
    """Return an interpreter of each version that is found, oldest first: on PATH, else in pyenv's folder.

    One that does not run does not count: pyenv has a file on PATH for each version, whether that is chosen or not.
    """
    found = {}
    for version in _VERSIONS:
        name = f"python{version}"
        candidates = (shutil.which(name, path=path), *_in_pyenv(home or Path.home(), version, name))
        runs = next((one for one in candidates if one and _version_of(one) == version), None)
        if runs is not None:
            found[version] = runs
    return found


def _in_pyenv(home: Path, version: str, name: str) -> Iterator[str]:
    folders = home.joinpath(".pyenv", "versions").glob(f"{version}.*")
    return (str(folder / "bin" / name) for folder in sorted(folders, reverse=True))


def _version_of(interpreter: str) -> str:
    try:
        return subprocess.run([interpreter, "-c", _ASK], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def others() -> tuple[dict[str, str], dict[str, str]]:
    """Return the oldest and the newest interpreter beside this one, by version, and why one could not be used.

    Each is that of an environment which `make install` sets up, as for `make test-all`.
    """
    found = find()
    wanted = [
        version for version in dict.fromkeys((OLDEST, max(found, key=_order, default=OLDEST))) if version != running()
    ]
    environments, left_out = {}, {}
    for version in wanted:
        if version not in found:
            left_out[version] = "not installed"
            continue
        folder = f".venv-python{version}"
        command = ["make", "--silent", "--no-print-directory", "install", f"PYTHON={found[version]}", f"VENV={folder}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            left_out[version] = f"`{' '.join(command)}` failed"
        else:
            environments[version] = str(ROOT / folder / "bin" / "python")
    return environments, left_out


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
