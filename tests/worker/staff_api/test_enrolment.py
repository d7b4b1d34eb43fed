"""A one-time password is registered at the staff API, before there can be a session."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from support.cli_rig import TIMEOUT, Octy
from support.ssh_keys import SoftToken, SshKey
from support.staff_api_rig import StaffApi, staff_api_served
from support.staff_cli import code_of
from support.staff_rig import ADDRESS, SERVER, StaffKeys
from support.world import INSTALLATION, World

from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.members import StaffState
from octy_worker.access.roles import Role
from octy_worker.dev.processes import free_port

SEED = "7GL53UBTIRHD5G6ZSENACSZI24M2TW4W"
NOW = float(int(time.time()))
ORDER = "01990000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture(scope="module")
def key(staff_keys: StaffKeys) -> SshKey:
    """Ben's."""
    made = SshKey.make(staff_keys.folder / "ben")
    made.certify(staff_keys.authority, principals="ben")
    return made


def invite(api: StaffApi) -> str:
    """Have ben invited; return the token of the link."""
    with api.rig.world.database.write_session() as session:
        ben = api.rig.members.add(session, "ben", Role.RESPONDER, granted_by=ORDER, now=api.rig.now, by="amy")
        return api.office.staff.enrolments.create(session, ben, granted_by=ORDER, now=api.rig.now)


def request(key: SshKey, token: str, *, server: str = SERVER, code: str | None = None) -> dict[str, str]:
    text = EnrolmentText.make(
        server=server, installation=INSTALLATION, handle="ben", token=token, seed=SEED, now=NOW
    ).to_bytes()
    return {
        "text": text.decode(),
        "signature": key.sign(text, "octy-enrolment"),
        "token": token,
        "seed": SEED,
        "code": code_of(SEED, NOW) if code is None else code,
    }


def state(api: StaffApi) -> StaffState:
    with api.rig.world.database.read_session() as session:
        return api.rig.members.require(session, "ben").state


@pytest.fixture
def api(world: World, staff_keys: StaffKeys) -> StaffApi:
    return StaffApi.of(world, staff_keys, NOW)


def test_invited_person_registers_and_can_act(api: StaffApi, key: SshKey) -> None:
    token = invite(api)
    answer = api.post("/enroll", request(key, token))
    assert (answer.status_code, answer.json()["handle"]) == (200, "ben")
    assert state(api) is StaffState.ACTIVE
    assert api.post("/enroll", request(key, token)).status_code == 403


def test_token_registers_itself_without_a_code(api: StaffApi) -> None:
    key, at = SoftToken(), int(NOW)
    certificate = key.certificate(api.rig.keys.authority, after=at - 60, before=at + 3600, principals=(b"ben",))
    token = invite(api)
    text = EnrolmentText.make(
        server=SERVER, installation=INSTALLATION, handle="ben", token=token, now=NOW, kind=FactorKind.HARDWARE_KEY
    ).to_bytes()
    given = {"text": text.decode(), "token": token}
    signed = {
        flags: {**given, "signature": key.sign(certificate, text, b"octy-enrolment", flags=flags)} for flags in (1, 5)
    }
    assert api.post("/enroll", signed[1]).status_code == 403
    assert state(api) is StaffState.INVITED
    assert api.post("/enroll", signed[5]).json()["handle"] == "ben"
    assert state(api) is StaffState.ACTIVE


CHANGES: list[tuple[str, Callable[[SshKey, str], dict[str, str]], str]] = [
    (
        "signed for another server",
        lambda key, token: request(key, token, server="https://evil.example"),
        "evil.example",
    ),
    ("signed for the host", lambda key, token: request(key, token, server=""), "is for the host, and this is https://"),
    ("wrong code", lambda key, token: request(key, token, code="000000"), "code is wrong"),
    ("another link", lambda key, _token: request(key, "made-up"), "this link is not valid"),
]


@pytest.mark.parametrize(("make", "why"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_refused_enrolment_is_recorded_and_registers_nothing(
    api: StaffApi, key: SshKey, make: Callable[[SshKey, str], dict[str, str]], why: str
) -> None:
    answer = api.post("/enroll", make(key, invite(api)))
    assert (answer.status_code, why in answer.json()["error"]["message"]) == (403, True), answer.text
    assert state(api) is StaffState.INVITED
    [(actor, detail)] = api.rig.world.rows("SELECT actor, detail FROM audit_entry WHERE action = 'login.refused'")
    assert (actor, json.loads(detail)["source"]) == ("ben", ADDRESS)


@pytest.mark.parametrize("signature", ["", "x"])
def test_enrolment_without_a_valid_signature_opens_no_transaction_and_is_counted(
    api: StaffApi, key: SshKey, signature: str
) -> None:
    unsigned = {**request(key, "made-up", server="https://evil.example"), "signature": signature}
    with api.rig.world.database.write_session():  # no other connection can write
        statuses = [api.post("/enroll", unsigned).status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]
    assert api.rig.world.rows("SELECT COUNT(*) FROM audit_entry WHERE action = 'login.refused'") == [(0,)]


def test_sixth_attempt_in_a_row_waits_and_is_not_judged(api: StaffApi, key: SshKey) -> None:
    token = invite(api)
    for _ in range(5):
        assert api.post("/enroll", request(key, token, code="000000")).status_code == 403
    waiting = api.post("/enroll", request(key, token))
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (429, "61")
    assert state(api) is StaffState.INVITED


@pytest.mark.parametrize(
    "body", [{}, {"text": "{}"}, {"text": "", "signature": "", "token": "", "seed": "", "code": ""}]
)
def test_body_that_is_no_enrolment_is_answered_400(api: StaffApi, body: dict[str, str]) -> None:
    assert api.post("/enroll", body).status_code == 400


def test_command_registers_at_the_server_that_was_named(world: World, staff_keys: StaffKeys, key: SshKey) -> None:
    url = f"http://localhost:{(port := free_port())}"
    api = StaffApi.of(world, staff_keys, time.time(), staff_url=url, staff_port=port)
    api.office.clock = time.time
    token = invite(api)
    words = ["--server", url, "--sign", str(key.path), "staff", "enroll", "--json", "--token"]
    link = f"{url}/staff/enroll/{token}"
    with (
        staff_api_served(api.office, api.settings),
        subprocess.Popen(
            [sys.executable, "-m", "octy_worker", *words, link],
            env=Octy(folder=world.folder).environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        shown = json.loads(process.stdout.readline())
        answer, _ = process.communicate(f"{code_of(shown['secret'])}\n", timeout=TIMEOUT)
    assert (process.returncode, json.loads(answer)["handle"]) == (0, "ben")
    assert state(api) is StaffState.ACTIVE
