"""The audit log in both databases: appended in the act's transaction, verified, erased."""

import pytest
from sqlalchemy import insert, text
from support.world import World

from octy_middleware.db.models import AuditEntry
from octy_worker.audit import repository
from octy_worker.audit.chain import BEGINNING, SALT_BYTES, ChainError, Checkpoint, next_entry, verify_chain


def append_some(world: World, count: int) -> None:
    with world.database.write_session() as session:
        for number in range(count):
            repository.append(session, "keys.revoke", actor="ada", subject=f"pair-{number}", detail={"reason": "x"})


def append_many(world: World, count: int) -> None:
    """Append by one statement, as fast as a test can."""
    found, last = [], BEGINNING
    for number in range(count):
        values = {"at": number, "actor": "ada", "action": "keys.revoke", "order_id": "", "detail": {"reason": "x"}}
        found.append(next_entry(last, subject=f"pair-{number}", salt=b"s" * SALT_BYTES, **values))
        last = Checkpoint(found[-1].seq, found[-1].hash)
    with world.database.write_session() as session:
        session.connection().execute(insert(AuditEntry), [entry._asdict() for entry in found])


def verify(world: World) -> int:
    with world.database.read_session() as session:
        return verify_chain(repository.entries(session)).entries


def test_entries_continue_each_other_over_transactions(world: World) -> None:
    for _ in range(3):
        append_some(world, 2)
    assert verify(world) == 6


def test_failed_act_leaves_no_entry(world: World) -> None:
    append_some(world, 1)
    with pytest.raises(ZeroDivisionError), world.database.write_session() as session:
        repository.append(session, "keys.revoke", actor="ada")
        raise ZeroDivisionError
    append_some(world, 1)
    assert verify(world) == 2


@pytest.mark.parametrize(
    ("tampering", "seq"),
    [
        ("UPDATE audit_entry SET actor = 'eve' WHERE seq = 3", 3),
        ("UPDATE audit_entry SET detail = '{}' WHERE seq = 3", 3),
        ("DELETE FROM audit_entry WHERE seq = 3", 3),
        ("UPDATE audit_entry SET subject = (SELECT subject FROM audit_entry WHERE seq = 4) WHERE seq = 3", 3),
    ],
)
def test_edit_by_sql_is_found_and_named(world: World, tampering: str, seq: int) -> None:
    append_some(world, 5)
    with world.database.write() as connection:
        connection.execute(text(tampering))
    with pytest.raises(ChainError) as broken:
        verify(world)
    assert broken.value.seq == seq


def test_erased_details_of_a_subject_leave_the_chain_whole(world: World) -> None:
    append_some(world, 5)
    with world.database.write_session() as session:
        assert repository.erase_details(session, "pair-3") == [4]
    assert verify(world) == 5
    assert world.rows("SELECT COUNT(*) FROM audit_entry WHERE detail IS NULL AND salt IS NULL") == [(1,)]


def test_only_details_about_one_order_are_erased_where_it_is_named(world: World) -> None:
    with world.database.write_session() as session:
        for order_id in ("order-1", "order-2"):
            repository.append(session, "keys.revoke", actor="ada", subject="acme", order_id=order_id, detail={"a": 1})
    with world.database.write_session() as session:
        assert repository.erase_details(session, "acme", "order-2") == [2]
    assert world.rows("SELECT seq FROM audit_entry WHERE detail IS NOT NULL") == [(1,)]


def test_entries_of_more_than_one_part_are_read_in_order(world: World) -> None:
    append_many(world, 2001)
    assert verify(world) == 2001
    with world.database.read_session() as session:
        assert [entry.seq for entry in repository.entries(session, subject="pair-2000")] == [2001]
