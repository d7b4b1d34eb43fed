"""`octy find`: accounts, key pairs, incidents and requests by any id or text."""

import re
import time

import pytest
from sqlalchemy import text
from support.cli_rig import Octy, octy_for, open_incident
from support.world import World

from octy_middleware.clock import utc
from octy_middleware.db.models import Account, Attempt, Incident, KeyPair
from octy_middleware.domain.notices import record_exposure
from octy_worker.cli.find import FIND_JSON
from octy_worker.reports import search

REQUEST = "req-7F3a.9"


@pytest.fixture
def octy(world: World) -> Octy:
    octy = octy_for(world)
    world.register("other")
    contact = ("--name", "Ada", "--surname", "Özil", "--email", "Ada.B_1@acme.example")
    octy("accounts", "add", "--reference", "acme-4711", *contact).must()
    return octy


def references(octy: Octy, *words: str) -> list[str]:
    return [line["reference"] for line in octy("find", *words, "--json").must().json["accounts"]]


def put_refused(world: World, *keys: str, request_id: str = REQUEST) -> None:
    row = {"minute": 0, "outcome": "wrong_secret", "user_agent": "", "method": "GET", "path": "/", "at": utc(60.0)}
    with world.database.write_session() as session:
        for number, key in enumerate(keys):
            session.add(Attempt(public_key=key, source=f"192.0.2.{number}", request_id=request_id, **row))


def test_account_is_found_by_a_part_of_its_reference_address_or_name(octy):
    for words in (
        *[("acme-4711",), ("4711",), ("CME-47",)],
        *[("ada.b_1@acme.example",), ("<Ada.B_1@ACME.example>",), ("@ACME",), ("B_1",)],
        *[("Ada Özil",), ("ada", "özil"), ("ÖZIL",), (" da ö ",)],
    ):
        assert references(octy, *words) == ["acme-4711"], words


def test_wildcards_of_like_match_only_themselves(octy):
    for word in ("Ada%zil", "Ada_B", "ada.b%", "%", "\\"):
        assert "nothing matches" in octy("find", word).must(2).stderr, word


def test_account_is_found_by_an_internationalized_address(octy):
    octy("accounts", "add", "--reference", "books", "--email", "info@bücher.example").must()
    assert references(octy, "info@bücher.example") == references(octy, "info@xn--bcher-kva.example") == ["books"]


def test_account_is_found_by_recently_replaced_addresses(octy):
    for address in ("new@acme.example", "newer@acme.example"):
        octy("accounts", "change", "acme-4711", "--email", address, "--reason", "asked for").must()
    for address in ("Ada.B_1@acme.example", "new@acme.example", "newer@acme.example"):
        assert references(octy, address) == ["acme-4711"]


def test_account_is_found_by_its_id_and_the_ids_in_its_mails_and_webhooks(world, octy):
    octy("accounts", "change", "acme-4711", "--email", "new@acme.example", "--reason", "asked for").must()
    [(account_id,)] = world.rows("SELECT id FROM account WHERE reference = 'acme-4711'")
    for table, label in (("regeneration", "Reference: "), ("notice", "Notice: ")):
        [(found_id,)] = world.rows(f"SELECT id FROM {table} WHERE account_id = :id", id=account_id)
        assert references(octy, f"{label}{found_id.upper()}") == ["acme-4711"]
    assert references(octy, account_id) == ["acme-4711"]


def test_account_is_found_by_the_request_id_in_its_notice_of_plain_http(world, octy):
    pair = world.register("third")
    [(pair_id,)] = world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=pair.public_key)
    with world.database.write() as connection:
        record_exposure(
            connection, pair_id, {"source": "192.0.2.1", "user_agent": "", "request_id": REQUEST}, time.time()
        )
    assert references(octy, f"The request that set it off: {REQUEST}") == ["third"]


def test_key_pair_is_found_by_a_prefix_of_its_public_key(world, octy):
    pair = world.register("third")
    for word in (pair.public_key, pair.public_key[:12]):
        [line] = octy("find", word, "--json").must().json["keys"]
        assert (line["public_key"], line["account"]) == (pair.public_key, "third")
    shown = octy("find", pair.public_key[:12]).must().stdout
    assert "1 key pair:" in shown
    assert "third" in shown
    assert "nothing matches" in octy("find", pair.public_key[3:12]).must(2).stderr


