"""Passkeys in SQL: whose they are, the counter, and rows that were written by SQL."""

import time
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import text
from support.soft_authenticator import ORIGIN, SoftAuthenticator
from support.staff_rig import StaffKeys, StaffRig
from support.world import World

from octy_middleware.db.models import StaffFactor
from octy_worker.access.members import Member
from octy_worker.access.passkey_factors import MAX_PASSKEYS, PasskeyFactors
from octy_worker.access.passkeys import (
    RelyingParty,
    assertion_options,
    registration_options,
    verify_registration,
)
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

NOW = float(int(time.time()))
PARTY = RelyingParty("localhost", ORIGIN, "Octy")
CHALLENGE = b"c" * 32


class Desk:
    """Passkeys of the rig's staff, each call in a transaction of its own."""

    def __init__(self, rig: StaffRig) -> None:
        self.rig = rig
        self.passkeys = PasskeyFactors(PARTY, rig.macs)

    def member(self, handle: str) -> Member:
        with self.rig.world.database.read_session() as session:
            member = self.rig.members.find(session, handle)
        assert member is not None
        return member

    def enrol(self, authenticator: SoftAuthenticator, handle: str = "ada") -> str:
        member = self.member(handle)
        options = registration_options(PARTY, handle=handle, user_id=member.id, challenge=CHALLENGE)
        passkey = verify_registration(PARTY, authenticator.register(options), challenge=CHALLENGE)
        with self.rig.world.database.write_session() as session:
            return self.passkeys.add(session, member, passkey, granted_by="order-1", now=NOW)

    def use(self, answer: str, handle: str = "ada") -> str:
        with self.rig.world.database.write_session() as session:
            return self.passkeys.use(session, self.member(handle), answer, challenge=CHALLENGE)

    def verify_again(self, factor_id: str, answer: str, handle: str = "ada") -> None:
        with self.rig.world.database.read_session() as session:
            self.passkeys.verify_again(session, factor_id, self.member(handle).id, answer, challenge=CHALLENGE)

    def change(self, statement: str) -> None:
        with self.rig.world.database.write() as connection:
            connection.execute(text(statement))


def answer_of(authenticator: SoftAuthenticator, **changes: Any) -> str:
    return authenticator.sign(assertion_options(PARTY, challenge=CHALLENGE, passkeys=[]), **changes)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def desk(world: World, keys: StaffKeys) -> Desk:
    return Desk(StaffRig(world, keys, NOW))


def test_passkey_is_used_by_its_owner_and_verified_again_later(desk: Desk) -> None:
    authenticator = SoftAuthenticator()
    factor_id = desk.enrol(authenticator)
    answer = answer_of(authenticator)
    assert desk.use(answer) == factor_id
    assert desk.rig.world.rows(f"SELECT counter FROM staff_factor WHERE id = '{factor_id}'") == [(2,)]
    desk.use(answer_of(authenticator))
    desk.verify_again(factor_id, answer)
    with pytest.raises(RefusedSignatureError, match="no passkey of amy"):
        desk.use(answer_of(authenticator), "amy")


def test_audit_log_holds_the_public_key_and_what_granted_it(desk: Desk) -> None:
    factor_id = desk.enrol(SoftAuthenticator())
    with desk.rig.world.database.read_session() as session:
        [entry] = [each for each in audit.entries(session) if factor_id in (each.detail or "")]
    assert (entry.action, entry.actor, entry.subject) == ("staff.factor_added", "ada", desk.member("ada").id)
    assert '"granted_by":"order-1"' in entry.detail
    assert '"public_key":"' in entry.detail


def test_signature_counts_once_where_the_authenticator_counts(desk: Desk) -> None:
    authenticator = SoftAuthenticator()
    desk.enrol(authenticator)
    answer = answer_of(authenticator)
    desk.use(answer)
    with pytest.raises(RefusedSignatureError, match="sign count"):
        desk.use(answer)


def test_signature_counts_once_also_where_its_counter_was_read_before(desk: Desk) -> None:
    """What is left if two read the counter before one of them writes it."""
    authenticator = SoftAuthenticator()
    factor_id = desk.enrol(authenticator)
    answer, member = answer_of(authenticator), desk.member("ada")
    with desk.rig.world.database.write_session() as session:
        factor = session.get_one(StaffFactor, factor_id)
        desk.passkeys.use(session, member, answer, challenge=CHALLENGE)
        assert factor.counter == 1, "as it was read"
        with pytest.raises(RefusedSignatureError, match="came in between"):
            desk.passkeys.use(session, member, answer, challenge=CHALLENGE)


def test_two_concurrent_uses_of_one_signature_are_accepted_once(desk: Desk) -> None:
    authenticator, accepted, barrier = SoftAuthenticator(), [], Barrier(2)
    desk.enrol(authenticator)
    answer = answer_of(authenticator)

    def use() -> None:
        barrier.wait()
        try:
            accepted.append(desk.use(answer))
        except RefusedSignatureError:
            accepted.append("")

    threads = [Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, accepted)) == [False, True]


def test_authenticator_without_a_counter_signs_again(desk: Desk) -> None:
    authenticator = SoftAuthenticator(counts=False)
    factor_id = desk.enrol(authenticator)
    assert [desk.use(answer_of(authenticator)) for _ in range(2)] == [factor_id] * 2


def test_passkey_is_registered_once_and_a_person_has_a_bounded_number(desk: Desk) -> None:
    authenticator = SoftAuthenticator()
    desk.enrol(authenticator)
    for handle in ("ada", "amy"):
        with pytest.raises(RefusedSignatureError, match="registered already"):
            desk.enrol(authenticator, handle)
    for _ in range(MAX_PASSKEYS - 1):
        desk.enrol(SoftAuthenticator())
    with pytest.raises(RefusedSignatureError, match="has 10 passkeys already"):
        desk.enrol(SoftAuthenticator())


def to_amy(desk: Desk) -> str:
    return f"UPDATE staff_factor SET staff_id = '{desk.member('amy').id}' WHERE kind = 'passkey'"


BY_SQL: list[tuple[str, Callable[[Desk], str], str]] = [
    ("other owner", to_amy, "amy"),
    ("other key", lambda _: "UPDATE staff_factor SET secret = replace(secret, 'A', 'B') WHERE kind = 'passkey'", "ada"),
    ("no code", lambda _: "UPDATE staff_factor SET mac = '' WHERE kind = 'passkey'", "ada"),
    ("removed", lambda _: "UPDATE staff_factor SET removed_at = 1 WHERE kind = 'passkey'", "ada"),
    ("deleted", lambda _: "DELETE FROM staff_factor WHERE kind = 'passkey'", "ada"),
]


@pytest.mark.parametrize(("statement", "handle"), [row[1:] for row in BY_SQL], ids=[row[0] for row in BY_SQL])
def test_row_changed_by_sql_grants_nothing(desk: Desk, statement: Callable[[Desk], str], handle: str) -> None:
    authenticator = SoftAuthenticator()
    factor_id = desk.enrol(authenticator)
    answer = answer_of(authenticator)
    desk.change(statement(desk))
    with pytest.raises(RefusedSignatureError, match="no passkey of"):
        desk.use(answer, handle)
    with pytest.raises(RefusedSignatureError, match="was removed"):
        desk.verify_again(factor_id, answer, handle)
