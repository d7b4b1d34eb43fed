"""`octy audit`: the list, the verification of a whole log, the public keys.

The log that is tampered with has 2,500 entries, more than are fetched at a time; it is changed where the second fetch
begins. A checkpoint is at every 250th entry but the last.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text
from support.cli_rig import Octy, octy_for
from support.world import INSTALLATION, World

from octy_middleware.db.models import AuditEntry
from octy_middleware.keys.keychain import Keychain
from octy_worker.audit import log_verification, repository
from octy_worker.audit.chain import ERASED, GENESIS, Checkpoint, Entry, next_entry
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.checkpoints import AuditSigner, SignedCheckpoint, public_keys, read_checkpoint
from octy_worker.cli import audit, audit_verify, progress

KEYS = Keychain({"k1": b"1" * 32})
NOW = 1_800_000_000.0
ENTRIES, CHECKPOINT_EVERY, LAST_CHECKPOINT = 2_500, 250, 2_250


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world, OCTY_AUDIT_KEYS=KEYS.export())


def append(world: World, count: int, *, begin: int = 0) -> None:
    with world.database.write_session() as session:
        for number in range(begin, begin + count):
            repository.append(
                session, "keys.revoke" if number % 2 else "incident.decide",
                actor="ada" if number % 3 else "bob", subject=f"subject-{number}", detail={"reason": "x"},
                now=NOW + number, order_id="order-1" if number == 1 else "",
            )  # fmt: skip


def sign(world: World) -> str:
    """Take a checkpoint of the end, and keep it in the database."""
    return CheckpointWriter(world.database, KEYS, INSTALLATION, lambda: NOW, write=lambda _line: None).take()


@cache
def make_log() -> tuple[list[Entry], list[SignedCheckpoint], list[str]]:
    """Return the entries, the checkpoints, and the lines of the checkpoints."""
    entries: list[Entry] = []
    checkpoints: list[SignedCheckpoint] = []
    lines: list[str] = []
    last = Checkpoint(0, GENESIS)
    for number in range(1, ENTRIES + 1):
        detail, salt = {"reason": f"reason {number}"}, number.to_bytes(32, "big")
        entries.append(
            next_entry(
                last, at=int(NOW) + number, actor="ada", action="keys.revoke", subject=f"subject-{number}", order_id="",
                detail=detail, salt=salt,
            )
        )  # fmt: skip
        last = Checkpoint(number, entries[-1].hash)
        if number % CHECKPOINT_EVERY == 0 and number < ENTRIES:
            place = {"number": len(lines) + 1, "previous": checkpoints[-1].signature if checkpoints else ""}
            lines.append(AuditSigner(KEYS).sign_checkpoint(last, installation=INSTALLATION, at=int(NOW), **place))
            checkpoints.append(read_checkpoint(lines[-1], public_keys(KEYS)))
    return entries, checkpoints, lines


@pytest.fixture
def system_log(world: World) -> Path:
    """2,500 entries with their checkpoints; return a system log that has these too."""
    entries, checkpoints, lines = make_log()
    with world.database.write_session() as session:
        session.connection().execute(insert(AuditEntry), [entry._asdict() for entry in entries])
        for checkpoint, line in zip(checkpoints, lines, strict=True):
            repository.save_checkpoint(session, checkpoint.number, checkpoint.seq, line, NOW)
    file = world.folder / "auth.log"
    logged = [f"Nov 30 04:00:00 host octy[7]: {line}\nNov 30 04:00:00 host sshd[9]: closed" for line in lines]
    file.write_text("\n".join(logged))
    return file


# The list


def test_audit_list_of_an_empty_log_says_so(octy: Octy) -> None:
    assert octy("audit", "list").must().stdout == "The audit log is empty.\n"
    assert octy("audit", "list", "--actor", "eve").must().stdout == "There are no such entries.\n"


def test_audit_list_has_pages_newest_first(world: World, octy: Octy) -> None:
    append(world, 5)
    pages = [octy("audit", "list", "--limit", "3", "--page", page, "--json").must().json for page in "12"]
    assert [[line["seq"] for line in page["entries"]] for page in pages] == [[5, 4, 3], [2, 1]]
    assert [(page["more"], page["total"]) for page in pages] == [(True, 5), (False, 5)]
    documented = re.findall(r"\w+", audit.LIST_JSON.partition("[")[2].partition("]")[0])
    assert all(list(line) == documented for page in pages for line in page["entries"])


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        (("--subject", "subject-3"), [4]),
        (("--actor", "bob"), [4, 1]),
        (("--action", "incident.decide"), [5, 3, 1]),
        (("--action", "keys."), [4, 2]),
        (("--action", "keys"), []),
        (("--action", "%."), []),
        (("--since", "2027-01-15T08:00:03Z"), [5, 4]),
        (("--since", "2027-01-15T09:00:03+01:00"), [5, 4]),
        (("--since", "2027-01-15T08:00:03", "--actor", "bob"), [4]),
    ],
)
def test_audit_list_filters(world: World, octy: Octy, words: tuple[str, ...], seqs: list[int]) -> None:
    append(world, 5)
    found = octy("audit", "list", *words, "--json").must().json
    assert [line["seq"] for line in found["entries"]] == seqs
    assert found["total"] == len(seqs)


def test_audit_list_shows_details_and_erased_ones(world: World, octy: Octy) -> None:
    append(world, 2)
    with world.database.write_session() as session:
        repository.erase_details(session, "subject-0")
    page = octy("audit", "list").must().stdout
    assert re.search(r'2 +2027-01-15 08:00:01Z +ada +keys.revoke +subject-1 +order-1 +{"reason":"x"}', page)
    assert re.search(r"1 +2027-01-15 08:00:00Z +bob +incident.decide +subject-0 +– +erased", page)
    assert [line["detail"] for line in octy("audit", "list", "--json").must().json["entries"]] == [
        {"reason": "x"},
        None,
    ]


def test_audit_list_refuses_a_time_that_is_none(octy: Octy) -> None:
    assert "--since 'soon' is not a time" in octy("audit", "list", "--since", "soon").must(2).stderr


# Verification


def test_whole_log_is_verified_and_says_what_is_proven(octy: Octy, system_log: Path) -> None:
    for words in ((), ("--checkpoint", str(system_log))):
        done = octy("audit", "verify", *words).must()
        assert "2,500 entries are unchanged.\n" in done.stdout
        proven = f"proven up to seq {LAST_CHECKPOINT}, by the checkpoint of 2027-01-15 08:00:00Z. What came later can"
        assert proven in done.stdout
    found = octy("audit", "verify", "--json").must().json
    assert list(found) == audit_verify.VERIFY_JSON.split(", ")
    assert found == {
        "ok": True, "entries": ENTRIES, "erased": 0, "proven_up_to": LAST_CHECKPOINT,
        "proven_at": "2027-01-15T08:00:00.000Z", "checkpoints": 9, "problem": "", "problem_seq": None,
    }  # fmt: skip


SWAP = (
    "UPDATE audit_entry SET seq = -1 WHERE seq = 2000",
    "UPDATE audit_entry SET seq = 2000 WHERE seq = 2001",
    "UPDATE audit_entry SET seq = 2001 WHERE seq = -1",
)
COLUMNS = "at, actor, action, subject, order_id, commitment, previous_hash, hash, detail, salt"


def insert_at(seq: int) -> tuple[str, ...]:
    """Insert a copy of entry 10, and move up what comes after it."""
    free = "UPDATE audit_entry SET seq = -seq - 1 WHERE seq >= {0}", "UPDATE audit_entry SET seq = -seq WHERE seq < 0"
    moved = [statement.format(seq) for statement in free] if seq > 0 else []
    return (*moved, f"INSERT INTO audit_entry (seq, {COLUMNS}) SELECT {seq}, {COLUMNS} FROM audit_entry WHERE seq = 10")


TAMPERED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "edited": (("UPDATE audit_entry SET actor = 'eve' WHERE seq = 2000",), 2000, "it was changed"),
    "detail edited": (("UPDATE audit_entry SET detail = '{}' WHERE seq = 2000",), 2000, "the detail was changed"),
    "salt edited": (("UPDATE audit_entry SET salt = '00' WHERE seq = 2000",), 2000, "the detail was changed"),
    "deleted": (("DELETE FROM audit_entry WHERE seq = 2000",), 2000, "it is missing"),
    "first deleted": (("DELETE FROM audit_entry WHERE seq = 1",), 1, "it is missing"),
    "swapped": (SWAP, 2000, "replaced or moved"),
    "inserted": (insert_at(2000), 2000, "replaced or moved"),
    "inserted before all": (insert_at(0), 1, "entries were inserted or moved"),
    "end cut behind a checkpoint": (("DELETE FROM audit_entry WHERE seq > 2100",), 2101, "the end is missing"),
    "all deleted": (("DELETE FROM audit_entry",), 1, "the end is missing"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_by_sql_is_found_and_named(world: World, octy: Octy, system_log: Path, name: str) -> None:
    """Who can write to the database also deletes the checkpoints that it has; the system log still has them."""
    statements, seq, why = TAMPERED[name]
    change(world, lambda connection: [connection.execute(text(statement)) for statement in statements])
    change(world, lambda connection: connection.execute(text("DELETE FROM audit_checkpoint WHERE seq >= 1000")))
    found = octy("audit", "verify", "--checkpoint", str(system_log), "--json").must(1).json
    assert (found["ok"], found["problem_seq"], found["entries"]) == (False, seq, seq - 1)
    assert why in found["problem"]
    said = octy("audit", "verify", "--checkpoint", str(system_log)).must(1).stdout
    assert f"The audit log is broken: entry {seq}: " in said
    assert f"The first wrong entry is {seq:,}" in said


def change(world: World, act: Callable[[Connection], object]) -> None:
    with world.database.write() as connection:
        act(connection)


def test_end_cut_after_the_last_checkpoint_is_not_seen_and_the_command_says_so(
    world: World, octy: Octy, system_log: Path
) -> None:
    change(world, lambda connection: connection.execute(text("DELETE FROM audit_entry WHERE seq > 2400")))
    done = octy("audit", "verify", "--checkpoint", str(system_log)).must()
    assert "2,400 entries are unchanged." in done.stdout
    assert "proven up to seq 2250, " in done.stdout
    assert "What came later can have been rewritten, or cut off, without a trace." in done.stdout


def test_without_the_system_log_a_cut_with_its_checkpoints_passes(world: World, octy: Octy, system_log: Path) -> None:
    """What the check needs the log for: the database alone can lose entries and checkpoints together."""
    for statement in ("DELETE FROM audit_entry WHERE seq > 2100", "DELETE FROM audit_checkpoint WHERE seq > 2100"):
        change(world, lambda connection, statement=statement: connection.execute(text(statement)))
    assert octy("audit", "verify").must().stdout.startswith("2,100 entries are unchanged.\nproven up to seq 2000,")
    assert octy("audit", "verify", "--checkpoint", str(system_log)).must(1)


def test_rewritten_log_passes_without_checkpoints_and_is_found_with_them(world: World, octy: Octy) -> None:
    """Who can write to the database can compute hashes too: the chain alone proves nothing."""
    append(world, 20)
    sign(world)
    change(world, lambda connection: connection.execute(text("DELETE FROM audit_entry WHERE seq > 10")))
    append(world, 15, begin=500)
    assert "Nothing is proven: no public keys" in octy("audit", "verify", OCTY_AUDIT_KEYS="").must().stdout
    found = octy("audit", "verify", "--json").must(1).json
    assert (found["problem_seq"], found["problem"]) == (
        20, "entry 20: a checkpoint has another hash: this entry or an earlier one was rewritten",
    )  # fmt: skip


def test_detail_that_was_erased_by_sql_is_found(world: World, octy: Octy) -> None:
    """The chain can't tell it from an erasure of an account, but that is an entry and says how many details it took."""
    append(world, 5)
    with world.database.write_session() as session:
        erased = repository.erase_details(session, "subject-2")
        repository.append(session, ERASED, actor="kim", subject="subject-2", detail={"entries": erased, "orders": []})
    assert "the details of 1 were erased" in octy("audit", "verify").must().stdout
    change(
        world,
        lambda connection: connection.execute(text("UPDATE audit_entry SET detail = NULL, salt = NULL WHERE seq = 5")),
    )
    found = octy("audit", "verify", "--json").must(1).json
    assert (found["problem"], found["problem_seq"], found["entries"]) == (
        "details of 1 entries were erased, and no entry of an erasure says so", None, 6,
    )  # fmt: skip
    with world.database.write_session() as session:
        assert repository.erase_details(session, "subject-2") == []  # the entry of the erasure keeps its detail


