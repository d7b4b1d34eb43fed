"""A folder with some of the packages of this environment: those that pip would install for given requirements.

Links, not copies: nothing is fetched, unpacked or compiled. What no requirement names is not there.
"""

from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "octy-middleware"
# What a staff member's machine has no use for, as it is imported.
NOT_FOR_STAFF = (
    "temporalio",
    "uvicorn",
    "starlette",
    "psycopg",
    "alembic",
    "emails",
    "jinja2",
    "prometheus_client",
    "webauthn",
)
RUN_OCTY = """
import sys
from octy_worker.cli import main
try:
    main()
finally:
    print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""  # for `python -c`


def link_packages(folder: Path, requirements: tuple[str, ...], programs: Path) -> None:
    """Link the packages that the requirements need, without our own; and Temporal's program into `programs`."""
    folder.mkdir()
    for found in _needed(requirements):
        for file in found.files or ():
            top, target = file.parts[0], folder / file.parts[0]
            if file.name == "temporal" and file.parent.name == "bin":
                (programs / "temporal").symlink_to(Path(str(found.locate_file(file))).resolve())
            if top not in ("..", "__pycache__") and not target.exists():
                target.symlink_to(Path(str(found.locate_file(top))).resolve())


def _needed(requirements: tuple[str, ...]) -> list[Distribution]:
    """Return the distributions that these need, and those that they need in turn."""
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found.setdefault(name, distribution(name))
        for extra in ("", *wanted.extras):
            if (name, extra) not in done:
                done.add((name, extra))
                needs = map(Requirement, found[name].requires or ())
                waiting += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": extra})]
    return [each for name, each in found.items() if name != OURS]
