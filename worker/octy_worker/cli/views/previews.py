"""The kinds of mail, drawn."""

from collections.abc import Sequence

from rich.console import RenderableType

from octy_worker.cli.output import Column, key_value_table, table
from octy_worker.mail.preview import Preview


def page(found: Sequence[Preview], shared: Sequence[str]) -> list[RenderableType]:
    """Return a line a kind, and which files of the host's own are in use."""
    columns = (Column("kind", whole=True), Column("when it goes out"), Column("subject"))
    kinds = table(columns, ((each.kind, each.sent_when, each.rendered.subject) for each in found))
    yours = [*shared, *(path for each in found for path in each.custom_templates)]
    return [kinds, key_value_table([("your templates", path) for path in yours] or [("templates", "all of them ours")])]
