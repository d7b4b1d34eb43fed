"""The kinds of mail as a table."""

from collections.abc import Sequence

from rich.console import RenderableType

from octy_worker.cli.output import Column, key_value_table, table
from octy_worker.mail.preview import Preview


def page(found: Sequence[Preview], shared: Sequence[str]) -> list[RenderableType]:
    """Return one row for each kind, and which of the host's own templates are in use."""
    columns = (Column("kind", no_wrap=True), Column("sent when"), Column("subject"))
    kinds = table(columns, ((each.kind, each.sent_when, each.rendered.subject) for each in found))
    yours = [*shared, *(path for each in found for path in each.custom_templates)]
    return [kinds, key_value_table([("your templates", path) for path in yours] or [("templates", "all built in")])]
