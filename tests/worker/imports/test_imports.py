"""Imports: files read line by line, rows checked, all of a file or nothing, and pairs that authenticate afterwards."""

import json
import logging
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from support.database_choice import on_one_database
from support.foreign_hashes import FOREIGN, SECRET
from support.imports_rig import (
    BCRYPT,
    HEADER,
    NOW,
    as_csv,
    as_json,
    content_of,
    import_in_steps,
    imported,
    key,
    person,
    planned,
)
from support.retention_rig import AwayDatabase, KilledError, MortalDatabase
from support.world import FakeRequest, World, basic

from octy_middleware import Database, DatabaseUnavailableError, Outcome
from octy_middleware.domain.accounts import find_account, security_addresses
from octy_middleware.keys.secret import imported_hash, row_binding
from octy_middleware.states import KeyPairCause, KeyPairState
from octy_worker.domain.job_lease import LEASE_TTL, JobLease
from octy_worker.domain.step_pacer import MAX_ROWS, StepPacer
from octy_worker.imports.planner import carry_out
from octy_worker.imports.reader import COLUMNS
from octy_worker.imports.validator import IN_CLEAR
from octy_worker.imports.writer import JOB, ImportWriter, clear_interrupted
from octy_worker.maintenance.retention import prune_for
from octy_worker.settings import RetentionSettings


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A database for such tests that write nothing."""
    world = World(tmp_path_factory.mktemp("empty"))
    yield world
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]
    world.close()


def errors(world: World, content: bytes, **options) -> list[tuple[int, str, str]]:
    """Return the errors of a file, and make sure that they show nothing of it."""
    plan = planned(world, content, **options)
    for error in plan.errors:
        assert error.to_do
        assert "$2b$" not in f"{error.wrong} {error.to_do}"
        assert "canary" not in f"{error.wrong} {error.to_do}"
    return [(error.line, error.column, error.wrong) for error in plan.errors]


# What is written


ANOTHER = FOREIGN["scrypt"]


@pytest.mark.parametrize("write", [as_csv, as_json], ids=["CSV", "JSON lines"])
def test_import_writes_account_contact_data_and_key_pair(world, write):
    contact = {
        "contact_name": "Ada, „Countess“",
        "contact_surname": 'By"ron',
        "webhook_url": "https://hooks.example/x",
        "authenticated_id_key": "id-1",
    }
    imported(world, write(person(created_at="2024-02-29T13:00:00+01:00", **contact), person(2)))
    with world.database.read_session() as session:
        account = find_account(session, "c1")
        assert {name: getattr(account, name) for name in contact} == contact
        assert security_addresses(account, NOW) == ("security@c1.example",)
        assert account.created_at.isoformat() == "2024-02-29T12:00:00+00:00"
    rows = world.rows(
        "SELECT reference, public_key, secret_digest, imported_scheme, state, cause, activated_at, p.created_at "
        "FROM key_pair p JOIN account a ON a.id = p.account_id ORDER BY reference"
    )
    now, life = int(NOW * 1e6), (BCRYPT, "bcrypt-4", KeyPairState.ACTIVE, KeyPairCause.IMPORT, int(NOW * 1e6))
    rows = [(reference, public_key, imported_hash(stored), *rest) for reference, public_key, stored, *rest in rows]
    assert rows == [("c1", key(1), *life, 1_709_208_000_000_000), ("c2", key(2), *life, now)]


def test_import_notifies_key_caches_and_sends_no_mail(world):
    imported(world, as_csv(person(1), person(2)))
    assert world.rows("SELECT public_key FROM key_change ORDER BY seq") == [(key(1),)]  # unknown keys are not cached
    assert world.rows("SELECT COUNT(*) FROM outbox") == [(0,)]
    assert world.rows("SELECT COUNT(*) FROM regeneration") == [(0,)]


def test_imported_accounts_are_listed_in_file_order(world):
    imported(world, as_csv(*(person(number) for number in range(50))))
    assert [row[0] for row in world.rows("SELECT reference FROM account ORDER BY id")] == [f"c{n}" for n in range(50)]


def test_an_imported_pair_of_every_scheme_authenticates(world):
    imported(world, as_csv(*(person(number, secret_hash=stored) for number, stored in enumerate(FOREIGN.values()))))
    with world.authenticator() as authenticator:
        for number, (name, stored) in enumerate(FOREIGN.items()):

            def decide(secret, number=number):
                return authenticator.decide(FakeRequest(basic(key(number), secret), peer=f"203.0.113.{number}"))

            for given in (SECRET + "x", "", stored):
                assert decide(given).outcome is Outcome.WRONG_SECRET, name
            decision = decide(SECRET)
            assert decision.outcome is Outcome.ACCEPTED, name
            assert decision.principal.reference == f"c{number}"
            assert decide(SECRET).outcome is Outcome.ACCEPTED, name
            assert decide(SECRET + "x").outcome is Outcome.WRONG_SECRET, name


def test_process_that_rejected_an_unknown_key_accepts_it_after_the_import(world):
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(basic(key(1), SECRET))).outcome is Outcome.UNKNOWN_KEY
        imported(world, as_csv(person()))
        assert authenticator.decide(FakeRequest(basic(key(1), SECRET))).outcome is Outcome.ACCEPTED


# Several pairs, and the same file again


def test_further_rows_of_an_account_may_repeat_or_omit_the_contact_data(world):
    more = {"contact_name": "Ada"}
    plan = imported(
        world,
        as_csv(
            person(**more),
            person(reference="c1", public_key=key(2), **more),
            person(reference="c1", public_key=key(3), contact_email_address=""),
        ),
    )
    assert (len(plan.accounts), len(plan.pairs)) == (1, 3)
    assert world.rows("SELECT COUNT(*), COUNT(DISTINCT account_id) FROM key_pair") == [(3, 1)]


@pytest.mark.parametrize("into_existing", [False, True])
def test_import_of_the_same_file_again_changes_nothing(world, into_existing):
    content = as_csv(person(1), person(2), person(3, reference="c1", contact_email_address=""))
    imported(world, content)
    before = content_of(world)
    plan = imported(world, content, into_existing=into_existing, now=NOW + 10)
    assert (plan.rows, plan.already_there, plan.accounts, plan.pairs) == (3, 3, [], [])
    assert content_of(world) == before


def test_import_of_the_same_file_again_recognizes_upgraded_hashes(world):
    imported(world, as_csv(person(1), person(2)))
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(basic(key(1), SECRET))).outcome is Outcome.ACCEPTED
    assert world.rows("SELECT imported_scheme FROM key_pair ORDER BY public_key") == [(None,), ("bcrypt-4",)]
    plan = imported(world, as_csv(person(1), person(2), person(3)))
    assert (plan.already_there, len(plan.pairs)) == (2, 1)


def test_existing_account_gets_a_further_key_pair_only_with_the_option(world):
    imported(world, as_csv(person(1)))
    before = content_of(world)
    further = as_csv(person(reference="c1", public_key=key(2), contact_email_address=""))
    assert errors(world, further) == [(2, "reference", "has an account already")]
    assert content_of(world) == before
    imported(world, further, into_existing=True)
    assert world.rows("SELECT COUNT(*), COUNT(DISTINCT account_id) FROM key_pair") == [(2, 1)]
    assert content_of(world)[0] == before[0]


# Rows that are wrong by themselves

PAIR = "is not a public key"


@pytest.mark.parametrize(
    ("changed", "column", "wrong"),
    [
        ({"reference": ""}, "reference", "must be 1 to 200 printable characters"),
        ({"reference": "x" * 201}, "reference", "must be 1 to 200 printable characters"),
        ({"reference": "canary\x1b[2J"}, "reference", "must be 1 to 200 printable characters"),
        (
            {"contact_email_address": ""},
            "contact_email_address",
            "is missing: alerts and new keys are sent there",
        ),
        ({"contact_email_address": "canary"}, "contact_email_address", "is not a valid mail address"),
        (
            {"public_key": "pk_5weYbA4VGkvXib1wmCMkta2UbpF6"},
            "public_key",
            "looks like a key of Octy, but its hash is not one of Octy's",
        ),
        ({"contact_email_address": "ä@canary.example"}, "contact_email_address", "is not a valid mail address"),
        ({"contact_email_address": "a@b@canary.example"}, "contact_email_address", "is not a valid mail address"),
        (
            {"contact_email_address": "canary@-.example.-"},
            "contact_email_address",
            "is not a valid mail address",
        ),
        (
            {"contact_email_address": "canary@xn--a.example"},
            "contact_email_address",
            "is not a valid mail address",
        ),
        ({"webhook_url": "ftp://canary"}, "webhook_url", "must begin with https://"),
        ({"contact_name": "x" * 501}, "contact_name", "must be printable text of at most 500 characters"),
        ({"contact_surname": "canary\u202e"}, "contact_surname", "must be printable text of at most 500 characters"),
        ({"authenticated_id_key": "a\nb"}, "authenticated_id_key", "must be printable text of at most 500 characters"),
        ({"public_key": ""}, "public_key", PAIR),
        ({"public_key": "canary"}, "public_key", PAIR),
        ({"public_key": "pk_canary!"}, "public_key", PAIR),
        ({"public_key": "pk_" + "a" * 81}, "public_key", PAIR),
        ({"secret_hash": ""}, "secret_hash", "is missing"),
        ({"secret_hash": "canary"}, "secret_hash", "this is no hash that is known here"),
        ({"secret_hash": "$1$canary$x"}, "secret_hash", "this is MD5, which is not taken"),
        (
            {"secret_hash": BCRYPT[:-1]},
            "secret_hash",
            "the hash is damaged: it has not the form of its scheme",
        ),
        ({"secret_hash": "sk_canary7canary7"}, "secret_hash", IN_CLEAR),
        ({"secret_hash": "pk:sk_canary7canary7"}, "secret_hash", IN_CLEAR),
        ({"contact_name": "Ada sk_canary7canary7"}, "contact_name", IN_CLEAR),
        ({"created_at": "canary"}, "created_at", "is not a time"),
        ({"created_at": "2024-02-29"}, "created_at", "has no time zone"),
        ({"created_at": "2024-02-30T00:00:00Z"}, "created_at", "is not a time"),
        ({"created_at": "2027-01-15T08:00:01Z"}, "created_at", "is not between 1970 and now"),
        ({"created_at": "1969-12-31T23:59:59Z"}, "created_at", "is not between 1970 and now"),
        ({"created_at": "0001-01-01T00:00:00+23:59"}, "created_at", "is not between 1970 and now"),
        ({"created_at": "9999-12-31T23:59:59-23:59"}, "created_at", "is not between 1970 and now"),
    ],
)
@pytest.mark.parametrize("write", [as_csv, as_json], ids=["CSV", "JSON lines"])
def test_invalid_cell_is_reported_with_line_and_column(empty, write, changed, column, wrong):
    before = content_of(empty)
    line = 3 if write is as_csv else 2
    assert errors(empty, write(person(1), person(2, **changed), person(3))) == [(line, column, wrong)]
    assert content_of(empty) == before


def test_created_at_up_to_now_is_accepted(empty):
    assert errors(empty, as_csv(person(created_at="2027-01-15T08:00:00Z"))) == []


def test_all_errors_of_a_file_are_reported_at_once(empty):
    content = as_csv(person(1, reference="", webhook_url="x", secret_hash="y"), person(2, public_key="z"), person(3))
    assert [(line, column) for line, column, _ in errors(empty, content)] == [
        (2, "reference"),
        (2, "secret_hash"),
        (2, "webhook_url"),
        (3, "public_key"),
    ]


# Rows that do not go together


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([person(1), person(2, public_key=key(1))], (3, "public_key", "is in line 2 already")),
        ([person(1), person(1)], (3, "public_key", "is in line 2 already")),
        (
            [person(1), person(2, reference="c1")],
            (3, "contact_email_address", "differs from the customer's first row"),
        ),
        (
            [person(1), person(2, reference="c1", contact_email_address="", contact_name="canary")],
            (3, "contact_name", "differs from the customer's first row"),
        ),
    ],
)
def test_contradicting_rows_are_reported(empty, rows, expected):
    assert errors(empty, as_csv(*rows)) == [expected]


@pytest.mark.parametrize("into_existing", [False, True])
def test_rows_contradicting_the_database_are_reported(world, into_existing):
    other = world.register("other")
    imported(world, as_csv(person(1), person(2), person(7)))
    found = errors(
        world,
        as_csv(
            person(3, public_key=key(7), secret_hash=ANOTHER),
            person(1, secret_hash=FOREIGN["argon2id"]),
            person(2, contact_name="canary"),
            person(2, public_key=key(1)),
            person(4, reference=other.account_id),
        ),
        into_existing=into_existing,
    )
    assert found == [
        (2, "public_key", "belongs to another account"),
        (3, "public_key", "exists already with another secret"),
        (4, "contact_name", "differs from what the account has"),
        (5, "public_key", "is in line 3 already"),
        (6, "reference", "is the id of an existing account"),
    ]


def test_key_pair_of_another_account_is_not_reassigned(world):
    imported(world, as_csv(person(1), person(2)))
    content = as_csv(person(2, public_key=key(1)))
    assert errors(world, content) == [(2, "public_key", "belongs to another account")]


def test_import_never_changes_a_key_pair_issued_here(world):
    pair = world.register("c1")
    (digest,) = world.rows("SELECT secret_digest FROM key_pair")[0]
    contact = {"reference": "c1", "contact_email_address": "", "public_key": pair.public_key}
    assert errors(world, as_csv(person(**contact, secret_hash=digest))) == [
        (2, "secret_hash", "an $octy-b2$ digest belongs to its row of its own database")
    ]
    shaped = (2, "public_key", "looks like a key of Octy, but its hash is not one of Octy's")
    assert errors(world, as_csv(person(**contact, secret_hash=ANOTHER))) == [shaped]


def test_unsalted_sha_hash_is_rejected_for_an_existing_account(world):
    imported(world, as_csv(person(1, secret_hash=FOREIGN["SHA-256"])))
    before = content_of(world)
    further = as_csv(
        person(reference="c1", public_key=key(2), contact_email_address="", secret_hash=FOREIGN["SHA-256"])
    )
    for into_existing in (False, True):
        [(line, column, wrong)] = errors(world, further, into_existing=into_existing)
        assert (line, column) == (2, "secret_hash" if into_existing else "reference")
        assert into_existing is ("plain SHA" in wrong)
    assert content_of(world) == before


def test_added_key_pair_is_notified_by_mail_and_webhook(world):
    imported(world, as_csv(person(1, webhook_url="https://hooks.example/x"), person(2)))
    further = as_csv(
        person(reference="c1", public_key=key(11), contact_email_address=""),
        person(reference="c1", public_key=key(12), contact_email_address=""),
        person(3),
    )
    plan = imported(world, further, into_existing=True, now=NOW + 10)
    assert {len(pairs) for pairs in plan.added.values()} == {2}
    [(kind, reference, first, detail)] = world.rows(
        "SELECT n.kind, a.reference, p.public_key, n.detail FROM notice n JOIN account a ON a.id = n.account_id "
        "JOIN key_pair p ON p.id = n.key_pair_id"
    )
    assert (kind, reference, first) == ("keys_added", "c1", key(11))
    assert json.loads(detail) == {"public_keys": f"{key(11)} {key(12)}", "count": "2"}
    assert world.rows("SELECT event FROM webhook") == [("keys.added",)]
    assert sorted(row[0] for row in world.rows("SELECT kind FROM outbox")) == ["notice_created", "webhook_due"]


def test_imported_hash_is_bound_to_its_row(world):
    imported(world, as_csv(person(1), person(2)))
    rows = world.rows("SELECT id, public_key, secret_digest FROM key_pair")
    for pair_id, public_key, stored in rows:
        assert world.hasher.is_sealed(stored, row_binding(pair_id, public_key))
    assert len({stored for _, _, stored in rows}) == 2


# Files


def csv_of(*lines: str) -> bytes:
    return "\n".join(lines).encode()


TOP = ",".join(HEADER)
ROW = f"c1,security@c1.example,{key(1)},{BCRYPT}"
GOOD = person()


@on_one_database  # files and rows are read and checked before anything is looked up
@pytest.mark.parametrize(
    "content",
    [
        csv_of(TOP, ROW),
        csv_of(TOP, ROW, "", ""),
        csv_of("", "  ", TOP, "", ROW, ""),
        csv_of(",,,", TOP, ",,,", ROW, " , ,,", ",,,"),
        csv_of(TOP + ",", ROW + ",", ",,,,"),
        csv_of(TOP + ", ,", ROW + ",, ", ",,,,,"),
        csv_of(TOP, ROW + ","),
        b"\xef\xbb\xbf" + csv_of(TOP, ROW),
        csv_of(TOP, ROW).replace(b"\n", b"\r\n") + b"\r\n",
        csv_of(TOP.replace(",", " , "), ROW.replace(",", " , ")),
        csv_of(",".join(reversed(HEADER)), ",".join(reversed(ROW.split(",")))),
        csv_of(TOP, ",".join(f'"{cell}"' for cell in ROW.split(","))),
        as_json(GOOD),
        b"\xef\xbb\xbf" + as_json(GOOD),
        b"\n \r\n" + as_json(GOOD).replace(b"\n", b"\r\n") + b"\n",
        as_json(GOOD).rstrip(),
        as_json(GOOD).replace(b"}", b', "contact_name": null, "created_at": ""}'),
    ],
)
def test_import_file_dialects_are_accepted(world, content):
    plan = imported(world, content)
    assert (plan.rows, len(plan.accounts), len(plan.pairs)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (1, "", "the file is empty")),
        (csv_of(",,,", ","), (1, "", "the file is empty")),
        (csv_of(TOP + ",", ROW + ",canary"), (2, "", "the row has 5 cells, the header 4")),
        (csv_of("created_at,," + TOP, ",," + ROW), (1, "", "column 2 of the header has no known name")),
        (csv_of(TOP), (2, "", "there is a header but no row")),
        (b"\n \n", (1, "", "the file is empty")),
        (b"\xef\xbb\xbf", (1, "", "the file is empty")),
        (csv_of(ROW, ROW), (1, "", "this is not a header")),
        (csv_of(TOP.replace(",", ";"), ROW), (1, "", "this is not a header")),
        (csv_of("canary,sk_canary7"), (1, "", "this is not a header")),
        (csv_of(TOP + ",canary7", ROW + ",x"), (1, "", "column 5 of the header has no known name")),
        (csv_of("reference,contact_email_address,public_key", "c1"), (1, "secret_hash", "is missing in the header")),
        (csv_of(TOP + ",reference", ROW + ",x"), (1, "reference", "is in the header twice")),
        (csv_of(TOP, ROW, "c2,canary"), (3, "", "the row has 2 cells, the header 4")),
        (csv_of(TOP, "", ROW + ",canary"), (3, "", "the row has 5 cells, the header 4")),
        (csv_of(TOP, ROW, 'c2,"canary', ROW), (3, "", "this is not CSV (RFC 4180)")),
        (csv_of(TOP, ROW, 'c2,"canary"x,y,z', ROW), (3, "", "this is not CSV (RFC 4180)")),
        (csv_of(TOP, ROW.replace("c1,", "c1\r,")), (2, "", "this is not CSV (RFC 4180)")),
        (csv_of(TOP) + b"\ncan\xe4ry,,,", (2, "", "this is not UTF-8 text")),
        (csv_of(TOP, ROW).decode().encode("utf-16"), (1, "", "this is not UTF-8 text")),
        (csv_of(TOP, ROW, "x" * 70_000), (3, "", "the line is longer than 65536 bytes")),
        (b"[" + as_json(GOOD) + b"]", (1, "", "this is a JSON array")),
        (as_json(GOOD) + b'{"canary": ', (2, "", "this is not JSON")),
        (as_json(GOOD) + b'"canary"\n', (2, "", "this is not a JSON object")),
        (as_json(GOOD) + b"{" * 10_000, (2, "", "this is not JSON")),
        (as_json(GOOD) + b'{"reference": ' + b"[" * 50_000, (2, "", "this is not JSON")),
        (as_json(GOOD) + b'{"reference": ' + b"9" * 5000 + b"}", (2, "", "this is not JSON")),
        (as_json(GOOD) + b'{"canary": "x"}', (2, "", "a member has no known name")),
        (as_json(GOOD) + b'{"reference": "x", "reference": "canary"}', (2, "reference", "is given twice")),
        (as_json(GOOD) + b'{"reference": 7}', (2, "reference", "is not a string")),
        (as_json(GOOD) + b'{"reference": {"reference": "canary"}}', (2, "reference", "is not a string")),
        (as_json(GOOD) + b"\xff", (2, "", "this is not UTF-8 text")),
    ],
)
def test_unreadable_line_is_reported_with_its_number(empty, content, expected):
    assert errors(empty, content) == [expected]


def test_line_numbers_count_multiline_cells(empty):
    """The error stands where its row begins."""
    two_lines = person(1, contact_name="a\nb")
    found = errors(empty, as_csv(two_lines, person(2, contact_name="c\r\nd\r\ne"), person(3, public_key="x")))
    assert [(line, column) for line, column, _ in found] == [
        (2, "contact_name"),
        (4, "contact_name"),
        (7, "public_key"),
    ]


def test_misspelled_column_is_reported_with_a_suggestion(empty):
    plan = planned(empty, csv_of(TOP + ",contact_nmae", ROW + ",Ada"))
    assert [error.to_do for error in plan.errors] == ["is it contact_name?"]


def test_empty_row_is_reported_with_all_missing_cells(empty):
    assert {column for _, column, _ in errors(empty, b"{}")} == {"reference", "public_key", "secret_hash"}


@given(st.binary(max_size=300))
@example(b"{}\n{}")
@example(TOP.encode() + b"\n\x00,\x00,\x00,\x00")
@example(as_json(person(reference="\ud800", contact_email_address="\udfff", secret_hash="\ud800", created_at="\ud800")))
def test_arbitrary_import_file_never_raises(empty, content):
    plan = planned(empty, content)
    assert plan.errors or plan.rows == 0


@given(st.lists(st.fixed_dictionaries({name: st.text(max_size=20) for name in COLUMNS}), min_size=1, max_size=5))
@settings(max_examples=50)
def test_csv_reader_reads_what_csv_writer_writes(empty, rows):
    """Whatever stands in the cells: as many rows are read as were written, and each has its error."""
    plan = planned(empty, as_csv(*({**row, "secret_hash": "wrong"} for row in rows), header=COLUMNS))
    stops = any("CSV" in error.wrong for error in plan.errors)
    assert stops or plan.rows == len(rows)
    assert len({error.line for error in plan.errors}) == plan.rows


# All or nothing


def test_plan_with_errors_is_never_carried_out(world):
    before = content_of(world)
    plan = planned(world, as_csv(person(1), person(2, public_key="x")))
    with pytest.raises(ValueError, match="errors"):
        carry_out(world.database, plan, now=NOW, progress=lambda *_: None)
    assert content_of(world) == before


def test_error_in_the_middle_of_writing_leaves_nothing(world):
    before = content_of(world)
    plan = planned(world, as_csv(*(person(number) for number in range(200))))
    seen = []

    def break_off(what, done, total):
        seen.append((what, total))
        if done >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(world.database, plan, now=NOW, progress=break_off)
    assert len(seen) > 1
    assert set(seen) == {("written", 400)}
    assert content_of(world) == before
    carry_out(world.database, plan, now=NOW, progress=lambda *_: None)
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(200,)]


def killed_import(world: World, content: bytes, *, pauses: int) -> None:
    """Import, and be killed in the pause of that number."""
    database, paused = MortalDatabase(world.url), count()

    def pause(_seconds: float) -> None:
        if next(paused) == pauses:
            database.kill()

    writer = ImportWriter(database, lambda: NOW, pause=pause)
    with pytest.raises(KilledError):
        carry_out(database, planned(world, content), now=NOW, progress=lambda *_: None, writer=writer)
    database.close()


@pytest.mark.parametrize("pauses", [0, 1, 3])
def test_import_killed_between_steps_leaves_no_valid_key_and_can_be_repeated(world, pauses):
    before, content = content_of(world), as_csv(*(person(number) for number in range(300)))
    killed_import(world, content, pauses=pauses)
    assert world.rows("SELECT DISTINCT state, cause FROM key_pair") == [(KeyPairState.PENDING, KeyPairCause.IMPORT)]
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(basic(key(0), SECRET))).outcome is Outcome.UNKNOWN_KEY
        later = NOW + LEASE_TTL + 1
        plan = planned(world, content, now=later)
        assert (plan.errors, len(plan.pairs)) == ([], 300)
        writer = ImportWriter(world.database, lambda: later, pause=lambda _seconds: None)
        carry_out(world.database, plan, now=later, progress=lambda *_: None, writer=writer)
        assert authenticator.decide(FakeRequest(basic(key(0), SECRET))).outcome is Outcome.ACCEPTED
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [(KeyPairState.ACTIVE, 300)]
    assert world.rows("SELECT COUNT(*) FROM account") == [(300,)]
    assert content_of(world) != before


def test_rows_of_a_killed_import_are_removed_by_pruning(world, caplog):
    caplog.set_level(logging.INFO)
    other, content = world.register("other"), as_csv(*(person(number) for number in range(300)))
    before = content_of(world)
    killed_import(world, content, pauses=2)
    assert clear_interrupted(world.database, lambda: NOW + 1) == 0  # its lease lasts: it may be under way
    assert len(content_of(world)[1]) > len(before[1])
    prune_for(world.database, RetentionSettings(), lambda: NOW + LEASE_TTL + 1, should_stop=lambda: False)
    assert "key pairs of an interrupted import" in caplog.text
    assert content_of(world) == before
    assert clear_interrupted(world.database, lambda: NOW + LEASE_TTL + 1) == 0
    with world.authenticator() as authenticator:
        assert authenticator.decide(FakeRequest(basic(other.public_key, other.secret))).outcome is Outcome.ACCEPTED


def test_concurrent_import_is_refused_and_harms_neither(world):
    plan, rival = planned(world, as_csv(*(person(n) for n in range(100)))), planned(world, as_csv(person(500)))

    def meanwhile(_what, _done, _total):
        with pytest.raises(DatabaseUnavailableError, match="another import is running"):
            carry_out(world.database, rival, now=NOW, progress=lambda *_: None)

    carry_out(world.database, plan, now=NOW, progress=meanwhile)
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [(KeyPairState.ACTIVE, 100)]


def test_import_killed_before_its_notices_still_notifies_customers_of_added_key_pairs(world, monkeypatch):
    imported(world, as_csv(person(1)))
    database = MortalDatabase(world.url)
    plan = planned(world, as_csv(person(reference="c1", public_key=key(2))), into_existing=True)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr("octy_worker.imports.writer.record_added_keys", lambda *_: database.kill())
        writer = ImportWriter(database, lambda: NOW)
        carry_out(database, plan, now=NOW, progress=lambda *_: None, writer=writer)
    database.close()
    assert world.rows("SELECT COUNT(*) FROM notice") == [(0,)]
    for _ in range(2):
        clear_interrupted(world.database, lambda: NOW + LEASE_TTL + 1)
        assert world.rows("SELECT kind FROM notice") == [("keys_added",)]
    assert world.rows("SELECT DISTINCT state FROM key_pair") == [(KeyPairState.ACTIVE,)]


def import_away(world: World, database: Database, *, rows: int = 3, **options: float) -> None:
    plan = planned(world, as_csv(*(person(number) for number in range(rows))))
    writer = ImportWriter(database, lambda: NOW, pause=lambda _seconds: None, **options)
    try:
        carry_out(database, plan, now=NOW, progress=lambda *_: None, writer=writer)
    finally:
        database.close()


def test_import_goes_on_after_a_short_outage(world):
    import_away(world, AwayDatabase(world.url, 3))
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [(KeyPairState.ACTIVE, 3)]


def test_import_during_a_long_outage_imports_nothing(world):
    with pytest.raises(DatabaseUnavailableError, match="away"):
        import_away(world, AwayDatabase(world.url, 10**6), retry_timeout=-1.0)
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(0,)]


def test_import_whose_commit_has_no_response_is_complete(world):
    """It succeeded: what is valid must not be removed, and no error be shown."""
    import_away(world, AwayDatabase(world.url, silent=True), retry_timeout=-1.0)
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [(KeyPairState.ACTIVE, 3)]
    clear_interrupted(world.database, lambda: NOW + LEASE_TTL + 1)
    assert world.rows("SELECT cursor FROM job WHERE name = 'import'") == [("",)]
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(3,)]


def test_import_that_another_one_replaced_says_so(world):
    plan = planned(world, as_csv(*(person(number) for number in range(200))))

    def take_over(_what, _done, _total):
        JobLease(world.database, JOB, lambda: NOW + LEASE_TTL + 1).take()

    with pytest.raises(DatabaseUnavailableError, match="the import was interrupted and another one started"):
        carry_out(world.database, plan, now=NOW, progress=take_over, writer=ImportWriter(world.database, lambda: NOW))


def test_row_that_belongs_to_no_account_is_not_explained_by_another_process(world):
    plan = planned(world, as_csv(person(1)))
    plan.pairs[0] = {**plan.pairs[0], "account_id": "nowhere"}
    with pytest.raises(IntegrityError):
        carry_out(world.database, plan, now=NOW, progress=lambda *_: None)
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(0,)]


def test_import_of_many_key_pairs_has_no_long_transaction(world):
    """Others wait for a step at most: 500 pairs, and one UPDATE at the end. Here no step is slow, so all are long."""
    sizes, updates = import_in_steps(world, 2000, StepPacer(bound=3600.0))
    assert max(sizes) == MAX_ROWS
    assert updates == 1
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [(KeyPairState.ACTIVE, 2000)]


@pytest.mark.parametrize("rival", [person(1), person(7, public_key=key(1)), person(1, public_key=key(7))])
def test_import_fails_when_another_process_wrote_the_same_keys_meanwhile(world, rival):
    plan = planned(world, as_csv(person(1), person(2)))
    imported(world, as_csv(rival))
    before = content_of(world)
    with pytest.raises(DatabaseUnavailableError, match="run it again") as raised:
        carry_out(world.database, plan, now=NOW, progress=lambda *_: None)
    assert "$2b$" not in str(raised.value)
    assert content_of(world) == before


def test_import_is_planned_without_the_write_lock(world):
    content = as_csv(person(1), person(2))
    with world.database.write():
        assert len(planned(world, content).pairs) == 2


def test_import_of_many_rows_runs_few_statements(world):
    """A thousand rows are two statements to compare, and some dozen to write; one for each row would take minutes."""
    statements = []

    def note(_connection, _cursor, statement, *_others):
        statements.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    import_in_steps(world, 1000, StepPacer(bound=3600.0))  # seconds: a slow machine makes no smaller steps
    compared = [each for each in statements if "public_key IN" in each or "reference IN" in each]
    assert len(compared) == 2
    assert len(statements) < 500
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(1000,)]
