"""The example apps serve Octy's published clients unchanged: their headers, routes and parsing rules."""

import json
import os
import sys
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text
from support.databases import DATABASES
from support.paths import ROOT
from support.world import Keys, World

from octy_worker.dev.processes import LOOPBACK, ProcessGroup, free_port, is_listening

get, post, request = (partial(send, timeout=60) for send in (httpx2.get, httpx2.post, httpx2.request))  # seconds

SET = "/v1/configurations/account/set"
FIELDS = ("contact_name", "contact_surname", "contact_email_address", "webhook_url", "authenticated_id_key")
# The apps use the database through the middleware only: each on one kind tests the apps as well as each on both.
SERVERS = {
    "sqlite": ("uvicorn", "starlette_app:app", "--app-dir", "{examples}", "--port", "{port}", "--log-level", "error"),
    "postgresql": (
        *("gunicorn", "flask_app:app", "--chdir", "{examples}", "--bind", "127.0.0.1:{port}"),
        *("--log-level", "error"),
    ),
}


@pytest.fixture(scope="module", params=DATABASES)
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[World]:
    """One world of each database for all of them: starting servers is what takes time here."""
    world = World(tmp_path_factory.mktemp("examples"), request.param)
    yield world
    world.close()


@pytest.fixture
def keys(world: World) -> Keys:
    return world.register(f"customer-{uuid4()}")


@pytest.fixture(scope="module")
def api(world: World) -> Iterator[str]:
    """Serve one example behind a proxy that ends TLS, and return its address."""
    port = free_port()
    command = [part.format(examples=ROOT / "examples", port=port) for part in SERVERS[world.database_kind]]
    settings = {
        "OCTY_DATABASE_URL": world.url,
        "OCTY_PEPPERS": world.peppers.export(),
        "OCTY_TRUSTED_PROXIES": LOOPBACK,
    }
    with ProcessGroup(world.folder / "logs", {**os.environ, **settings}) as group:
        process = group.start("app", [sys.executable, "-m", *command])
        process.wait_until(lambda: is_listening(port), 30)
        yield f"http://{LOOPBACK}:{port}"


def go_client(keys: Keys, secret: str | None = None) -> dict[str, str]:
    """The headers of the Go command line: no scheme, and a content type even on GET."""
    pair = f"{keys.public_key}:{keys.secret if secret is None else secret}"
    return {
        "Authorization": b64encode(pair.encode()).decode(),
        "Content-Type": "application/json",
        "X-Forwarded-Proto": "https",
    }


def go_error(body: bytes) -> str:
    """Read a failure as the Go command line does; it crashes, or takes it for success, where this asserts."""
    error = json.loads(body)["error"]
    assert error["code"] in (400, 401, 422, 500)
    return assert_is_a_failure(body, error["code"])


def assert_is_a_failure(body: bytes, status: int) -> str:
    """Assert that this is Octy's envelope, and return its message."""
    answer: dict[str, Any] = json.loads(body)
    assert answer["request_meta"]["request_status"] == "Failed"
    error = answer["error"]
    assert error["reason"]
    assert error["code"] == status
    assert len(error["errors"]) >= 1
    assert "::" not in error["errors"][0]["error_message"]
    return str(error["errors"][0]["error_message"])


def test_authenticate_is_200_for_both_headers(keys: Keys, api: str) -> None:
    for headers in (go_client(keys), {**go_client(keys), "Authorization": keys.basic()}):
        answer = get(f"{api}/v1/account/authenticate", headers=headers)
        assert answer.status_code == 200
        assert answer.json()["request_meta"]["request_status"] == "Success"


def test_wrong_key_is_401_with_a_body_that_octy_clients_read(keys: Keys, api: str) -> None:
    answer = get(f"{api}/v1/account/authenticate", headers=go_client(keys, "sk_wrong"))
    assert answer.status_code == 401
    assert go_error(answer.content) == "The API keys are not valid."


@pytest.mark.parametrize(
    ("authorization", "status", "text"),
    [
        (None, 401, "No API keys were sent."),
        ("", 401, "No API keys were sent."),
        ("Bearer token", 401, "The Authorization header can't be read."),
        ("cGtfeHh4OnNrX3h4eA==", 401, "The Authorization header can't be read."),  # the placeholders pk_xxx:sk_xxx
        (b64encode(b"pk_" + b"0" * 64 + b":sk_x").decode(), 401, "The API keys are not valid."),
        ("{right}, {right}", 400, "The Authorization header is ambiguous."),
        ("Basic " + "A" * 2000, 431, "The Authorization header is too long."),
    ],
)
def test_every_refusal_of_keys_is_readable_by_octy_clients(
    keys: Keys, api: str, *, authorization: str | None, status: int, text: str
) -> None:
    headers = go_client(keys)
    del headers["Authorization"]
    if authorization is not None:
        headers["Authorization"] = authorization.format(right=keys.basic())
    answer = get(f"{api}/v1/account/authenticate", headers=headers)
    assert answer.status_code == status
    assert assert_is_a_failure(answer.content, status) == text


def test_changed_contact_address_creates_a_notice_with_all_addresses(world: World, keys: Keys, api: str) -> None:
    new = {"contact_email_address": "new@acme.example"}
    written = post(f"{api}{SET}", headers=go_client(keys), content=json.dumps(new))
    assert written.json()["account_data"]["contact_email_address"] == "new@acme.example"
    told = world.rows("SELECT kind, detail FROM notice WHERE account_id = :id", id=keys.account_id)
    assert [(kind, json.loads(detail)) for kind, detail in told] == [
        ("contact_changed", {"old": f"security@{keys.reference}.example", "new": "new@acme.example", "others": []})
    ]


