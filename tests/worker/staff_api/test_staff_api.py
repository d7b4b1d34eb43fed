"""The staff API: log-in, sessions, who may read what, and that no route answers without a session."""

import asyncio
import json
import time
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message
from support.ssh_keys import wire_of
from support.staff_api_rig import StaffApi
from support.staff_rig import ADDRESS, SERVER, StaffKeys
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.errors import ConfigurationError, DatabaseUnavailableError
from octy_worker.access.members import StaffState
from octy_worker.access.orders import Namespace, Order
from octy_worker.access.roles import Action, Role
from octy_worker.access.sessions import SessionKind
from octy_worker.audit import repository as audit
from octy_worker.errors import RefusedError, UnavailableError, UsageError, WaitsForApprovalError
from octy_worker.mail.facts.digest import FailedLoginFacts
from octy_worker.staff.context import StaffContext
from octy_worker.staff_api.app import build_staff_api, serve_endpoint
from octy_worker.staff_api.endpoints import SMALL_BODY, Endpoint
from octy_worker.staff_api.login_notices import FailedLoginNotices
from octy_worker.staff_api.pages.app import staff_page_routes
from octy_worker.staff_api.process import check_settings
from octy_worker.staff_api.wire import Nothing, WireError, describe_error, rebuild_error

NOW = float(int(time.time()))
OPEN_ROUTES = {
    ("GET", "/staff/v1/installation"),
    ("POST", "/staff/v1/login/nonce"),
    ("POST", "/staff/v1/login"),
    ("POST", "/staff/v1/login/browser"),
    ("POST", "/staff/v1/enroll"),
    ("GET", "/healthz"),
}
"""Every other route needs a session: a new one is refused here until it checks for one."""


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def api(world: World, staff_keys: StaffKeys) -> StaffApi:
    return StaffApi.of(world, staff_keys, NOW)


def test_every_route_but_the_open_ones_is_refused_without_a_session(api: StaffApi) -> None:
    routes = {called for route in api.app.routes for called in _calls(route)}
    for method, path in routes - OPEN_ROUTES:
        for token in ("", "made-up", "x" * 201):
            answer = api.call(method, path, token=token)
            assert answer.status_code == 401, path
            assert answer.json()["error"]["kind"] == "session_ended", path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert routes > OPEN_ROUTES


def _calls(route: object) -> set[tuple[str, str]]:
    assert isinstance(route, Route)
    assert route.methods is not None
    return {(method, route.path) for method in route.methods - {"HEAD"}}


def test_log_in_opens_a_session_with_which_staff_read(api: StaffApi) -> None:
    answer = api.post("/login", api.login_request())
    assert answer.status_code == 200
    opened = answer.json()["session"]
    assert (opened["handle"], opened["role"], opened["source"], opened["current"]) == (
        "ada",
        "responder",
        ADDRESS,
        True,
    )
    token = answer.json()["token"]
    assert api.post("/incidents/list", {"closed": True}, token).json() == {"rows": [], "total": 0}
    assert api.call("GET", "/staff/v1/installation").json()["installation"] == INSTALLATION


def test_log_out_ends_the_session(api: StaffApi) -> None:
    token = api.log_in()
    assert api.post("/logout", token=token).status_code == 200
    answer = api.post("/incidents/list", token=token)
    assert (answer.status_code, answer.json()["error"]["message"]) == (401, "this session was ended → `octy login`")


def test_endpoint_of_a_higher_role_is_refused_to_others(api: StaffApi) -> None:
    higher = Endpoint("POST", "/audit", "Read.", Nothing, Nothing, lambda *_values: Nothing(), role=Role.ADMIN)
    api.app.router.routes.append(Route("/staff/v1/audit", serve_endpoint(api.office, higher), methods=["POST"]))
    refused = api.post("/audit", token=api.log_in("kim"))
    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == "kim is key_admin, and this needs admin"
    assert api.post("/audit", token=api.log_in("amy")).status_code == 200


