"""Common to all pages: headers, invalid links, malformed requests."""

import logging
import re
import socket

import pytest
from support.databases import away_url
from support.pages_browser import Browser, path_of, serving, what_is_said
from support.pages_rig import World, open_world
from support.pages_rules import check_response

from octy_middleware.clock import uuid7
from octy_middleware.db.database import Database
from octy_middleware.keys.secret import make_key_pair
from octy_worker.crypto.links import Purpose
from octy_worker.pages import build_pages
from octy_worker.pages.forms import MAX_BODY, UNKNOWN_ID

URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
STRANGE_ID = uuid7(1_700_000_000.0, lambda count: b"\x07" * count)


@pytest.fixture
def world(tmp_path, database_kind):
    yield from open_world(tmp_path, database_kind)


def test_healthz_responds_without_the_database(tmp_path, database_kind, world):
    gone = Database(away_url(tmp_path, database_kind))
    response = Browser(build_pages(world.settings, gone, world.links, world.sealer, lambda: world.now)).get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_pages_with_an_https_url_send_hsts(world):
    assert "strict-transport-security" not in world.browser().get("/healthz").headers
    secure = world.browser(public_url="https://octy.example/security")
    assert secure.get("/nothing").headers["strict-transport-security"] == "max-age=31536000"


def strange_paths(world: World) -> list[str]:
    """Return invalid URLs, whose responses must all be equal."""
    incident, other = world.incident(), world.incident()
    keys, notice = world.regeneration(make_key_pair().secret), world.exposure()
    case_token, other_token = (world.links.token(Purpose.ALERT, name) for name in (incident, other))
    keys_token = world.links.token(Purpose.REVEAL, keys, 1)
    return [
        f"/alert/{incident}/{other_token}",  # of another incident
        f"/alert/{incident}/{world.links.token(Purpose.ALERT_FORM, incident)}",
        f"/alert/{incident}/{case_token[:-1]}",
        f"/alert/{incident}/{case_token}x",
        f"/alert/{incident}/{case_token}/",
        f"/alert/{incident.upper()}/{case_token}",
        f"/alert/{incident}/{'A' * 32}",
        f"/alert/{STRANGE_ID}/{'A' * 32}",  # of no case
        f"/alert/{STRANGE_ID}/{world.links.token(Purpose.ALERT, STRANGE_ID)}",  # a deleted case
        f"/alert/%00/{world.links.token(Purpose.ALERT, chr(0))}",
        f"/alert/{UNKNOWN_ID}/{world.links.token(Purpose.ALERT, UNKNOWN_ID)}",
        f"/alert/x/{world.links.token(Purpose.ALERT, UNKNOWN_ID)}",
        f"/alert/%ff%fe/{case_token}",
        f"/alert/{incident}/%ff%00%0a",
        f"/alert/{incident}/{case_token}%0a",
        f"/alert/%ed%a0%80/{case_token}",
        f"/alert/{incident}",
        f"/keys/{keys}/{case_token}",
        f"/notice/{notice}/{world.links.token(Purpose.NOTICE, incident)}",  # of another notice
        f"/notice/{notice}/{world.links.token(Purpose.ALERT, notice)}",
        f"/notice/{notice}/{world.links.token(Purpose.NOTICE_FORM, notice)}",
        f"/notice/{incident}/{case_token}",
        f"/notice/{STRANGE_ID}/{world.links.token(Purpose.NOTICE, STRANGE_ID)}",  # a deleted notice
        f"/notice/{notice.upper()}/{world.links.token(Purpose.NOTICE, notice)}",
        f"/notice/{notice}/{world.links.token(Purpose.NOTICE, notice)}/",
        f"/notice/x/{world.links.token(Purpose.NOTICE, UNKNOWN_ID)}",
        f"/keys/{incident}/{keys_token}",
        f"/keys/{keys}/{world.links.token(Purpose.REVEAL_FORM, keys, 1)}",
        f"/keys/{STRANGE_ID}/{world.links.token(Purpose.REVEAL, STRANGE_ID, 1)}",
        f"/keys/{STRANGE_ID}/{world.links.token(Purpose.REVEAL, STRANGE_ID, 0)}",
        "/keys/'%20OR%201=1--/x",
        "/../../etc/passwd",
        "//alert///",
        "/static/pages.css",
        "/" + "a" * 8000,
        "/",
    ]


def test_invalid_links_get_the_same_bytes(world):
    paths, browser = strange_paths(world), world.browser()
    before = world.dump()
    answers = [(response.status_code, response.headers.raw, response.content) for response in map(browser.get, paths)]
    for path in paths[:4]:
        response = browser.post(path, form=world.links.token(Purpose.ALERT_FORM, path.split("/")[2]), answer="not_us")
        answers.append((response.status_code, response.headers.raw, response.content))
    assert answers[0][0] == 404
    assert all(answer == answers[0] for answer in answers)
    assert world.dump() == before


