"""Accounts: what is taken, and the security address that a thief of keys can't move at once (T3)."""

import pytest
from support.world import World

from octy_middleware import Accounts, InvalidInputError
from octy_middleware.accounts import change_contact, create_account, find_account, security_addresses

DAY = 86_400.0
NOW = 1_800_000_000.0
CONTACT = {"contact_email_address": "a@acme.example"}


@pytest.mark.parametrize(
    ("reference", "contact", "message"),
    [
        ("", CONTACT, "reference"),
        ("x" * 201, CONTACT, "reference"),
        ("a\nb", CONTACT, "reference"),
        ("ok", {}, "contact_email_address is missing"),
        ("ok", {"contact_email_address": "nobody"}, "no mail address"),
        ("ok", {"contact_email_address": "a@b\r\nBcc: x@y"}, "printable"),
        ("ok", {**CONTACT, "webhook_url": "ftp://x"}, "https"),
        ("ok", {**CONTACT, "contact_name": "x" * 501}, "at most 500"),
        ("ok", {**CONTACT, "contact_name": 5}, "printable text"),
        ("ok", {**CONTACT, "security_email": "thief@x.example"}, "unknown field"),
    ],
)
def test_unfit_data_is_refused_by_name_and_nothing_is_kept(
    world: World, reference: str, contact: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message), world.database.write_session() as session:
        create_account(session, reference, contact, NOW)
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


def test_a_reference_is_taken_once(world: World) -> None:
    with world.database.write_session() as session:
        create_account(session, "acme", CONTACT, NOW)
    with pytest.raises(InvalidInputError, match="exists already"), world.database.write_session() as session:
        create_account(session, "acme", CONTACT, NOW)


@pytest.mark.parametrize(
    ("changes", "days", "expected"),
    [
        ([], 0, ["a@acme.example"]),
        ([(0, "thief")], 0, ["a@acme.example"]),
        ([(0, "thief")], 6.99, ["a@acme.example"]),
        ([(0, "new")], 7, ["new@acme.example", "a@acme.example"]),
        ([(0, "new")], 13.99, ["new@acme.example", "a@acme.example"]),
        ([(0, "new")], 14, ["new@acme.example"]),
        ([(0, "thief"), (3, "a")], 8, ["a@acme.example"]),
        ([(0, "x"), (6, "y")], 8, ["a@acme.example"]),
        ([(0, "x"), (6, "y")], 13, ["y@acme.example", "a@acme.example"]),
        ([(0, "x"), (8, "y")], 9, ["x@acme.example"]),
        ([(0, "x"), (8, "y")], 15, ["y@acme.example", "x@acme.example"]),
    ],
)
def test_the_security_address_follows_after_seven_days(
    world: World, changes: list[tuple[float, str]], days: float, expected: list[str]
) -> None:
    with world.database.write_session() as session:
        account = create_account(session, "acme", CONTACT, NOW)
        for day, name in changes:
            change_contact(session, account, {"contact_email_address": f"{name}@acme.example"}, NOW + day * DAY)
        assert list(security_addresses(account, NOW + days * DAY)) == expected


def test_a_host_app_reads_and_sets_contact_data(world: World) -> None:
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
def test_a_host_apps_bad_body_changes_nothing(world: World, body: object) -> None:
    world.register("acme")
    with pytest.raises(InvalidInputError):
        Accounts(world.database).change_contact("acme", body)


def test_an_account_is_found_by_reference_or_id(world: World) -> None:
    keys = world.register("acme")
    with world.database.read_session() as session:
        assert find_account(session, "acme") == find_account(session, keys.account_id)
        assert find_account(session, "nobody") is None
    with pytest.raises(InvalidInputError, match="no account"):
        Accounts(world.database).contact("nobody")