def test_sessions_are_listed_and_ended_by_their_owner_and_by_admins_only(api: StaffApi) -> None:
    tokens = {handle: api.log_in(handle) for handle in ("ada", "vic", "amy")}
    listed = {
        handle: api.call("GET", "/staff/v1/sessions", token=token).json()["sessions"]
        for handle, token in tokens.items()
    }
    assert {one["handle"] for one in listed["ada"]} == {"ada"}
    assert {one["handle"]: one["current"] for one in listed["amy"]} == {"amy": True, "vic": False, "ada": False}
    of_vic, of_ada = listed["vic"][0]["id"], listed["ada"][0]["id"]
    assert api.post("/sessions/end", {"id": of_vic}, tokens["ada"]).status_code == 409
    assert api.post("/incidents/list", token=tokens["vic"]).status_code == 200
    assert api.post("/sessions/end", {"id": of_vic}, tokens["amy"]).status_code == 200
    assert api.post("/incidents/list", token=tokens["vic"]).status_code == 401
    assert api.post("/sessions/end", {"id": of_ada}, tokens["ada"]).status_code == 200
    assert api.post("/incidents/list", token=tokens["ada"]).status_code == 401


def test_session_is_kept_by_use_and_ends_when_the_person_is_disabled(api: StaffApi) -> None:
    token = api.log_in()
    for _ in range(3):
        api.rig.now += 1700
        assert api.post("/incidents/list", token=token).status_code == 200
    with api.rig.world.database.write_session() as session:
        api.rig.members.change(session, "ada", granted_by="x", now=api.rig.now, state=StaffState.DISABLED)
    assert "role or state has changed" in api.post("/incidents/list", token=token).text


def test_session_of_a_browser_is_no_session_of_a_command(api: StaffApi, staff_keys: StaffKeys) -> None:
    certificate = wire_of(staff_keys.keys["ada"].certificate.read_text())
    with api.rig.world.database.write_session() as session:
        token, _ = api.office.sessions.open(
            session, api.rig.members.require(session, "ada"), staff_keys.authorities().verify(certificate, now=NOW),
            factor="passkey-1", source=ADDRESS, now=NOW, nonce="n", kind=SessionKind.BROWSER,
        )  # fmt: skip
    answer = api.post("/incidents/list", token=token)
    assert answer.status_code == 401
    assert answer.json()["error"]["kind"] == "session_ended"


def test_refused_log_in_says_why_and_is_recorded(api: StaffApi) -> None:
    answer = api.post("/login", api.login_request(server="https://evil.example"))
    assert answer.status_code == 403
    assert "and this is https://staff.example.com" in answer.json()["error"]["message"]
    with api.rig.world.database.read_session() as session:
        (entry,) = (one for one in audit.entries(session, subject="ada") if one.action.startswith("login"))
    assert (entry.action, entry.actor) == ("login.refused", "ada")
    assert json.loads(entry.detail or "")["source"] == ADDRESS


def test_failed_log_ins_are_delayed_by_handle_and_source_and_lock_nobody_out(api: StaffApi) -> None:
    wrong = {**api.login_request(), "code": "000000"}
    statuses = [api.post("/login", wrong).status_code for _ in range(7)]
    assert statuses == [403] * 5 + [429] * 2
    refused = api.post("/login", wrong)
    assert refused.headers["Retry-After"] == "61"
    assert api.post("/login", api.login_request()).status_code == 429
    assert api.post("/login", api.login_request(), peer="198.51.100.1").status_code == 200, "the same person elsewhere"
    assert api.post("/login", api.login_request("vic")).status_code == 200, "somebody else from there"
    api.rig.now += 60
    assert api.post("/login", api.login_request()).status_code == 200
    with api.rig.world.database.read_session() as session:
        recorded = [entry for entry in audit.entries(session) if entry.action == "login.refused"]
    assert len(recorded) == 5, "what is not judged is not recorded"


def test_log_in_without_a_valid_signature_opens_no_transaction_and_is_counted(api: StaffApi) -> None:
    unsigned = {**api.login_request(), "signature": "x"}
    with api.rig.world.database.write_session():  # no other connection can write
        statuses = [api.post("/login", unsigned).status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]
    with api.rig.world.database.read_session() as session:
        assert [entry for entry in audit.entries(session) if entry.action == "login.refused"] == []


