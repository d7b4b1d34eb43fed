"""The files of a pack about the incident itself: its report, the attempts, the mails, and a page to read."""

import csv
import io
from datetime import timedelta
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import TypeAdapter
from sqlmodel import Session, col, select

from octy_middleware.clock import EPOCH
from octy_middleware.db.models import Attempt, Incident
from octy_worker import formatting, sanitize
from octy_worker.audit.repository import json_values
from octy_worker.canonical_json import canonical_json
from octy_worker.evidence.records import Records
from octy_worker.reports.models import IncidentReport, MailLine

_REPORT: TypeAdapter[IncidentReport] = TypeAdapter(IncidentReport)
_MAILS: TypeAdapter[tuple[MailLine, ...]] = TypeAdapter(tuple[MailLine, ...])
_COLUMNS = ("at", "outcome", "source", "user_agent", "method", "path", "request_id")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MAX_TEXT = 500


def timeline_json(report: IncidentReport) -> bytes:
    """Return the incident as `octy incidents show --json` has it, with its timeline."""
    return _REPORT.dump_json(report, indent=1)


def mails_json(report: IncidentReport) -> bytes:
    """Return ids and states of the mails: no address and no text."""
    return _MAILS.dump_json(report.mails, indent=1)


def attempts_csv(session: Session, incident: Incident) -> bytes:
    """Return the attempts in detail that are still kept, from the first failure of the incident on, until its end.

    RFC 4180. What a client sent may begin like a formula of a spreadsheet: such a cell begins with an apostrophe.
    """
    which = [col(Attempt.public_key) == incident.public_key, col(Attempt.at) >= incident.first_at]
    if incident.closed_at is not None:
        which.append(col(Attempt.at) <= incident.closed_at)
    query = select(Attempt).where(*which).order_by(col(Attempt.id))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for attempt in session.exec(query):
        values = [attempt.at.isoformat(), *(str(getattr(attempt, name)) for name in _COLUMNS[1:])]
        writer.writerow([f"'{value}" if value.startswith(_FORMULA) else value for value in values])
    return text.getvalue().encode()


def timeline_html(report: IncidentReport, records: Records) -> bytes:
    """Return a page for people: the incident, its timeline, and the orders."""
    template = _templates().get_template("timeline.html")
    return template.render(report=report, records=records).encode()


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("octy_worker.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: sanitize.for_page(value, _MAX_TEXT) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = formatting.format_time
    environment.filters["micros"] = lambda value: formatting.format_time(EPOCH + timedelta(microseconds=value))
    environment.filters["details"] = lambda detail: canonical_json(json_values(detail)).decode()
    return environment
