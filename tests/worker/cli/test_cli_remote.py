"""`octy login`, `octy logout` and `octy --server URL`: the same commands at a staff API, over HTTP."""

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from passlib.totp import TOTP
from support.cli_rig import DENIED, CommandResult, Octy, open_incident
from support.relay_rig import change, put
from support.ssh_keys import LOADED_AT, SshKey, ssh_agent
from support.staff_acts import NOTE
from support.staff_api_rig import StaffApi, staff_api_served
from support.staff_rig import StaffKeys
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.domain.outbox import MessageKind
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.orders import Order
from octy_worker.access.roles import Action
from octy_worker.access.totp import new_seed
from octy_worker.canonical_json import JsonValue
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.dev.processes import free_port
from octy_worker.evidence.reader import read_pack
from octy_worker.staff.acts import ACTS
from octy_worker.staff_api.wire import PendingLine
from octy_worker.staff_client.api_client import ApiClient, NoAnswerError
from octy_worker.staff_client.session_file import load_session, save_session

AUDIT_KEYS = Keychain({"a1": b"1" * 32})


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@dataclass
class Laptop:
    """A staff member's machine: keys and session files, no database. A second seed is for a code within 30 seconds."""

    api: StaffApi
    url: str
    folder: Path
    second_seed: str
    key: Path

    def octy(self, *words: str, second: bool = False, **variables: str) -> CommandResult:
        seed = self.second_seed if second else self.api.rig.seed
        code = str(TOTP(key=seed).generate(time=time.time()).token)
        own = {"XDG_STATE_HOME": str(self.folder), "OCTY_STAFF_KEY_FILE": str(self.key), "OCTY_STAFF_CODE": code}
        return Octy(folder=self.folder)(*words, **{**own, **variables})

    def log_in(self) -> CommandResult:
        return self.octy("login", self.url)

    def remote(self, *words: str, **variables: str) -> CommandResult:
        return self.octy("--server", self.url, *words, second=True, **variables)

    @property
    def session_file(self) -> Path:
        (path,) = (self.folder / "octy").iterdir()
        return path


@pytest.fixture
def laptop(world: World, staff_keys: StaffKeys, tmp_path: Path) -> Iterator[Laptop]:
    url = f"http://localhost:{(port := free_port())}"
    api = StaffApi.of(world, staff_keys, LOADED_AT, staff_url=url, staff_port=port, audit_keys=AUDIT_KEYS)
    api.office.clock = time.time
    second_seed = new_seed(lambda count: b"8" * count)
    with world.database.write_session() as session:
        ada = api.rig.members.find(session, "ada")
        assert ada is not None
        api.rig.members.add_totp(session, ada, second_seed, now=time.time())
    folder = tmp_path / "laptop"
    with staff_api_served(api.office, api.settings):
        yield Laptop(api, url, folder, second_seed, staff_keys.keys["ada"].path)


def test_staff_log_in_read_and_log_out(laptop: Laptop, world: World) -> None:
    _, incident_id = open_incident(world)
    logged_in = laptop.log_in().must()
    assert f"You are logged in at {laptop.url} as ada, responder" in logged_in.stdout
    assert laptop.session_file.stat().st_mode & 0o777 == 0o600
    on_host = Octy({"OCTY_DATABASE_URL": world.url})("incidents", "list", "--json").must().json
    assert laptop.remote("incidents", "list", "--json").must().json == on_host
    assert on_host["incidents"][0]["id"] == incident_id
    assert laptop.octy("incidents", "list", OCTY_SERVER=laptop.url).must().stdout
    (session,) = laptop.remote("sessions", "list", "--json").must().json["sessions"]
    assert (session["handle"], session["current"], session["kind"]) == ("ada", True, "cli")
    assert session["id"][:8] in laptop.remote("sessions", "list").must().stdout
    laptop.octy("logout", laptop.url).must()
    assert not list((laptop.folder / "octy").iterdir())
    refused = laptop.remote("incidents", "list").must(ExitCode.REFUSED)
    assert f"you are not logged in at {laptop.url} → `octy login {laptop.url}`" in refused.stderr
    assert "There is no session" in laptop.octy("logout", laptop.url).must().stderr