def test_configuration_is_read_and_set(keys: Keys, api: str) -> None:
    read = get(f"{api}/v1/configurations/account", headers=go_client(keys))
    assert read.status_code == 200
    data = read.json()["account_data"]
    assert set(data) == set(FIELDS)
    assert all(isinstance(value, str) for value in data.values())
    changed = {**data, "contact_name": "Ada", "webhook_url": "https://hooks.example/octy"}
    written = post(f"{api}/v1/configurations/account/set", headers=go_client(keys), content=json.dumps(changed))
    assert written.status_code == 200
    assert get(f"{api}/v1/configurations/account", headers=go_client(keys)).json()["account_data"] == changed


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"contact_email_address": "no address"}', b'{"contact_name": 5}', b'{"x": "y"}'],
)
def test_invalid_configuration_is_422_and_changes_nothing(keys: Keys, api: str, body: bytes) -> None:
    before = get(f"{api}/v1/configurations/account", headers=go_client(keys)).content
    answer = post(f"{api}/v1/configurations/account/set", headers=go_client(keys), content=body)
    assert answer.status_code == 422
    assert go_error(answer.content)
    assert get(f"{api}/v1/configurations/account", headers=go_client(keys)).content == before


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/v1/account/authenticate/", {}, b"", 404),
        ("GET", "/v1//account/authenticate", {}, b"", 404),
        ("GET", f"{SET}/", {}, b"", 404),
        ("GET", "/", {}, b"", 404),
        ("GET", "/v1/account/%2e%2e/::", {}, b"", 404),
        ("GET", SET, {}, b"", 405),
        ("DELETE", "/v1/account/authenticate", {}, b"", 405),
        ("POST", SET, {}, b"[" * 65_000, 422),
        ("POST", SET, {}, b'{"contact_name": ' + b"1" * 5000 + b"}", 422),
        ("POST", SET, {"Content-Type": "Application/JSON; charset=utf-8"}, b"{}", 200),
    ],
)
def test_unknown_path_is_refused_in_octy_format_without_redirect(
    keys: Keys, api: str, *, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = request(method, f"{api}{path}", headers={**go_client(keys), **headers}, content=body)
    assert answer.status_code == status
    assert "location" not in answer.headers
    assert answer.headers["content-type"] == "application/json"
    assert ("allow" in answer.headers) == (status == 405)
    if status != 200:
        assert_is_a_failure(answer.content, status)


def test_read_only_database_is_503_with_retry_after(world: World, keys: Keys, api: str) -> None:
    before = get(f"{api}/v1/configurations/account", headers=go_client(keys)).json()
    with world.database.write() as connection, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(post, f"{api}{SET}", headers=go_client(keys), content=b'{"contact_name": "Ada"}')
        while not asked.done():  # a server ends a transaction that does nothing
            connection.execute(text("SELECT 1"))
            wait([asked], timeout=0.5)
    answer = asked.result()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert assert_is_a_failure(answer.content, 503) == "The service is temporarily unavailable."
    assert get(f"{api}/v1/configurations/account", headers=go_client(keys)).json() == before


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),  # a form of any web page can send these
        ({"Content-Type": "text/plain; x=application/json"}, b"{}", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"{}", 415),
        ({"Content-Type": ""}, b"{}", 415),
        ({"Content-Type": "application/json, text/plain"}, b"{}", 415),
        ({"Origin": "https://elsewhere.example"}, b"{}", 403),
        ({"Origin": "null"}, b"{}", 403),
        ({}, b" " * 65_536 + b"{}", 413),
        ({}, b" " * 5_000_000, 413),
    ],
)
def test_configuration_from_a_form_or_too_large_is_refused_and_changes_nothing(
    keys: Keys, api: str, *, headers: dict[str, str], body: bytes, status: int
) -> None:
    body = body.replace(b"{}", b'{"contact_name": "Eve"}')
    before = get(f"{api}/v1/configurations/account", headers=go_client(keys)).content
    for content in (body, iter([body])):  # with its length, and in chunks, of which Flask reads as much as is allowed
        answer = post(f"{api}{SET}", headers={**go_client(keys), **headers}, content=content)
        assert answer.status_code in ({status} if content is body else {status, 422})
        assert_is_a_failure(answer.content, answer.status_code)
    assert get(f"{api}/v1/configurations/account", headers=go_client(keys)).content == before


def test_versioning_needs_no_credentials_and_has_the_fields_of_the_command_line(world: World, api: str) -> None:
    headers = {"Content-Type": "application/json", "X-Forwarded-Proto": "https"}
    answer = get(f"{api}/v1/admin/application/versioning?app=cli", headers=headers)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["request_meta"]["request_status"], body["application_type"]) == ("Success", "cli")
    version = body["current_version"]
    texts = ("id", "release_id", "version_tag", "version_name", "change_log", "published_at", "updated_at")
    assert [name for name in texts if not isinstance(version[name], str)] == []
    assert (type(version["version_int"]), version["assets"]) == (int, [])
    assert version.keys() == {*texts, "version_int", "assets"}
    assert get(f"{api}/v1/account/authenticate", headers=headers).status_code == 401


def test_plain_http_is_403_with_the_same_body_and_without_redirect(keys: Keys, api: str) -> None:
    headers = {**go_client(keys), "X-Forwarded-Proto": "http"}
    answer = get(f"{api}/v1/account/authenticate", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == 403
    assert "location" not in answer.headers
