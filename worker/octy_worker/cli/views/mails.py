"""Mails, drawn."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.console import Column, table
from octy_worker.report_shapes import MailLine


def mails_table(found: Sequence[MailLine], *, title: str) -> Table:
    """Return a line a mail."""
    columns = (Column("kind"), Column("state"), Column("sent"), Column("tries"), Column("fault"), Column("mail"))
    rows = ((mail.kind, mail.state, mail.sent_at, mail.tries, mail.last_error, mail.key) for mail in found)
    return table(columns, rows, title=title)
