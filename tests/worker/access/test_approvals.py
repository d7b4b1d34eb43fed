"""Four eyes without commands: what a second person's approval is good for, and each way in which it is refused."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from support.refusals import refusal
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_worker.access.order_states import ORDER_TTL, OrderState
from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass, Evidence, Proof
from octy_worker.access.receipts import Receipt
from octy_worker.access.roles import Action

NOW = float(int(time.time()))


@dataclass
class Office:
    """kim, a key admin, has ordered what needs a second person. Each person has two codes, before and after now."""

    rig: StaffRig
    order: Order = field(init=False)

    def __post_init__(self) -> None:
        rig = self.rig
        self.receipts = rig.receipts(Action.REVOKE)
        self.order = Order(uuid7(NOW), INSTALLATION, Action.REVOKE, "pk_1", {}, "contract ended", "kim", int(NOW))
        self.receipt = self.receive(self.order)

    def receive(self, order: Order, proof: Proof | None = None, *, code_at: float = NOW) -> Receipt:
        proof = proof or self.sign(order, order.namespace, code_at=code_at)
        with self.rig.world.database.write_session() as session:
            return self.receipts.receive(session, order.to_bytes(), proof, NOW)

    def sign(self, order: Order, namespace: str, *, code_at: float = NOW) -> Evidence:
        return Evidence(self.rig.keys.keys[order.actor].sign(order.to_bytes(), namespace), self.rig.code(code_at))

    def approval(self, actor: str, digest: str = "") -> Order:
        fields = {"digest": digest or self.order.digest()}
        return Order(uuid7(NOW), INSTALLATION, Action.APPROVE, self.order.order_id, fields, "seen", actor, int(NOW))

    def approve(self, approval: Order, now: float = NOW) -> None:
        """Approve, and use the approval, as `octy orders approve` does."""
        with self.rig.world.database.write_session() as session:
            self.receipts.approvals.approve(session, approval, now)
            self.receipts.use(session, approval.order_id, Action.APPROVE, approval.subject, by="x", now=now)

    def use(self) -> Order:
        with self.rig.world.database.write_session() as session:
            return self.receipts.use(session, self.order.order_id, Action.REVOKE, "pk_1", by="run-1", now=NOW)

    def state(self) -> str:
        query = "SELECT state FROM staff_order WHERE id = :id"
        return str(self.rig.world.rows(query, id=self.order.order_id)[0][0])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def office(world: World, keys: StaffKeys) -> Office:
    return Office(StaffRig(world, keys, NOW))


def test_order_waits_for_a_second_person(office: Office) -> None:
    assert (office.receipt.state, office.state()) == (OrderState.WAITING, "waiting")
    assert "no second person has approved it" in refusal(office.use)
    approval = office.receive(office.approval("amy")).order
    office.approve(approval)
    assert office.use() == office.order
    assert office.state() == "used"


def test_approval_that_was_signed_as_an_order_is_refused(office: Office) -> None:
    approval = office.approval("amy")
    assert "signed for 'octy-order'" in refusal(office.receive, approval, office.sign(approval, "octy-order"))


def by(
    actor: str, *, digest: str = "", code_at: float = NOW, at: float = NOW
) -> Callable[[Office], tuple[Order, float]]:
    return lambda office: (office.receive(office.approval(actor, digest), code_at=code_at).order, at)


def by_break_glass(office: Office) -> tuple[Order, float]:
    return office.receive(office.approval("amy"), BreakGlass()).order, NOW


def of_a_used_order(office: Office) -> tuple[Order, float]:
    approval = office.receive(office.approval("amy")).order
    office.approve(approval)
    office.use()
    return approval, NOW


REFUSED: dict[str, tuple[Callable[[Office], tuple[Order, float]], str]] = {
    "by its author": (by("kim", code_at=NOW + 30), "by somebody else than its author"),
    "by a smaller role": (by("ada"), "ada is responder, and this needs key_admin"),
    "of another content": (by("amy", digest="0" * 64), "about another content of the order"),
    "after a day": (by("amy", at=NOW + ORDER_TTL + 1), "waited for more than 24 hours"),
    "that was never received": (lambda office: (office.approval("amy"), NOW), "the approval was not received"),
    "by break glass": (by_break_glass, "break glass does not serve as the second person"),
    "of no order": (lambda office: (replace(office.approval("amy"), subject="x"), NOW), "there is no order of this id"),
    "of a used order": (of_a_used_order, "does not wait for an approval: it is used"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_approval_is_refused(office: Office, name: str) -> None:
    make, why = REFUSED[name]
    approval, at = make(office)
    before = office.state()
    with office.rig.world.database.write_session() as session:
        assert why in refusal(office.receipts.approvals.approve, session, approval, at)
    assert office.state() == before