def test_order_is_signed_here_and_received_there(laptop: Laptop, world: World) -> None:
    _, incident_id = open_incident(world)
    laptop.log_in().must()
    words = (
        "incidents",
        "decide",
        incident_id[:13],
        "dismiss",
        "--reason",
        "their load test",
        "--order-only",
        "--json",
    )
    order_id = laptop.remote(*words).must().json["order"]
    query = "SELECT action, subject, actor, state, source, body FROM staff_order WHERE id = :id"
    ((*row, body),) = world.rows(query, id=order_id)
    assert row == ["incident.decide", incident_id, "ada", "received", "127.0.0.1"]
    assert json.loads(body)["installation"] == INSTALLATION


def test_code_for_a_browser_is_shown_and_no_session_is_kept(laptop: Laptop) -> None:
    made = laptop.octy("login", laptop.url, "--browser", "--json").must().json
    assert made["url"] == f"{laptop.url}/staff/login"
    page = httpx2.get(made["url"])
    (token,) = re.findall(r'name="csrf" value="([^"]+)"', page.text)
    cookie = page.headers["set-cookie"].partition(";")[0]
    typed = httpx2.post(
        made["url"], data={"csrf": token, "code": made["code"]}, headers={"cookie": cookie, "origin": laptop.url}
    )
    assert (typed.status_code, typed.headers["location"]) == (303, "/staff/factor")
    assert not (laptop.folder / "octy").exists()
    assert "Type it within 60 s into the page" in laptop.octy("login", laptop.url, "--browser").must().stdout


def test_order_by_passkey_waits_at_the_server_until_it_is_signed(
    laptop: Laptop, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)
    laptop.log_in().must()
    _, incident_id = open_incident(world)
    words = ("--passkey", "incidents", "decide", incident_id, "dismiss", "--reason", "their load test")
    waits = laptop.remote(*words).must(ExitCode.WAITING)
    (waiting,) = laptop.remote("orders", "pending", "--json").must().json["orders"]
    assert (
        f"{waiting['order_id']} waits for your passkey, for five minutes → sign it at {waiting['url']}" in waits.stderr
    )
    assert waiting["url"] == f"{laptop.url}/staff/orders/{waiting['order_id']}"
    listed = laptop.remote("orders", "pending").must().stdout
    assert waiting["order_id"] in listed
    assert world.rows("SELECT COUNT(*) FROM staff_order") == [(0,)]
    on_host = Octy({"OCTY_DATABASE_URL": world.url, "OCTY_STAFF_AUTH": "on"})(*words).must(ExitCode.USAGE)
    assert "name it by --server URL" in on_host.stderr


def test_order_that_waits_is_shown_and_signed_on_a_terminal(
    laptop: Laptop, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)
    laptop.log_in().must()
    order = pending(laptop, world, NOTE.action, "messages", {"text": "hello"})
    asked = laptop.remote("orders", "sign", order.order_id).must(ExitCode.FAILED)
    for text in ("Deliver failed messages again", "Field text: hello", "Reason: phoned", "nothing was changed"):
        assert text in asked.stderr
    assert order.order_id in laptop.remote("orders", "pending").must().stdout
    done = laptop.remote("orders", "sign", order.order_id, "--yes", "--json").must().json
    assert laptop.remote("orders", "pending").must().stdout == "No order waits for your signature.\n"
    assert done == {"order_id": order.order_id, "output": {"noted_text": "hello"}}
    assert world.rows("SELECT id, state FROM staff_order") == [(order.order_id, "used")]
    assert world.rows("SELECT COUNT(*) FROM staff_pending_order") == [(0,)]
    again = laptop.remote("orders", "sign", order.order_id, "--yes").must(ExitCode.USAGE)
    assert "waits for your signature → `octy orders pending`" in again.stderr


def test_signed_order_is_told_with_its_output(laptop: Laptop, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)
    laptop.log_in().must()
    order = pending(laptop, world, NOTE.action, "messages", {"text": "hello"})
    said = laptop.remote("orders", "sign", order.order_id, "--yes").must().stdout
    assert said == "Done: Deliver failed messages again.\nnoted_text: hello\n"


