"""A restored backup: keys revoked since are accepted again, until `octy db restored` revokes them again.

The drill of docs/restoring.md, with a real database, Temporal, worker and `octy`; and the parts beyond it.
"""

import asyncio
import json
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlmodel import select
from support.cli_rig import CommandResult, Octy, fail, octy_for, open_incident
from support.in_session import in_session
from support.relay_rig import change
from support.temporal import Temporal, open_temporal
from support.until import until, until_async
from support.worker_rig import WorkerRig
from support.world import FakeRequest, Keys, World
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from octy_middleware.clock import uuid7
from octy_middleware.db.models import METADATA, KeyPair
from octy_middleware.errors import ConfigurationError
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import Answer, KeyPairCause
from octy_worker.cli import db_restored
from octy_worker.cli.doctor.check import State
from octy_worker.cli.doctor.restored_backup import check_restored_backup
from octy_worker.domain import incidents, regenerations
from octy_worker.domain.job_lease import JobLease, read_job
from octy_worker.maintenance.reconciliation.subjects import Subject
from octy_worker.maintenance.restored import repair
from octy_worker.maintenance.restored.command_log import erased_accounts, revoked_keys
from octy_worker.maintenance.restored.detection import JOB, find_backup_gap
from octy_worker.maintenance.restored.histories import Execution, Histories
from octy_worker.maintenance.restored.known import (
    KnownIncident,
    KnownRegeneration,
    Result,
    UnprovenError,
    incident_of,
    regeneration_of,
)
from octy_worker.staff import key_orders
from octy_worker.staff.restore import (
    RestoredBackup,
    RestoreOptions,
    RestoreReport,
    erase_again,
    repair_from_temporal,
)
from octy_worker.temporal.access import TemporalAccess
from octy_worker.temporal.client import connect
from octy_workflows.messages import (
    IncidentFacts,
    IncidentInput,
    RegenerationFacts,
    RegenerationInput,
    incident_workflow_id,
    regeneration_workflow_id,
)
from octy_workflows.order_content import Choice

WHY = ("--reason", "backup of Sunday")
KEYS = f"k1:{'5a' * 32}"


@pytest.fixture(scope="module")
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


@pytest.fixture
def world(tmp_path: Path, database_kind: str) -> Iterator[World]:
    """A database of an installation of its own: tests share Temporal."""
    world = World(tmp_path, database_kind, installation=secrets.token_hex(8))
    yield world
    world.close()


@pytest.fixture(scope="module")
def shell(temporal: Temporal) -> Iterator[Octy]:
    """A process that runs `octy` for all tests: loading it takes most of a test's time."""
    shell = Octy({"OCTY_ACTOR": "ada", "OCTY_TEMPORAL_ADDRESS": temporal.address})
    yield shell
    shell.close()


@pytest.fixture
def restored(world: World, shell: Octy) -> Callable[..., CommandResult]:
    def call(*words: str, **variables: str) -> CommandResult:
        return shell.shell("db", "restored", *WHY, *words, "--json", OCTY_DATABASE_URL=world.url, **variables)

    return call


TABLES = [table for table in METADATA.sorted_tables if table.name != "write_lock"]  # 16,448 rows that never change


class Backup:
    """A copy of the database: of its file, or of all its rows."""

    def __init__(self, world: World) -> None:
        self._world = world
        if world.database_kind == "sqlite":
            self.copy(world.folder / "octy.db", world.folder / "backup.db")
            return
        with world.database.read() as connection:
            self._rows = {table: [dict(row._mapping) for row in connection.execute(table.select())] for table in TABLES}

    def restore(self) -> None:
        if self._world.database_kind == "sqlite":
            self.copy(self._world.folder / "backup.db", self._world.folder / "octy.db")
            return
        with self._world.database.write() as connection:
            for table in reversed(TABLES):
                connection.execute(table.delete())
            for table, rows in self._rows.items():
                if rows:
                    connection.execute(table.insert(), rows)

    @staticmethod
    def copy(source, target) -> None:
        with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
            one.backup(other)
        one.close()
        other.close()


def outcome(world: World, keys: Keys) -> Outcome:
    with world.authenticator() as authenticator:
        return authenticator.decide(FakeRequest(keys.basic())).outcome


def collected(rig: WorkerRig, regeneration: str, reference: str) -> Keys:
    """Collect new keys as the customer does."""
    world = rig.world
    new = in_session(world.database, regenerations.collect, world.sealer, regeneration, 1, time.time())
    assert new is not None
    with world.database.read_session() as session:
        view = regenerations.load_regeneration(session, regeneration)
    assert view is not None
    return Keys(reference, view.account.id, regeneration, new.public_key, new.secret.reveal())


