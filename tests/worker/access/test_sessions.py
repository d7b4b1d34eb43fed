"""Sessions of staff: how a log-in opens one, what it is good for, and each way in which it ends."""

import json
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text
from support.refusals import refusal
from support.retention_rig import prune
from support.ssh_keys import SoftToken, wire_of
from support.staff_rig import ADDRESS, SERVER, StaffKeys, StaffRig
from support.world import World

from octy_middleware.clock import uuid7
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.login_text import InvalidServerError, LoginText, normalize_server
from octy_worker.access.logins import record_refusal
from octy_worker.access.members import StaffState
from octy_worker.access.proofs import Evidence
from octy_worker.access.roles import Role
from octy_worker.access.sessions import IDLE_TIMEOUT, MAX_LIFETIME, SessionEndedError, SessionKind
from octy_worker.access.signed_text import InvalidTextError
from octy_worker.audit import repository as audit

NOW = float(int(time.time()))


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def rig(world: World, staff_keys: StaffKeys) -> StaffRig:
    return StaffRig(world, staff_keys, NOW)


def ending(rig: StaffRig, token: str, *, at: float = 0, source: str = ADDRESS) -> str:
    with pytest.raises(SessionEndedError) as ended:
        rig.find(token, at=at, source=source)
    return str(ended.value)


def test_log_in_opens_a_session_whose_token_is_not_stored(rig: StaffRig) -> None:
    token, opened = rig.log_in()
    assert rig.find(token) == opened
    assert (opened.handle, opened.role, opened.kind, opened.source) == ("ada", Role.RESPONDER, "cli", ADDRESS)
    stored = str(rig.world.rows("SELECT * FROM staff_session"))
    assert token not in stored
    assert "there is no such session" in ending(rig, token[:-1])
    with rig.world.database.read_session() as session:
        entries = [(entry.action, entry.actor, entry.subject) for entry in audit.entries(session)]
    assert entries[-1] == ("login", "ada", opened.id)


def test_key_that_verified_its_user_needs_no_code(rig: StaffRig) -> None:
    token, body = SoftToken(), rig.login_text()
    certificate = token.certificate(rig.keys.authority, after=int(NOW) - 60, before=int(NOW) + 3600)
    touched = Evidence(token.sign(certificate, body, b"octy-login", flags=0x01), source=ADDRESS)
    assert "second factor is missing" in refusal(rig.receive, body, touched)
    verified = Evidence(token.sign(certificate, body, b"octy-login"), source=ADDRESS)
    _, opened = rig.receive(body, verified)
    assert opened.factor == FactorKind.HARDWARE_KEY
    assert opened.expires_at.timestamp() == NOW + 3600, "the certificate ends before twelve hours"


TEXTS = [
    ("another server", {"server": "https://evil.example"}, "and this is https://staff.example.com"),
    ("another installation", {"installation": "f" * 16}, "another installation"),
    ("signed long ago", {"issued_at": int(NOW) - 301}, "more than 5 minutes ago"),
    ("signed in the future", {"issued_at": int(NOW) + 301}, "more than 5 minutes ago"),
    ("a made-up nonce", {"nonce": f"{int(NOW)}.{'0' * 32}.s1${'0' * 64}"}, "not one of this server"),
    ("no nonce", {"nonce": ""}, "not one of this server"),
    ("another person", {"handle": "vic"}, "not issued to vic"),
    ("unknown person", {"handle": "eve"}, "not issued to eve"),
]