def test_approval_is_shown_with_the_order_that_it_is_about(laptop: Laptop, world: World) -> None:
    _, incident_id = open_incident(world)
    laptop.log_in().must()
    words = ("incidents", "decide", incident_id, "dismiss", "--reason", "their load test", "--order-only", "--json")
    about = laptop.remote(*words).must().json["order"]
    ((body,),) = world.rows("SELECT body FROM staff_order")
    right = pending(laptop, world, Action.APPROVE, about, {"digest": Order.from_bytes(body.encode()).digest()})
    shown = laptop.remote("orders", "sign", right.order_id).must(ExitCode.FAILED).stderr
    assert "Its reason: their load test" in shown
    wrong = pending(laptop, world, Action.APPROVE, about, {"digest": "0" * 64})
    refused = laptop.remote("orders", "sign", wrong.order_id).must(ExitCode.REFUSED)
    assert "the approval is about another order than the one of its id" in refused.stderr


def of_another_person(line: PendingLine) -> PendingLine:
    return replace(line, body=replace(Order.from_bytes(line.body.encode()), actor="eve").to_bytes().decode())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda line: replace(line, body="{}"), "the server shows what is no order"),
        (of_another_person, "the server shows an order of another person or installation"),
        (lambda line: replace(line, private={"text": ("00", "other")}), "the order's private fields are not those"),
    ],
)
def test_order_that_the_server_shows_wrongly_is_not_signed(
    laptop: Laptop,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[PendingLine], PendingLine],
    why: str,
) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)
    laptop.log_in().must()
    order = pending(laptop, world, NOTE.action, "messages", {"text": "hello"})
    get = ApiClient.get

    def lie(client: ApiClient, path: str, *given: Any) -> Any:
        found = get(client, path, *given)
        return replace(found, orders=tuple(map(change, found.orders)))

    monkeypatch.setattr(ApiClient, "get", lie)
    assert why in laptop.remote("orders", "sign", order.order_id, "--yes").must(ExitCode.REFUSED).stderr
    assert world.rows("SELECT COUNT(*) FROM staff_order") == [(0,)]


def pending(laptop: Laptop, world: World, action: Action, subject: str, fields: dict[str, JsonValue]) -> Order:
    """Have an order of ada's wait for her signature."""
    now = time.time()
    order = Order(uuid7(now), INSTALLATION, action, subject, fields, "phoned", "ada", int(now))
    with world.database.write_session() as session:
        laptop.api.office.pending.add(session, order.to_bytes(), actor="ada", now=now)
    return order


def test_results_of_many_decisions_at_a_staff_api_are_shown_at_its_end(laptop: Laptop, world: World) -> None:
    _, incident_id = open_incident(world)
    laptop.log_in().must()
    words = ("incidents", "decide-many", "dismiss", incident_id, "--yes", "--reason", "their load test")
    assert f"1/1  {incident_id}  unavailable" in laptop.remote(*words).must(ExitCode.UNAVAILABLE).stdout


@contextmanager
def answers_lost(path: str, *, arrives: bool) -> Iterator[None]:
    """Lose the answers of the staff API to requests of this path, which arrive there or do not."""
    post = ApiClient.post

    def lose(client: ApiClient, to: str, *given: Any, **options: Any) -> Any:
        answer = post(client, to, *given, **options) if arrives or to != path else None
        if to == path:
            raise NoAnswerError("the staff API did not answer")
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ApiClient, "post", lose)
        yield


@pytest.mark.parametrize("arrives", [True, False])
def test_order_that_is_signed_on_a_terminal_and_whose_answer_is_lost_is_named(
    laptop: Laptop, world: World, arrives: bool
) -> None:
    laptop.log_in().must()
    number = put(world, MessageKind.INCIDENT_OPENED, "dead")
    change(world, "UPDATE outbox SET delivery_attempts = 5, last_error = 'x'")
    order_id = uuid7(time.time())
    words = ("--passkey", "outbox", "retry", "--all", "--reason", "worker updated", "--json", "--order-id", order_id)
    laptop.remote(*words).must(ExitCode.WAITING)
    sign = ("orders", "sign", order_id, "--yes", "--json")
    with answers_lost("/orders", arrives=arrives):
        lost = laptop.remote(*sign).must(ExitCode.UNAVAILABLE)
    again = f"run `octy orders sign {order_id}` again; if it does not wait any more, repeat the command that made it, "
    assert f"did not answer → {again}with --order-id {order_id}; it is carried out once" in lost.stderr
    if arrives:
        laptop.remote(*sign).must(ExitCode.USAGE)
        assert laptop.remote(*words).must().json["retried"] == [number]
    else:
        assert laptop.remote(*sign).must().json["output"]["retried"] == [number]
    assert world.rows("SELECT id, state FROM staff_order") == [(order_id, "used")]