@pytest.mark.parametrize(
    ("database_kind", "taken"),
    [
        ("sqlite", "before the incident"),
        ("sqlite", "while it waits"),
        ("sqlite", "while new keys wait"),
        ("postgresql", "while it waits"),
    ],
)
def test_repair_retires_replaced_key_pairs_again_after_a_restore(
    world: World,
    temporal: Temporal,
    restored: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
    taken: str,
) -> None:
    """The key leaked, unless the backup is of a time at which the leak had cut it. Encrypted payloads are proof."""
    encryption = None
    if world.database_kind == "sqlite" and taken != "before the incident":
        encryption = Keychain.parse(KEYS, name="keys")
        restored = partial(restored, OCTY_TEMPORAL_KEYS=KEYS)
    leaked = taken != "while new keys wait"
    keys = world.register()
    rig = WorkerRig(world, monkeypatch, temporal_address=temporal.address, overlap=0.0, temporal_keys=encryption)
    backup = Backup(world) if taken == "before the incident" else None
    fail(world, keys)
    [(incident_id,)] = world.rows("SELECT id FROM incident")
    backup = backup or (Backup(world) if leaked else None)

    async def live() -> tuple[Keys, Backup]:
        client = await connect(rig.settings, for_worker=True)
        async with rig.run(client):
            await until_async(lambda: len(rig.told.envelopes) == 1)
            in_session(
                world.database,
                incidents.answer_incident,
                incident_id,
                Answer.NOT_US,
                leaked=leaked,
                by=incidents.CUSTOMER,
                now=time.time(),
            )
            await until_async(lambda: any(".new_keys." in message for message in rig.mails))
            await until_async(lambda: not rig.rows("SELECT id FROM outbox WHERE delivered_at IS NULL"))
            [(regeneration,)] = rig.rows("SELECT regeneration_id FROM incident")
            kept = backup or Backup(world)
            new = collected(rig, regeneration, keys.reference)
            await client.get_workflow_handle(regeneration_workflow_id(world.installation, regeneration)).result()
            await client.get_workflow_handle(incident_workflow_id(world.installation, incident_id)).result()
        return new, kept

    new, kept = temporal.run(live())
    assert (outcome(world, keys), outcome(world, new)) == (Outcome.RETIRED, Outcome.ACCEPTED)
    assert check_restored_backup(rig.settings, world.installation).state is State.OK
    kept.restore()
    survives = Outcome.ACCEPTED if taken == "while new keys wait" else Outcome.UNKNOWN_KEY
    assert (outcome(world, keys), outcome(world, new)) == (Outcome.ACCEPTED, survives)  # the fault itself

    until_seen(world, temporal, "database-restored")
    if encryption is None:
        assert_unproven(restored)
        restored = partial(restored, "--trust-temporal")
    assert_dry(world, restored, keys)
    lost = [] if survives is Outcome.ACCEPTED else ["acme"]
    done = restored().must(1 if lost else 0)
    assert (done.json["cut"], [one["account"] for one in done.json["lost_keys"]]) == ([keys.public_key], lost)
    assert revoked_keys(done.stderr.splitlines()) == [keys.public_key]
    assert (outcome(world, keys), outcome(world, new)) == (Outcome.RETIRED, survives)
    assert rig.rows("SELECT id FROM incident WHERE closed_at IS NULL") == []
    assert check_restored_backup(rig.settings, world.installation).code == ("restored-keys-lost" if lost else "")

    again = restored().must(1 if lost else 0).json
    assert (again["cut"], again["updated"], again["terminated"]) == ([], 0, 0)
    if lost:
        octy_for(world)("keys", "regenerate", "--account", "acme", *WHY).must()
        restored().must()
    assert check_restored_backup(rig.settings, world.installation).state is State.OK


def assert_dry(world: World, restored: Callable[..., CommandResult], keys: Keys) -> None:
    """A dry run lists what it would retire, and changes nothing."""
    before = world.everything()
    listed = restored("--dry-run").must(1).json
    assert set(listed) == {part.partition("[")[0] for part in re.split(r", (?![^[]*\])", db_restored.RESTORED_JSON)}
    assert (listed["cut"], listed["unproven"]) == ([keys.public_key], [])
    assert world.everything() == before


def assert_unproven(restored: Callable[..., CommandResult]) -> None:
    found = restored().must(1).json
    assert (found["cut"], found["updated"], found["terminated"], found["lost_keys"]) == ([], 0, 0, [])
    assert {one["why"] for one in found["unproven"]} == {"its payloads are not encrypted"}


