"""Mails as a table."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.reports.models import MailLine
from octy_workflows.messages import DAILY_CAP


def mails_table(found: Sequence[MailLine], *, title: str) -> Table:
    """Return one row for each mail."""
    columns = (Column("kind"), Column("state"), Column("sent"), Column("attempts"), Column("error"), Column("mail"))
    rows = ((mail.kind, _state(mail), mail.sent_at, mail.tries, mail.last_error, mail.key) for mail in found)
    return table(columns, rows, title=title)


def _state(mail: MailLine) -> str:
    if mail.last_error == DAILY_CAP:
        return "withheld until tomorrow"
    return f"{mail.state} in {mail.joined_mail}" if mail.joined_mail else mail.state