@pytest.mark.parametrize("kind", ["alert", "keys", "notice"])
def test_wrong_token_does_equal_work_for_existing_and_missing_rows(world, kind, monkeypatch):
    rows = {
        "alert": world.incident,
        "keys": lambda: world.regeneration(make_key_pair().secret, generation=5),
        "notice": world.exposure,
    }
    real = rows[kind]()
    checks: list[str] = []
    check = world.links.check
    monkeypatch.setattr(world.links, "check", lambda *given: checks.append(given[1]) or check(*given))
    browser = world.browser()
    work = []
    for subject in (real, STRANGE_ID, "no id at all"):
        checks.clear()
        with world.statements() as statements:
            assert browser.get(f"/{kind}/{subject}/{'A' * 32}").status_code == 404
        work.append((list(checks), list(statements)))
    assert work[0] == work[1] == work[2]
    assert work[0][0]


def test_unsupported_methods_are_405(world):
    paths = [world.alert_path(world.incident()), path_of(world.links.notice_url(world.exposure()))]
    before, browser = world.dump(), world.browser()
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        for path in paths:
            response = browser.send(method, path)
            assert response.status_code == 405
            assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
            assert "use the buttons on the page" in response.text
        assert world.dump() == before, method


def drip(size: int):
    for _ in range(size // 1000):
        yield b"a" * 1000


UNREADABLE, TOO_LONG = "The form could not be read", "The form was too large"


MALFORMED = [
    (b"", {}, 415, UNREADABLE),
    (b"{}", {"content-type": "application/json"}, 415, UNREADABLE),
    (b"form=TOKEN&answer=not_us&reveal=once&order=replace", {"content-type": "text/plain"}, 415, UNREADABLE),
    (b"--x\r\n", {"content-type": "multipart/form-data; boundary=x"}, 415, UNREADABLE),
    (b"a=b", {"content-type": "\xff/\x00".encode("latin-1")}, 415, UNREADABLE),
    (
        b"form=TOKEN&answer=not_us&answer=it_was_us&reveal=once&reveal=once&order=replace&order=replace",
        URLENCODED,
        400,
        UNREADABLE,
    ),
    (b"form=TOKEN&answer=not_us&reveal=once&order=replace" + b"&a=1" * 9, URLENCODED, 400, UNREADABLE),
    (b"form=TOKEN&answer=not_us&reveal=once&order=replace&1=&2=&3=&4=&5=&6=", URLENCODED, 400, UNREADABLE),
    (b"answer", URLENCODED, 400, UNREADABLE),
    (b"\xff\xfe=\x00", URLENCODED, 400, UNREADABLE),
    (b"%ff%fe=%00&answer=%F0%9F", URLENCODED, 400, "Please"),
    (b"", {"content-type": "Application/X-WWW-Form-URLencoded; charset=utf-8"}, 400, "Please"),
    (b"form=TOKEN&answer=not_us&reveal=once&order=replace&a=" + b"a" * MAX_BODY, URLENCODED, 413, TOO_LONG),
    (b"a=" + b"a" * 5_000_000, URLENCODED, 413, TOO_LONG),
]


def test_malformed_bodies_get_a_page_and_change_nothing(world):
    incident, keys, notice = world.incident(), world.regeneration(make_key_pair().secret), world.exposure()
    browser, before = world.browser(), world.dump()
    forms = (
        (world.alert_path(incident), world.links.token(Purpose.ALERT_FORM, incident)),
        (path_of(world.links.reveal_url(keys, 1)), world.links.token(Purpose.REVEAL_FORM, keys, 1)),
        (path_of(world.links.notice_url(notice)), world.links.token(Purpose.NOTICE_FORM, notice)),
    )
    for body, headers, status, title in MALFORMED:
        for path, token in forms:
            response = browser.send("POST", path, content=body.replace(b"TOKEN", token.encode()), headers=headers)
            if said := what_is_said(path, response):
                response = browser.get(said)
            assert response.status_code == status, body[:100]
            assert title in response.text, body[:100]
        assert world.dump() == before, body[:100]


def test_body_without_content_length_is_rejected_at_the_limit(world):
    path = world.alert_path(world.incident())
    with serving(world.pages()) as client:
        response = client.post(path, content=drip(3_000_000), headers=URLENCODED)
    assert response.status_code == 413
    check_response(response)


RAW = [
    b"GET /alert/\xff\xfe/\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /alert/%/%% HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://evil.test/alert/a/b HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"HEAD /alert/a/b HTTP/1.0\r\n\r\n",
    b"POST /alert/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /alert/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /alert/a/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /alert/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00\r\n\r\n",
]


def test_malformed_http_is_rejected_and_the_pages_continue(world, caplog):
    world.incident()
    before = world.dump()
    with serving(world.pages()) as client:
        for raw in RAW:
            with socket.create_connection((client.base_url.host, client.base_url.port), timeout=5) as wire:
                wire.sendall(raw)
                wire.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda wire=wire: wire.recv(65536), b""))
            status = re.match(rb"HTTP/1\.\d (\d{3}) ", answer)
            assert status is None or 400 <= int(status[1]) < 500, raw[:80]
        assert client.get("/healthz").status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert world.dump() == before