def until_seen(world: World, temporal: Temporal, code: str) -> None:
    """Wait until the doctor finds it: Temporal's lists are a moment late."""
    settings = world.worker_settings(temporal_address=temporal.address)
    until(lambda: check_restored_backup(settings, world.installation).code == code, interval=0.1)  # each connects


# Beyond the drill


def known(**facts: object) -> KnownRegeneration:
    empty = KnownRegeneration("r", "a", "", False, running=True, ending="", collected_at=None, overlap_end=None)
    return replace(empty, **facts)  # type: ignore[arg-type]


def ordered(world: World, keys: Keys, *, issued: bool = True) -> tuple[str, str]:
    """Order new keys that are not collected; return the regeneration and the old key pair."""
    options = {"actor": "ada", "reason": "ticket 1", "leaked": False, "now": time.time()}
    regeneration = in_session(world.database, key_orders.regenerate, keys.reference, **options).regeneration_id
    if issued:
        with world.database.write_session() as session:
            regenerations.issue_key_pair(session, world.hasher, world.sealer, regeneration, ttl=60, now=time.time())
            session.flush()
            regenerations.activate(session, regeneration, time.time())
    [(pair_id,)] = world.rows("SELECT old_pair_id FROM regeneration WHERE id = :id", id=regeneration)
    return regeneration, pair_id


def repaired(world: World, what: KnownRegeneration | KnownIncident) -> repair.Repaired:
    with world.database.write_session() as session:
        if isinstance(what, KnownIncident):
            return repair.repair_incident(session, what, time.time())
        return repair.repair_regeneration(session, what, time.time())


def test_repair_keeps_collected_keys_and_the_end_of_the_old_key_pair(world: World) -> None:
    keys = world.register()
    regeneration, pair_id = ordered(world, keys)
    fact = known(
        id=regeneration, account_id=keys.account_id, old_pair_id=pair_id, collected_at=1e9, overlap_end=1e9 + 60
    )
    assert repaired(world, fact) == repair.Repaired(changed=True)
    assert repaired(world, fact) == repair.Repaired()
    [(collected, state)] = world.rows("SELECT collected_at, state FROM regeneration WHERE id = :id", id=regeneration)
    assert (collected, state) == (1e15, "collected")
    assert world.rows("SELECT sealed FROM sealed_secret WHERE regeneration_id = :id", id=regeneration) == [(None,)]
    pair = "SELECT state, retire_at FROM key_pair WHERE public_key = :key"
    assert world.rows(pair, key=keys.public_key) == [("retiring", 1e15 + 60e6)]


@pytest.mark.parametrize("ending", ["abandoned", "superseded"])
def test_repair_ends_uncollected_keys_as_they_ended_and_keeps_the_old_key_pair(world: World, ending: str) -> None:
    keys = world.register()
    regeneration, pair_id = ordered(world, keys)
    ids = {"id": regeneration, "account_id": keys.account_id, "old_pair_id": pair_id}
    assert repaired(world, known(**ids, running=False, ending=ending)) == repair.Repaired(changed=True)
    [(state, new)] = world.rows("SELECT state, new_pair_id FROM regeneration WHERE id = :id", id=regeneration)
    assert state == ending
    assert world.rows("SELECT state FROM key_pair WHERE id = :id", id=new) == [("retired",)]
    assert outcome(world, keys) is Outcome.ACCEPTED


def test_repair_leaves_a_regeneration_that_goes_on_as_it_is(world: World) -> None:
    keys = world.register()
    regeneration, pair_id = ordered(world, keys)
    ids = {"id": regeneration, "account_id": keys.account_id, "old_pair_id": pair_id}
    assert repaired(world, known(**ids)) == repair.Repaired()
    with pytest.raises(UnprovenError, match="not of this regeneration"):
        repaired(world, known(**{**ids, "account_id": "another"}))
    assert outcome(world, keys) is Outcome.ACCEPTED


def test_repair_ends_collected_keys_that_were_done_and_retires_the_old_key_pair(world: World) -> None:
    keys = world.register()
    regeneration, pair_id = ordered(world, keys)
    ids = {"id": regeneration, "account_id": keys.account_id, "old_pair_id": pair_id}
    fact = known(**ids, running=False, ending="done", collected_at=1e9)
    assert repaired(world, fact) == repair.Repaired((keys.public_key,), changed=True)
    assert world.rows("SELECT state FROM regeneration WHERE id = :id", id=regeneration) == [("done",)]
    assert outcome(world, keys) is Outcome.RETIRED


