"""Orders by command on the host, really signed; four eyes, break glass, and what is refused without a proof."""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.cli_rig import CommandResult, Octy, octy_for, open_incident
from support.mail_rig import RecordingMailer
from support.smtp_servers import Authority, Inbox, Server, running
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, Keys, World

from octy_middleware.clock import uuid7
from octy_middleware.db.bulk_sql import run
from octy_worker.access.break_glass import BrokenGlass, unacknowledged
from octy_worker.access.members import BOOTSTRAP, StaffState
from octy_worker.access.order_states import OrderState
from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass, Evidence
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action, Role
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.staff.break_glass import tell_admins
from octy_worker.staff.context import StaffContext

WHY = ("--reason", "contract ended")
NOW = float(int(time.time()))


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@dataclass
class Host:
    """A host whose operator and staff run `octy`. Codes are used once: each person has three of them."""

    rig: StaffRig
    octy: Octy
    keys: Keys

    def run(self, handle: str, *words: str, step: int = 0, **variables: str) -> CommandResult:
        """Run a command whose orders this person signs, with the code of a step of 30 seconds before or after now."""
        proof = {
            "OCTY_STAFF_KEY_FILE": str(self.rig.keys.keys[handle].path),
            "OCTY_STAFF_CODE": self.rig.code(time.time() + 30 * step),
        }
        return self.octy(*words, **{**proof, **variables})

    def revoke(self, handle: str, **options: object) -> CommandResult:
        return self.run(handle, "keys", "revoke", self.keys.public_key, *WHY, "--yes", **options)  # type: ignore[arg-type]

    def revoke_by_break_glass(self) -> str:
        """Have the operator revoke the key pair, and return the order's id."""
        words = ("keys", "revoke", self.keys.public_key, *WHY, "--yes", "--actor", "operator")
        self.octy("--break-glass", *words).must()
        [(order_id,)] = self.rig.world.rows("SELECT id FROM staff_order")
        return order_id

    def sign(self, order: Order, namespace: str = "octy-order", *, now: float = NOW) -> Evidence:
        """Return the signature of the order's author, with a code of this time."""
        return Evidence(self.rig.keys.keys[order.actor].sign(order.to_bytes(), namespace), self.rig.code(now))

    def state(self) -> str:
        query = "SELECT state FROM key_pair WHERE public_key = :key"
        return self.rig.world.rows(query, key=self.keys.public_key)[0][0]

    def orders(self) -> list[tuple]:
        return self.rig.world.rows("SELECT action, actor, state FROM staff_order ORDER BY received_at, id")

    def broken_glass(self) -> list[BrokenGlass]:
        with self.rig.world.database.read_session() as session:
            return unacknowledged(session, receipts_of(self).has_right_code)

    def audited(self, action: str) -> list[tuple]:
        return self.rig.world.rows("SELECT actor, order_id, detail FROM audit_entry WHERE action = :a", a=action)


@pytest.fixture
def host(world: World, staff_keys: StaffKeys) -> Host:
    rig = StaffRig(world, staff_keys, NOW)
    octy = octy_for(
        world,
        OCTY_STAFF_AUTH="on",
        OCTY_STAFF_KEYS=rig.staff_keys.export(),
        OCTY_STAFF_CA_KEYS=staff_keys.authority.public,
    )
    return Host(rig, octy, world.register())


def test_signed_order_is_carried_out_and_kept_with_its_proof(host: Host) -> None:
    done = host.revoke("kim").must()
    assert '"what": "key_revoked", "actor": "kim"' in done.stderr
    assert (host.state(), host.orders()) == ("retired", [("keys.revoke", "kim", "used")])
    [(signature, certificate, factor)] = host.rig.world.rows("SELECT signature, certificate, factor FROM staff_order")
    assert (signature[:15], certificate[:11], len(factor)) == ("-----BEGIN SSH ", "ssh-ed25519", 36)
    assert [actor for actor, _, _ in host.audited("order.received") + host.audited("order.used")] == ["kim", "kim"]


def test_break_glass_needs_only_the_keys_of_the_host_and_is_marked(host: Host) -> None:
    host.revoke_by_break_glass()
    assert host.rig.world.rows("SELECT factor, actor FROM staff_order") == [("break-glass", "operator")]
    [(_, _, detail)] = host.audited("order.received")
    assert json.loads(detail)["factor"] == "break-glass"