def test_deleted_checkpoint_is_found_by_the_one_after_it(world: World, octy: Octy, system_log: Path) -> None:
    change(world, lambda connection: connection.execute(text("DELETE FROM audit_checkpoint WHERE number = 4")))
    found = octy("audit", "verify", "--json").must(1).json
    assert "checkpoints are missing between number 3 (entry 750) and number 5" in found["problem"]
    assert octy("audit", "verify", "--checkpoint", str(system_log)).must()  # together they are whole


def test_forged_checkpoint_is_found(world: World, octy: Octy) -> None:
    append(world, 2)
    line = sign(world)
    forged = {"line": line.replace('"seq":2', '"seq":1')}
    change(world, lambda connection: connection.execute(text("UPDATE audit_checkpoint SET text = :line"), forged))
    assert "signature is wrong" in octy("audit", "verify", "--json").must(1).json["problem"]
    assert octy("audit", "verify").must(1).stdout.startswith("The audit log is broken: ")


def test_verification_needs_public_keys_alone(world: World, octy: Octy, system_log: Path) -> None:
    file = world.folder / "audit-keys.txt"
    file.write_text(octy("audit", "keys").must().stdout)
    assert octy("audit", "keys", "--json").must().json == {"keys": public_keys(KEYS)}
    anywhere = octy_for(world)
    done = anywhere("audit", "verify", "--keys", str(file), "--checkpoint", str(system_log)).must()
    assert f"proven up to seq {LAST_CHECKPOINT}" in done.stdout


