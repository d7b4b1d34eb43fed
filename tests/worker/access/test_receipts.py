"""Signed orders: what is accepted at receipt, what at use, and each way to be refused."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from passlib.totp import TOTP
from sqlalchemy import text
from support.refusals import refusal
from support.ssh_keys import SoftToken, SshKey
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.keys.keychain import Keychain
from octy_worker.access import proofs
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.members import BOOTSTRAP, Members, StaffState
from octy_worker.access.orders import Order
from octy_worker.access.proofs import Evidence, NoProofs, OrderProofs, Proof, Unproven
from octy_worker.access.receipts import OrderReceipts, Receipt
from octy_worker.access.roles import Action, Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.access.totp import new_seed
from octy_worker.audit import repository as audit
from octy_worker.audit.chain import verify_chain
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, Revocations
from octy_worker.crypto.ssh_signatures import CertifiedSignature, verify_signature

NOW = float(int(time.time()))
DAY = 24 * 3600.0
SUBJECT = "0199f2c4-9c3b-7d4e-8a1f-ba9876543210"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> SshKey:
    return SshKey.make(tmp_path_factory.mktemp("ssh") / "ca")


@pytest.fixture(scope="module")
def keys(authority: SshKey) -> dict[str, SshKey]:
    made = {}
    for handle in ("ada", "vic"):
        made[handle] = SshKey.make(authority.path.with_name(handle))
        made[handle].certify(authority, "-z", "17", principals=handle)
    return made


@dataclass
class Office:
    """One installation with staff: ada is a responder, vic a viewer; both have a one-time password."""

    world: World
    keys: dict[str, SshKey]
    members: Members
    receipts: OrderReceipts
    seed: str
    macs: RowMacs

    def order(self, **fields: object) -> Order:
        made = Order(
            order_id=uuid7(NOW),
            installation=INSTALLATION,
            action=Action.DECIDE,
            subject=SUBJECT,
            fields={"decision": "regenerate", "leaked": False},
            reason="confirmed by phone",
            actor="ada",
            issued_at=int(NOW),
        )
        return replace(made, **fields)  # type: ignore[arg-type]

    def code(self, at: float = NOW) -> str:
        return str(TOTP(key=self.seed).generate(time=at).token)

    def evidence(self, order: Order, *, at: float = NOW, namespace: str = "octy-order") -> Evidence:
        return Evidence(self.keys[order.actor].sign(order.to_bytes(), namespace), self.code(at), "192.0.2.7")

    def receive(self, order: Order, evidence: Evidence | None = None, *, now: float = NOW) -> Receipt:
        with self.world.database.write_session() as session:
            return self.receipts.receive(session, order.to_bytes(), evidence or self.evidence(order, at=now), now)

    def use(self, order: Order, *, by: str = "run-1", now: float = NOW + 3600, **other: object) -> Order:
        with self.world.database.write_session() as session:
            values = {"action": order.action, "subject": order.subject, **other}
            return self.receipts.use(session, order.order_id, by=by, now=now, **values)  # type: ignore[arg-type]

    def change(self, statement: str) -> None:
        with self.world.database.write() as connection:
            connection.execute(text(statement))


@pytest.fixture
def office(world: World, authority: SshKey, keys: dict[str, SshKey]) -> Office:
    macs, seed = RowMacs(Keychain.generate("s1")), new_seed(lambda count: b"7" * count)
    members = Members(macs, world.sealer)
    with world.database.write_session() as session:
        for handle, role in (("ada", Role.RESPONDER), ("vic", Role.VIEWER)):
            member = members.add(session, handle, role, granted_by=BOOTSTRAP, now=NOW)
            members.add_totp(session, member, seed, now=NOW)
            members.change(session, handle, granted_by=BOOTSTRAP, now=NOW, state=StaffState.ACTIVE)
    receipts = OrderReceipts(INSTALLATION, OrderProofs(accepting(authority), members, macs))
    return Office(world, keys, members, receipts, seed, macs)


def accepting(authority: SshKey, *revoked: str) -> CertificateAuthorities:
    return CertificateAuthorities([authority.public], max_lifetime=16 * 3600, revoked=Revocations.parse(revoked))


def test_order_is_received_and_used_once_an_hour_later(office: Office) -> None:
    order = office.order()
    assert office.receive(order).order == order
    assert office.use(order) == order
    assert office.use(order) == order, "the same call again finds its own mark"
    assert "was used already" in refusal(office.use, order, by="run-2")
    with office.world.database.read_session() as session:
        entries = list(audit.entries(session, subject=SUBJECT))
        verified = verify_chain(audit.entries(session)).entries
    assert office.world.rows("SELECT COUNT(*) FROM audit_entry") == [(verified,)]
    assert [(entry.action, entry.actor, entry.order_id) for entry in entries] == [
        ("order.received", "ada", order.order_id),
        ("order.used", "ada", order.order_id),
    ]
    assert json.loads(entries[0].detail or "")["certificate"] == 17


def test_output_of_a_used_order_is_kept_for_its_repeat(office: Office) -> None:
    order = office.order()
    office.receive(order)
    office.change("""UPDATE staff_order SET output = '{"forged": 1}'""")
    assert found_output(office, order) == "", "the log does not have its use"
    office.use(order)
    with office.world.database.write_session() as session:
        office.receipts.keep_output(session, order.order_id, '{"mail": 1}')
    assert found_output(office, order) == '{"mail": 1}'
    assert found_output(office, office.order()) == ""


def test_only_a_used_order_gets_an_output(office: Office) -> None:
    order = office.order()
    office.receive(order)
    with pytest.raises(AssertionError, match="only a used order"), office.world.database.write_session() as session:
        office.receipts.keep_output(session, order.order_id, "{}")
    assert office.world.rows("SELECT output FROM staff_order") == [("",)]


def found_output(office: Office, order: Order) -> str:
    with office.world.database.read_session() as session:
        return office.receipts.find_output(session, order.order_id)


def test_received_order_can_be_used_for_a_day(office: Office) -> None:
    order, late = office.order(), office.order(issued_at=int(NOW) + 60)
    office.receive(order)
    office.receive(late, now=NOW + 60)
    assert office.use(order, now=NOW + DAY) == order
    assert office.use(order, now=NOW + 3 * DAY) == order, "the same call again finds its own mark, also later"
    said = "the staff order of this id was received more than 24 hours ago and not used; order it again"
    assert refusal(office.use, late, now=NOW + 60 + DAY + 1) == said
    assert office.use(late, now=NOW + 60 + DAY) == late, "its state is as it was"


def test_part_of_an_order_can_be_used_for_a_day_from_the_receipt_of_the_whole(office: Office) -> None:
    whole = office.order(
        action=Action.DECIDE_MANY, subject="", fields={"decision": "dismiss", "leaked": False, "incidents": ["a", "b"]}
    )
    office.receive(whole)
    office.use(whole, by=whole.order_id)
    for subject, now in (("a", NOW + DAY), ("b", NOW + DAY + 1)):
        with office.world.database.write_session() as session:
            part = office.receipts.add_part(session, whole.order_id, subject, now)
        if subject == "a":
            assert office.use(part, now=now) == part
        else:
            assert "order it again" in refusal(office.use, part, now=now)


def test_part_is_received_of_a_used_order_about_one_of_its_subjects_alone(office: Office) -> None:
    fields = {"decision": "dismiss", "leaked": False, "incidents": ["a"]}
    whole = office.order(action=Action.DECIDE_MANY, subject="", fields=fields)
    office.receive(whole)
    with office.world.database.write_session() as session:
        add = office.receipts.add_part
        assert "is not used yet" in refusal(add, session, whole.order_id, "a", NOW)
        assert "not about this subject" in refusal(add, session, whole.order_id, "b", NOW)
        assert "there is no staff order of this id" in refusal(add, session, uuid7(NOW), "a", NOW)


def test_part_of_a_part_is_refused_also_where_rows_have_no_codes(office: Office) -> None:
    receipts, order = OrderReceipts(INSTALLATION, NoProofs()), office.order()
    with office.world.database.write_session() as session:
        assert "no order of this id yet" in refusal(receipts.receive, session, order.to_bytes(), None, NOW)
        receipts.receive(session, order.to_bytes(), Unproven(), NOW)
    office.change("UPDATE staff_order SET part_of = id")
    assert "is part of a part" in refusal(replace(office, receipts=receipts).use, order)


def test_use_of_a_part_verifies_the_signature_of_the_whole_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"decision": "dismiss", "leaked": False, "incidents": ["a"]}
    whole = office.order(action=Action.DECIDE_MANY, subject="", fields=fields)
    office.receive(whole)
    office.use(whole, by=whole.order_id)
    with office.world.database.write_session() as session:
        part = office.receipts.add_part(session, whole.order_id, "a", NOW)
    verified: list[bytes] = []

    def verify(signature: str, body: bytes, **options: Any) -> CertifiedSignature:
        verified.append(body)
        return verify_signature(signature, body, **options)

    monkeypatch.setattr(proofs, "verify_signature", verify)
    assert office.use(part) == part
    assert verified == [whole.to_bytes()]


def test_repeated_receipt_needs_no_second_code_and_another_order_of_this_id_is_refused(office: Office) -> None:
    order = office.order()
    evidence = office.evidence(order)
    assert office.receive(order, evidence) == office.receive(order, evidence)
    other = replace(order, reason="another one")
    assert "another order has this id" in refusal(office.receive, other)
    office.change("UPDATE staff_order SET state = 'x'")
    assert "has no valid state" in refusal(office.receive, order)


def test_hardware_key_that_verified_its_user_needs_no_code(office: Office, authority: SshKey) -> None:
    token, order = SoftToken(), office.order()
    certificate = token.certificate(authority, after=int(NOW) - 60, before=int(NOW) + 3600)
    untouched = Evidence(token.sign(certificate, order.to_bytes(), flags=0x01))
    assert "second factor is missing" in refusal(office.receive, order, untouched)
    office.receive(order, Evidence(token.sign(certificate, order.to_bytes())))
    assert office.world.rows("SELECT factor FROM staff_order") == [(FactorKind.HARDWARE_KEY,)]


AT_RECEIPT = [
    ("stale", {"issued_at": int(NOW) - 301}, "more than 5 minutes ago"),
    ("from the future", {"issued_at": int(NOW) + 301}, "more than 5 minutes ago"),
    ("other installation", {"installation": "f" * 16}, "another installation"),
    ("role too small", {"action": Action.REVOKE}, "ada is responder, and this needs key_admin"),
    ("a leak", {"fields": {"decision": "regenerate", "leaked": True}}, "ada is responder, and this needs key_admin"),
    ("viewer", {"actor": "vic"}, "vic is viewer, and this needs responder"),
]


@pytest.mark.parametrize(("fields", "why"), [row[1:] for row in AT_RECEIPT], ids=[row[0] for row in AT_RECEIPT])
def test_order_is_refused_at_receipt(office: Office, fields: dict[str, object], why: str) -> None:
    assert why in refusal(office.receive, office.order(**fields))
    assert office.world.rows("SELECT COUNT(*) FROM staff_order") == [(0,)]


@pytest.mark.parametrize(
    ("proof", "why"),
    [(None, "a new one needs a proof"), (Unproven(), "an order needs a signature")],
    ids=["nothing", "as where OCTY_STAFF_AUTH is off"],
)
def test_order_without_a_proof_is_refused(office: Office, proof: Proof | None, why: str) -> None:
    order = office.order()
    with office.world.database.write_session() as session:
        assert why in refusal(office.receipts.receive, session, order.to_bytes(), proof, NOW)
    assert office.world.rows("SELECT COUNT(*) FROM staff_order") == [(0,)]


def test_wrong_namespace_text_signer_and_code_are_refused(office: Office) -> None:
    order = office.order()
    login = office.evidence(order, namespace="octy-login")
    assert "signed for 'octy-login'" in refusal(office.receive, order, login)
    right = office.evidence(order)
    assert "does not match" in refusal(office.receive, office.order(), right)
    theirs = Evidence(office.keys["vic"].sign(order.to_bytes()), right.code)
    assert "was not issued to ada" in refusal(office.receive, order, theirs)
    assert "wrong or too old" in refusal(office.receive, order, replace(right, code="000000"))
    assert "second factor is missing" in refusal(office.receive, order, replace(right, code=""))


def test_code_serves_one_order(office: Office) -> None:
    first, second = office.order(), office.order()
    office.receive(first)
    assert "was used before" in refusal(office.receive, second)
    later = NOW + 60
    assert office.receive(replace(second, issued_at=int(later)), now=later)


def test_unknown_and_disabled_staff_are_refused(office: Office) -> None:
    order = office.order()
    with office.world.database.write_session() as session:
        office.members.change(session, "ada", granted_by="order-1", now=NOW, state=StaffState.DISABLED)
    assert "ada is disabled" in refusal(office.receive, order)
    office.change("DELETE FROM staff_factor")
    office.change("DELETE FROM staff")
    assert "there is no staff member ada" in refusal(office.receive, order)


def test_source_address_of_the_certificate_is_honoured(office: Office, authority: SshKey, tmp_path: Path) -> None:
    bound = SshKey.make(tmp_path / "ada")
    bound.certify(authority, "-O", "source-address=198.51.100.0/24")
    order = office.order()
    evidence = Evidence(bound.sign(order.to_bytes()), office.code(), "192.0.2.7")
    assert "may not be used from 192.0.2.7" in refusal(office.receive, order, evidence)
    assert office.receive(order, replace(evidence, source="198.51.100.9"))


BY_SQL = [
    ("UPDATE staff_order SET subject = 'x'", {"subject": "x"}, "not received by this system, or was changed"),
    ("UPDATE staff_order SET actor = 'vic'", {}, "not received by this system, or was changed"),
    ("UPDATE staff_order SET received_at = received_at + 1", {}, "not received by this system, or was changed"),
    ("UPDATE staff_order SET factor = 'hardware-key'", {}, "not received by this system, or was changed"),
    ("UPDATE staff_order SET mac = ''", {}, "not received by this system, or was changed"),
    ("UPDATE staff_order SET state = 'refused'", {}, "was refused already"),
    ("DELETE FROM staff_order", {}, "there is no staff order of this id"),
    ("UPDATE staff SET role = 'admin'", {}, "was not written by this system"),
    ("UPDATE staff SET handle = 'eve' WHERE handle = 'ada'", {}, "there is no staff member ada"),
]


@pytest.mark.parametrize(("statement", "other", "why"), BY_SQL, ids=[row[0] for row in BY_SQL])
def test_row_changed_by_sql_grants_nothing(office: Office, statement: str, other: dict[str, str], why: str) -> None:
    order = office.order()
    office.receive(order)
    office.change(statement)
    assert why in refusal(office.use, order, **other)


def test_order_set_back_to_unused_by_sql_is_refused(office: Office) -> None:
    order = office.order()
    office.receive(order)
    office.use(order)
    office.change("UPDATE staff_order SET state = 'received', used_by = ''")
    assert "was used already" in refusal(office.use, order, by="run-2")


@pytest.mark.parametrize("detail", ["", "{", "5", "null", '["received"]', "[" * 100_000], ids=lambda detail: detail[:9])
@pytest.mark.parametrize(("action", "said"), [("order.used", "was used"), ("order.refused", "was refused")])
def test_unreadable_entry_of_its_end_ends_an_order(office: Office, action: str, said: str, detail: str) -> None:
    """As SQL may have written it. An error of another kind would have the workflow use the order without end."""
    order = office.order()
    office.receive(order)
    with office.world.database.write_session() as session:
        audit.append(session, action, actor="ada", subject=SUBJECT, order_id=order.order_id)
    office.change(f"UPDATE audit_entry SET detail = '{detail}' WHERE action = '{action}'")  # no input
    assert f"{said} already" in refusal(office.use, order)


def test_row_copied_under_another_id_is_refused(office: Office) -> None:
    order, other = office.order(), uuid7(NOW)
    office.receive(order)
    columns = "action, subject, actor, body, private, signature, certificate, factor, source, part_of, received_at, mac"
    columns += ", state, used_by, output"
    office.change(
        f"INSERT INTO staff_order (id, {columns}, refusal) SELECT '{other}', {columns}, refusal FROM staff_order"
    )
    assert "not received by this system" in refusal(office.use, replace(order, order_id=other))


def test_order_is_refused_for_another_subject_or_action(office: Office) -> None:
    order = office.order()
    office.receive(order)
    assert "about something else" in refusal(office.use, order, subject="other")
    assert "about something else" in refusal(office.use, order, action=Action.EXTEND)


def test_what_changed_since_the_receipt_counts_at_the_use(office: Office, authority: SshKey) -> None:
    order = office.order()
    office.receive(order)
    proofs = OrderProofs(accepting(authority, "serial:17"), office.members, office.macs)
    revoking = OrderReceipts(INSTALLATION, proofs)
    assert "was revoked" in refusal(replace(office, receipts=revoking).use, order)
    with office.world.database.write_session() as session:
        office.members.change(session, "ada", granted_by="order-1", now=NOW, role=Role.VIEWER)
    assert "ada is viewer" in refusal(office.use, order)


def test_report_of_a_leak_needs_a_key_admin_at_the_use_too(office: Office) -> None:
    def change(role: Role, granted_by: str) -> None:
        with office.world.database.write_session() as session:
            office.members.change(session, "ada", granted_by=granted_by, now=NOW, role=role)

    order = office.order(fields={"decision": "regenerate", "leaked": True})
    change(Role.KEY_ADMIN, "order-1")
    office.receive(order)
    change(Role.RESPONDER, "order-2")
    assert "ada is responder, and this needs key_admin" in refusal(office.use, order)
    change(Role.KEY_ADMIN, "order-3")
    assert office.use(order) == order