def test_break_glass_is_open_until_an_admin_acknowledges_it_by_a_signed_order(host: Host) -> None:
    order_id = host.revoke_by_break_glass()
    acknowledge = ("orders", "acknowledge", order_id, "--reason", "the CA was down")
    assert host.broken_glass() == [BrokenGlass(order_id, hidden=False)]
    host.octy("--break-glass", *acknowledge).must()
    assert order_id in ids(host.broken_glass()), "who breaks the glass can't close it"
    assert "needs admin" in host.run("kim", *acknowledge).must(3).stderr
    host.run("amy", *acknowledge).must()
    assert order_id not in ids(host.broken_glass())
    assert "waits to be acknowledged" in host.run("amy", *acknowledge, step=1).must(3).stderr


def ids(found: list[BrokenGlass]) -> list[str]:
    return [one.order_id for one in found]


HIDDEN = {
    "the order is deleted": ["DELETE FROM staff_order"],
    "its factor is changed": ["UPDATE staff_order SET factor = 'hardware-key'"],
    "its factor is changed in the log": ["UPDATE audit_entry SET detail = replace(detail, 'break-glass', 'x')"],
    "the order is deleted, its factor changed in the log": [
        "DELETE FROM staff_order",
        "UPDATE audit_entry SET detail = replace(detail, 'break-glass', 'x')",
    ],
    "the order is deleted, the detail erased": [
        "DELETE FROM staff_order",
        "UPDATE audit_entry SET detail = NULL, salt = NULL",
    ],
    "the order is deleted, its detail replaced by no JSON": [
        "DELETE FROM staff_order",
        f"UPDATE audit_entry SET detail = 'x', salt = '', commitment = '{hashlib.sha256(b'x').hexdigest()}'",
    ],
    "the entry is deleted": ["DELETE FROM audit_entry WHERE action = 'order.received'"],
    "the order is made one of many": ["UPDATE staff_order SET part_of = 'x'"],
    "an acknowledgement is written": [
        """INSERT INTO staff_order SELECT 'x', 'order.acknowledge', id, 'amy', body, private, signature, certificate,
        'f', source, '', received_at, mac, 'used', used_by, ended_at, refusal, '' FROM staff_order"""
    ],
}
HIDDEN["an acknowledgement is written, and an entry of its use"] = [
    *HIDDEN["an acknowledgement is written"],
    """INSERT INTO audit_entry
    (seq, at, actor, action, subject, order_id, commitment, previous_hash, hash, detail, salt)
    SELECT seq + 1000, at, 'amy', 'order.used', subject, 'x', commitment, previous_hash, hash, detail, salt
    FROM audit_entry WHERE action = 'order.received'""",
]


@pytest.mark.parametrize("statements", HIDDEN.values(), ids=HIDDEN)
def test_break_glass_is_not_hidden_by_sql(host: Host, statements: list[str]) -> None:
    order_id = host.revoke_by_break_glass()
    with host.rig.world.database.write() as connection:
        for statement in statements:
            run(connection, statement)
    found = host.broken_glass()
    assert ids(found) == [order_id]
    assert found[0].hidden == any("staff_order" in one and "INSERT" not in one for one in statements)


def test_deleted_order_of_another_proof_is_no_break_glass(host: Host) -> None:
    host.revoke("kim").must()
    with host.rig.world.database.write() as connection:
        run(connection, "DELETE FROM staff_order")
    assert host.broken_glass() == []


def test_hidden_break_glass_is_acknowledged_too_and_an_unused_acknowledgement_does_not_count(host: Host) -> None:
    order_id = host.revoke_by_break_glass()
    with host.rig.world.database.write() as connection:
        run(connection, "DELETE FROM staff_order")
    acknowledged = Order(uuid7(NOW), INSTALLATION, Action.ACKNOWLEDGE, order_id, {}, "seen", "amy", int(NOW))
    with host.rig.world.database.write_session() as session:
        receipts_of(host).receive(session, acknowledged.to_bytes(), host.sign(acknowledged, now=NOW - 30), NOW)
    with host.rig.world.database.write() as connection:
        run(connection, "UPDATE staff_order SET state = 'used'")
    assert ids(host.broken_glass()) == [order_id]
    host.run("amy", "orders", "acknowledge", order_id, "--reason", "the CA was down").must()
    assert host.broken_glass() == []