def test_collected_keys_without_a_row_are_reported_as_lost(world: World) -> None:
    keys = world.register()
    regeneration, pair_id = ordered(world, keys, issued=False)
    fact = known(id=regeneration, account_id=keys.account_id, old_pair_id=pair_id, collected_at=1e9)
    assert repaired(world, fact) == repair.Repaired(changed=True, lost_keys=True)
    assert repaired(world, fact) == repair.Repaired(lost_keys=True)
    with world.database.read_session() as session:
        assert repair.needs_keys(session, keys.account_id, regeneration)
    ordered(world, keys)
    with world.database.read_session() as session:
        assert not repair.needs_keys(session, keys.account_id, regeneration)


@pytest.mark.parametrize(
    ("facts", "cut", "lost"),
    [
        ({"leaked": True}, True, True),
        ({"running": False, "ending": "abandoned", "leaked": True}, True, True),
        ({"running": False, "ending": "done"}, True, True),
        ({}, False, True),  # the new keys were not collected: the old ones are all that the customer has
        ({"running": False, "ending": "superseded"}, False, False),
    ],
)
def test_repair_retires_the_old_key_pair_of_a_regeneration_without_a_row(
    world: World, facts: dict[str, object], cut: bool, lost: bool
) -> None:
    keys = world.register()
    [(pair_id,)] = world.rows("SELECT id FROM key_pair")
    found = repaired(world, known(account_id=keys.account_id, old_pair_id=pair_id, **facts))
    assert found == repair.Repaired((keys.public_key,) if cut else (), lost_keys=lost)
    assert outcome(world, keys) is (Outcome.RETIRED if cut else Outcome.ACCEPTED)


def test_repair_records_a_given_answer_again_and_retires_the_leaked_key_pair(world: World) -> None:
    keys, incident_id = open_incident(world)
    fact = KnownIncident(incident_id, True, "", Choice.REGENERATE, leaked=True, by="customer", regeneration_id="")
    assert repaired(world, fact) == repair.Repaired((keys.public_key,), changed=True)
    assert repaired(world, fact) == repair.Repaired()
    said = "SELECT answer, leaked, answered_by FROM incident_answer WHERE incident_id = :id"
    assert world.rows(said, id=incident_id) == [("not_us", True, "customer")]


def test_repair_closes_an_incident_as_it_was_closed(world: World) -> None:
    keys, incident_id = open_incident(world)
    fact = KnownIncident(incident_id, False, "unanswered", None, leaked=False, by="", regeneration_id="")
    assert repaired(world, replace(fact, id="i-unknown")) == repair.Repaired()
    assert repaired(world, fact) == repair.Repaired(changed=True)
    assert repaired(world, fact) == repair.Repaired()
    assert world.rows("SELECT state, resolution FROM incident") == [("closed", "unanswered")]
    assert world.rows("SELECT length FROM streak WHERE public_key = :key", key=keys.public_key) == []


@pytest.mark.parametrize(
    ("results", "ending", "why"),
    [
        ([], "nonsense", "none of a regeneration"),
        ([Result("begin_overlap", "soon", 1.0)], "done", "no time"),
        ([Result("begin_overlap", -1.0, 1.0)], "done", "no time"),
        ([Result("begin_overlap", 1e12, 1.0)], "done", "no time"),
    ],
)
def test_history_that_no_worker_writes_is_unproven(results: list[Result], ending: str, why: str) -> None:
    case = RegenerationInput("r", leaked=True, account_id="a", old_pair_id="p")
    with pytest.raises(UnprovenError, match=why):
        regeneration_of(case, results, running=False, ending=ending, closed_at=0.0)
    with pytest.raises(UnprovenError, match="none of an incident"):
        incident_of("i", results, running=False, resolution="nonsense")


@pytest.mark.parametrize(
    ("result", "collected_at"),
    [
        (Result("finish_regeneration", "collected", 3.0), 3.0),
        (Result("finish_regeneration", "abandoned", 3.0), None),
        (Result("begin_overlap", None, 3.0), None),
        (Result("renew_link", "x", 3.0), None),
    ],
)
def test_history_knows_a_collection_from_the_results_that_show_it(result: Result, collected_at: float | None) -> None:
    case = RegenerationInput("r", leaked=True, account_id="a", old_pair_id="p")
    found = regeneration_of(case, [result], running=True, ending="", closed_at=0.0)
    assert found.collected_at == collected_at


