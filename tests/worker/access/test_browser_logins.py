"""Log-ins in a browser, links for enrolment and orders to sign: each counts once, for one person, for some time."""

import time
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import text
from sqlmodel import Session
from support.ssh_keys import wire_of
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_worker.access.browser_logins import CODE_TTL, FACTOR_TIMEOUT, BrowserLogin, BrowserLogins, RefusedCodeError
from octy_worker.access.enrolments import LINK_TTL, Enrolments
from octy_worker.access.members import BOOTSTRAP, StaffState
from octy_worker.access.orders import FRESHNESS, Order
from octy_worker.access.pending_orders import MAX_PENDING, PendingOrders
from octy_worker.access.roles import Action
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

NOW = float(int(time.time()))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@dataclass
class Office:
    rig: StaffRig

    def __post_init__(self) -> None:
        rig = self.rig
        self.authorities = rig.keys.authorities()
        self.logins = BrowserLogins(self.authorities, rig.members, rig.macs)
        self.links = Enrolments(rig.members, rig.macs)
        self.pending = PendingOrders(INSTALLATION, rig.members, rig.macs, rig.world.sealer)

    def begin(self, handle: str = "ada", nonce: str = "") -> str:
        certificate = self.authorities.verify(wire_of(self.rig.keys.keys[handle].certificate.read_text()), now=NOW)
        with self.rig.world.database.write_session() as session:
            return self.logins.start(session, handle, certificate, nonce=nonce or uuid7(NOW), now=NOW)

    def redeem(self, code: str, cookie: str = "cookie", at: float = 0) -> BrowserLogin:
        return self.write(self.logins.redeem, code, cookie, NOW + at)

    def find(self, cookie: str = "cookie", at: float = 0) -> BrowserLogin | None:
        return self.write(self.logins.find, cookie, NOW + at)

    def link(self, handle: str = "ada") -> str:
        def create(session: Session) -> str:
            member = self.rig.members.find(session, handle)
            assert member is not None
            return self.links.create(session, member, granted_by="order-1", now=NOW)

        return self.write(create)

    def order(self, **fields: object) -> Order:
        values = {"order_id": uuid7(NOW), "installation": INSTALLATION, "action": Action.DECIDE, "subject": "i-1"}
        values |= {"fields": {"decision": "regenerate"}, "reason": "phoned", "actor": "ada", "issued_at": int(NOW)}
        return Order(**{**values, **fields})  # type: ignore[arg-type]

    def add(self, order: Order, actor: str = "ada", private: str = "") -> Order:
        def add(session: Session) -> Order:
            return self.pending.add(session, order.to_bytes(), actor=actor, now=NOW, private=private)

        return self.write(add)

    def write(self, call, *values):
        with self.rig.world.database.write_session() as session:
            return call(session, *values)

    def sql(self, statement: str) -> None:
        with self.rig.world.database.write() as connection:
            connection.execute(text(statement))

    def change(self, state: StaffState) -> None:
        with self.rig.world.database.write_session() as session:
            self.rig.members.change(session, "ada", granted_by=BOOTSTRAP, now=NOW, state=state)


@pytest.fixture
def office(world: World, keys: StaffKeys) -> Office:
    return Office(StaffRig(world, keys, NOW))


def test_code_is_typed_as_people_do_and_binds_the_log_in_to_a_cookie(office: Office) -> None:
    login = office.redeem(f" {office.begin().lower().replace('-', ' ')} ")
    assert (login.member.handle, login.certificate.principals, len(login.challenge)) == ("ada", ("ada",), 32)
    assert office.find() == login
    assert office.find("another cookie") is None


def test_code_counts_once_and_for_a_minute(office: Office) -> None:
    code = office.begin()
    with pytest.raises(RefusedSignatureError, match="older than a minute"):
        office.redeem(code, at=CODE_TTL)
    office.redeem(code)
    for cookie in ("cookie", "thief"):
        with pytest.raises(RefusedSignatureError, match="was used"):
            office.redeem(code, cookie)
    with pytest.raises(RefusedSignatureError, match="wrong"):
        office.redeem("AAAAA-AAAAA")


def test_code_counts_once_also_where_its_state_was_read_before(office: Office) -> None:
    code = office.begin()
    with office.rig.world.database.write_session() as session:
        row, _ = office.logins.check_code(session, code, NOW)
        session.connection().execute(text("UPDATE staff_browser_login SET state = 'finished'"))
        assert row.state == "code", "as it was read"
        with pytest.raises(RefusedCodeError, match="used already"):
            office.logins.redeem(session, code, "cookie", NOW)


def test_code_of_somebody_who_was_disabled_is_refused_in_their_name(office: Office) -> None:
    code = office.begin()
    office.change(StaffState.DISABLED)
    with pytest.raises(RefusedCodeError, match="no active staff member") as refused:
        office.redeem(code)
    assert refused.value.handle == "ada"


def test_signed_text_gives_one_code(office: Office) -> None:
    office.begin(nonce="n")
    with pytest.raises(RefusedSignatureError, match="was used before"):
        office.begin(nonce="n")