def test_admins_are_told_of_break_glass_by_mail(host: Host) -> None:
    world, mailer = host.rig.world, RecordingMailer()
    with world.database.write_session() as session:
        members = host.rig.members
        members.add(session, "boss", Role.ADMIN, granted_by=BOOTSTRAP, now=NOW, mail="boss@octy.example")
        members.change(session, "boss", granted_by=BOOTSTRAP, now=NOW, state=StaffState.ACTIVE)
    keys = {name: world.peppers.export() for name in ("OCTY_PEPPERS", "OCTY_SEALING_KEYS", "OCTY_LINK_KEYS")}
    variables = {**host.octy.variables, **keys, "OCTY_SUPPORT_DIGEST_TO": "ops@octy.example"}
    order = Order(uuid7(NOW), INSTALLATION, Action.REVOKE, "pk_1", {}, "the CA is down", "operator", int(NOW))
    assert tell_admins(StaffContext(world.database, variables), order, mailer) == 2
    assert {str(mail.recipient) for mail in mailer.envelopes} == {"boss@octy.example", "ops@octy.example"}
    assert all(
        order.order_id in mail.rendered.text and order.order_id in mail.rendered.html for mail in mailer.envelopes
    )
    with world.database.write() as connection:
        run(connection, "UPDATE staff SET mail = 'thief@evil.example' WHERE handle = 'boss'")
    mailer.envelopes.clear()
    assert tell_admins(StaffContext(world.database, variables), order, mailer) == 1
    assert [str(mail.recipient) for mail in mailer.envelopes] == ["ops@octy.example"]
    assert tell_admins(StaffContext(world.database, {}), order, mailer) == 0, "without settings it is logged"


def test_admins_are_told_of_break_glass_also_where_the_order_is_only_received(host: Host, tmp_path: Path) -> None:
    world, authority, inbox = host.rig.world, Authority(tmp_path), Inbox()
    _, incident_id = open_incident(world, "bolt")
    keys = {name: world.peppers.export() for name in ("OCTY_PEPPERS", "OCTY_SEALING_KEYS", "OCTY_LINK_KEYS")}
    words = ("incidents", "extend", incident_id, "--days", "7", *WHY, "--order-only", "--actor", "operator")
    with running(Server(inbox, tls_context=authority.serving(), require_starttls=True)) as server:
        place = {"OCTY_SMTP_HOST": "localhost", "OCTY_SMTP_PORT": str(server.port)}
        mail = {"OCTY_SMTP_CA_FILE": str(authority.file), "OCTY_SUPPORT_DIGEST_TO": "ops@octy.example"}
        host.octy("--break-glass", *words, **keys, **place, **mail).must()
    [(order_id, state)] = world.rows("SELECT id, state FROM staff_order")
    assert (state, [one.recipients for one in inbox.sent]) == ("received", [["ops@octy.example"]])
    assert order_id in inbox.sent[0].part("plain")


REFUSED = [
    ("no proof", "kim", {"OCTY_STAFF_KEY_FILE": ""}, 2, "nothing proves who you are"),
    ("no keys", "kim", {"OCTY_STAFF_KEYS": ""}, 2, "OCTY_STAFF_KEYS is not set"),
    ("other keys", "kim", {"OCTY_STAFF_KEYS": "s1:" + "0" * 64}, 3, "was not written by this system"),
    ("no code", "kim", {"OCTY_STAFF_CODE": ""}, 2, "a one-time code is needed"),
    ("wrong code", "kim", {"OCTY_STAFF_CODE": "000000"}, 3, "the code is wrong or too old"),
    ("role too small", "ada", {}, 3, "ada is responder, and this needs key_admin"),
    ("revoked", "kim", {"OCTY_STAFF_REVOKED": "serial:19"}, 3, "was revoked"),
    ("other authority", "kim", {"OCTY_STAFF_CA_KEYS": ""}, 3, "is not in OCTY_STAFF_CA_KEYS"),
]


