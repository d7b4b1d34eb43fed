"""Notices as a table."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import Column, table
from octy_worker.reports.models import MailLine, NoticeLine, RegenerationLine

_KINDS = {
    "exposed": "keys sent over plain HTTP",
    "contact_changed": "contact address changed",
    "webhook_changed": "webhook URL changed",
    "keys_added": "key pairs added by an import",
}


def notices_table(found: Sequence[NoticeLine], regenerations: Sequence[RegenerationLine]) -> Table:
    """Return one row for each notice: subject, mails, and the new keys that the customer ordered on its page."""
    columns = (Column("subject"), Column("time"), Column("mails"), Column("new keys"), Column("notice"))
    states = {each.id: each.state for each in regenerations}
    rows = (
        (
            _KINDS.get(notice.kind, notice.kind),
            notice.at,
            ", ".join(map(_state, notice.mails)) or "being sent",
            states.get(notice.regeneration_id or "", notice.regeneration_id),
            notice.id,
        )
        for notice in found
    )
    return table(columns, rows, title="Notices")


def _state(mail: MailLine) -> str:
    return f"{mail.kind} {mail.state}{f' ({mail.last_error})' if mail.last_error else ''}"
