"""Incidents as tables and pages."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from octy_middleware.clock import utc
from octy_worker.cli.output import Cell, format_time, key_value_table, print_lines, table
from octy_worker.cli.views import mails
from octy_worker.cli.views.keys import late_uses_table
from octy_worker.domain.histogram import Plot
from octy_worker.domain.histogram import columns as draw_columns
from octy_worker.formatting import format_duration, format_source
from octy_worker.reports.models import IncidentLine, IncidentReport, TimelineLine
from octy_worker.staff.outputs import AmendmentResult

_RULES = {
    "key": "in a row with this key, from any address",
    "source": "in a row with this key, from one network",
    "window": "with this key within a window of time",
}


def list_table(found: Sequence[IncidentLine], *, title: str = "") -> Table:
    """Return one row for each incident."""
    columns = ("incident", "account", "state", "failures", "opened", "answer")
    rows = ((line.id, line.account, _state(line), line.failures, line.opened_at, _answer(line)) for line in found)
    return table(columns, rows, title=title, no_wrap=("incident",))


def page(report: IncidentReport) -> list[RenderableType]:
    """Return everything about one incident."""
    incident = report.incident
    parts: list[RenderableType] = [
        key_value_table(
            [
                ("incident", incident.id),
                ("account", incident.account),
                ("public key", incident.public_key),
                ("state", _state(incident)),
                ("opened", incident.opened_at),
                ("cause", _cause(incident)),
                ("first failure", report.first_at),
                ("opening request", report.request_id),
                ("failures", report.failures),
                ("answer", _answer(incident)),
                ("answered", report.answered_at),
                *_keys(report),
                ("closed", incident.closed_at),
                ("workflow", report.workflow_id),
            ]
        ),
    ]
    if report.plot:
        parts.append(Chart(report.plot, "Failures over time"))
    parts.append(_sources(report))
    if report.late_uses:
        parts.append(late_uses_table(report.late_uses))
    if report.mails:
        parts.append(mails.mails_table(report.mails, title="Mails"))
    parts.append(_timeline(report.timeline))
    return parts


def print_timeline_line(line: TimelineLine) -> None:
    """Print one timeline entry and flush."""
    parts = (format_time(line.at), line.actor, line.what.replace("_", " "), _details(line.detail))
    print_lines("  ".join(part for part in parts if part))
    sys.stdout.flush()


def amendment_lines(result: AmendmentResult, *, leaked: bool) -> list[str]:
    """Return what an amendment means for the incident, the keys and the quiet time."""
    if result.withdrawn is not None:
        return [
            "The new keys are withdrawn: their link no longer works, and the old key pair stays valid.",
            "The incident will be closed.",
        ]
    if result.ordered is not None:
        return [
            "New keys are ordered; a mail goes to the customer. The incident stays closed; its quiet time has ended."
        ]
    if result.closed:
        return ["The incident stays closed; its answer is recorded."]
    if leaked:
        return ["The old key pair is revoked: all apps refuse it within one second. The new keys are being sent."]
    return ["The worker continues the incident with this answer."]


def _cause(line: IncidentLine) -> str:
    return f"{line.length} wrong secrets {_RULES.get(line.rule, line.rule)} {format_source(line.network)}".strip()


def _state(line: IncidentLine) -> str:
    return f"{line.state}: {line.resolution}" if line.resolution else line.state


def _answer(line: IncidentLine) -> str:
    if not line.answer:
        return ""
    return f"{line.answer}{', leaked' if line.leaked else ''}, by {line.answered_by}"


def _keys(report: IncidentReport) -> list[tuple[str, Cell]]:
    new = report.regeneration
    if new is None:
        return []
    collected = f", collected {format_time(new.collected_at)}" if new.collected_at else ", not collected yet"
    used = f", first used {format_time(new.new_first_used_at)}" if new.new_first_used_at else ""
    return [("new keys", f"{new.state}{'' if new.finished_at and not new.collected_at else collected}{used}")]


def _sources(report: IncidentReport) -> Table:
    columns = ("source", "failures", "last", "user agent")
    rows = [(format_source(line.source), line.count, line.last_at, line.user_agent) for line in report.sources]
    more = report.source_count - len(rows)
    if more:
        rest = report.failures - sum(line.count for line in report.sources)
        rows.append((f"{'' if report.sources_complete else 'at least '}{more:,} more", rest, None, ""))
    return table(columns, rows, title="Sources", no_wrap=("source",))


def _timeline(found: Sequence[TimelineLine]) -> Table:
    columns = ("time", "actor", "event", "details")
    rows = ((line.at, line.actor, line.what.replace("_", " "), _details(line.detail)) for line in found)
    return table(columns, rows, title="Timeline")


def _details(detail: Mapping[str, object]) -> str:
    """Return the details as text; a mail's key is in the table of mails."""
    values = {name: _readable(name, value) for name, value in detail.items() if name != "key"}
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in values.items())


def _readable(name: str, value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_time(utc(value)) if isinstance(value, int) and name.endswith("_at") else value


@dataclass(frozen=True, slots=True)
class Chart:
    """A column chart under a title."""

    plot: Plot
    title: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw with the characters that this terminal can show."""
        yield Text(f"{self.title}, in UTC, one column is {format_duration(self.plot.seconds)}", "bold")
        ascii_only = options.ascii_only or not (sys.stdout.encoding or "utf").lower().startswith("utf")
        for line in draw_columns(self.plot, ascii_only=ascii_only):
            yield Text(line, "red", no_wrap=True, overflow="crop")
