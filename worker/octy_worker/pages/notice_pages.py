"""/notice: the page of a security notice, on which the customer orders new keys once.

New keys go to the security address, no matter who presses the button. A GET only reads. A POST orders when its URL,
form token, button and checkbox are all valid; one conditional UPDATE decides between concurrent orders. The page shows
no mail address, because others may have its link.
"""

import logging
from collections.abc import Mapping

from starlette.responses import Response

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_worker.crypto.links import Links, Purpose
from octy_worker.domain.notices import NoticeView, OrderRefusal, load_notice, order_keys, order_refusal
from octy_worker.pages import message_pages
from octy_worker.pages.forms import read_checkbox
from octy_worker.pages.link_routes import LATE, NO_BUTTON, STALE, Form, Query, message_about_post, redirect_to_page
from octy_worker.pages.page_renderer import PageRenderer
from octy_worker.settings import WorkerSettings

_EXPIRED_PAGES = {OrderRefusal.EXPIRED: message_pages.NOTICE_EXPIRED, OrderRefusal.MOVED: message_pages.ADDRESS_MOVED}

_RETRY_MESSAGES: Mapping[str, str] = {
    STALE: "This form was out of date. Nothing was ordered. Please press the button again.",
    NO_BUTTON: "We received no order. Nothing was changed. Please press the button below.",
}
_ALREADY_ORDERED = "Your click changed nothing. Current status:"

_log = logging.getLogger(__name__)


class NoticePages:
    """Shows a notice and records the order for new keys."""

    def __init__(
        self, settings: WorkerSettings, database: Database, links: Links, *, renderer: PageRenderer, clock: Clock
    ) -> None:
        self._link_ttl = settings.incident_close_after
        self._overlap = settings.overlap
        self._database = database
        self._links = links
        self._renderer = renderer
        self._clock = clock

    def respond(self, notice_id: str, token: str, form: Form | None, query: Query) -> Response:
        """Return the response to one request."""
        if not self._links.check(token, Purpose.NOTICE, notice_id):
            _log.info("notice %s: request with an invalid link refused", notice_id)
            return self._renderer.notice(message_pages.NOT_FOUND)
        with self._database.read_session() as session:
            view = load_notice(session, notice_id)
        if view is None:
            return self._renderer.notice(message_pages.NOT_FOUND)
        return self._show(view, query) if form is None else self._order(view, token, form)

    def _order(self, view: NoticeView, token: str, form: Form) -> Response:
        notice_id, now = view.notice.id, self._clock()
        if not self._links.check(form.get("form", ""), Purpose.NOTICE_FORM, notice_id):
            return redirect_to_page(token, STALE)
        leaked = read_checkbox(form, "leaked")
        if form.get("order") != "replace" or leaked is None:
            return redirect_to_page(token, NO_BUTTON, ticked=bool(leaked))
        if order_refusal(view, ttl=self._link_ttl, now=now) is not None:
            return redirect_to_page(token, LATE)
        with self._database.write_session() as session:
            ordered = order_keys(session, notice_id, leaked=leaked, now=now)
        if ordered:
            _log.info("notice %s: new keys ordered, leaked: %s", notice_id, leaked)
            return redirect_to_page(token)
        return redirect_to_page(token, LATE)

    def _show(self, view: NoticeView, query: Query) -> Response:
        refusal = order_refusal(view, ttl=self._link_ttl, now=self._clock())
        if refusal in _EXPIRED_PAGES:
            return self._renderer.notice(_EXPIRED_PAGES[refusal])
        status, problem = message_about_post(query, _RETRY_MESSAGES, _ALREADY_ORDERED, is_open=refusal is None)
        return self._renderer.page(
            "replace.html",
            status,
            problem=problem,
            ticked=bool(problem) and query.get("leaked") == "yes",
            kind=view.kind,
            notice=view.notice,
            by_staff=view.by_staff,
            follows_at=view.follows_at,
            refusal=refusal,
            pair=view.pair,
            regeneration=view.regeneration,
            further=view.further,
            overlap=self._overlap,
            form_token=self._links.token(Purpose.NOTICE_FORM, view.notice.id),
        )
