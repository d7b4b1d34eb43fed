"""Mails as tables."""

from collections.abc import Sequence

from rich.table import Table

from octy_worker.cli.output import table
from octy_worker.reports.models import MailLine, NoticeLine, RegenerationLine
from octy_workflows.messages import DAILY_CAP


def mails_table(found: Sequence[MailLine], *, title: str) -> Table:
    """Return one row for each mail."""
    columns = ("kind", "state", "sent", "attempts", "error", "mail")
    rows = (
        (mail.kind, _state(mail), mail.sent_at, mail.delivery_attempts, mail.last_error, mail.key) for mail in found
    )
    return table(columns, rows, title=title)


def _state(mail: MailLine) -> str:
    if mail.last_error == DAILY_CAP:
        return "withheld until tomorrow"
    return f"{mail.state} in {mail.joined_mail}" if mail.joined_mail else mail.state


_KINDS = {
    "exposed": "keys sent over plain HTTP",
    "contact_changed": "contact address changed",
    "webhook_changed": "webhook URL changed",
    "keys_added": "key pairs added by an import",
}


def notices_table(found: Sequence[NoticeLine], regenerations: Sequence[RegenerationLine]) -> Table:
    """Return one row for each notice: subject, mails, and the new keys that the customer ordered on its page."""
    columns = ("subject", "time", "mails", "new keys", "notice")
    states = {each.id: each.state for each in regenerations}
    rows = (
        (
            _KINDS.get(notice.kind, notice.kind),
            notice.at,
            ", ".join(map(_mail_state, notice.mails)) or "being sent",
            states.get(notice.regeneration_id or "", notice.regeneration_id),
            notice.id,
        )
        for notice in found
    )
    return table(columns, rows, title="Notices")


def _mail_state(mail: MailLine) -> str:
    return f"{mail.kind} {mail.state}{f' ({mail.last_error})' if mail.last_error else ''}"