def test_signature_without_second_factor_forgets_no_failed_code(api: StaffApi) -> None:
    wrong = {**api.login_request(), "code": "000000"}
    for _ in range(4):
        assert api.post("/login", wrong).status_code == 403
    assert api.post("/login/browser", api.login_request()).status_code == 200
    assert [api.post("/login", wrong).status_code for _ in range(2)] == [403, 429]


def submission(api: StaffApi, handle: str = "ada") -> dict[str, str]:
    """Sign an order; a one-time code is missing."""
    order = Order(uuid7(api.rig.now), INSTALLATION, Action.RELEASE_ALERTS, "", {}, "phoned", handle, int(NOW))
    body = order.to_bytes()
    return {"body": body.decode(), "signature": api.rig.evidence(body, handle, Namespace.ORDER).signature}


@pytest.mark.parametrize("path", ["/orders", "/orders/receive"])
def test_codes_of_orders_are_limited_as_those_of_log_ins(api: StaffApi, path: str) -> None:
    told: list[FailedLoginFacts] = []
    api.office.notices = FailedLoginNotices(
        lambda facts: bool(told.append(facts)) or True, lambda: api.rig.now, run=lambda task: task()
    )
    token, order = api.log_in(), submission(api)

    def send(code: str, given: dict[str, str] = order, to: str = path) -> int:
        return api.post(to, {"submission": {**given, "code": code}}, token).status_code

    api.rig.now += 30
    known, right = submission(api), api.rig.code()
    assert send(right, known, "/orders/receive") == 200
    assert [send(f"00000{number}") for number in range(3)] == [409] * 3
    assert send(right) == 409, "a used code"
    assert send(right, known, "/orders/receive") == 200, "a repeat needs no code, and forgets no failure"
    assert told == []
    assert send("000004") == 409
    assert [(one.handle, one.count) for facts in told for one in facts.failures] == [("ada", 5)]
    api.rig.now += 30
    answer = api.post(path, {"submission": {**order, "code": api.rig.code()}}, token)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "31")
    assert api.post("/login", api.login_request()).status_code == 429
    api.rig.now += 30
    assert send(api.rig.code(), to="/orders/receive") == 200


REFUSED: list[tuple[str, str, int, dict[str, str], str]] = [
    ("no proof", "ada", 0, {"signature": ""}, "a new one needs a proof"),
    ("signature of another order", "ada", 1, {}, "the signature does not match"),
    ("old", "ada", 301, {"signature": "x"}, "more than 5 minutes ago"),
    ("role too small", "vic", 0, {}, "vic is viewer, and this needs responder"),
]
"""Of each: the author, how many seconds the order is older than the one that was signed, and other fields."""