def test_incident_is_found_by_id_label_and_opening_request_id(world, octy):
    _, incident_id = open_incident(world)
    with world.database.write() as connection:
        connection.execute(text("UPDATE incident SET request_id = :id"), {"id": REQUEST})
    for words in (
        *[(incident_id,), (f"Case: {incident_id}",), ("Case:", incident_id.upper()), (incident_id[:13],)],
        *[(f"octy-0123456789abcdef-incident-{incident_id}",), (REQUEST,), (f"The request that set it off: {REQUEST}",)],
    ):
        [line] = octy("find", *words, "--json").must().json["incidents"]
        assert (line["id"], line["account"]) == (incident_id, "acme"), words
    assert "1 incident:" in octy("find", REQUEST).must().stdout


def test_refused_requests_are_found_by_their_id(world, octy):
    pair = world.register("third")
    put_refused(world, pair.public_key, "")
    found = octy("find", REQUEST, "--json").must().json
    assert [(line["account"], line["public_key"], line["source"]) for line in found["requests"]] == [
        (None, "", "192.0.2.1"),
        ("third", pair.public_key, "192.0.2.0"),
    ]
    assert all(name in FIND_JSON for name in (*found, *found["requests"][0]))
    assert "2 refused requests:" in octy("find", REQUEST).must().stdout
    assert "nothing matches" in octy("find", REQUEST[:-1]).must(2).stderr


def test_find_searches_only_the_newest_refused_requests_and_says_so(world, octy, monkeypatch):
    put_refused(world, "", request_id="old-request")
    put_refused(world, "", "", request_id="new-request")
    monkeypatch.setattr(search, "SEARCHED_REQUESTS", 2)
    assert octy("find", "new-request", "--json").must().json["requests_total"] == 2
    assert "nothing matches (searched the newest 2 refused requests)" in octy("find", "old-request").must(2).stderr
    monkeypatch.setattr(search, "SEARCHED_REQUESTS", 3)
    assert octy("find", "old-request", "--json").must().json["requests_total"] == 1
    assert "newest" not in octy("find", "older-request").must(2).stderr


def test_find_says_how_many_match_beyond_the_limit(world, octy):
    for number in range(3):
        world.register(f"many-{number}")
    done = octy("find", "many", "--limit", "2").must()
    assert "3 accounts:" in done.stdout
    assert "many-0" not in done.stdout
    assert "only the newest 2 of each kind are shown → --limit 0 shows all" in done.stderr
    assert len(octy("find", "many", "--limit", "0", "--json").must().json["accounts"]) == 3


@pytest.mark.parametrize(
    ("word", "error"),
    [
        *[("", "the search text is empty"), (" <> ", "the search text is empty")],
        *[("sk_1234567", "looks like a secret key"), ("pk_1:sk_1234567", "looks like a secret key")],
        *[("secret-1234567", "nothing matches"), ("task_1234567", "nothing matches")],
    ],
)
def test_find_without_result_says_why_and_never_repeats_the_input(octy, word, error):
    done = octy("find", word).must(2)
    assert error in done.stderr
    assert "1234567" not in done.stdout + done.stderr


def test_find_by_full_ids_and_keys_uses_indexes(world):
    """Staff's search must not read the tables of a million customers where an index has the answer."""
    by_id = search.conditions_by_id(search.SearchText("x", "y"))
    tables = {Account: by_id.accounts, KeyPair: by_id.keys, Incident: by_id.incidents}
    queries = [search.select(table.id).where(condition) for table, condition in tables.items()]
    queries.append(search.select(Incident.id).where(search.id_begins(Incident.id, "0199f2c4")))
    whole = {"sqlite": "SCAN (account|key_pair|incident)", "postgresql": "Seq Scan on (account|key_pair|incident)"}
    with world.database.read() as connection:
        if world.database_kind == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # the tables are empty
        for query in queries:
            explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[world.database_kind]
            sql = query.compile(connection, compile_kwargs={"literal_binds": True})
            plan = str(connection.exec_driver_sql(f"{explain} {sql}").all())
            assert not re.search(whole[world.database_kind], plan), plan
