"""`octy keys import`: output, audit lines and rows; refused, stopped and killed imports.

What is printed does not depend on the database.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from functools import partial

import pytest
from support.cli_rig import Octy, octy_for
from support.database_choice import on_one_database
from support.foreign_hashes import FOREIGN, SECRET
from support.imports_rig import BCRYPT, as_csv, as_json, content_of, key, person
from support.world import FakeRequest, World, basic

from octy_middleware import Outcome
from octy_middleware.db.database import Database
from octy_worker.cli import keys_import, progress

pytestmark = pytest.mark.usefixtures("no_system_log")

WHY = ("--reason", "moved from the old portal")


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world, OCTY_PEPPERS=world.peppers.export())


def put(world: World, content: bytes, name: str = "customers.csv") -> str:
    path = world.folder / name
    path.write_bytes(content)
    return str(path)


def accepted(world: World, *numbers: int, secret: str) -> list[bool]:
    """Return for each of these key pairs whether it is accepted with this secret."""
    with world.authenticator() as authenticator:
        requests = [FakeRequest(basic(key(number), secret)) for number in numbers]
        return [authenticator.decide(request).outcome is Outcome.ACCEPTED for request in requests]


def accepts(world: World, *numbers: int) -> bool:
    """Return whether all these key pairs are accepted, and with another secret none is."""
    return all(accepted(world, *numbers, secret=SECRET)) and not any(accepted(world, *numbers, secret=SECRET + "x"))


def refuses(world: World, number: int) -> bool:
    """Return whether this key pair is refused with each of two secrets, of which one is right."""
    return not any(accepted(world, number, secret=secret)[0] for secret in (SECRET, SECRET + "x"))


# Imports and their output


def test_keys_import_imports_accounts_whose_key_pairs_authenticate(world, octy):
    file = put(world, as_csv(person(1), person(2, secret_hash=FOREIGN["scrypt"]), person(3, secret_hash=BCRYPT)))
    done = octy("keys", "import", file, *WHY).must()
    assert done.stdout.splitlines() == [
        "3 key pairs and 3 new accounts are imported.",
        "Hashes: 2 bcrypt-4, 1 scrypt-4-8.",
        "The apps need the libraries of these hashes too: pip install 'octy-middleware[imports]'",
    ]
    assert accepts(world, 1, 2, 3)
    shown = octy("keys", "show", key(2), "--json").must().json["pair"]
    assert (shown["account"], shown["state"], shown["cause"]) == ("c2", "active", "import")


def test_keys_import_audit_line_has_actor_reason_and_counts(world, octy):
    done = octy("keys", "import", put(world, as_csv(person(1), person(2))), *WHY, "--actor", "bob").must()
    [line] = [json.loads(each.removeprefix("octy-audit: ")) for each in done.stderr.splitlines() if "audit" in each]
    facts = {"what": "keys_imported", "actor": "bob", "reason": WHY[1], "accounts": "2", "pairs": "2"}
    assert {name: line[name] for name in facts} == facts
    again = octy("keys", "import", put(world, as_csv(person(1), person(2))), "--dry-run", "--json").must().json
    other = octy("keys", "import", put(world, as_csv(person(1), person(3))), "--dry-run", "--json").must().json
    assert line["rows_sha256"] == again["rows_sha256"] != other["rows_sha256"]
    assert re.fullmatch("[0-9a-f]{64}", line["rows_sha256"])
    assert "example" not in done.stderr


def test_keys_import_is_in_the_audit_log_before_and_after_it(world, octy):
    octy("keys", "import", put(world, as_csv(person(1), person(2))), *WHY).must()
    entries = octy("audit", "list", "--action", "keys.", "--json").must().json["entries"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("keys.imported", "ada"), ("keys.import_begun", "ada"),
    ]  # fmt: skip
    assert entries[0]["detail"].items() >= {"reason": WHY[1], "pairs": 2, "into_existing": False}.items()
    octy("keys", "import", put(world, as_csv(person(1), person(2))), *WHY).must()  # nothing is new
    octy("keys", "import", put(world, as_csv(person(3))), "--dry-run").must()
    assert octy("audit", "list", "--action", "keys.", "--json").must().json["total"] == 2


@pytest.mark.parametrize("content", [as_csv(person(1)), as_json(person(1))], ids=["CSV", "JSON lines"])
def test_keys_import_reads_stdin(world, octy, content):
    octy("keys", "import", "-", *WHY, typed=content.decode()).must()
    assert accepts(world, 1)


def test_keys_import_dry_run_validates_everything_and_writes_nothing(world, octy):
    file, before = put(world, as_csv(person(1), person(2))), content_of(world)
    done = octy("keys", "import", file, "--dry-run").must()
    assert done.stdout.startswith("2 key pairs and 2 new accounts would be imported; nothing was written.\n")
    assert "octy-audit" not in done.stderr
    assert content_of(world) == before
    octy("keys", "import", file, *WHY).must()
    wrong = put(world, as_csv(person(1, contact_name="Ada")))
    assert "differs from what the account has" in octy("keys", "import", wrong, "--dry-run").must(2).stderr


def test_keys_import_of_the_same_file_again_reports_all_as_existing(world, octy):
    file = put(world, as_csv(person(1), person(2)))
    octy("keys", "import", file, *WHY).must()
    said = octy("keys", "import", file, *WHY).must().stdout
    assert said.splitlines() == [
        "0 key pairs and 0 new accounts are imported.",
        "2 rows skipped: already in the database, unchanged.",
    ]


def test_keys_import_of_a_further_key_pair_needs_its_option(world, octy):
    octy("keys", "import", put(world, as_csv(person(1))), *WHY).must()
    file = put(world, as_csv(person(2, reference="c1", contact_email_address="")))
    assert "--into-existing adds the key pair to it" in octy("keys", "import", file, *WHY).must(2).stderr
    said = octy("keys", "import", file, *WHY, "--into-existing").must().stdout
    assert said.splitlines()[:2] == [
        "1 key pair and 0 new accounts are imported.",
        "Notified by mail and webhook: 1 customer whose account existed already.",
    ]
    assert accepts(world, 1, 2)


@on_one_database
def test_keys_import_json_has_the_documented_names(world, octy):
    good = octy("keys", "import", put(world, as_csv(person(1))), "--dry-run", "--json").must()
    bad = octy("keys", "import", put(world, as_csv(person(1, public_key="x"))), *WHY, "--json").must(2)
    outer = re.sub(r"\[[^]]*\]", "", keys_import.IMPORT_JSON).split(", ")
    for report in (good.json, bad.json):
        assert list(report) == outer
    assert f"hashes[{', '.join(good.json['hashes'][0])}]" in keys_import.IMPORT_JSON
    assert f"first_errors[{', '.join(bad.json['first_errors'][0])}]" in keys_import.IMPORT_JSON
    assert keys_import.IMPORT_JSON in " ".join(Octy()("keys", "import", "--help", COLUMNS="300").must().stdout.split())
    assert good.json | {"hashes": []} == {
        "imported": False,
        "rows": 1,
        "rows_sha256": good.json["rows_sha256"],
        "accounts": 1,
        "pairs": 1,
        "already_there": 0,
        "hashes": [],
        "errors": 0,
        "first_errors": [],
    }
    assert octy("keys", "import", put(world, as_csv(person(1))), *WHY, "--json").must().json["imported"] is True


@on_one_database
def test_example_of_the_keys_import_help_is_a_valid_file(world, octy):
    page = Octy()("keys", "import", "--help", COLUMNS="300").must().stdout
    lines = [line.strip() for line in page.splitlines()]
    start = lines.index("reference,contact_email_address,public_key,secret_hash")
    example = "\n".join(lines[start : start + 3])
    hashes = iter([BCRYPT, FOREIGN["argon2id"]])
    file = put(world, re.sub(r"\$[^,\"]\S*…", lambda _: next(hashes), example).encode())
    assert octy("keys", "import", file, *WHY, "--json").must().json["pairs"] == 2
    [as_object] = [line for line in lines if line.startswith('{"reference"')]
    assert set(json.loads(as_object)) == set(lines[start].split(","))


# Errors


@on_one_database
def test_keys_import_reports_invalid_rows_by_line_and_imports_nothing(world, octy):
    file = put(world, as_csv(person(1), person(2, secret_hash=BCRYPT[:-1]), person(3, webhook_url="ftp://canary")))
    before = content_of(world)
    done = octy("keys", "import", file, *WHY).must(2)
    assert [line for line in done.stderr.splitlines() if line.startswith("octy: ")] == [
        "octy: line 3, secret_hash: the hash is damaged: it has not the form of its scheme → export it again, whole",
        "octy: line 4, webhook_url: must begin with https:// → correct the cell",
        "octy: 2 errors; nothing was imported → correct the file and run the import again",
    ]
    assert done.stdout == ""
    assert "octy-audit" not in done.stderr
    assert content_of(world) == before


@on_one_database
def test_keys_import_shows_the_first_fifty_errors_and_counts_all(world, octy):
    file = put(world, as_csv(*(person(number, public_key="x") for number in range(60))))
    done = octy("keys", "import", file, *WHY, "--json").must(2)
    told = [line for line in done.stderr.splitlines() if line.startswith("octy: line ")]
    assert len(told) == len(done.json["first_errors"]) == 50
    assert done.json["errors"] == 60
    assert "60 errors, the first 50 are shown; nothing was imported" in done.stderr


@on_one_database
def test_keys_import_rejects_plaintext_secrets_and_shows_none(world, octy):
    secret = "sk_" + "canary7" * 7
    file = put(world, as_csv(person(1), person(2, secret_hash=secret), person(3, contact_name=f"Ada {secret}")))
    for words in (WHY, (*WHY, "--json"), ("--dry-run",)):
        done = octy("keys", "import", file, *words).must(2)
        assert "the file contains secret keys in clear text: 2 errors; nothing was imported → delete it" in done.stderr
        assert "line 3, secret_hash: contains a secret key in clear text" in done.stderr
        assert "canary" not in done.stdout + done.stderr
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


@on_one_database
def test_untrusted_text_in_an_import_file_is_sanitized_for_the_terminal(world, octy):
    hostile = "\x1b[2J\u202ecanary"
    content = as_csv(person(1, **{"reference": hostile, hostile: hostile})) + hostile.encode()
    done = octy("keys", "import", put(world, content), *WHY).must(2)
    assert not re.search(r"[\x1b\u202e]|canary", done.stderr)


@on_one_database
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 3, "a reason is needed"),
        (("--reason", "call ada@acme.example"), 3, "no mail address"),
        ((*WHY, "--actor", "two words"), 3, "actor must be a staff id"),
    ],
)
def test_keys_import_validates_actor_and_reason(world, octy, words, code, said):
    done = octy("keys", "import", put(world, as_csv(person(1))), *words).must(code)
    assert said in done.stderr
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


@on_one_database
@pytest.mark.parametrize("name", ["none.csv", "."])
def test_unreadable_import_file_is_reported(world, octy, name):
    done = octy("keys", "import", str(world.folder / name), *WHY).must(2)
    assert "can't be read" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_keys_import_without_peppers_allows_a_dry_run_only(world):
    octy, file = octy_for(world), put(world, as_csv(person(1)))
    octy("keys", "import", file, "--dry-run").must()
    assert "OCTY_PEPPERS is not set" in octy("keys", "import", file, *WHY).must(2).stderr
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


@on_one_database
def test_missing_hash_library_is_reported_before_the_import(world, octy, warm):
    file = put(world, as_csv(person(1)))
    code = "import sys; sys.modules['bcrypt'] = None\nfrom octy_worker.cli import main\nmain()"
    done = warm.run(octy, "keys", "import", file, *WHY, code=code)
    assert done.returncode == 2, done
    assert "the package bcrypt is missing → pip install 'octy-middleware[imports]'" in done.stderr
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


def test_keys_import_into_a_busy_database_changes_nothing(world, octy, monkeypatch):
    monkeypatch.setattr("octy_worker.cli.context.Database", partial(Database, busy_timeout=0.1))
    file = put(world, as_csv(person(1)))
    with world.database.write():
        octy("keys", "import", file, *WHY).must(4)
        octy("keys", "import", file, "--dry-run").must()
    assert world.rows("SELECT COUNT(*) FROM account") == [(0,)]


# Progress, and the end of the process


@on_one_database
def test_keys_import_prints_progress_lines_without_a_terminal(world, octy, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    content = as_csv(*(person(number) for number in range(1200)))
    done = octy("keys", "import", put(world, content), *WHY).must()
    told = [line for line in done.stderr.splitlines() if "audit" not in line]
    written = [line for line in told if "written" in line]
    assert told[: -len(written)] == [
        *(f"rows read: {count}" for count in ("1,000", "1,200")),
        *(f"rows compared: {count}" for count in ("1,000 of 1,200", "1,200")),
    ]
    assert all(re.fullmatch(r"rows written: [\d,]+ of 2,400", line) for line in written[:-1])
    assert written[-1] == "rows written: 2,400"
    quiet = octy("keys", "import", "-", *WHY, "--json", typed=content.decode()).must()
    assert quiet.json["already_there"] == 1200


@on_one_database
def test_keys_import_shows_a_progress_bar_on_a_terminal(world, octy):
    file = put(world, as_csv(*(person(number) for number in range(1200))))
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "octy_worker", "keys", "import", file, *WHY]
    environment = octy.environment(TERM="xterm-256color", COLUMNS="100", LINES="30")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=follower) as child:
        os.close(follower)
        shown = b"".join(iter(lambda: _read(leader), b"")).decode()
        said = child.stdout.read().decode()
    os.close(leader)
    assert child.returncode == 0, shown
    assert "rows written" in shown
    assert "━" in shown
    assert said.startswith("1,200 key pairs and 1,200 new accounts are imported.")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # its other end is closed
        return b""


KILLED = """
import time
from octy_worker.cli import main, progress
progress.INTERVAL = 0.0
progress.print_note = lambda line: (print(line, flush=True), "written" in line and time.sleep(60))
main()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_keys_import_killed_while_writing_leaves_nothing_after_pruning(world, octy, warm, how):
    file, before = put(world, as_csv(*(person(number) for number in range(600)))), content_of(world)
    with warm.start(octy, "keys", "import", file, *WHY, code=KILLED) as (child, _, output, errors):
        line = next((line for line in map(bytes.decode, output) if "written" in line), "")
        child.send_signal(how)
        returncode, said = child.wait(), errors.read().decode()
    assert re.fullmatch(r"rows written: [\d,]+ of 1,200", line.strip()), said
    assert returncode == (130 if how is signal.SIGINT else -how), said
    assert "Traceback" not in said
    assert refuses(world, 0)
    if how is signal.SIGINT:
        assert content_of(world) == before
    again = octy("keys", "import", file, *WHY).must()  # at once, though the killed one kept its lease
    assert ("removed rows of an earlier, interrupted import" in again.stderr) is (how is signal.SIGKILL)
    assert accepts(world, 0)
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [("active", 600)]
