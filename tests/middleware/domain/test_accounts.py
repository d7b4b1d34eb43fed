"""Accounts: validation, and security addresses that a thief of keys cannot change at once (T3)."""

import json
from contextlib import nullcontext
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, create_engine, update
from support.database_choice import on_one_database
from support.world import World

from octy_middleware import Accounts, InvalidInputError
from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Outbox, Table
from octy_middleware.domain import outbox
from octy_middleware.domain.accounts import (
    StaffChange,
    change_contact,
    create_account,
    find_account,
    security_addresses,
)

DAY = 86_400.0
NOW = 1_800_000_000.0
CONTACT = {"contact_email_address": "a@acme.example"}


@on_one_database  # refused before a statement is sent
@pytest.mark.parametrize(
    ("reference", "contact", "message"),
    [
        ("", CONTACT, "reference"),
        ("x" * 201, CONTACT, "reference"),
        ("a\nb", CONTACT, "reference"),
        ("ok", {}, "contact_email_address is missing"),
        ("ok", {"contact_email_address": "unknown"}, "not a valid mail address"),
        ("ok", {"contact_email_address": "a@b\r\nBcc: x@y"}, "printable"),
        ("ok", {**CONTACT, "webhook_url": "ftp://x"}, "https"),
        ("ok", {**CONTACT, "contact_name": "x" * 501}, "at most 500"),
        ("ok", {**CONTACT, "contact_name": 5}, "printable text"),
        ("ok", {**CONTACT, "security_email": "thief@x.example"}, "unknown field"),
    ],
)
def test_invalid_account_data_names_the_field_and_stores_nothing(
    world: World, reference: str, contact: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message), world.database.write_session() as session:
        create_account(session, reference, contact, NOW)
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


def test_reference_is_unique(world: World) -> None:
    with world.database.write_session() as session:
        create_account(session, "acme", CONTACT, NOW)
    with pytest.raises(InvalidInputError, match="exists already"), world.database.write_session() as session:
        create_account(session, "acme", CONTACT, NOW)


@on_one_database  # computed from a row that is loaded
@pytest.mark.parametrize(
    ("changes", "days", "expected"),
    [
        ([], 0, ["a@acme.example"]),
        ([(0, "thief")], 0, ["a@acme.example", "thief@acme.example"]),
        ([(0, "thief")], 6.99, ["a@acme.example", "thief@acme.example"]),
        ([(0, "new")], 7, ["new@acme.example", "a@acme.example"]),
        ([(0, "new")], 13.99, ["new@acme.example", "a@acme.example"]),
        ([(0, "new")], 20.99, ["new@acme.example", "a@acme.example"]),
        ([(0, "new")], 21, ["new@acme.example"]),
        ([(0, "thief"), (3, "a")], 8, ["a@acme.example", "thief@acme.example"]),
        ([(0, "x"), (6, "y")], 8, ["a@acme.example", "y@acme.example", "x@acme.example"]),
        ([(0, "x"), (6, "y")], 13, ["y@acme.example", "a@acme.example", "x@acme.example"]),
        ([(0, "evil1"), (7 + 1 / DAY, "evil2")], 7.5, ["evil1@acme.example", "evil2@acme.example", "a@acme.example"]),
        ([(0, "evil1"), (7 + 1 / DAY, "evil2")], 13.99, ["evil1@acme.example", "evil2@acme.example", "a@acme.example"]),
        ([(0, "evil1"), (7 + 1 / DAY, "evil2")], 21.1, ["evil2@acme.example", "evil1@acme.example"]),
        (
            [(0, "evil1"), (8, "evil2"), (9, "evil1")],
            13.99,
            ["evil1@acme.example", "evil2@acme.example", "a@acme.example"],
        ),
        ([(0, "x"), (8, "y")], 14.99, ["x@acme.example", "y@acme.example", "a@acme.example"]),
        ([(0, "x"), (8, "y")], 15, ["y@acme.example", "x@acme.example", "a@acme.example"]),
    ],
)
def test_security_address_follows_after_seven_days(
    world: World, changes: list[tuple[float, str]], days: float, expected: list[str]
) -> None:
    with world.database.write_session() as session:
        account = create_account(session, "acme", CONTACT, NOW)
        for day, name in changes:
            change_contact(session, account, {"contact_email_address": f"{name}@acme.example"}, NOW + day * DAY)
        assert list(security_addresses(account, NOW + days * DAY)) == expected


