"""Accounts as tables and pages."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from octy_worker.cli.output import format_time, key_value_table, table
from octy_worker.cli.views import incidents, keys, mails
from octy_worker.formatting import format_duration
from octy_worker.reports.models import AccountLine, AccountReport
from octy_worker.staff.outputs import ContactChangeResult


def list_table(found: Sequence[AccountLine]) -> Table:
    """Return one row for each account."""
    columns = ("reference", "mail address", "key pairs", "open incidents", "created")
    return table(
        columns,
        (
            (line.reference, line.contact_email_address, line.live_pairs, line.open_incidents, line.created_at)
            for line in found
        ),
        no_wrap=("reference",),
    )


def page(report: AccountReport) -> list[RenderableType]:
    """Return everything about one account."""
    first, *others = report.security_addresses
    parts: list[RenderableType] = [
        key_value_table(
            [
                ("account", report.reference),
                ("id", report.id),
                ("contact", f"{report.contact_name} {report.contact_surname}".strip()),
                ("mail address", report.contact_email_address),
                ("webhook", report.webhook_url),
                ("id key", report.authenticated_id_key),
                ("created", report.created_at),
                ("security mails to", first),
                *(("notices also to", address) for address in others),
                *_contact_change(report),
            ]
        ),
    ]
    if report.pairs:
        parts.append(keys.pairs_table(report.pairs, title="Key pairs"))
    if report.open_incidents:
        parts.append(incidents.list_table(report.open_incidents, title="Open incidents"))
    if report.regenerations:
        parts.append(keys.regenerations_table(report.regenerations))
    if report.notices:
        parts.append(mails.notices_table(report.notices, report.regenerations))
    if report.mails:
        parts.append(mails.mails_table(report.mails, title="Mails"))
    return parts


def _contact_change(report: AccountReport) -> list[tuple[str, str]]:
    """Explain why security mails do not go to the contact address yet; empty when they do."""
    if report.contact_changed_at is None or report.contact_takes_effect_at is None:
        return []
    after = format_duration((report.contact_takes_effect_at - report.contact_changed_at).total_seconds())
    changed = format_time(report.contact_changed_at)
    rule = f"security mails go to it after {after}; every address of the last 14 days gets notices without links"
    return [("", f"the contact address was changed at {changed}: {rule}")]


def changed_lines(done: ContactChangeResult) -> list[str]:
    """Return what was changed, from when on security mails go there, and what to do then."""
    lines = [f"The contact address of {done.account} is now {done.contact_email_address}."]
    if done.takes_effect_at is None:
        lines.append("Security mails go there already: it is the address that was set before.")
    else:
        until = f"Alerts and links to keys go to {done.security_address} until {format_time(done.takes_effect_at)}"
        lines.append(f"{until}, then to the new address. The worker sends a notice to both.")
    if done.keys_wait:
        when = "" if done.takes_effect_at is None else f" after {format_time(done.takes_effect_at)}"
        lines.append(
            f"There are uncollected new keys. To send their link{when}: octy keys resend --account {done.account} "
            "--reason …"
        )
    return lines
