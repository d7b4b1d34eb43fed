"""Errors and outages: a page that says what to do, no change, and no values in the log."""

import asyncio
import logging
import threading

import pytest
from support.databases import away_url
from support.pages_browser import Browser, path_of
from support.pages_rig import open_world

from octy_middleware.db.database import Database
from octy_middleware.keys.secret import make_key_pair
from octy_worker.pages import build_pages
from octy_worker.pages.page_renderer import PageRenderer
from octy_worker.pages.security_headers import SecurityHeadersMiddleware

URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
REFUSAL = {
    "sqlite": "CREATE TRIGGER broken BEFORE UPDATE ON incident_answer BEGIN SELECT RAISE(ABORT, 'out of order'); END",
    "postgresql": 'ALTER TABLE incident_answer ADD CONSTRAINT "out of order" CHECK (answer IS NULL)',
}


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def test_client_that_disconnects_in_the_body_is_no_error(world, caplog):
    path = world.alert_path(world.incident())
    sent: list[dict] = []
    messages = iter([{"type": "http.request", "body": b"form=", "more_body": True}, {"type": "http.disconnect"}])
    headers = [(name.encode(), value.encode()) for name, value in URLENCODED.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    asyncio.run(world.pages()({**scope, "query_string": b"", "http_version": "1.1"}, receive, send))
    assert sent[0]["status"] == 400
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_unavailable_database_is_503_with_retry_after(tmp_path, database_kind, world):
    incident, keys, notice = world.incident(), world.regeneration(make_key_pair().secret), world.exposure()
    gone = Database(away_url(tmp_path, database_kind))
    browser = Browser(build_pages(world.settings, gone, world.links, world.sealer, lambda: world.now))
    for url in (world.links.alert_url(incident), world.links.reveal_url(keys, 1), world.links.notice_url(notice)):
        response = browser.get(path_of(url))
        assert (response.status_code, response.headers["retry-after"]) == (503, "30")
        assert "Nothing was changed" in response.text
    assert (
        browser.get(f"/alert/{incident}/{'A' * 32}").status_code == 404
    )  # without a valid link none reaches the database


def test_answer_while_the_database_is_locked_is_503_and_changes_nothing(world):
    incident, before = world.incident(), world.dump()
    busy = Database(world.settings.database_url, busy_timeout=0.05)
    browser = Browser(build_pages(world.settings, busy, world.links, world.sealer, lambda: world.now))
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with world.database.write():
            locked.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(10)
    response = browser.press(world.alert_path(incident), "answer", "not_us")
    done.set()
    holder.join()
    assert response.status_code == 503
    assert "try again" in response.text
    assert world.dump() == before
    assert browser.press(world.alert_path(incident), "answer", "not_us").status_code == 303
    busy.close()


def test_internal_error_is_a_page_and_its_log_has_the_place_but_no_values(world, caplog):
    incident = world.incident()
    path = world.alert_path(incident)
    with world.database.write() as connection:
        connection.exec_driver_sql(REFUSAL[world.database_kind])
    response = world.browser().press(path, "answer", "not_us")
    assert response.status_code == 500
    assert "Something went wrong on our side" in response.text
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "IntegrityError" in record.getMessage()
    assert "incidents.py" in record.getMessage()
    for value in (incident, "not_us", "out of order", path.rpartition("/")[2]):  # the error's own text has them
        assert value not in record.getMessage()


ID = "01890c2e-0000-7000-8000-000000000001"
START_MESSAGE = {"type": "http.response.start", "status": 200, "headers": []}


def broken_after_the_start(world, send):
    """Have an app fail with a link in its error after the response has started."""

    async def app(_scope, _receive, send):
        await send(dict(START_MESSAGE))
        raise ValueError(path_of(world.links.alert_url(ID)))

    pages = SecurityHeadersMiddleware(app, renderer=PageRenderer(world.settings), strict_transport=False)
    asyncio.run(pages({"type": "http"}, None, send))


def test_response_that_fails_after_its_start_is_cut_off(world, caplog):
    async def send(_message):
        pass

    with pytest.raises(ConnectionAbortedError):
        broken_after_the_start(world, send)
    assert "page failed: ValueError" in caplog.text
    assert ID not in caplog.text


def test_response_to_a_browser_that_disconnected_is_no_error(world, caplog):
    async def send(_message):
        raise OSError("gone")

    broken_after_the_start(world, send)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_url_cannot_inject_log_lines(world, caplog):
    caplog.set_level(logging.DEBUG)
    for kind in ("alert", "keys", "notice"):
        world.browser().get(f"/{kind}/x%0d%0aforged%20line%1b%5b31m/{'A' * 32}")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("octy_worker")]
    assert [line.isprintable() for line in ours] == [True, True, True]
    assert "forged" not in str(ours)