def test_order_that_was_received_is_repeated_by_its_id_without_a_new_proof(laptop: Laptop, world: World) -> None:
    _, incident_id = open_incident(world)
    laptop.log_in().must()
    order_id = uuid7(time.time())
    words = ("incidents", "decide", incident_id, "dismiss", "--reason", "their load test", "--order-only", "--json")
    for code in ({}, {"OCTY_STAFF_CODE": "000000"}):
        repeated = laptop.remote(*words, "--order-id", order_id, **code).must()
        assert repeated.json["order"] == order_id
    assert world.rows("SELECT COUNT(*) FROM staff_order") == [(1,)]
    other = laptop.remote(*words[:3], "regenerate", *words[4:], "--order-id", order_id).must(ExitCode.REFUSED)
    assert f"the id {order_id} belongs to another order" in other.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("incidents", "release"), "it is carried out once"),
        (("staff", "reset", "vic"), "what it made is lost: order it again, without --order-id"),
    ],
)
def test_order_whose_answer_is_lost_is_named_with_its_id(laptop: Laptop, words: tuple[str, ...], hint: str) -> None:
    laptop.log_in().must()
    saved = load_session(laptop.folder / "octy", laptop.url)
    assert saved is not None
    with silent_server() as url:
        save_session(laptop.folder / "octy", replace(saved, server=url))
        lost = laptop.octy("--server", url, *words, "--reason", "it is an attack", second=True)
    assert "it is unknown whether the order 0" in lost.must(ExitCode.UNAVAILABLE).stderr
    assert "closed the connection without an answer → repeat the command with --order-id 0" in lost.stderr
    assert hint in lost.stderr


@pytest.mark.parametrize("arrives", [True, False])
def test_order_that_is_only_received_and_whose_answer_is_lost_is_named(
    laptop: Laptop, world: World, arrives: bool
) -> None:
    _, incident_id = open_incident(world)
    laptop.log_in().must()
    words = ("incidents", "decide", incident_id, "dismiss", "--reason", "their load test", "--order-only", "--json")
    with answers_lost("/orders/receive", arrives=arrives):
        lost = laptop.remote(*words).must(ExitCode.UNAVAILABLE)
    named = re.search(r"it is unknown whether the order (\S+) was carried out", lost.stderr)
    assert named is not None, lost.stderr
    assert laptop.remote(*words, "--order-id", named[1]).must().json["order"] == named[1]
    assert world.rows("SELECT id, state FROM staff_order") == [(named[1], "received")]


def test_release_of_alerts_takes_the_id_of_its_order(laptop: Laptop, world: World) -> None:
    laptop.log_in().must()
    order_id = uuid7(time.time())
    words = ("incidents", "release", "--reason", "it is an attack", "--order-id", order_id)
    assert "alerts are not held" in laptop.remote(*words).must(ExitCode.REFUSED).stderr
    assert world.rows("SELECT id FROM staff_order") == [(order_id,)]


def test_repeated_command_gets_the_same_answer_without_a_new_proof(laptop: Laptop, world: World) -> None:
    laptop.log_in().must()
    number = put(world, MessageKind.INCIDENT_OPENED, "dead")
    change(world, "UPDATE outbox SET delivery_attempts = 5, last_error = 'x'")
    words = ("outbox", "retry", "--all", "--reason", "worker updated", "--json", "--order-id", uuid7(time.time()))
    first = laptop.remote(*words).must()
    assert first.json["retried"] == [number]
    assert laptop.remote(*words, OCTY_STAFF_CODE="000000").must().json == first.json


