"""Output of a demo: its figures as JSON, the differences to the policy, and a timeline."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from octy_worker.dev.demo_oracle import Figures
from octy_worker.dev.demo_results import REGENERATE, TimelineEntry
from octy_worker.dev.demo_staff import AuditFigures, SignedOrder
from octy_worker.private_files import write_private


def write_report(
    path: Path, found: Figures, seconds: float, orders: Sequence[SignedOrder], audit: AuditFigures
) -> None:
    """Write the figures, what staff signed, the state of the audit log, and the duration as JSON."""
    report = {
        **asdict(found), "staff": [asdict(order) for order in orders], "audit": asdict(audit),
        "seconds": round(seconds, 1),
    }  # fmt: skip
    write_private(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def differences(found: Figures, expected: Figures) -> list[str]:
    """Return one line for each figure that differs from the policy."""
    return [
        f"{field.name}: expected {getattr(expected, field.name)}, found {getattr(found, field.name)}"
        for field in fields(Figures)
        if getattr(found, field.name) != getattr(expected, field.name)
    ]


def unproven(found: Figures, orders: Sequence[SignedOrder], audit: AuditFigures) -> list[str]:
    """Return one line for each decision of staff without a verified order, and one for an audit log that is wrong."""
    proven = {order.user for order in orders if order.verified}
    lines = [
        f"staff: the decision about {incident.user} was not signed by a verified order"
        for incident in found.cases
        if incident.answer == REGENERATE and incident.user not in proven
    ]
    return lines if audit.verified else [*lines, "audit: `octy audit verify` found that the log was changed"]


def show_timeline(console: Console, moments: Iterable[TimelineEntry], start: datetime) -> None:
    """Print the timeline, in seconds since the start."""
    table = Table(title="What happened", title_justify="left", box=None, pad_edge=False)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("customer", style="bold", max_width=24)
    table.add_column("")
    for moment in moments:
        after = (moment.at - start).total_seconds()
        table.add_row(f"{after:.1f} s", Text(moment.user), Text(moment.text))
    console.print()
    console.print(table)


def show_figures(console: Console, found: Figures) -> None:
    """Print the figures: requests, mails, incidents."""
    answers = ", ".join(f"{count} × {status}" for status, count in found.answers.items())
    kept = ", ".join(f"{outcome} {count}" for outcome, count in found.recorded.items())
    mails = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in found.mails.items())
    console.print()
    for line in (f"Requests: {found.rows}, answered {answers}", f"In the database: {kept}", f"Mails: {mails}"):
        console.print(line, markup=False, highlight=False)
    if found.cases:
        console.print()
        console.print(_incident_table(found))


def show_staff(console: Console, orders: Sequence[SignedOrder], audit: AuditFigures) -> None:
    """Print who decided for customers and how that is proven, and the state of the audit log."""
    console.print()
    for order in orders:
        proven = "verified" if order.verified else "NOT verified"
        console.print(
            f"Signed order: {order.actor} about {order.user}, certificate {order.certificate_serial}, "
            f"second factor {order.factor}, {proven}",
            markup=False,
            highlight=False,
        )
    found = "verified" if audit.verified else "NOT verified"
    console.print(f"Audit log: {audit.entries} entries, {found}", markup=False, highlight=False)


def _incident_table(found: Figures) -> Table:
    table = Table(title="Answered incidents", title_justify="left", box=None, pad_edge=False)
    for heading in ("customer", "answer", "leaked", "old key pair", "new key pair"):
        table.add_column(heading)
    for incident in found.cases:
        table.add_row(
            Text(incident.user),
            incident.answer.replace("_", " "),
            "yes" if incident.leaked else "no",
            _status(incident.old_pair),
            _status(incident.new_pair),
        )
    return table


def _status(status: int | None) -> str:
    return {None: "–", 200: "200, accepted", 401: "401, refused"}.get(status, str(status))
