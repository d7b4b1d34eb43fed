"""Versions of the worker, drawn."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.temporal.deployment import Version


def list_table(found: Sequence[Version]) -> Table:
    """Return a line a version."""
    columns = (Column("build id", whole=True), Column("current"), Column("drainage"))
    return table(columns, ((version.build_id, version.current, version.drainage) for version in found))
