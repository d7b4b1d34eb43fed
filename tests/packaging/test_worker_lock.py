"""Image and unit of the worker install each package by hash, at the versions that the tests run with."""

import re
import tomllib
from itertools import chain
from pathlib import Path

from support.paths import ROOT

DEPLOY = ROOT / "worker" / "deploy"


def locked(path: Path) -> dict[str, str]:
    """Return what a lock says of each package: version, marker and hashes."""
    blocks = re.split(r"\n(?=\S)", path.read_text("utf-8"))
    return {block.partition("==")[0].partition("[")[0]: block.strip() for block in blocks if "==" in block}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[>=<]", each)[0] for each in requirements}


def test_worker_lock_has_each_package_of_the_worker_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [extras[name] for name in ("worker", "staff", "postgres", "telemetry")]  # the worker has that of staff
    wanted = names([*project["dependencies"], *chain(*needed)]) - {"octy-middleware"}
    lock, tested = locked(DEPLOY / "requirements.lock"), locked(ROOT / "requirements.lock")
    assert wanted | {"hatchling"} <= lock.keys()
    assert all("--hash=sha256:" in block for block in lock.values())
    versions = {name: block.split()[0] for name, block in lock.items()}
    assert versions == {name: tested[name].split()[0] for name in versions}


def test_image_and_unit_install_by_hash() -> None:
    for file in (DEPLOY / "Dockerfile", DEPLOY / "systemd" / "octy-worker.service"):
        installs = [line for line in file.read_text("utf-8").splitlines() if "pip install" in line]
        assert len(installs) == 2, file
        assert "--require-hashes" in installs[0], file
        assert "--no-deps" in installs[1], file