def test_history_proves_a_collection_by_activity_results_only() -> None:
    case = RegenerationInput("r", leaked=True, account_id="a", old_pair_id="p")
    facts = [RegenerationFacts(collected, "", []) for collected in (False, True)]
    looked = [Result("load_regeneration_facts", each, float(at)) for at, each in enumerate(facts, 1)]
    found = regeneration_of(case, [*looked, Result("begin_overlap", 9.5, 3.0)], running=True, ending="", closed_at=0.0)
    assert found == KnownRegeneration("r", "a", "p", True, True, "", 2.0, 9.5)
    assert regeneration_of(case, looked[:1], running=True, ending="", closed_at=0.0).collected_at is None
    assert regeneration_of(case, [], running=False, ending="done", closed_at=7.0).collected_at == 7.0
    last = IncidentFacts(Choice.REGENERATE, True, "customer", 20, "", "", [])
    results = [
        *(Result("load_incident_facts", last, 1.0), Result("open_regeneration", "r", 2.0)),
        Result("begin_overlap", 9.5, 3.0),  # of no incident
    ]
    told = incident_of("i", results, running=True, resolution="")
    assert told == KnownIncident("i", True, "", Choice.REGENERATE, True, "customer", "r")


def test_command_log_is_parsed_for_revoked_key_pairs() -> None:
    lines = [
        'Nov 29 23:05:58 h octy: octy-audit: {"what": "key_revoked", "public_key": "pk_1", "changed": true}',
        'octy-audit: {"what": "key_revoked", "public_key": "pk_1", "changed": false}',
        'octy-audit: {"what": "regeneration_ordered", "leaked": true, "old_public_key": "pk_2"}',
        'octy-audit: {"what": "regeneration_ordered", "leaked": false, "old_public_key": "pk_3"}',
        'octy-audit: {"what": "regeneration_ordered", "leaked": true, "old_public_key": null}',
        'octy-audit: {"what": "key_revoked", "public_',
        'octy-audit: ["key_revoked"]',
        '{"what": "key_revoked", "public_key": "pk_4"}',
        '2026-11-29T23:05:58.1+00:00 h octy[7]: octy-audit: {"what": "key_revoked", "public_key": "pk_5"}',
        'Nov 29 23:05:58 h octy-audit[7]: {"what": "key_revoked", "public_key": "pk_8"}',  # as journald has it
        # what anyone sent to the app, which logged it
        'Nov 29 23:05:58 h app[7]: no key: octy-audit: {"what": "key_revoked", "public_key": "pk_6"}',
        'Nov 29 23:05:58 h app: octy: octy-audit: {"what": "key_revoked", "public_key": "pk_7"}',
    ]
    assert revoked_keys(lines) == ["pk_1", "pk_2", "pk_5", "pk_8"]


def test_command_log_is_parsed_for_erased_accounts() -> None:
    lines = [
        'octy-audit: {"what": "account_erased", "account": "a1"}',
        'Nov 29 23:05:58 h octy: octy-audit: {"what": "account_erased", "account": "a2"}',
        'octy-audit: {"what": "account_erased", "account": "a1"}',
        'octy-audit: {"what": "account_erased", "account": 7}',
        'octy-audit: {"what": "account_added", "account": "a3"}',
        'Nov 29 23:05:58 h app[7]: octy-audit: {"what": "account_erased", "account": "a4"}',
    ]
    assert erased_accounts(lines) == ["a1", "a2"]


def test_repair_erases_accounts_of_the_command_log_again(
    world: World, shell: Octy, restored: Callable[..., CommandResult]
) -> None:
    """An account that has live key pairs in the backup too is erased after these were revoked again."""
    octy, other = octy_for(world), world.register("other")
    keys = world.register()
    change(world, "UPDATE regeneration SET finished_at = 1, state = 'done'")
    backup = Backup(world)
    lines = octy("keys", "revoke", keys.public_key, *WHY, "--yes").must().stderr
    lines += octy("accounts", "erase", "acme", *WHY, "--yes").must().stderr
    log = world.folder / "command.log"
    forged = json.dumps({"what": "key_revoked", "public_key": other.public_key})
    sent = "".join(
        f"Nov 29 23:05:58 h app[7]: no page /{end}octy-audit: {forged}\n" for end in "\r\v\f\x85\u2028\u2029"
    )
    log.write_bytes((lines + sent).encode())
    backup.restore()
    assert world.rows("SELECT contact_email_address FROM account WHERE reference = 'acme'")
    before = restored("--command-log", str(log), "--dry-run").must(1).json
    assert before["not_erased"][0]["account_id"] == keys.account_id  # a dry run revokes nothing
    words = ("db", "restored", *WHY, "--command-log", str(log), "--dry-run")
    told = shell.shell(*words, OCTY_DATABASE_URL=world.url).must(1).stdout
    assert told.startswith("The database was compared with Temporal, and not changed. ")
    done = restored("--command-log", str(log)).must().json
    assert (done["cut"], done["erased"], done["not_erased"]) == ([keys.public_key], [keys.account_id], [])
    assert world.rows("SELECT reference FROM account ORDER BY created_at") == [
        ("other",),
        (f"erased-{keys.account_id}",),
    ]
    assert outcome(world, other) is Outcome.ACCEPTED
    [entry] = octy("audit", "list", "--action", "database.restored", "--json").must().json["entries"]
    assert (entry["actor"], entry["subject"]) == ("ada", world.installation)
    again = restored("--command-log", str(log)).must().json
    assert (again["erased"], again["not_erased"]) == ([], [])


