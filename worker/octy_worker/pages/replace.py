"""/notice: a customer whose keys may have been read by others has them replaced, once.

Here: the page of a notice, and the way from its button to `notices.order_keys`. Not here: what an order does, and where
new keys are sent: to the security address, whoever presses the button.

A GET reads only. A POST orders when its address, its form token, its button and its box are all right; one conditional
UPDATE decides between several. The page names no mail address: its own address may have been passed on.
"""

import logging

from starlette.responses import RedirectResponse, Response

from octy_middleware.clock import Clock
from octy_middleware.database import Database
from octy_worker.links import Links, Purpose
from octy_worker.notices import NoticeView, Obstacle, load_notice, obstacle_of, order_keys
from octy_worker.pages import notices
from octy_worker.pages.forms import read_box
from octy_worker.pages.linked import Form
from octy_worker.pages.render import Renderer
from octy_worker.settings import WorkerSettings

_ENDED = {Obstacle.EXPIRED: notices.NOTICE_EXPIRED, Obstacle.MOVED: notices.ADDRESS_MOVED}

_STALE = (400, "This form was out of date. Nothing was ordered: please press the button again.")
_NO_BUTTON = (400, "No order arrived. Nothing was changed: please press the button below.")
_TOO_LATE = (409, "Your click came too late, so it changed nothing. This is what stands:")

_log = logging.getLogger(__name__)


class ReplacePages:
    """Shows what a notice tells, and takes the order for new keys."""

    def __init__(
        self, settings: WorkerSettings, database: Database, links: Links, *, render: Renderer, clock: Clock
    ) -> None:
        self._life = settings.incident_close_after
        self._overlap = settings.overlap
        self._database = database
        self._links = links
        self._render = render
        self._clock = clock

    def respond(self, notice_id: str, token: str, form: Form | None) -> Response:
        """Answer one request."""
        if not self._links.check(token, Purpose.NOTICE, notice_id):
            _log.info("notice %s: a link that we did not make was refused", notice_id)
            return self._render.notice(notices.NOT_FOUND)
        view = self._load(notice_id)
        if view is None:
            return self._render.notice(notices.NOT_FOUND)
        return self._show(view) if form is None else self._order(view, token, form)

    def _load(self, notice_id: str) -> NoticeView | None:
        with self._database.read_session() as session:
            return load_notice(session, notice_id)

    def _order(self, view: NoticeView, token: str, form: Form) -> Response:
        notice_id, now = view.notice.id, self._clock()
        if not self._links.check(form.get("form", ""), Purpose.NOTICE_FORM, notice_id):
            return self._show(view, *_STALE)
        leaked = read_box(form, "leaked")
        if form.get("order") != "replace" or leaked is None:
            return self._show(view, *_NO_BUTTON, ticked=bool(leaked))
        if obstacle_of(view, life=self._life, now=now) is None and order_keys(
            self._database, notice_id, leaked=leaked, now=now
        ):
            _log.info("notice %s: new keys were ordered, leaked: %s", notice_id, leaked)
            return RedirectResponse(f"./{token}", 303)  # relative: it holds under any path of a proxy
        settled = self._load(notice_id)
        return self._render.notice(notices.NOT_FOUND) if settled is None else self._show(settled, *_TOO_LATE)

    def _show(self, view: NoticeView, status: int = 200, problem: str = "", *, ticked: bool = False) -> Response:
        obstacle = obstacle_of(view, life=self._life, now=self._clock())
        if obstacle in _ENDED:
            return self._render.notice(_ENDED[obstacle])
        return self._render.page(
            "replace.html",
            status,
            problem=problem,
            ticked=ticked,
            kind=view.kind,
            told=view.notice,
            follows_at=view.follows_at,
            obstacle=obstacle,
            pair=view.pair,
            regeneration=view.regeneration,
            further=view.further,
            overlap=self._overlap,
            form_token=self._links.token(Purpose.NOTICE_FORM, view.notice.id),
        )
