"""/alert: the page of an incident, on which the customer answers once.

A GET only reads. A POST answers when its URL, form token and button are all valid; one conditional UPDATE decides
between concurrent answers. An invalid link token is refused before any query, so that guesses all take the same time
and get the same page.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from starlette.responses import Response

from octy_middleware.clock import Clock, utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident
from octy_middleware.recording.streak import Rule
from octy_middleware.states import Answer
from octy_worker.crypto.links import Links, Purpose
from octy_worker.domain.incidents import CUSTOMER, SYSTEM, IncidentView, answer_incident, load_incident, window_seconds
from octy_worker.domain.usage import SourceCount, SourceSummary
from octy_worker.formatting import SOURCES_SHOWN, format_count, format_duration, format_source
from octy_worker.pages import message_pages
from octy_worker.pages.forms import read_checkbox
from octy_worker.pages.link_routes import LATE, NO_BUTTON, STALE, Form, Query, message_about_post, redirect_to_page
from octy_worker.pages.page_renderer import PageRenderer
from octy_worker.settings import WorkerSettings

_BUTTONS = {str(answer): answer for answer in Answer}

_LEAKED = "leaked"  # a problem code
_RETRY_MESSAGES: Mapping[str, str] = {
    STALE: "This form was out of date. Nothing was recorded. Please answer again below.",
    _LEAKED: "The secret key was reported as leaked, so this cannot be a false alarm. Nothing was recorded.",
    NO_BUTTON: "We received no answer. Nothing was recorded. Please press one of the two buttons below.",
}
_ALREADY_ANSWERED = "This was already answered. Your click changed nothing. Current status:"

_log = logging.getLogger(__name__)


class IncidentPages:
    """Shows incidents and records answers."""

    def __init__(
        self, settings: WorkerSettings, database: Database, links: Links, *, renderer: PageRenderer, clock: Clock
    ) -> None:
        self._settings = settings
        self._database = database
        self._links = links
        self._renderer = renderer
        self._clock = clock

    def respond(self, incident_id: str, token: str, form: Form | None, query: Query) -> Response:
        """Return the response to one request."""
        if not self._links.check(token, Purpose.ALERT, incident_id):
            _log.info("incident %s: request with an invalid link refused", incident_id)
            return self._renderer.notice(message_pages.NOT_FOUND)
        with self._database.read_session() as session:
            view = load_incident(session, incident_id)
        if view is None:
            return self._renderer.notice(message_pages.NOT_FOUND)
        if self._is_over(view.incident):
            return self._renderer.notice(message_pages.INCIDENT_CLOSED)
        return self._show(view, query) if form is None else self._answer(view, token, form)

    def _is_over(self, incident: Incident) -> bool:
        """Return whether its grace period is over: by then others may have the link."""
        grace_period = timedelta(seconds=self._settings.alert_link_grace_period)
        return incident.closed_at is not None and utc(self._clock()) >= incident.closed_at + grace_period

    def _answer(self, view: IncidentView, token: str, form: Form) -> Response:
        incident_id = view.incident.id
        if not self._links.check(form.get("form", ""), Purpose.ALERT_FORM, incident_id):
            return redirect_to_page(token, STALE)
        answer = _BUTTONS.get(form.get("answer", ""))
        leaked = read_checkbox(form, "leaked")
        if answer is None or leaked is None:
            return redirect_to_page(token, NO_BUTTON, ticked=bool(leaked))
        if answer is Answer.IT_WAS_US and view.incident_answer.leaked and view.incident_answer.answer is None:
            return redirect_to_page(token, _LEAKED)
        with self._database.write_session() as session:
            result = answer_incident(session, incident_id, answer, leaked=leaked, by=CUSTOMER, now=self._clock())
        if result is not None and result.taken:
            _log.info("incident %s: answered %s, leaked: %s", incident_id, answer, result.leaked)
            return redirect_to_page(token)
        return redirect_to_page(token, LATE)

    def _show(self, view: IncidentView, query: Query) -> Response:
        incident, incident_answer = view.incident, view.incident_answer
        is_open = incident_answer.answer is None and incident.closed_at is None
        status, problem = message_about_post(query, _RETRY_MESSAGES, _ALREADY_ANSWERED, is_open=is_open)
        shown = view.sources.named[:SOURCES_SHOWN]
        return self._renderer.page(
            "incident.html",
            status,
            problem=problem,
            leak_ticked=bool(problem) and query.get("leaked") == "yes",
            incident=incident,
            pair=view.pair,
            incident_answer=incident_answer,
            decided_by=incident_answer.answered_by if incident_answer.answered_by in (CUSTOMER, SYSTEM) else "staff",
            failures=view.failures,
            last_at=view.sources.last_at or incident.opened_at,
            rule=_describe_rule(view),
            sources=shown,
            rest=_describe_other_sources(view.sources, shown),
            late_uses=view.late_uses[:SOURCES_SHOWN],
            form_token=self._links.token(Purpose.ALERT_FORM, incident.id),
            quiet=self._settings.quiet_after_false_alarm,
            overlap=self._settings.overlap,
        )


def _describe_rule(view: IncidentView) -> str:
    window = window_seconds(view.incident)
    if window is not None:
        attempts = f"{format_count(view.incident.length, 'request')} with your public key and a wrong secret key"
        return f"{attempts} within {format_duration(window)}. There may have been successful requests in between"
    attempts = f"{format_count(view.incident.length, 'request')} in a row"
    if view.incident.rule == Rule.SOURCE:
        return (
            f"{attempts} from one network ({format_source(view.incident.network)}) with your public key and a wrong "
            "secret key, and no successful request from that network in between"
        )
    return f"{attempts} with your public key and a wrong secret key, and no successful request in between"


def _describe_other_sources(sources: SourceSummary, shown: Sequence[SourceCount]) -> str:
    """Return the sum of the sources that are not shown, as text; empty when there are none."""
    number, count = sources.number - len(shown), sources.total - sum(source.count for source in shown)
    if not number:
        return ""
    at_least, addresses = "" if sources.complete else "at least ", "address" if number == 1 else "addresses"
    return f"and {format_count(count, 'attempt')} from {at_least}{number:,} more {addresses}"
