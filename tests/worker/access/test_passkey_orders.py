"""Orders that a passkey has signed: received, used an hour later, and each way to be refused."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session
from support.refusals import refusal
from support.soft_authenticator import ORIGIN, PRESENT, SoftAuthenticator
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_worker.access.members import StaffState
from octy_worker.access.order_states import OrderState
from octy_worker.access.orders import Order
from octy_worker.access.passkey_factors import PasskeyFactors
from octy_worker.access.passkey_orders import PasskeyEvidence, PasskeyOrders, challenge_of
from octy_worker.access.passkeys import RelyingParty, assertion_options, registration_options, verify_registration
from octy_worker.access.proofs import OrderProofs
from octy_worker.access.receipts import OrderReceipts, Receipt
from octy_worker.access.roles import Action, Role

NOW = float(int(time.time()))
SUBJECT = "0199f2c4-9c3b-7d4e-8a1f-ba9876543210"
PARTY = RelyingParty("localhost", ORIGIN, "Octy")


@dataclass
class Office:
    """ada, a responder, has a passkey."""

    rig: StaffRig
    authenticator: SoftAuthenticator = field(default_factory=SoftAuthenticator)
    staff_url: str = ORIGIN

    def __post_init__(self) -> None:
        self.receipts = self.receiving()
        self.passkeys = PasskeyFactors(PARTY, self.rig.macs)
        options = registration_options(PARTY, handle="ada", user_id="x", challenge=b"c" * 32)
        passkey = verify_registration(PARTY, self.authenticator.register(options), challenge=b"c" * 32)

        def add(session: Session) -> str:
            member = self.rig.members.require(session, "ada")
            return self.passkeys.add(session, member, passkey, granted_by="order-1", now=NOW)

        self.factor = self.write(add)

    def receiving(self, *four_eyes: Action, staff_url: str = ORIGIN) -> OrderReceipts:
        rig = self.rig
        passkeys = PasskeyOrders(staff_url, rig.macs)
        proofs = OrderProofs(rig.keys.authorities(), rig.members, rig.macs, passkeys)
        return OrderReceipts(INSTALLATION, proofs, four_eyes=four_eyes)

    def order(self, **fields: Any) -> Order:
        values = {"order_id": uuid7(NOW), "installation": INSTALLATION, "action": Action.DECIDE, "subject": SUBJECT}
        values |= {"fields": {"decision": "regenerate"}, "reason": "phoned", "actor": "ada", "issued_at": int(NOW)}
        return Order(**{**values, **fields})

    def sign(self, order: Order, **changes: Any) -> PasskeyEvidence:
        options = assertion_options(PARTY, challenge=challenge_of(order), passkeys=[])
        return PasskeyEvidence(self.authenticator.sign(options, **changes), "192.0.2.7")

    def receive(self, order: Order, evidence: PasskeyEvidence | None = None) -> Receipt:
        proof = self.sign(order) if evidence is None else evidence
        return self.write(lambda session: self.receipts.receive(session, order.to_bytes(), proof, NOW))

    def use(self, order: Order, by: str = "run-1") -> Order:
        return self.write(
            lambda session: self.receipts.use(
                session, order.order_id, order.action, order.subject, by=by, now=NOW + 3600
            )
        )

    def write(self, call):
        with self.rig.world.database.write_session() as session:
            return call(session)

    def sql(self, statement: str) -> None:
        with self.rig.world.database.write() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def office(world: World, keys: StaffKeys) -> Office:
    return Office(StaffRig(world, keys, NOW))


def test_order_is_received_and_used_once_an_hour_later(office: Office) -> None:
    order = office.order()
    assert office.receive(order).order == order
    [row] = office.rig.world.rows("SELECT certificate, factor, source FROM staff_order")
    assert row == ("", office.factor, "192.0.2.7")
    office.receive(office.order())  # the counter goes on
    assert office.use(order) == order
    assert "was used already" in refusal(office.use, order, "run-2")


def test_repeated_receipt_needs_no_second_signature(office: Office) -> None:
    order = office.order()
    evidence = office.sign(order)
    assert office.receive(order, evidence) == office.receive(order, evidence)
    assert "another order has this id" in refusal(office.receive, replace(order, reason="another"), evidence)


def test_four_eyes_hold_for_passkeys_too(office: Office) -> None:
    office.receipts = office.receiving(Action.DECIDE)
    order = office.order()
    assert office.receive(order).state is OrderState.WAITING
    assert "no second person has approved it" in refusal(office.use, order)


SIGNED_OTHERWISE = [
    ("not verified", {"flags": PRESENT}, "user was not verified"),
    ("other origin", {"origin": "https://evil.example"}, "origin"),
    ("other relying party", {"party_id": "evil.example"}, "RP ID"),
]


@pytest.mark.parametrize(
    ("changes", "why"), [row[1:] for row in SIGNED_OTHERWISE], ids=[row[0] for row in SIGNED_OTHERWISE]
)
def test_signature_by_other_rules_is_refused(office: Office, changes: dict[str, Any], why: str) -> None:
    order = office.order()
    assert why in refusal(office.receive, order, office.sign(order, **changes))
    assert office.rig.world.rows("SELECT COUNT(*) FROM staff_order") == [(0,)]


def test_signature_of_another_order_or_of_a_changed_one_is_refused(office: Office) -> None:
    order, other = office.order(), office.order()
    evidence = office.sign(order)
    assert "challenge" in refusal(office.receive, other, evidence)
    assert "challenge" in refusal(office.receive, replace(order, reason="changed"), evidence)
    assert "challenge" in refusal(office.receive, replace(order, fields={"decision": "it_was_us"}), evidence)
    office.receive(order, evidence)
    assert "challenge" in refusal(office.receive, other, evidence)


def test_order_of_another_person_role_or_time_is_refused(office: Office) -> None:
    for fields, why in (
        ({"actor": "kim"}, "no passkey of kim"),
        ({"action": Action.REVOKE}, "needs key_admin"),
        ({"issued_at": int(NOW) - 301}, "more than 5 minutes ago"),
        ({"installation": "f" * 16}, "another installation"),
    ):
        assert why in refusal(office.receive, office.order(**fields))


@pytest.mark.parametrize("answer", ["", "{}", "null", "[" * 10_000, '{"id": "x"}'])
def test_text_that_is_no_answer_is_refused(office: Office, answer: str) -> None:
    assert "passkey's answer is not accepted" in refusal(office.receive, office.order(), PasskeyEvidence(answer))


BY_SQL = [
    ("UPDATE staff_order SET factor = 'hardware-key'", "was not received by this system, or was changed"),
    ("UPDATE staff_order SET factor = 'break-glass'", "was not received by this system, or was changed"),
    ("UPDATE staff_order SET signature = '{}'", "was not received by this system, or was changed"),
    ("UPDATE staff_order SET certificate = 'x'", "was not received by this system, or was changed"),
    ("UPDATE staff_order SET body = replace(body, 'phoned', 'mailed')", "was not received by this system"),
    ("DELETE FROM staff_factor", "was removed"),
    ("UPDATE staff_factor SET removed_at = 1", "was removed"),
    ("UPDATE staff_factor SET secret = replace(secret, 'A', 'B')", "was removed"),
]


@pytest.mark.parametrize(("statement", "why"), BY_SQL, ids=[row[0] for row in BY_SQL])
def test_row_changed_by_sql_is_refused_at_the_use(office: Office, statement: str, why: str) -> None:
    order = office.order()
    office.receive(order)
    office.sql(statement)
    assert why in refusal(office.use, order)


def test_what_changed_since_the_receipt_counts_at_the_use(office: Office) -> None:
    order = office.order()
    office.receive(order)
    with office.rig.world.database.write_session() as session:
        office.rig.members.change(session, "ada", granted_by="order-1", now=NOW, role=Role.VIEWER)
    assert "ada is viewer" in refusal(office.use, order)
    with office.rig.world.database.write_session() as session:
        office.rig.members.change(session, "ada", granted_by="order-2", now=NOW, state=StaffState.DISABLED)
    assert "ada is disabled" in refusal(office.use, order)


def test_worker_without_the_url_of_the_staff_api_uses_no_such_order(office: Office) -> None:
    order = office.order()
    office.receive(order)
    office.receipts = office.receiving(staff_url="https://192.0.2.1")
    assert "OCTY_STAFF_URL" in refusal(office.use, order)
    office.receipts = office.receiving(staff_url="https://staff.example.com")
    assert "origin" in refusal(office.use, order)