def test_repair_revokes_key_pairs_of_the_command_log_and_terminates_workflows_without_rows(
    world: World, temporal: Temporal, restored: Callable[..., CommandResult]
) -> None:
    keys = world.register()
    backup = Backup(world)
    revoked = octy_for(world)("keys", "revoke", keys.public_key, *WHY, "--yes").must()
    log = world.folder / "command.log"
    log.write_text(revoked.stderr)
    backup.restore()
    assert outcome(world, keys) is Outcome.ACCEPTED
    lost = uuid7(time.time())
    names = {
        "KeyRegenerationWorkflow": (regeneration_workflow_id(world.installation, lost), RegenerationInput(lost)),
        "KeyIncidentWorkflow": (incident_workflow_id(world.installation, lost), IncidentInput(lost)),
    }
    handles = [
        temporal.run(temporal.client.start_workflow(name, case, id=workflow_id, task_queue="no-worker"))
        for name, (workflow_id, case) in names.items()
    ]
    until_seen(world, temporal, "database-restored")
    found = restored("--command-log", str(log)).must(1)
    assert (found.json["cut"], revoked_keys(found.stderr.splitlines())) == ([keys.public_key], [keys.public_key])
    assert (found.json["terminated"], len(found.json["unproven"])) == (0, 2)
    found = restored("--command-log", str(log), "--trust-temporal").must(1).json
    assert found["cut"] == []
    assert found["lost_keys"] == [{"account_id": "", "account": None, "regeneration_id": lost}]
    assert outcome(world, keys) is Outcome.RETIRED
    states = [temporal.run(handle.describe()).status for handle in handles]
    assert (found["terminated"], states) == (2, [WorkflowExecutionStatus.TERMINATED] * 2)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_repair_of_a_copied_database_terminates_no_workflows_of_the_original(world: World, shell: Octy) -> None:
    copy = world.folder / "copy.db"
    Backup.copy(world.folder / "octy.db", copy)
    refused = shell.shell("db", "restored", *WHY, OCTY_DATABASE_URL=f"sqlite:///{copy}").must(3)
    assert "octy db adopt --moved" in refused.stderr


@workflow.defn(dynamic=True)
class Forged:
    """What somebody with access to Temporal runs under one of our ids: it ends as its input says."""

    @workflow.run
    async def run(self, said: Sequence[RawValue]) -> str:
        """End."""
        return str(workflow.payload_converter().from_payload(said[1].payload))


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_forged_workflows_are_listed_and_change_nothing(
    world: World, temporal: Temporal, restored: Callable[..., CommandResult]
) -> None:
    """Encrypted payloads prove the others. Without encryption ids that do not belong together are still not applied."""
    keys, incident_id = open_incident(world)
    [(pair_id,)] = world.rows("SELECT id FROM key_pair")
    case = RegenerationInput(uuid7(time.time()), leaked=True, account_id=keys.account_id, old_pair_id=pair_id)
    foreign = replace(case, regeneration_id=uuid7(time.time()), account_id="another")
    moved, ended = uuid7(time.time()), replace(case, regeneration_id=uuid7(time.time()))
    unreadable, other_incident = uuid7(time.time()), uuid7(time.time())
    name, workflow_id = "KeyRegenerationWorkflow", partial(regeneration_workflow_id, world.installation)
    forged = [
        (name, workflow_id(case.regeneration_id), case, "done"),
        (name, workflow_id(foreign.regeneration_id), foreign, "done"),
        (name, workflow_id(moved), case, "done"),
        (name, workflow_id(ended.regeneration_id), ended, "nonsense"),
        (
            "KeyIncidentWorkflow",
            incident_workflow_id(world.installation, incident_id),
            IncidentInput(incident_id),
            "nonsense",
        ),
        (name, workflow_id(unreadable), "no input", "done"),
        (
            "KeyIncidentWorkflow",
            incident_workflow_id(world.installation, other_incident),
            IncidentInput(incident_id),
            "unanswered",
        ),
    ]
    not_issued = (name, workflow_id("an id that no database issues"), case, "done")

    async def forge() -> None:
        queue = secrets.token_hex(4)
        runner = UnsandboxedWorkflowRunner()
        # The SDK's own build id takes a second of CPU.
        own = {"workflows": [Forged], "workflow_runner": runner, "build_id": "forged"}
        async with Worker(temporal.client, task_queue=queue, **own):
            for kind, one, given, result in [*forged, not_issued]:
                await temporal.client.execute_workflow(kind, args=[given, result], id=one, task_queue=queue)
        histories = Histories(temporal.client, world.installation)

        async def listed() -> bool:  # lists are eventually consistent
            return (await find_backup_gap(world.database, histories)).total == len(forged)

        await until_async(listed)

    temporal.run(forge())
    before = world.everything()
    found = restored(OCTY_TEMPORAL_KEYS=KEYS).must(1).json
    assert {one["workflow_id"] for one in found["unproven"]} == {one for _, one, _, _ in forged}
    assert {**world.everything(), "audit_entry": before["audit_entry"]} == before  # the search itself is recorded
    trusted = restored("--dry-run", "--trust-temporal").must(1).json
    assert {one["workflow_id"] for one in trusted["unproven"]} == {one for _, one, _, _ in forged[1:]}
    assert trusted["cut"] == [keys.public_key]  # all ids fit: that is what trust means