@pytest.mark.parametrize(("handle", "older", "given", "why"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_orders_do_not_fill_the_audit_log(
    api: StaffApi, handle: str, older: int, given: dict[str, str], why: str
) -> None:
    token, signed = api.log_in(handle), submission(api, handle)
    order = Order.from_bytes(signed["body"].encode())
    body = replace(order, issued_at=order.issued_at - older).to_bytes().decode()
    wanted = {"submission": {**signed, "body": body, **given}}
    answers = [api.post(path, wanted, token) for path in ("/orders", "/orders/receive") * 4]
    assert [answer.status_code for answer in answers] == [409] * 5 + [429] * 3
    assert why in answers[0].text
    with api.rig.world.database.read_session() as session:
        assert sum(entry.action == "order.refused" for entry in audit.entries(session)) == 5


def test_source_is_the_peer_unless_it_is_a_trusted_proxy(api: StaffApi) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    opened = api.post("/login", api.login_request(), headers=forwarded).json()["session"]
    assert opened["source"] == ADDRESS
    api.settings = api.settings.model_copy(update={"staff_proxies": (ADDRESS,)})
    api.restart()
    opened = api.post("/login", api.login_request("vic"), headers=forwarded).json()["session"]
    assert opened["source"] == "203.0.113.9"


BODIES: list[tuple[str, Callable[[StaffApi], object], int, str]] = [
    ("no JSON", lambda _api: b"{", 400, "not JSON"),
    ("nested", lambda _api: b"[" * 30_000, 400, "not JSON"),
    ("list", lambda _api: [], 400, "the body"),
    ("missing", lambda _api: {"text": "x"}, 400, "signature: Field required"),
    ("type", lambda _api: {"text": 7, "signature": "", "code": ""}, 400, "text: Input should be a valid string"),
    ("text", lambda _api: {"text": "{}", "signature": ""}, 400, "no log-in text"),
    ("too large", lambda _api: b"x" * (SMALL_BODY + 1), 413, "more than 32768 bytes"),
    ("no signature", lambda api: {**api.login_request(), "signature": "x"}, 403, "not an SSH signature"),
]


@pytest.mark.parametrize(("make", "status", "why"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_invalid_log_in_is_refused_without_its_values(
    api: StaffApi, make: Callable[[StaffApi], object], status: int, why: str
) -> None:
    answer = api.post("/login", make(api))
    assert (answer.status_code, why in answer.json()["error"]["message"]) == (status, True), answer.text


def test_responses_have_security_headers_and_no_redirect_is_built_from_the_host(api: StaffApi) -> None:
    for path in ("/staff/v1/installation", "/staff/v1/unknown", "/staff/v1/sessions/", "/staff/v1/sessions"):
        answer = api.call("GET", path, headers={"Host": "evil.example"})
        assert not answer.is_redirect
        assert "evil" not in answer.text + str(answer.headers)
        wanted = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
        assert {name: answer.headers[name] for name in wanted} == wanted
        assert answer.headers["Strict-Transport-Security"]
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_unexpected_error_is_answered_without_its_text(api: StaffApi, caplog: pytest.LogCaptureFixture) -> None:
    token = api.log_in()
    api.office.context = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    answer = api.post("/incidents/list", token=token)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (500, "failed")
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_error_after_the_start_of_a_response_reaches_the_server_without_its_text(
    api: StaffApi, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise ValueError(f"sk_{12_345}")

    async def begin(_request: Request) -> Response:
        return StreamingResponse(body())

    api.app = build_staff_api(api.office, [Route("/begun", begin)])
    with pytest.raises(ConnectionAbortedError, match="already started") as caught:
        api.call("GET", "/begun")
    assert "ValueError" in caplog.text
    assert "sk_12345" not in caplog.text + "".join(traceback.format_exception(caught.value))


UNEXPECTED = [
    (ConfigurationError("OCTY_X is not set"), 400, "usage", None),
    (DatabaseUnavailableError("no database"), 503, "unavailable", "30"),
]


@pytest.mark.parametrize(("error", "status", "kind", "wait"), UNEXPECTED)
def test_error_of_the_host_is_answered_with_what_to_do(
    api: StaffApi, error: Exception, status: int, kind: str, wait: str | None
) -> None:
    def fail() -> StaffContext:
        raise error

    token = api.log_in()
    api.office.context = fail  # type: ignore[method-assign]
    answer = api.post("/incidents/list", token=token)
    assert (answer.status_code, answer.json()["error"]) == (status, {"kind": kind, "message": str(error)})
    assert answer.headers.get("Retry-After") == wait


def test_client_that_disconnects_is_no_error(api: StaffApi, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Message] = []

    async def disconnect() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    path = "/staff/v1/login/nonce"
    request = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "scheme": "https"}
    asyncio.run(api.app(request, disconnect, send))
    assert sent[0]["status"] == 400
    assert caplog.text == ""


def test_health_needs_neither_session_nor_database(api: StaffApi) -> None:
    api.rig.world.database.close()
    assert api.call("GET", "/healthz").json() == {"status": "ok"}


ORDERS: list[tuple[str, Callable[[StaffApi], dict[str, str]], int, str]] = [
    ("no order", lambda _api: {"body": "{}"}, 400, "fields of an order"),
    ("of somebody else", lambda api: submission(api, "vic"), 409, "the order is by vic, and the session is of ada"),
]


@pytest.mark.parametrize("path", ["/orders", "/orders/receive", "/orders/pending"])
@pytest.mark.parametrize(("make", "status", "why"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS])
def test_session_hands_in_orders_of_its_own_person_alone(
    api: StaffApi, path: str, make: Callable[[StaffApi], dict[str, str]], status: int, why: str
) -> None:
    answer = api.post(path, {"submission": make(api)}, api.log_in())
    assert (answer.status_code, why in answer.json()["error"]["message"]) == (status, True), answer.text


def test_order_that_is_too_old_to_be_signed_does_not_wait(api: StaffApi) -> None:
    token, given = api.log_in(), submission(api)
    api.rig.now += 301
    answer = api.post("/orders/pending", {"submission": given}, token)
    assert (answer.status_code, "another installation, person or time" in answer.text) == (409, True)


def test_no_pages_are_served_at_an_ip_address(api: StaffApi, caplog: pytest.LogCaptureFixture) -> None:
    api.settings = api.settings.model_copy(update={"staff_url": "https://192.0.2.1"})
    api.restart()
    assert staff_page_routes(api.settings, api.office) == []
    assert "passkeys need a host name" in caplog.text


def test_description_names_every_route_and_every_action(api: StaffApi) -> None:
    described = api.call("GET", "/staff/v1/openapi.json", token=api.log_in()).json()
    routes = {route.path for route in api.app.routes} - {"/healthz", "/staff/v1/openapi.json"}  # type: ignore[attr-defined]
    assert described["paths"].keys() == routes
    assert described["servers"] == [{"url": SERVER}]
    schemas = described["components"]["schemas"]
    for reference in _references(described):
        assert reference.removeprefix("#/components/schemas/") in schemas
    login = described["paths"]["/staff/v1/login"]["post"]
    assert login["security"] == []
    assert "security" not in described["paths"]["/staff/v1/incidents/list"]["post"]
    assert "incident.decide" in described["x-octy-orders"]


def _references(value: object) -> set[str]:
    if isinstance(value, dict):
        inner = set().union(*map(_references, value.values())) if value else set()
        return inner | ({value["$ref"]} if isinstance(value.get("$ref"), str) else set())
    return set().union(*map(_references, value)) if isinstance(value, list) and value else set()


@pytest.mark.parametrize(
    "error", [UsageError("a", "b"), RefusedError("a"), UnavailableError("a"), WaitsForApprovalError("x")]
)
def test_error_is_rebuilt_on_the_client(error: Exception) -> None:
    _, wire = describe_error(error)  # type: ignore[arg-type]
    body = dict(wire.body()["error"])
    rebuilt = rebuild_error(WireError(**body))
    assert (type(rebuilt), str(rebuilt)) == (type(error), str(error))


SETTINGS = [
    ({"staff_url": ""}, "OCTY_STAFF_URL is not set"),
    ({"staff_url": "http://staff.example.com"}, "OCTY_STAFF_URL: .* is not encrypted"),
    ({"staff_host": "0.0.0.0"}, "listens on loopback only"),
    ({"staff_certificate": "/nowhere"}, "OCTY_STAFF_CERTIFICATE and OCTY_STAFF_PRIVATE_KEY can't be used"),
    ({"staff_keys": None}, "OCTY_STAFF_KEYS is not set"),
    ({"staff_auth": "off"}, "OCTY_STAFF_AUTH is off"),
    ({"staff_proxies": ("0.0.0.0/0",)}, "OCTY_STAFF_PROXIES"),
    ({"staff_proxies": ("proxy",)}, "OCTY_STAFF_PROXIES"),
]


@pytest.mark.parametrize(("changed", "why"), SETTINGS)
def test_settings_that_serve_no_staff_api_are_refused(api: StaffApi, changed: dict[str, object], why: str) -> None:
    given = api.settings.model_copy(update={"staff_port": 8026})
    check_settings(given)
    with pytest.raises(ConfigurationError, match=why):
        check_settings(given.model_copy(update=changed))


def test_settings_survive_as_environment_variables(api: StaffApi) -> None:
    settings = api.settings.model_copy(
        update={"staff_proxies": ("192.0.2.1", "unix"), "incident_remind_after": (1.5, 2.0)}
    )
    assert type(settings).from_environment(settings.to_environment()) == settings
