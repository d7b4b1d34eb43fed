"""/keys: the page of a one-time link, which shows a new secret key once.

The secret is only in the body of one POST response: no redirect, no log, no cache. Reloading that page is a second
POST, which gets the message that the key was already shown. One conditional UPDATE in `regenerations.collect` decides
which request is the first.
"""

import logging
from datetime import datetime, timedelta

from sqlmodel import select
from starlette.responses import Response

from octy_middleware.clock import Clock, utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import SealedSecret
from octy_middleware.states import KeyPairState
from octy_worker.crypto.links import Links, Purpose
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain.regenerations import IN_VAIN, RegenerationView, collect, load_regeneration
from octy_worker.pages import message_pages
from octy_worker.pages.link_routes import STALE, Form, Query, problem_code, redirect_to_page
from octy_worker.pages.message_pages import MessagePage
from octy_worker.pages.page_renderer import PageRenderer
from octy_worker.settings import WorkerSettings

_MAX_GENERATIONS = 8  # link generations that are recognized; older than the current one: "There is a newer link"
_STALE_MESSAGE = "This form was out of date. Nothing was shown. Please press the button again."

_log = logging.getLogger(__name__)


class KeyPages:
    """Shows the page of a one-time link, and the secret key once."""

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        links: Links,
        sealer: Sealer,
        *,
        renderer: PageRenderer,
        clock: Clock,
    ) -> None:
        self._overlap = timedelta(seconds=settings.overlap)
        self._database = database
        self._links = links
        self._sealer = sealer
        self._renderer = renderer
        self._clock = clock

    def respond(self, regeneration_id: str, token: str, form: Form | None, query: Query) -> Response:
        """Return the response to one request."""
        now = self._clock()
        generation = self._generation_of(token, regeneration_id)
        view = None if generation is None else self._load(regeneration_id)
        if generation is None or view is None or view.sealed is None:
            _log.info("keys %s: request with an invalid link refused", regeneration_id)
            return self._renderer.notice(message_pages.NOT_FOUND)
        blocking = _blocking_message(view, view.sealed, generation, now)
        if blocking is not None:
            return self._renderer.notice(blocking)
        if form is None:
            return self._show_button(view, view.sealed, stale=problem_code(query) == STALE)
        return self._collect(view, view.sealed, token, form, now)

    def _generation_of(self, token: str, regeneration_id: str) -> int | None:
        """Return the link generation of the token, or None. Both take the same time."""
        with self._database.read_session() as session:
            current = session.exec(
                select(SealedSecret.generation).where(SealedSecret.regeneration_id == regeneration_id)
            ).first()
        newest = current or 0
        fits = [
            generation
            for generation in range(newest, newest - _MAX_GENERATIONS, -1)
            if self._links.check(token, Purpose.REVEAL, regeneration_id, generation)
        ]
        sent = [generation for generation in fits if generation >= 1]
        return sent[0] if sent else None

    def _load(self, regeneration_id: str) -> RegenerationView | None:
        with self._database.read_session() as session:
            return load_regeneration(session, regeneration_id)

    def _show_button(self, view: RegenerationView, sealed: SealedSecret, *, stale: bool) -> Response:
        return self._renderer.page(
            "collect.html",
            400 if stale else 200,
            problem=_STALE_MESSAGE if stale else "",
            new_pair=view.new_pair,
            old_pair=view.old_pair,
            expires_at=sealed.expires_at,
            form_token=self._links.token(Purpose.REVEAL_FORM, view.regeneration.id, sealed.generation),
        )

    def _collect(self, view: RegenerationView, sealed: SealedSecret, token: str, form: Form, now: float) -> Response:
        regeneration_id, generation = view.regeneration.id, sealed.generation
        if form.get("reveal") != "once" or not self._links.check(
            form.get("form", ""), Purpose.REVEAL_FORM, regeneration_id, generation
        ):
            return redirect_to_page(token, STALE)
        with self._database.write_session() as session:
            keys = collect(session, self._sealer, regeneration_id, generation, now)
        if keys is None:  # another request was faster: say what it did
            return self.respond(regeneration_id, token, None, {})
        _log.info("keys %s: collected", regeneration_id)
        return self._renderer.page(
            "secret.html",
            public_key=keys.public_key,
            secret_key=keys.secret.reveal(),
            old_pair=view.old_pair,
            old_stopped=view.old_pair is not None and view.old_pair.state == KeyPairState.RETIRED,
            old_until=self._old_until(view, now),
        )

    def _old_until(self, view: RegenerationView, now: float) -> datetime:
        """Return when the old key pair stops: the time that is set, or one overlap from now."""
        set_already = None if view.old_pair is None else view.old_pair.retire_at
        return set_already or utc(now) + self._overlap


def _blocking_message(view: RegenerationView, sealed: SealedSecret, generation: int, now: float) -> MessagePage | None:
    if sealed.collected_at is not None:
        return message_pages.already_collected(sealed.collected_at)
    if view.regeneration.state in IN_VAIN:
        return message_pages.KEYS_REPLACED
    if generation != sealed.generation:
        return message_pages.LINK_REPLACED
    if sealed.sealed is None or sealed.expires_at <= utc(now) or view.new_pair is None:
        return message_pages.LINK_EXPIRED
    if view.new_pair.state == KeyPairState.RETIRED:  # because of a leak; other keys follow
        return message_pages.KEYS_REPLACED
    return None