STAFF = StaffChange("ada", "mistyped")


@on_one_database  # computed from a row that is loaded
@pytest.mark.parametrize(
    ("changes", "hours", "expected"),
    [
        ([(0, "new", STAFF)], 23.99, ["a@acme.example", "new@acme.example"]),
        ([(0, "new", STAFF)], 24, ["new@acme.example", "a@acme.example"]),
        ([(0, "new", STAFF)], 24 * 14.99, ["new@acme.example", "a@acme.example"]),
        ([(0, "new", STAFF)], 24 * 15, ["new@acme.example"]),
        ([(0, "thief", None), (1, "new", STAFF)], 24.99, ["a@acme.example", "new@acme.example", "thief@acme.example"]),
        ([(0, "thief", None), (1, "new", STAFF)], 25, ["new@acme.example", "a@acme.example", "thief@acme.example"]),
        ([(0, "new", STAFF), (1, "thief", None)], 168.9, ["a@acme.example", "thief@acme.example", "new@acme.example"]),
        ([(0, "new", STAFF), (30, "thief", None)], 31, ["new@acme.example", "thief@acme.example", "a@acme.example"]),
    ],
)
def test_address_set_by_staff_becomes_security_address_after_24_hours(
    world: World, changes: list[tuple[float, str, StaffChange | None]], hours: float, expected: list[str]
) -> None:
    with world.database.write_session() as session:
        account = create_account(session, "acme", CONTACT, NOW)
        for hour, name, staff in changes:
            contact = {"contact_email_address": f"{name}@acme.example"}
            change_contact(session, account, contact, NOW + hour * 3600, staff=staff)
        assert list(security_addresses(account, NOW + hours * 3600)) == expected


def test_changed_address_notifies_all_recent_addresses_unless_reverted(world: World) -> None:
    changes = ["a", "new", "new", "other", "a"]
    with world.database.write_session() as session:
        account = create_account(session, "acme", {"contact_email_address": "a@acme.example"}, NOW)
        for day, name in enumerate(changes):
            change_contact(session, account, {"contact_email_address": f"{name}@acme.example"}, NOW + day * DAY)
            session.connection().execute(update(Outbox).values(delivered_at=utc(NOW)))
    expected = [
        ("contact_changed", {"old": "a@acme.example", "new": "new@acme.example", "others": []}),
        ("contact_changed", {"old": "a@acme.example", "new": "other@acme.example", "others": ["new@acme.example"]}),
    ]
    found = world.rows(
        "SELECT n.kind, n.detail, o.kind FROM notice n JOIN outbox o ON o.subject_id = n.id ORDER BY n.at"
    )
    assert [(kind, json.loads(detail), event) for kind, detail, event in found] == [
        (*told, "notice_created") for told in expected
    ]


def test_second_change_within_seven_days_still_notifies_the_owner(world: World) -> None:
    with world.database.write_session() as session:
        account = create_account(session, "acme", {"contact_email_address": "left@acme.example"}, NOW)
        change_contact(session, account, {"contact_email_address": "owner@acme.example"}, NOW)
        session.connection().execute(update(Outbox).values(delivered_at=utc(NOW)))
        change_contact(session, account, {"contact_email_address": "thief@x.example"}, NOW + 3 * DAY)
    details = [json.loads(row[0]) for row in world.rows("SELECT detail FROM notice ORDER BY at")]
    assert details[-1] == {"old": "left@acme.example", "new": "thief@x.example", "others": ["owner@acme.example"]}