def test_log_without_checkpoints_is_verified_but_not_proven(world: World, octy: Octy) -> None:
    append(world, 1)
    said = octy("audit", "verify").must().stdout
    assert said == "1 entry is unchanged.\nNothing is proven: there is no checkpoint yet → start `octy worker`.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "--checkpoint", "{folder}/none"), "can't be read: No such file"),
        (("verify", "--checkpoint", "~no-user/none"), "the file ~no-user/none can't be read: No such file"),
        (("verify", "--keys", "{folder}/none"), "can't be read: No such file"),
        (("verify", "--keys", "{folder}/wrong"), "line 1 is not an id and a public key"),
        (
            ("verify", "--checkpoint", "{folder}/right"),
            "no public keys to verify with → set OCTY_AUDIT_KEYS",
        ),
        (("verify", "--checkpoint", "{folder}/noise"), "has no line of octy-checkpoint"),
        (("keys",), "OCTY_AUDIT_KEYS is not set"),
    ],
)
def test_wrong_input_is_refused(world: World, words: tuple[str, ...], said: str) -> None:
    (world.folder / "wrong").write_text("k1 x")
    (world.folder / "right").write_text(sign(world))
    (world.folder / "noise").write_text("noise")
    assert said in octy_for(world)("audit", *(word.format(folder=world.folder) for word in words)).must(2).stderr


@pytest.mark.usefixtures("system_log")
def test_long_verification_shows_its_progress(octy: Octy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setattr(log_verification, "PROGRESS_STEP", 500)
    said = octy("audit", "verify").must().stderr
    assert said == "".join(f"entries verified: {done:,} of 2,500\n" for done in range(500, 2500, 500)) + (
        "entries verified: 2,500\n"
    )


@pytest.mark.parametrize("name", ["list", "verify", "keys"])
def test_every_audit_command_documents_its_json_with_examples(name: str) -> None:
    page = " ".join(Octy()("audit", name, "--help", COLUMNS="300").must().stdout.split())
    assert all(said in page for said in ("--json", "JSON: ", "Examples: octy "))
