"""Late uses: a retired key pair is still sent with its secret; staff and customer are shown its sources."""

import time

import pytest
from sqlmodel import select
from starlette.testclient import TestClient
from support.cli_rig import fail, octy_for
from support.world import FakeRequest, Keys, World

from octy_middleware.clock import utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.models import KeyPair
from octy_middleware.domain import key_pairs
from octy_middleware.http.outcome import Outcome
from octy_middleware.states import KeyPairCause
from octy_worker.crypto.links import Links
from octy_worker.domain.incidents import load_incident
from octy_worker.domain.regenerations import open_regeneration
from octy_worker.domain.usage import LATE_USE_WINDOW, late_uses, late_uses_of
from octy_worker.mail.facts import load_draft
from octy_worker.mail.renderer import MailRenderer
from octy_worker.pages.app import build_pages
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind, SendMailInput


def renewed(world: World, keys: Keys) -> Keys:
    """Replace a key pair at once and return the new one."""
    now = time.time()
    with world.database.write_session() as session:
        pair = run(session.connection(), "SELECT id FROM key_pair WHERE public_key = ?", keys.public_key)
        order = open_regeneration(
            session,
            keys.account_id,
            KeyPairCause.STAFF,
            old_pair_id=pair.scalar_one(),
            leaked=True,
            actor="test",
            now=now,
        )
    return world.complete(order.regeneration_id)


def send(world: World, keys: Keys, user_agent: str, source: str, *, times: int, secret: str | None = None) -> None:
    with world.authenticator() as authenticator:
        for _ in range(times):
            request = FakeRequest(keys.basic(secret), peer=source, headers={b"user-agent": [user_agent.encode()]})
            assert authenticator.decide(request).outcome in (Outcome.RETIRED, Outcome.RETIRED_WRONG, Outcome.ACCEPTED)


@pytest.fixture
def old(world: World) -> Keys:
    return world.register()


@pytest.fixture
def new(world: World, old: Keys) -> Keys:
    return renewed(world, old)


def found(world: World, account_id: str, at: float | None = None) -> list[tuple[str, str, str, int]]:
    with world.database.read_session() as session:
        uses = late_uses(session, account_id, utc(time.time() if at is None else at))
    return [(use.public_key, use.used_by.user_agent, use.used_by.source, use.used_by.count) for use in uses]


def test_late_use_names_the_source_of_a_retired_key_pair(world: World, old: Keys, new: Keys) -> None:
    send(world, old, "nightly/1.2", "192.0.2.7", times=3)
    send(world, old, "guesser", "198.51.100.9", times=4, secret="sk_wrong")
    send(world, new, "app/2", "192.0.2.8", times=2)
    assert found(world, old.account_id) == [(old.public_key, "nightly/1.2", "192.0.2.7", 3)]
    assert found(world, world.register("other").account_id) == []


def test_active_or_long_unused_key_pair_has_no_late_uses(world: World, old: Keys, new: Keys) -> None:
    send(world, old, "nightly/1.2", "192.0.2.7", times=1)
    assert found(world, old.account_id, time.time() + LATE_USE_WINDOW.total_seconds() + 120) == []
    with world.database.read_session() as session:
        live = session.exec(select(KeyPair).where(KeyPair.public_key == new.public_key)).one()
        assert late_uses_of(session, live, utc(time.time())) == ()


def test_late_use_is_shown_in_its_incident_and_keys_show_only(world: World, old: Keys, new: Keys) -> None:
    send(world, old, "nightly/1.2", "192.0.2.7", times=3)
    fail(world, new)
    ((incident_id,),) = world.rows("SELECT id FROM incident")
    with world.database.read_session() as session:
        case = load_incident(session, incident_id)
    assert case is not None
    assert [(use.public_key, use.used_by.count) for use in case.late_uses] == [(old.public_key, 3)]
    octy = octy_for(world)
    for words in (("incidents", "show", incident_id), ("keys", "show", old.public_key)):
        shown = " ".join(octy(*words, COLUMNS="200").must().stdout.split())
        assert f"{old.public_key} nightly/1.2 192.0.2.7 3 20" in shown
        assert "still used" in shown
    assert "still used" not in octy("keys", "show", new.public_key).must().stdout


def test_late_use_counts_from_the_retirement_of_the_key_pair(world: World, old: Keys) -> None:
    send(world, old, "app/1", "192.0.2.7", times=2)
    with world.database.write() as connection:
        pair_id = connection.exec_driver_sql("SELECT id FROM key_pair").scalar_one()
        assert key_pairs.retire(connection, pair_id, time.time())
    assert found(world, old.account_id) == []
    send(world, old, "app/1", "192.0.2.7", times=1)
    assert found(world, old.account_id) == [(old.public_key, "app/1", "192.0.2.7", 1)]


def test_late_use_is_shown_in_the_alert_and_on_the_incident_page(world: World, old: Keys, new: Keys) -> None:
    send(world, old, "nightly/1.2 <b>", "192.0.2.7", times=3)
    fail(world, new)
    ((incident_id,),) = world.rows("SELECT id FROM incident")
    settings = WorkerSettings(
        database_url=world.url,
        peppers=world.peppers,
        sealing_keys=world.sealing_keys,
        link_keys=world.sealing_keys,
        public_url="https://keys.octy.example",
        mail_from="Octy <security@octy.example>",
    )
    links = Links(settings.link_keys, settings.public_url)
    with world.database.read_session() as session:
        found = load_draft(session, links, SendMailInput(incident_id, MailKind.ALERT, 1, 0.0), time.time())
    assert found is not None
    rendered = MailRenderer(settings).render(found.facts)
    assert "An old key pair of yours is still in use" in rendered.text
    assert f"{old.public_key}\n  still used by nightly/1.2" in rendered.text
    assert "3 requests, last on 20" in rendered.text
    assert old.public_key in rendered.html
    pages = build_pages(settings, world.database, links, world.sealer, time.time)
    with TestClient(pages, base_url="https://keys.octy.example") as browser:
        page = browser.get(links.alert_url(incident_id)).text
    assert "An old key pair of yours is still in use" in page
    assert f"{old.public_key}" in page
    for text in (rendered.html, page):
        assert "nightly/1.2" in text
        assert "<b>" not in text