def test_undelivered_notice_is_updated_instead_of_duplicated(world: World) -> None:
    world.register("acme")
    accounts = Accounts(world.database, clock=lambda: NOW, changes_per_day=1000)
    for number in range(50):
        accounts.change_contact("acme", {"contact_email_address": f"{number}@x.example"})
    [(detail,)] = world.rows("SELECT detail FROM notice")
    assert json.loads(detail)["new"] == "49@x.example"
    assert len(json.loads(detail)["others"]) == 49
    with world.database.write() as connection:  # from here on its mails may be leaving
        connection.execute(update(Outbox).values(leased_by="a relay", leased_until=utc(NOW)))
    accounts.change_contact("acme", {"contact_email_address": "late@x.example"})
    assert world.rows("SELECT COUNT(*) FROM notice") == [(2,)]


def test_contact_changes_beyond_the_daily_limit_are_rejected(world: World) -> None:
    world.register("acme")
    world.register("other")
    times = iter([NOW] * 5 + [NOW + 60] * 4 + [NOW + DAY])
    accounts = Accounts(world.database, clock=lambda: next(times))
    for number in range(4):
        accounts.change_contact("acme", {"contact_email_address": f"{number % 2}@x.example"})
    accounts.change_contact("acme", {"webhook_url": "https://hooks.acme.example/"})
    for field, value in (("contact_email_address", "6@x.example"), ("webhook_url", "https://eve.example/")):
        with pytest.raises(InvalidInputError, match="5 times within 24 hours"):
            accounts.change_contact("acme", {field: value, "contact_name": "Eve"})
    assert accounts.change_contact("acme", {"contact_name": "Ada"})["contact_email_address"] == "1@x.example"
    accounts.change_contact("other", {"contact_email_address": "their@x.example"})
    accounts.change_contact("acme", {"contact_email_address": "7@x.example"})
    contact = accounts.contact("acme")
    assert (contact["contact_name"], contact["contact_email_address"]) == ("Ada", "7@x.example")


def test_changed_webhook_url_creates_notice_without_the_url(world: World) -> None:
    world.register("acme")
    accounts = Accounts(world.database, clock=lambda: NOW)
    accounts.change_contact("acme", {"webhook_url": "https://eve:password@eve.example/"})
    accounts.change_contact("acme", {"webhook_url": "https://eve:password@eve.example/"})
    assert world.rows("SELECT kind, detail FROM notice") == [("webhook_changed", "{}")]
    assert world.rows("SELECT event FROM webhook") == []


_NOTEBOOK = create_engine("sqlite://")  # the changes of one example, rolled back after it
Table.metadata.create_all(_NOTEBOOK)
_TICKS = 14  # in 7 days: time goes by half days here


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 80), st.sampled_from("abc"), max_size=20))
def test_security_addresses_are_right_after_any_sequence_of_changes(changes: dict[int, str]) -> None:
    account = Account(id="", reference="", contact_email_address="a@x.example", security_email="a@x.example")
    session, contacts, told = Session(_NOTEBOOK.connect()), [], []
    for tick in range(100):
        now = NOW + tick * 7 * DAY / _TICKS
        if tick in changes:
            with patch.object(outbox, "notify"):
                change_contact(session, account, {"contact_email_address": f"{changes[tick]}@x.example"}, now)
        contacts.append(account.contact_email_address)
        told.append(security_addresses(account, now))
    session.get_bind().close()
    for tick, (first, *others) in enumerate(told):
        assert first not in others
        assert set(contacts[max(0, tick - 2 * _TICKS + 1) : tick + 1]) <= {first, *others}
        assert all(first in later for later in told[tick : tick + _TICKS])
        if tick and first != told[tick - 1][0]:
            assert contacts[tick - _TICKS : tick] == [first] * _TICKS
        if tick > _TICKS and len(set(contacts[tick - _TICKS : tick + 1])) == 1:
            assert first == contacts[tick]