def test_log_in_is_finished_once_and_in_time(office: Office) -> None:
    login = office.redeem(office.begin())
    assert office.find(at=FACTOR_TIMEOUT) is None
    office.write(office.logins.finish, login)
    with pytest.raises(RefusedSignatureError, match="used already"):
        office.write(office.logins.finish, login)
    assert office.find() is None


def test_log_in_ends_when_the_person_is_disabled_or_the_certificate_is_revoked(office: Office) -> None:
    code = office.begin()
    office.redeem(code)
    office.logins = BrowserLogins(office.rig.keys.authorities("serial:18"), office.rig.members, office.rig.macs)
    with pytest.raises(RefusedSignatureError, match="revoked"):
        office.find()
    office.change(StaffState.DISABLED)
    with pytest.raises(RefusedSignatureError, match="no active staff member"):
        office.begin()


@pytest.mark.parametrize(
    "change", ["cookie_hash = 'x'", "challenge = '00'", "expires_at = expires_at + 1", "mac = ''", "state = 'factor'"]
)
def test_log_in_changed_by_sql_is_refused(office: Office, change: str) -> None:
    code = office.begin()
    office.sql(f"UPDATE staff_browser_login SET {change}")
    with pytest.raises(RefusedSignatureError, match="wrong"):
        office.redeem(code)


def test_link_is_used_once_in_a_day_and_a_newer_one_replaces_it(office: Office) -> None:
    older, newer = office.link(), office.link()
    for token, at in ((older, NOW), (newer, NOW + LINK_TTL), ("x", NOW), ("\ud800", NOW)):
        with pytest.raises(RefusedSignatureError, match="not valid"):
            office.write(office.links.find, token, at)
    found = office.write(office.links.find, newer, NOW)
    assert (found.member.handle, found.granted_by) == ("ada", "order-1")
    office.write(office.links.use, found, NOW)
    with pytest.raises(RefusedSignatureError, match="not valid"):
        office.write(office.links.use, found, NOW)
    office.sql("UPDATE staff_enrolment SET used_at = NULL")
    with pytest.raises(RefusedSignatureError, match="not valid"):
        office.write(office.links.find, newer, NOW)


@pytest.mark.parametrize("change", ["granted_by = 'x'", "expires_at = expires_at + 1", "mac = ''"])
def test_link_changed_by_sql_is_refused(office: Office, change: str) -> None:
    token = office.link()
    office.sql(f"UPDATE staff_enrolment SET {change}")
    with pytest.raises(RefusedSignatureError, match="not valid"):
        office.write(office.links.find, token, NOW)


def test_link_of_disabled_staff_is_refused(office: Office) -> None:
    token = office.link()
    office.change(StaffState.DISABLED)
    with pytest.raises(RefusedSignatureError, match="not valid"):
        office.write(office.links.find, token, NOW)


def test_pending_order_is_shown_to_its_author_until_it_is_stale(office: Office) -> None:
    order = office.add(office.order(), private='{"address":"x@example.com"}')
    [found] = office.write(office.pending.of, "ada", NOW + FRESHNESS)
    assert (found.order, found.body, found.private) == (order, order.to_bytes(), '{"address":"x@example.com"}')
    assert "example.com" not in str(office.rig.world.rows("SELECT * FROM staff_pending_order"))
    assert office.write(office.pending.of, "amy", NOW) == []
    assert office.write(office.pending.of, "ada", NOW + FRESHNESS + 1) == []
    with office.rig.world.database.write_session() as session:
        assert office.pending.find(session, order.order_id, actor="amy", now=NOW) is None
        assert not office.pending.remove(session, order.order_id, actor="amy")
        assert office.pending.remove(session, order.order_id, actor="ada")
        assert office.pending.find(session, order.order_id, actor="ada", now=NOW) is None


REFUSED = [
    ("of another person", {"actor": "amy"}, "another installation, person or time"),
    ("of another installation", {"installation": "f" * 16}, "another installation, person or time"),
    ("stale", {"issued_at": int(NOW) - 301}, "another installation, person or time"),
    ("role too small", {"action": Action.REVOKE}, "needs key_admin"),
]


@pytest.mark.parametrize(("fields", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_order_that_could_not_be_received_does_not_wait(office: Office, fields: dict[str, object], why: str) -> None:
    with pytest.raises(RefusedSignatureError, match=why):
        office.add(office.order(**fields))


@pytest.mark.parametrize("change", ["actor = 'amy'", "body = replace(body, 'phoned', 'mailed')", "mac = ''"])
def test_pending_order_changed_by_sql_is_shown_to_nobody(office: Office, change: str) -> None:
    office.add(office.order())
    office.sql(f"UPDATE staff_pending_order SET {change}")
    assert office.write(office.pending.of, "ada", NOW) == office.write(office.pending.of, "amy", NOW) == []


def test_one_person_has_a_bounded_number_of_pending_orders_of_different_ids(office: Office) -> None:
    order = office.add(office.order())
    with pytest.raises(RefusedSignatureError, match="another order has this id"):
        office.add(replace(order, reason="another"))
    for _ in range(MAX_PENDING - 1):
        office.add(office.order())
    with pytest.raises(RefusedSignatureError, match="has 50 orders to sign already"):
        office.add(office.order())
