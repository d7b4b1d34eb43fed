"""/case: the customer reads what happened and answers, once.

Here: the page of a case, and the way from a pressed button to `cases.answer_case`. Not here: what an answer does
(`cases`), or when a case is closed (`octy_workflows.incident`).

A GET reads only. A POST answers when its address, its form token and its button are all right; one conditional
UPDATE decides between several. A stranger's token is refused before the store is asked anything, so that all that
strangers can try takes the same way to the same page.
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
from octy_worker.domain.incidents import CUSTOMER, SYSTEM, CaseView, answer_case, load_case, window_of
from octy_worker.domain.usage import SourceCount, Sources
from octy_worker.formatting import SOURCES_SHOWN, amount, origin, span
from octy_worker.pages import message_pages
from octy_worker.pages.forms import read_checkbox
from octy_worker.pages.link_routes import Form, Query, problem_code, redirect_to_page
from octy_worker.pages.message_pages import MessagePage
from octy_worker.pages.page_renderer import PageRenderer
from octy_worker.settings import WorkerSettings

_BUTTONS = {str(answer): answer for answer in Answer}

_STALE, _LEAKED, _NO_BUTTON, _CLOSED = "stale", "leaked", "none", "late"
_RETRY_MESSAGES: Mapping[str, str] = {
    _STALE: "This form was out of date. Nothing was recorded: please answer again below.",
    _LEAKED: "The secret key was reported as leaked, so this can't be a false alarm. Nothing was recorded.",
    _NO_BUTTON: "No answer arrived. Nothing was recorded: please press one of the two buttons below.",
}
_ALREADY_ANSWERED = "This case was settled before your click, so your click changed nothing. This is what stands:"

_log = logging.getLogger(__name__)


class IncidentPages:
    """Shows cases and takes answers."""

    def __init__(
        self, settings: WorkerSettings, database: Database, links: Links, *, renderer: PageRenderer, clock: Clock
    ) -> None:
        self._settings = settings
        self._database = database
        self._links = links
        self._renderer = renderer
        self._clock = clock

    def respond(self, incident_id: str, token: str, form: Form | None, query: Query) -> Response:
        """Answer one request."""
        if not self._links.check(token, Purpose.ALERT, incident_id):
            _log.info("case %s: a link that we did not make was refused", incident_id)
            return self._renderer.notice(message_pages.NOT_FOUND)
        view = self._load(incident_id)
        if view is None:
            return self._renderer.notice(message_pages.NOT_FOUND)
        if isinstance(view, MessagePage):
            return self._renderer.notice(view)
        return self._show(view, query) if form is None else self._answer(view, token, form)

    def _load(self, incident_id: str) -> CaseView | MessagePage | None:
        """Return the case; once its grace period is over nothing of it, since its address may be in many hands."""
        with self._database.read_session() as session:
            incident = session.get(Incident, incident_id)
            if incident is not None and self._is_over(incident):
                return message_pages.INCIDENT_CLOSED
            return load_case(session, incident_id)

    def _is_over(self, incident: Incident) -> bool:
        grace_period = timedelta(seconds=self._settings.alert_link_grace_period)
        return incident.closed_at is not None and utc(self._clock()) >= incident.closed_at + grace_period

    def _answer(self, view: CaseView, token: str, form: Form) -> Response:
        incident_id = view.incident.id
        if not self._links.check(form.get("form", ""), Purpose.ALERT_FORM, incident_id):
            return redirect_to_page(token, _STALE)
        answer = _BUTTONS.get(form.get("answer", ""))
        leaked = read_checkbox(form, "leaked")
        if answer is None or leaked is None:
            return redirect_to_page(token, _NO_BUTTON, ticked=bool(leaked))
        if answer is Answer.IT_WAS_US and view.incident_answer.leaked and view.incident_answer.answer is None:
            return redirect_to_page(token, _LEAKED)
        standing = answer_case(self._database, incident_id, answer, leaked=leaked, by=CUSTOMER, now=self._clock())
        if standing is not None and standing.taken:
            _log.info("case %s: answered %s, leaked: %s", incident_id, answer, standing.leaked)
            return redirect_to_page(token)
        return redirect_to_page(token, _CLOSED)

    def _show(self, view: CaseView, query: Query) -> Response:
        status, problem = _problem(view, problem_code(query))
        leak_ticked = bool(problem) and query.get("leaked") == "yes"
        incident, incident_answer = view.incident, view.incident_answer
        shown = view.sources.named[:SOURCES_SHOWN]
        return self._renderer.page(
            "case.html",
            status,
            problem=problem,
            leak_ticked=leak_ticked,
            incident=incident,
            pair=view.pair,
            incident_answer=incident_answer,
            decided_by=_answered_by(incident_answer.answered_by),
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


def _problem(view: CaseView, said: str) -> tuple[int, str]:
    """Return the status of a page, and what it says of the click before. What no longer fits the case is not said."""
    if view.incident_answer.answer is None and view.incident.closed_at is None:
        return (400, _RETRY_MESSAGES[said]) if said in _RETRY_MESSAGES else (200, "")
    return (200, "") if said != _CLOSED and said not in _RETRY_MESSAGES else (409, _ALREADY_ANSWERED)


def _answered_by(actor: str) -> str:
    return actor if actor in (CUSTOMER, SYSTEM) else "staff"  # which of us is nobody else's business


def _describe_rule(view: CaseView) -> str:
    within = window_of(view.incident)
    if within is not None:
        wrong = f"{amount(view.incident.length, 'request')} with your public key and a wrong secret key"
        return f"{wrong} within {span(within)}; accepted requests may have come in between"
    wrong = f"{amount(view.incident.length, 'request')} in a row"
    if view.incident.rule == Rule.SOURCE:
        return (
            f"{wrong} from one network ({origin(view.incident.network)}) with your public key and a wrong secret key, "
            "and no accepted request from that network in between"
        )
    return f"{wrong} with your public key and a wrong secret key, and no accepted request in between"


def _describe_other_sources(sources: Sources, shown: Sequence[SourceCount]) -> str:
    """Return what the sources that are not shown sum up to."""
    number, count = sources.number - len(shown), sources.total - sum(source.count for source in shown)
    if not number:
        return ""
    at_least = "" if sources.complete else "at least "
    return f"and {amount(count, 'attempt')} from {at_least}{number:,} more {'address' if number == 1 else 'addresses'}"