@contextmanager
def silent_server() -> Iterator[str]:
    """Accept one request, and close its connection without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)


def test_agent_signs_where_no_key_is_in_a_file(
    laptop: Laptop, staff_keys: StaffKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = SshKey.make(tmp_path / "held")
    kept.certify(staff_keys.authority, principals="ada")
    with ssh_agent(tmp_path, kept) as environ:
        monkeypatch.setenv("SSH_AUTH_SOCK", environ["SSH_AUTH_SOCK"])
        kept.path.unlink()
        kept.certificate.unlink()
        laptop.octy("login", laptop.url, OCTY_STAFF_KEY_FILE="").must()
    saved = load_session(laptop.folder / "octy", laptop.url)
    assert saved is not None
    assert (saved.handle, saved.key) == ("ada", "")


def test_ended_session_says_how_to_get_a_new_one(laptop: Laptop) -> None:
    laptop.log_in().must()
    (session,) = laptop.remote("sessions", "list", "--json").must().json["sessions"]
    laptop.remote("sessions", "end", session["id"]).must()
    refused = laptop.remote("incidents", "list").must(ExitCode.REFUSED)
    assert f"this session was ended → log in with `octy login {laptop.url}`" in refused.stderr
    unknown = laptop.remote("sessions", "end", "x").must(ExitCode.REFUSED)
    assert "this session was ended" in unknown.stderr


def test_log_out_from_a_server_that_does_not_answer_removes_the_session_here(laptop: Laptop) -> None:
    laptop.log_in().must()
    saved = load_session(laptop.folder / "octy", laptop.url)
    assert saved is not None
    save_session(laptop.folder / "octy", replace(saved, server=f"http://{DENIED}"))
    refused = laptop.octy("logout", f"http://{DENIED}").must(ExitCode.FAILED)
    assert "the session's file is removed, but the server did not end it" in refused.stderr
    assert load_session(laptop.folder / "octy", f"http://{DENIED}") is None


def test_certificate_that_has_expired_is_named_before_anything_is_sent(
    laptop: Laptop, staff_keys: StaffKeys, tmp_path: Path
) -> None:
    old = SshKey.make(tmp_path / "old")
    old.certify(staff_keys.authority, valid="-2h:-1h")
    refused = laptop.octy("login", f"http://{DENIED}", OCTY_STAFF_KEY_FILE=str(old.path)).must(ExitCode.REFUSED)
    assert "your certificate has expired → get a new one" in refused.stderr


def test_refused_log_in_says_why(laptop: Laptop) -> None:
    refused = laptop.octy("login", laptop.url, OCTY_STAFF_CODE="000000").must(ExitCode.REFUSED)
    assert "the code is wrong or too old" in refused.stderr
    other_name = laptop.octy("login", laptop.url, "--as", "eve").must(ExitCode.USAGE)
    assert "issued to ada, not to eve" in other_name.stderr
    other = laptop.octy("login", laptop.url.replace("localhost", "127.0.0.1")).must(ExitCode.REFUSED)
    assert f"the server says that its URL is {laptop.url}" in other.stderr


UNREACHABLE = [
    ("nothing listens", f"http://{DENIED}", ExitCode.UNAVAILABLE, "can't be reached"),
    ("not encrypted", "http://staff.example.com", ExitCode.USAGE, "is not encrypted"),
    ("no URL", "staff.example.com", ExitCode.USAGE, "is not the URL of a server"),
]


@pytest.mark.parametrize(("url", "code", "why"), [row[1:] for row in UNREACHABLE], ids=[row[0] for row in UNREACHABLE])
def test_server_that_cannot_be_used_is_named(laptop: Laptop, url: str, code: ExitCode, why: str) -> None:
    assert why in laptop.octy("login", url).must(code).stderr


def test_command_of_the_host_is_refused_with_a_server(laptop: Laptop) -> None:
    refused = laptop.remote("db", "current").must(ExitCode.USAGE)
    assert "this command needs the installation's database" in refused.stderr
    assert "no staff API is named" in laptop.octy("sessions", "list").must(ExitCode.USAGE).stderr


def test_admin_reads_verifies_and_exports_the_audit_log_from_a_laptop(
    laptop: Laptop, world: World, staff_keys: StaffKeys, tmp_path: Path
) -> None:
    laptop.key = staff_keys.keys["amy"].path
    with world.database.write_session() as session:
        amy = laptop.api.rig.members.require(session, "amy")
        laptop.api.rig.members.add_totp(session, amy, laptop.second_seed, now=time.time())
    _, incident_id = open_incident(world)
    laptop.log_in().must()
    assert laptop.remote("audit", "list", "--action", "login", "--json").must().json["entries"][0]["actor"] == "amy"
    assert "entries are unchanged" in laptop.remote("audit", "verify").must().stdout
    out = tmp_path / "evidence.zip"
    words = ("audit", "export", "--incident", incident_id, "--out", str(out), "--reason", "asked for", "--json")
    exported = laptop.remote(*words).must().json
    assert (exported["actor"], exported["sha256"]) == ("amy", hashlib.sha256(out.read_bytes()).hexdigest())
    keys = laptop.remote("audit", "keys", "--json").must().json["keys"]
    assert read_pack(out.read_bytes(), keys).manifest.incident == incident_id