@pytest.mark.parametrize(
    ("handle", "variables", "code", "why"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_unproven_order_is_refused_and_changes_nothing(  # a row
    host: Host, handle: str, variables: dict[str, str], code: int, why: str
) -> None:
    refused = host.revoke(handle, **variables).must(code)
    assert why in refused.stderr
    assert (host.state(), host.orders()) == ("active", [])
    assert len(host.audited("order.refused")) == (code == 3)


def test_replayed_code_and_replayed_order_are_refused(host: Host) -> None:
    host.revoke("kim").must()
    assert "this code was used before" in host.revoke("kim").must(3).stderr
    [(order_id, body)] = host.rig.world.rows("SELECT id, body FROM staff_order")
    receipts = receipts_of(host)
    with host.rig.world.database.write_session() as session:
        repeated = receipts.receive(session, body.encode(), None, NOW)
        assert (repeated.order.order_id, repeated.state) == (order_id, OrderState.USED)
    assert "was used already" in use_refusal(host, receipts, repeated.order)


def test_refused_order_whose_state_is_set_back_by_sql_is_not_used(host: Host) -> None:
    receipts, order = receipts_of(host), Order(uuid7(NOW), INSTALLATION, Action.EXTEND, "i1", {}, "x", "ada", int(NOW))
    with host.rig.world.database.write_session() as session:
        receipts.receive(session, order.to_bytes(), host.sign(order), NOW)
        receipts.refuse(session, order.order_id, "too late", NOW)
    with host.rig.world.database.write() as connection:
        run(connection, "UPDATE staff_order SET state = 'received'")
    assert "was refused already" in use_refusal(host, receipts, order)


def receipts_of(host: Host, *four_eyes: Action) -> OrderReceipts:
    return host.rig.receipts(*four_eyes)


def use_refusal(host: Host, receipts: OrderReceipts, order: Order) -> str:
    with host.rig.world.database.write_session() as session, pytest.raises(RefusedSignatureError) as refused:
        receipts.use(session, order.order_id, order.action, order.subject, by="another call", now=NOW)
    return str(refused.value)


# Four eyes

FOUR_EYES = {"OCTY_FOUR_EYES": "keys.revoke"}


def test_order_waits_until_a_second_person_approves_it(host: Host) -> None:
    waiting = host.revoke("kim", **FOUR_EYES).must(5)
    assert "octy orders approve" in waiting.stderr
    assert (host.state(), host.orders()) == ("active", [("keys.revoke", "kim", "waiting")])
    [line] = host.octy("orders", "list", "--json").must().json["orders"]
    assert (line["actor"], line["state"], line["subject"]) == ("kim", "waiting", host.keys.public_key)
    approve = ("orders", "approve", line["id"], "--yes", "--json")
    own = host.run("kim", *approve, step=1, **FOUR_EYES).must(3)
    assert "by somebody else than its author" in own.stderr
    small = host.run("ada", *approve, **FOUR_EYES).must(3)
    assert "ada is responder, and this needs key_admin" in small.stderr
    assert host.state() == "active"
    done = host.run("amy", *approve, **FOUR_EYES).must()
    assert done.json == {"order_id": line["id"], "action": "keys.revoke", "author": "kim", "carried_out": True}
    assert host.state() == "retired"
    again = host.run("amy", *approve, step=1, **FOUR_EYES).must(3)
    assert "does not wait for an approval: it is used" in again.stderr


def test_order_that_waits_is_approved_also_where_staff_auth_was_switched_off(host: Host) -> None:
    host.revoke("kim", **FOUR_EYES).must(5)
    [(order_id,)] = host.rig.world.rows("SELECT id FROM staff_order")
    approve = ("orders", "approve", order_id, "--yes")
    own = host.octy(*approve, OCTY_STAFF_AUTH="off", OCTY_ACTOR="kim").must(3)
    assert "by somebody else than its author" in own.stderr
    host.octy(*approve, OCTY_STAFF_AUTH="off", OCTY_ACTOR="amy").must()
    assert host.state() == "retired"


def test_unapproved_order_set_to_received_by_sql_is_refused(host: Host) -> None:
    host.revoke("kim", **FOUR_EYES).must(5)
    with host.rig.world.database.write() as connection:
        run(connection, "UPDATE staff_order SET state = 'received'")
    [(body,)] = host.rig.world.rows("SELECT body FROM staff_order")
    refusal = use_refusal(host, receipts_of(host, Action.REVOKE), Order.from_bytes(body.encode()))
    assert "no second person has approved it" in refusal


def approval_of(order: Order, actor: str, **fields: object) -> Order:
    made = Order(
        uuid7(NOW), INSTALLATION, Action.APPROVE, order.order_id, {"digest": order.digest()}, "ok", actor, int(NOW)
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def test_break_glass_does_not_serve_as_the_second_person(host: Host) -> None:
    host.revoke("kim", **FOUR_EYES).must(5)
    [(order_id, body)] = host.rig.world.rows("SELECT id, body FROM staff_order")
    refused = host.octy("--break-glass", "orders", "approve", order_id, "--yes", "--actor", "amy", **FOUR_EYES).must(3)
    assert "break glass does not serve as the second person" in refused.stderr
    assert (host.state(), host.orders()[0]) == ("active", ("keys.revoke", "kim", "waiting"))

    receipts, order = receipts_of(host, Action.REVOKE), Order.from_bytes(body.encode())
    approval = approval_of(order, "amy")
    with host.rig.world.database.write_session() as session:
        receipts.receive(session, approval.to_bytes(), BreakGlass(), NOW)
        receipts.use(session, approval.order_id, Action.APPROVE, order_id, by="x", now=NOW)
    with host.rig.world.database.write() as connection:
        run(connection, "UPDATE staff_order SET state = 'received' WHERE action = 'keys.revoke'")
    assert "break glass does not serve as the second person" in use_refusal(host, receipts, order)


def test_concurrent_approvals_approve_once_and_other_digests_and_late_ones_nothing(host: Host) -> None:
    rig, receipts = host.rig, receipts_of(host, Action.EXTEND)
    order = Order(uuid7(NOW), INSTALLATION, Action.EXTEND, "i1", {"days": 7}, "on holiday", "ada", int(NOW))

    def receive(one: Order, namespace: str = "octy-approval") -> Order:
        with rig.world.database.write_session() as session:
            return receipts.receive(session, one.to_bytes(), host.sign(one, namespace), NOW).order

    receive(order, "octy-order")
    with pytest.raises(RefusedSignatureError, match="signed for 'octy-order'"):
        receive(approval_of(order, "kim"), "octy-order")
    other = approval_of(order, "vic", fields={"digest": "0" * 64})
    first, second = receive(approval_of(order, "kim")), receive(approval_of(order, "amy"))
    results: list[str] = []

    def approve(approval: Order, now: float = NOW) -> None:
        try:
            with rig.world.database.write_session() as session:
                receipts.approvals.approve(session, approval, now)
            results.append("approved")
        except RefusedSignatureError as error:
            results.append(str(error))

    approve(other)
    approve(first, NOW + 24 * 3600 + 1)
    assert ["another content" in results[0], "more than 24 hours" in results[1]] == [True, True]
    results.clear()
    threads = [threading.Thread(target=approve, args=(approval,)) for approval in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["approved", "the order does not wait for an approval: it is received"]


def test_approved_order_can_be_used_for_a_day_from_its_approval(host: Host) -> None:
    rig, receipts, approved_at = host.rig, receipts_of(host, Action.EXTEND), NOW + 6 * 3600
    order = Order(uuid7(NOW), INSTALLATION, Action.EXTEND, "i1", {"days": 7}, "on holiday", "ada", int(NOW))
    approval = approval_of(order, "kim", issued_at=int(approved_at))
    for one, namespace, now in ((order, "octy-order", NOW), (approval, "octy-approval", approved_at)):
        with rig.world.database.write_session() as session:
            receipts.receive(session, one.to_bytes(), host.sign(one, namespace, now=now), now)
    with rig.world.database.write_session() as session:
        receipts.approvals.approve(session, approval, approved_at)
        receipts.use(session, approval.order_id, Action.APPROVE, order.order_id, by="x", now=approved_at)

    def use(now: float) -> Order:
        with rig.world.database.write_session() as session:
            return receipts.use(session, order.order_id, Action.EXTEND, "i1", by="y", now=now)

    with pytest.raises(RefusedSignatureError, match="more than 24 hours ago and not used; order it again"):
        use(approved_at + 24 * 3600 + 1)
    assert use(approved_at + 24 * 3600) == order


def test_invitation_that_two_admins_order_is_shown_to_its_author(host: Host) -> None:
    host.run("amy", "staff", "role", "kim", "--role", "admin", "--reason", "a second admin").must()
    words = ("staff", "add", "eve", "--role", "viewer", "--reason", "new here", "--json")
    order_id, four_eyes = uuid7(time.time()), {"OCTY_FOUR_EYES": "staff.add"}
    waiting = host.run("kim", *words, "--order-id", order_id, **four_eyes).must(5)
    assert order_id in waiting.stderr
    host.run("amy", "orders", "approve", order_id, "--yes", step=1, **four_eyes).must()
    assert host.rig.world.rows("SELECT COUNT(*) FROM staff WHERE handle = 'eve'") == [(0,)]
    invited = host.run("kim", *words, "--order-id", order_id, **four_eyes).must().json
    assert (invited["handle"], len(invited["token"]) > 20) == ("eve", True)