@pytest.mark.parametrize(("fields", "why"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_log_in_with_another_text_is_refused(rig: StaffRig, fields: dict[str, object], why: str) -> None:
    body = rig.login_text(**fields)  # type: ignore[arg-type]
    assert why in refusal(rig.receive, body, rig.evidence(body))
    assert rig.world.rows("SELECT COUNT(*) FROM staff_session") == [(0,)]


def test_signed_text_of_another_form_is_refused(rig: StaffRig) -> None:
    assert "it is no log-in text in canonical form" in refusal(rig.receive, b"{}", rig.evidence(b"{}"))


def test_nonce_opens_one_session_within_its_minute(rig: StaffRig) -> None:
    body = rig.login_text()
    assert "older than 60 s" in refusal(rig.receive, body, rig.evidence(body, code=rig.code(NOW + 61)), NOW + 61)
    assert "older than 60 s" in refusal(rig.receive, body, rig.evidence(body), NOW - 1)
    rig.receive(body, rig.evidence(body))
    assert "used before" in refusal(rig.receive, body, rig.evidence(body, code=rig.code(NOW + 30)), NOW + 30)


def test_signature_code_state_and_address_are_judged(rig: StaffRig) -> None:
    body = rig.login_text()
    assert "signed for 'octy-order'" in refusal(rig.receive, body, rig.evidence(body, namespace="octy-order"))
    assert "not match what was" in refusal(rig.receive, body, rig.evidence(rig.login_text()))
    assert "second factor is missing" in refusal(rig.receive, body, rig.evidence(body, code=""))
    assert "code is wrong" in refusal(rig.receive, body, rig.evidence(body, code="000000"))
    rig.receive(body, rig.evidence(body))
    again = rig.login_text()
    assert "this code was used before" in refusal(rig.receive, again, rig.evidence(again))
    with rig.world.database.write_session() as session:
        rig.members.change(session, "ada", granted_by="x", now=NOW, state=StaffState.DISABLED)
    assert "ada is disabled" in refusal(rig.receive, again, rig.evidence(again, code=rig.code(NOW + 30)))


def test_certificate_that_is_bound_to_an_address_opens_and_keeps_a_session_from_there_only(
    rig: StaffRig, staff_keys: StaffKeys
) -> None:
    bound = staff_keys.keys["ada"]
    unbound = bound.certificate.read_text()
    try:
        bound.certify(staff_keys.authority, "-O", "source-address=192.0.2.0/24")
        body = rig.login_text()
        assert "may not be used from 198.51.100.1" in refusal(
            rig.receive, body, rig.evidence(body, source="198.51.100.1")
        )
        token, _ = rig.receive(body, rig.evidence(body))
    finally:
        bound.certificate.write_text(unbound)
    assert rig.find(token).handle == "ada"
    assert "may not be used from 198.51.100.1" in ending(rig, token, source="198.51.100.1")


ENDS: list[tuple[str, Callable[[StaffRig], None], float, str]] = [
    ("idle", lambda _rig: None, 30 * 60, "not used for 30 minutes"),
    ("another role", lambda rig: change(rig, role=Role.VIEWER), 0, "role or state has changed"),
    ("more rights", lambda rig: change(rig, role=Role.ADMIN), 0, "role or state has changed"),
    ("disabled", lambda rig: change(rig, state=StaffState.DISABLED), 0, "role or state has changed"),
    ("role there and back", lambda rig: (change(rig, role=Role.ADMIN), change(rig, role=Role.RESPONDER)), 0, "role"),
    ("role by SQL", lambda rig: sql(rig, "UPDATE staff SET role = 'admin'"), 0, "not written by this system"),
    ("serial revoked", lambda rig: rig.accept("serial:18"), 0, "was revoked"),
    ("authority gone", lambda rig: rig.accept(rig.keys.authorities().fingerprints[0]), 0, "was revoked"),
    ("longer by SQL", lambda rig: sql(rig, "UPDATE staff_session SET expires_at = expires_at + 1"), 0, "not written"),
    ("used by SQL", lambda rig: sql(rig, "UPDATE staff_session SET last_used_at = last_used_at + 1"), 0, "not written"),
    ("person by SQL", lambda rig: sql(rig, f"UPDATE staff_session SET staff_id = ({AMY})"), 0, "not written"),
]  # fmt: skip
AMY = "SELECT id FROM staff WHERE handle = 'amy'"


def change(rig: StaffRig, **values: object) -> None:
    with rig.world.database.write_session() as session:
        rig.members.change(session, "ada", granted_by=uuid7(NOW), now=NOW, **values)  # type: ignore[arg-type]


def sql(rig: StaffRig, statement: str) -> None:
    with rig.world.database.write() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(("change_it", "at", "why"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
def test_session_ends(rig: StaffRig, change_it: Callable[[StaffRig], None], at: float, why: str) -> None:
    token, _ = rig.log_in()
    change_it(rig)
    assert why in ending(rig, token, at=at)


def test_session_in_use_ends_with_its_certificate(rig: StaffRig) -> None:
    token, opened = rig.log_in()
    valid_before = opened.expires_at.timestamp() - NOW
    assert valid_before == pytest.approx(8 * 3600, abs=120), "certificates of the rig are valid for eight hours"
    for at in range(0, int(valid_before), 1500):
        rig.find(token, at=at)
    assert "reached its end" in ending(rig, token, at=valid_before)


def test_session_in_use_ends_after_twelve_hours_of_a_longer_certificate(rig: StaffRig, staff_keys: StaffKeys) -> None:
    key = staff_keys.keys["amy"]
    shorter = key.certificate.read_text()
    try:
        key.certify(staff_keys.authority, principals="amy", valid="-5m:+15h")
        token, opened = rig.log_in("amy")
    finally:
        key.certificate.write_text(shorter)
    assert opened.expires_at.timestamp() == NOW + MAX_LIFETIME
    for at in range(0, int(MAX_LIFETIME), 1500):
        rig.find(token, at=at)
    assert "reached its end" in ending(rig, token, at=MAX_LIFETIME)


def test_use_is_recorded_once_a_minute(rig: StaffRig) -> None:
    token, _ = rig.log_in()
    used = "SELECT last_used_at FROM staff_session"
    assert [(rig.find(token, at=at), rig.world.rows(used)[0][0] / 1e6 - NOW)[1] for at in (59, 60, 61)] == [0, 60, 60]


def test_ended_session_stays_ended_also_when_its_row_is_edited(rig: StaffRig) -> None:
    token, opened = rig.log_in()
    [(open_mac,)] = rig.world.rows("SELECT mac FROM staff_session")
    with rig.world.database.write_session() as session:
        assert rig.sessions.end(session, opened.id, by="ada", now=NOW)
        assert not rig.sessions.end(session, opened.id, by="ada", now=NOW)
        assert [(entry.action, entry.actor) for entry in audit.entries(session, subject=opened.id)] == [
            ("login", "ada"),
            ("session.ended", "ada"),
        ]
    assert "was ended" in ending(rig, token)
    [(ended_mac,)] = rig.world.rows("SELECT mac FROM staff_session")
    sql(rig, "UPDATE staff_session SET ended_at = NULL, ended_by = ''")
    assert "not written by this system" in ending(rig, token)
    sql(rig, f"UPDATE staff_session SET mac = '{open_mac}'")
    assert ended_mac != open_mac
    assert "was ended" in ending(rig, token), "also when the whole row is written back"


def test_sessions_are_listed_and_all_of_a_person_are_ended(rig: StaffRig) -> None:
    _, ada = rig.log_in("ada")
    _, vic = rig.log_in("vic")
    with rig.world.database.write_session() as session:
        member = rig.members.require_active(session, "ada", Role.VIEWER)
        line = rig.keys.keys["ada"].certificate.read_text()
        browser_token, browser = rig.sessions.open(
            session,
            member,
            rig.keys.authorities().verify(wire_of(line), now=NOW),
            factor="passkey-1",
            source=ADDRESS,
            kind=SessionKind.BROWSER,
            now=NOW + 1,
            nonce="browser:1",
        )
        listed = [one.id for one in rig.sessions.active(session, now=NOW + 2)]
        assert listed[0] == browser.id
        assert set(listed) == {browser.id, ada.id, vic.id}
        assert rig.sessions.end_all(session, "ada", by="amy", now=NOW + 2) == 2
        assert [one.handle for one in rig.sessions.active(session, now=NOW + 3)] == ["vic"]
        assert rig.sessions.active(session, now=NOW + 3, handle="ada") == []
        assert rig.sessions.active(session, now=NOW + IDLE_TIMEOUT) == [], "none was used"
        rig.sessions.touch(session, browser.id, NOW + 3)
        assert browser.id not in [one.id for one in rig.sessions.active(session, now=NOW + 4)], "it has ended"
    assert "was ended" in ending(rig, browser_token, at=3)


def test_refused_log_in_is_recorded_under_the_handle_that_it_claims(rig: StaffRig) -> None:
    with rig.world.database.write_session() as session:
        record_refusal(session, "vic", source=ADDRESS, reason="no", now=NOW)
        *_granted, entry = audit.entries(session, subject="vic")
    assert (entry.action, entry.actor, entry.detail) == (
        "login.refused", "vic", f'{{"source":"{ADDRESS}","step":"cli","why":"no"}}',
    )  # fmt: skip


INVALID_TEXTS = [b"", b"{}", b"[]", b'{"handle":"ada"}', b"[" * 4000, b"x" * 5000, b'"\\ud800"']


@pytest.mark.parametrize("data", INVALID_TEXTS)
def test_every_other_form_of_a_log_in_text_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidTextError):
        LoginText.from_bytes(data)


@pytest.mark.parametrize(
    "fields", [{"issued_at": 1.5}, {"issued_at": True}, {"handle": "customer"}, {"handle": 7}, {"server": None}]
)
def test_log_in_text_with_an_invalid_field_is_refused(rig: StaffRig, fields: dict[str, object]) -> None:
    values = json.loads(rig.login_text())
    with pytest.raises(InvalidTextError):
        LoginText.from_bytes(json.dumps({**values, **fields}, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(InvalidTextError):
        LoginText.from_bytes(json.dumps(values).encode())


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://Staff.Example.com/", SERVER),
        ("https://staff.example.com:443", SERVER),
        ("https://staff.example.com:8443/octy/", "https://staff.example.com:8443/octy"),
        ("http://127.0.0.1:8026", "http://127.0.0.1:8026"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_server_url_has_one_form(given: str, normal: str) -> None:
    assert normalize_server(given) == normal


@pytest.mark.parametrize(
    "given",
    ["http://staff.example.com", "staff.example.com", "ftp://x", "https://a@b", "https://x?y", "https://[x", ""],
)
def test_url_that_is_no_server_or_not_encrypted_is_refused(given: str) -> None:
    with pytest.raises(InvalidServerError):
        normalize_server(given)


def test_retention_deletes_sessions_a_month_after_their_end(rig: StaffRig) -> None:
    rig.log_in()
    ends = "SELECT COUNT(*) FROM staff_session"
    for days, left in ((30, 1), (31, 0)):
        prune(rig.world, now=NOW + days * 86_400.0)
        assert rig.world.rows(ends) == [(left,)]
