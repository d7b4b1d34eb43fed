"""Builds of the worker as a table."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.temporal.deployment import Version


def list_table(found: Sequence[Version]) -> Table:
    """Return one row for each build."""
    columns = (Column("build id", no_wrap=True), Column("current"), Column("drainage"))
    return table(columns, ((version.build_id, version.current, version.drainage) for version in found))