class FakeHistories(Histories):
    """Histories of one regeneration, by its runs, and of a workflow without a row."""

    def __init__(self, *runs: KnownRegeneration, dies: bool) -> None:
        self._runs = {str(number): run for number, run in enumerate(runs)}
        self._dies = dies
        self._installation = "i"

    async def executions(self, kind: Subject, *, running: bool, limit: int | None = None) -> AsyncIterator[Execution]:
        if running and kind is Subject.REGENERATION:
            subjects = {**{run_id: run.id for run_id, run in self._runs.items()}, "x": uuid7(time.time())}
            for run_id, subject_id in subjects.items():
                yield Execution(kind, subject_id, run_id, True, datetime.now(UTC), 0.0)

    async def regeneration(self, execution: Execution) -> KnownRegeneration:
        superseded = known(id=execution.subject_id, running=False, ending="superseded")
        return self._runs.get(execution.run_id, superseded)

    async def terminate(self, execution: Execution, why: str) -> None:
        assert execution.run_id not in self._runs
        assert why
        if self._dies:
            raise RPCError("gone", RPCStatusCode.UNAVAILABLE, b"")

    async def retention(self) -> float:
        return 86_400.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [(RPCStatusCode.NOT_FOUND, nullcontext()), (RPCStatusCode.UNAVAILABLE, pytest.raises(RPCError))],
)
def test_workflow_that_has_ended_is_no_error_when_it_is_terminated_but_an_outage_is(
    status: RPCStatusCode, expected: AbstractContextManager[object]
) -> None:
    async def terminate(*, reason: str) -> None:
        raise RPCError(reason, status, b"")

    client = SimpleNamespace(get_workflow_handle=lambda *_, **__: SimpleNamespace(terminate=terminate))
    lost = Execution(Subject.INCIDENT, "i", "run", True, datetime.now(UTC), 0.0)
    with expected:
        assert asyncio.run(Histories(client, "i").terminate(lost, "x")) is None  # type: ignore[arg-type, func-returns-value]


