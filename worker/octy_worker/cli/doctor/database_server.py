"""The database's version, and whether commits survive a power failure."""

from collections.abc import Iterator

from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_worker.cli.doctor.check import Check, passed
from octy_worker.cli.doctor.problems import problem
from octy_worker.observability.database_server import DatabaseVersion, read_version, unsafe_settings

VERSION, DURABILITY = "database version", "durability"


def check_database_server(database: Database) -> Iterator[Check]:
    """Check both, each with its own queries."""
    for name, check in (
        (VERSION, lambda database: version_check(read_version(database))),
        (DURABILITY, _check_durability),
    ):
        try:
            yield check(database)
        except OctyError as error:
            yield problem("rows-unreadable", name=name, error=error)


def version_check(found: DatabaseVersion) -> Check:
    """Return the check whether Octy supports this version."""
    if found.is_too_old:
        minimum = ".".join(map(str, found.minimum))
        return problem("database-too-old", product=found.product, version=found.name, least=minimum)
    return passed(VERSION, f"{found.product} {found.name}")


def _check_durability(database: Database) -> Check:
    off = unsafe_settings(database)
    if off:
        settings = ", ".join(f"{name}=off" for name in off)
        return problem("database-not-durable", settings=settings, names=" and ".join(off))
    return passed(DURABILITY, "commits are written to disk")