@on_one_database  # refused before a statement is sent
@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("ada@acme.example", True),
        ("o'hara!#$%&*/=?^_`{|}~-@acme.example", True),
        ("ops@relay", True),
        ("a@xn--bcher-kva.example", True),
        (f"{'a' * 64}@acme.example", True),
        (f"{'a' * 65}@acme.example", False),
        (f"a@{'b' * 63}.example", True),
        (f"a@{'b' * 64}.example", False),
        (f"a@{'.'.join(['b' * 49] * 5)}.cc", True),
        (f"ab@{'.'.join(['b' * 49] * 5)}.cc", False),
        ("a..b@x.com", False),
        (".a@x.com", False),
        ("a.@x.com", False),
        ("zoë@x.com", False),
        ("a\u212a@x.com", False),
        ("a@.x.com", False),
        ("a@x.com.", False),
        ("a@x..com", False),
        ("a@-x.com", False),
        ("a@x-.com", False),
        ("a@ab--c.example", False),
        ("a@x_y.com", False),
        ("a@[192.0.2.1]", False),
        ('"a b"@x.com', False),
        ("a b@x.com", False),
        ("a@b@x.com", False),
        ("Ada <a@x.com>", False),
        ("a@x.com, b@x.com", False),
        ("@x.com", False),
        ("a@", False),
        ("", False),
    ],
)
def test_invalid_mail_address_is_rejected(world: World, address: str, *, taken: bool) -> None:
    said = nullcontext() if taken else pytest.raises(InvalidInputError, match="not a valid mail address")
    with world.database.write_session() as session:
        account = create_account(session, "acme", CONTACT, NOW)
        with said:
            change_contact(session, account, {"contact_email_address": address}, NOW)
        with said:
            create_account(session, "other", {"contact_email_address": address}, NOW)
        assert account.contact_email_address == (address if taken else CONTACT["contact_email_address"])


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("info@bücher.example", "info@xn--bcher-kva.example"),
        ("info@BÜCHER.example", "info@xn--bcher-kva.example"),
        ("Ada.Byron+octy@mail-1.Acme.example", "Ada.Byron+octy@mail-1.acme.example"),
        ("ada@\u0430cme.example", "ada@xn--cme-5cd.example"),  # a Cyrillic letter is seen
    ],
)
def test_mail_address_is_stored_in_its_normalized_form(world: World, address: str, stored: str) -> None:
    with world.database.write_session() as session:
        account = create_account(session, "acme", {"contact_email_address": address}, NOW)
        assert (account.contact_email_address, account.security_email) == (stored, stored)
        change_contact(session, account, {"contact_email_address": address}, NOW)
        assert account.contact_changed_at is None


def test_host_app_reads_and_sets_contact_data(world: World) -> None:
    world.register("acme")
    accounts = Accounts(world.database, clock=lambda: NOW)
    data = accounts.change_contact("acme", {"contact_name": "Ada", "contact_surname": "Byron"})
    assert data == accounts.contact("acme")
    assert (data["contact_name"], data["contact_surname"]) == ("Ada", "Byron")
    assert set(data) == {
        "contact_name",
        "contact_surname",
        "contact_email_address",
        "webhook_url",
        "authenticated_id_key",
    }


@pytest.mark.parametrize("body", [None, [], "text", 5, {"contact_name": None}, {5: "x"}])
def test_invalid_body_from_a_host_app_changes_nothing(world: World, body: object) -> None:
    world.register("acme")
    with pytest.raises(InvalidInputError):
        Accounts(world.database).change_contact("acme", body)


def test_account_is_found_by_reference_or_id(world: World) -> None:
    keys = world.register("acme")
    with world.database.read_session() as session:
        assert find_account(session, "acme") == find_account(session, keys.account_id)
        assert find_account(session, "unknown") is None
    with pytest.raises(InvalidInputError, match="no account"):
        Accounts(world.database).contact("unknown")