def leaked_and_collected(world: World, keys: Keys) -> KnownRegeneration:
    """Order new keys, and return what Temporal knows of it: a leak was reported, and the keys were collected."""
    regeneration, pair_id = ordered(world, keys, issued=False)
    return known(
        id=regeneration, account_id=keys.account_id, old_pair_id=pair_id, leaked=True, collected_at=1e9, running=False
    )


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_dry_run_lists_a_key_pair_once_and_terminates_nothing(world: World) -> None:
    keys = world.register()
    histories = FakeHistories(leaked_and_collected(world, keys), dies=True)
    options = RestoreOptions("ada", "a disk was lost", (keys.public_key,), dry=True, trust=False)
    before = world.everything()
    report = asyncio.run(RestoredBackup(world.database, histories, options, time.time).go())
    assert (report.cut, report.terminated) == ([keys.public_key], 1)
    assert world.everything() == before


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_dry_run_lists_the_accounts_that_can_be_erased_again(world: World) -> None:
    keys, report = world.register(), RestoreReport()
    change(world, "UPDATE regeneration SET finished_at = 1, state = 'done'")
    change(world, "UPDATE key_pair SET state = 'retired'")
    options = RestoreOptions("ada", "a disk was lost", (), dry=True, trust=False, erased=(keys.account_id,))
    before = world.everything()
    erase_again(world.database, options, report, time.time())
    assert (report.erased, report.not_erased) == ([keys.account_id], [])
    assert world.everything() == before


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_repair_needs_an_installation_id(world: World) -> None:
    change(world, "DELETE FROM installation")
    options = RestoreOptions("ada", "a disk was lost", (), dry=False, trust=False)
    place = TemporalAccess.from_environment({"OCTY_TEMPORAL_ADDRESS": "127.0.0.1:9"})
    with pytest.raises(ConfigurationError, match="the database has no installation id yet"):
        asyncio.run(repair_from_temporal(world.database, place, options, time.time))


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_killed_repair_is_resumed_and_still_lists_lost_keys(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It wrote an audit line for each retired key pair at once; the doctor sees the result of a complete run only."""
    keys = world.register()
    collected = leaked_and_collected(world, keys)
    first = replace(collected, collected_at=None)  # it was started again: two runs

    def run(*, dies: bool) -> RestoredBackup:
        histories = FakeHistories(first, replace(collected, leaked=False), dies=dies)
        options = RestoreOptions("ada", "a disk was lost", (), dry=False, trust=False)
        return RestoredBackup(world.database, histories, options, time.time)

    def told() -> list[str]:
        return revoked_keys(capsys.readouterr().err.splitlines())

    with pytest.raises(RPCError):
        asyncio.run(run(dies=True).go())
    assert (told(), read_job(world.database, JOB)) == ([keys.public_key], None)
    for _ in range(2):
        report = asyncio.run(run(dies=False).go())
        assert (report.cut, report.updated, [one.account for one in report.lost_keys]) == ([], 0, ["acme"])
    assert told() == []
    state = read_job(world.database, JOB)
    assert state is not None
    assert state.finished_at is not None

    assert JobLease(world.database, JOB, time.time).take() is not None  # another run ends at this very moment
    asyncio.run(run(dies=False).go())
    assert read_job(world.database, JOB) == state


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_superseded_keys_pruned_rows_and_an_adopted_copy_are_not_taken_for_a_restored_backup(
    world: World, temporal: Temporal, restored: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are keys that were abandoned: Temporal need not be trusted where nothing differs."""
    keys = world.register()
    rig = WorkerRig(world, monkeypatch, temporal_address=temporal.address, overlap=0.0)

    async def live() -> None:
        client = await connect(rig.settings, for_worker=True)
        async with rig.run(client):
            first, second = [await order(rig) for _ in range(2)]
            assert rig.rows("SELECT state FROM regeneration WHERE id = :id", id=first) == [("superseded",)]
            collected(rig, second, keys.reference)
            for one in (first, second):
                await client.get_workflow_handle(regeneration_workflow_id(world.installation, one)).result()
            await until_async(lambda: not rig.rows("SELECT id FROM outbox WHERE delivered_at IS NULL"))

    temporal.run(live())
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE outbox SET delivered_at = 1")
        connection.exec_driver_sql("UPDATE key_change SET at = 1")
    octy_for(world)("db", "prune").must()
    assert rig.rows("SELECT id FROM outbox") == []
    assert check_restored_backup(rig.settings, world.installation).state is State.OK
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE regeneration SET state = 'abandoned' WHERE state = 'superseded'")
    assert restored("--dry-run").must(0).json["unproven"] == []
    elsewhere = restored("--dry-run", OCTY_TEMPORAL_NAMESPACE="elsewhere").must(4)
    assert "Temporal: Namespace elsewhere is not found" in elsewhere.stderr
    copy = world.folder / "copy.db"
    Backup.copy(world.folder / "octy.db", copy)
    copied = world.worker_settings(temporal_address=temporal.address).model_copy(
        update={"database_url": f"sqlite:///{copy}"}
    )
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE regeneration SET finished_at = NULL")
    assert check_restored_backup(copied, world.installation).state is State.UNCHECKED


async def order(rig: WorkerRig) -> str:
    """Order keys in place of the newest key pair, be it collected or not, and wait until they are sent."""
    world = rig.world
    with world.database.write_session() as session:
        account_id, pair_id = session.exec(select(KeyPair.account_id, KeyPair.id).order_by(KeyPair.id)).all()[-1]
        regeneration = regenerations.open_regeneration(
            session, account_id, KeyPairCause.STAFF, old_pair_id=pair_id, leaked=False, actor="ada", now=time.time()
        ).regeneration_id
    sent = "SELECT id FROM regeneration WHERE id = :id AND state = 'sent'"
    await until_async(lambda: rig.rows(sent, id=regeneration))
    return regeneration
