"""A worker runs only on its own database, with the registered keys; its first start registers them."""

import re
import shutil
import time
from pathlib import Path

import pytest
from support.cli_rig import Octy, octy_for, open_incident
from support.postgres import shared_server
from support.relay_rig import change
from support.world import INSTALLATION, FakeRequest, World, basic

from octy_middleware import Authenticator, Database, Outcome, Settings
from octy_middleware.clock import utc
from octy_middleware.db.models import Mail, Webhook
from octy_middleware.domain.installation import installation_id, is_same_location
from octy_middleware.domain.notices import create_notice
from octy_middleware.errors import ConfigurationError, KeyMismatchError
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import MailState, NoticeKind
from octy_worker import daemon
from octy_worker.cli.doctor.check import State
from octy_worker.cli.doctor.database import check_database
from octy_worker.domain import regenerations
from octy_worker.maintenance.adoption import adopt
from octy_worker.maintenance.reconciliation.subjects import Subject, open_page
from octy_worker.settings import KEY_SETTINGS, WorkerSettings
from octy_worker.staff.registration import register

NAMES = {purpose: f"OCTY_{purpose.upper()}" for purpose in KEY_SETTINGS}


@pytest.fixture(autouse=True)
def _no_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start renders samples of all mails, which took most of the time here; it has tests of its own."""
    monkeypatch.setattr(daemon, "check_templates", lambda *_: None)


def chains(world: World) -> dict[str, Keychain]:
    return {
        "peppers": world.peppers,
        "sealing_keys": world.sealing_keys,
        **{purpose: Keychain.generate() for purpose in KEY_SETTINGS[2:]},
    }


def start(url: str, keys: dict[str, Keychain]) -> str:
    """Do what a worker does before it connects to anything; return its installation."""
    parts = daemon.WorkerComponents(WorkerSettings.build(database_url=url, **keys))
    parts.database.close()
    return parts.installation


def registered(world: World) -> list[tuple]:
    return world.rows("SELECT purpose, key_id FROM key_check ORDER BY purpose, key_id")


def test_first_start_registers_every_keychain_and_later_ones_only_new_keys(world: World) -> None:
    keys = chains(world)
    assert start(world.url, keys) == INSTALLATION
    first = registered(world)
    assert {purpose for purpose, _ in first} == set(KEY_SETTINGS)
    keys["link_keys"] = Keychain({**keys["link_keys"], **Keychain.generate()})
    start(world.url, keys)
    assert len(registered(world)) == len(first) + 1
    del keys["webhook_keys"], keys["temporal_keys"]  # switched off, which registers and refuses nothing
    start(world.url, keys)
    assert len(registered(world)) == len(first) + 1


@pytest.mark.parametrize(
    ("database_kind", "purpose"), [*(("sqlite", purpose) for purpose in KEY_SETTINGS), ("postgresql", "peppers")]
)
def test_worker_with_a_wrong_keychain_does_not_start_and_registers_nothing(world: World, purpose: str) -> None:
    keys = chains(world)
    start(world.url, keys)
    before = registered(world)
    new = {**keys, "link_keys": Keychain({**keys["link_keys"], **Keychain.generate()})}
    for foreign in (Keychain.generate(keys[purpose].newest[0]), Keychain.generate()):
        with pytest.raises(KeyMismatchError, match=f"set {NAMES[purpose]} to the value on the hosts that use"):
            start(world.url, {**new, purpose: foreign})
    assert registered(world) == before


def test_host_app_of_a_new_installation_starts_before_any_worker(tmp_path: Path) -> None:
    octy = Octy({"OCTY_DATABASE_URL": f"sqlite:///{tmp_path / 'octy.db'}"}, tmp_path)
    (tmp_path / "octy.env").write_text(octy("secrets").must().stdout)
    octy("--env-file", str(tmp_path / "octy.env"), "db", "upgrade").must()
    variables = dict(line.split("=", 1) for line in (tmp_path / "octy.env").read_text().splitlines())
    authenticator = Authenticator(Settings.from_environment({**octy.variables, **variables}))
    assert authenticator.decide(FakeRequest(basic("pk_" + "0" * 28, "sk_x"))).outcome is Outcome.UNKNOWN_KEY
    authenticator.close()
    other = octy("secrets").must().stdout  # a second host that made keys of its own
    done = octy("db", "upgrade", **dict(line.split("=", 1) for line in other.splitlines())).must(2)
    assert "OCTY_PEPPERS: none of its keys" in done.stderr
    assert re.search(r"set OCTY_PEPPERS to the value on the hosts that use this database", done.stderr)


@pytest.mark.parametrize("words", [("secret", "acme"), ("test", "acme")])
def test_signing_commands_reject_wrong_keys(world: World, words: tuple[str, ...]) -> None:
    keys = chains(world)
    start(world.url, keys)
    world.register("acme")
    octy, foreign = octy_for(world), Keychain.generate().export()
    done = octy("webhooks", *words, OCTY_WEBHOOK_KEYS=foreign).must(2)
    assert "OCTY_WEBHOOK_KEYS: none of its keys" in done.stderr
    if words[0] == "secret":
        octy("webhooks", *words, OCTY_WEBHOOK_KEYS=keys["webhook_keys"].export()).must()


def copy_of(world: World, folder: Path) -> str:
    """Return the URL of a copy of the world's database, as staging has it."""
    world.database.close()
    if world.database_kind == "sqlite":
        shutil.copy(world.folder / "octy.db", folder / "staging.db")
        return f"sqlite:///{folder / 'staging.db'}"
    server = world.server or shared_server()
    server.create("staging", template=world.url.rpartition("/")[2])
    return server.url("staging")


@pytest.fixture
def copied(world: World, tmp_path: Path):
    keys = chains(world)
    start(world.url, keys)
    url = copy_of(world, tmp_path)
    yield url, keys
    if world.database_kind == "postgresql":
        (world.server or shared_server()).drop("staging")


def test_worker_does_not_start_on_a_copied_database(copied: tuple, world: World) -> None:
    url, keys = copied
    with pytest.raises(
        ConfigurationError, match=f"not at the location recorded for installation {INSTALLATION}.*octy db adopt --moved"
    ):
        start(url, keys)
    assert start(world.url, keys) == INSTALLATION


FILE = {"kind": "sqlite", "device": 1, "inode": 2, "path": "/a/octy.db"}
SERVED = {"kind": "postgresql", "database": 16384, "system": "7"}


@pytest.mark.parametrize(
    ("recorded", "found", "same"),
    [
        (FILE, FILE, True),
        (FILE, {**FILE, "device": 9}, True),  # numbered again at a reboot
        (FILE, {**FILE, "path": "/b/octy.db"}, True),  # renamed, or another mount of the same file
        (FILE, {**FILE, "inode": 3}, False),  # copied back from a backup
        (FILE, {**FILE, "device": 9, "path": "/b/octy.db"}, False),  # another volume
        (FILE, SERVED, False),
        (SERVED, SERVED, True),
        (SERVED, {**SERVED, "system": "8"}, False),
        (SERVED, {**SERVED, "database": 16385}, False),
        (SERVED, {**SERVED, "system": None}, True),  # a role that may not read it
        ({**SERVED, "system": None}, {**SERVED, "database": 1, "system": None}, False),
    ],
)
def test_database_places_are_compared(recorded: dict, found: dict, same: bool) -> None:
    assert is_same_location(recorded, found) is same


@pytest.mark.sqlite
def test_renamed_database_file_is_the_same_database_and_its_place_is_recorded(world: World) -> None:
    keys = chains(world)
    start(world.url, keys)
    world.database.close()
    moved = (world.folder / "octy.db").rename(world.folder / "renamed.db")
    assert start(f"sqlite:///{moved}", keys) == INSTALLATION
    database = Database(f"sqlite:///{moved}")
    with database.read() as connection:
        [(location,)] = connection.exec_driver_sql("SELECT location FROM installation").all()
    database.close()
    assert str(moved) in location


def test_every_new_database_has_its_own_installation_id(tmp_path: Path) -> None:
    ids = set()
    for number in range(3):
        octy = Octy({"OCTY_DATABASE_URL": f"sqlite:///{tmp_path / f'{number}.db'}"}, tmp_path)
        octy("db", "upgrade").must()
        octy("db", "upgrade").must()  # registers once
        database = Database(octy.variables["OCTY_DATABASE_URL"])
        ids.add(installation_id(database))
        database.close()
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", found) for found in ids)


# `octy db adopt`


WHY = ("--reason", "as planned")


def octy_at(url: str, folder: Path, keys: dict[str, Keychain]) -> Octy:
    settings = {NAMES[purpose]: chain.export() for purpose, chain in keys.items()}
    return Octy({"OCTY_DATABASE_URL": url, "OCTY_ACTOR": "ada", **settings}, folder)


def test_moved_installation_keeps_its_id_and_open_subjects(world: World, copied: tuple) -> None:
    url, keys = copied
    octy = octy_at(url, world.folder, keys)
    assert octy("db", "adopt", "--moved", *WHY, "--json").must().json == {
        "installation": INSTALLATION,
        "as": "moved",
        "keys": [],
        "closed": {},
    }
    assert start(url, keys) == INSTALLATION


def open_everything(world: World) -> None:
    """Leave something of every kind open: an incident, new keys, a mail, a notice, a webhook, messages."""
    keys, _ = open_incident(world, "attacked")
    contact = {"contact_email_address": "security@new.example", "webhook_url": "https://hooks.example/octy"}
    made = register(world.database, "new", contact, actor="test", now=time.time())
    with world.database.write_session() as session:
        regenerations.issue_key_pair(
            session, world.hasher, world.sealer, made.regeneration_id, ttl=3600.0, now=time.time()
        )
        mail = {"key": f"{made.regeneration_id}/new_keys/1", "kind": "new_keys", "message_id": "<m@octy.example>"}
        session.add(Mail(account_id=made.account_id, created_at=utc(time.time()), **mail))
        webhook = {"id": "w", "key": "w/x/1", "event": "incident.opened"}
        session.add(Webhook(account_id=made.account_id, created_at=utc(time.time()), **webhook))
    with world.database.write() as connection:
        notice = create_notice(connection, NoticeKind.CONTACT_CHANGED, keys.account_id, time.time(), {})
    with world.database.write_session() as session:  # one of its two mails
        mail = {"key": f"{notice}/contact_changed/1", "kind": "contact_changed", "message_id": "<n@octy.example>"}
        session.add(Mail(account_id=keys.account_id, created_at=utc(time.time()), state=MailState.SENT, **mail))


def test_open_subjects_end_in_an_adopted_copy_and_continue_in_the_original(world: World, tmp_path: Path) -> None:
    keys = chains(world)
    start(world.url, keys)
    open_everything(world)
    url = copy_of(world, tmp_path)
    try:
        octy = octy_at(url, tmp_path, keys)
        done = octy("db", "adopt", "--copy", *WHY, "--json").must().json
        assert done["installation"] not in {INSTALLATION, ""}
        assert {name for name, count in done["closed"].items() if count} == set(done["closed"])
        assert start(url, keys) == done["installation"]
        database = Database(url)
        for kind in Subject:  # nothing that a reconciliation would start again
            assert open_page(database, done["installation"], kind, "").open == {}
        with database.read() as connection:
            left = "SELECT (SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL), "
            left += "(SELECT COUNT(*) FROM mail WHERE state = 'pending'), "
            left += "(SELECT COUNT(*) FROM sealed_secret WHERE sealed IS NOT NULL), "
            left += "(SELECT COUNT(*) FROM incident WHERE closed_at IS NULL)"
            assert tuple(connection.exec_driver_sql(left).one()) == (0, 0, 0, 0)
        database.close()
        assert octy("incidents", "list", "--all").must().stdout.count("closed: copied") == 1
    finally:
        if world.database_kind == "postgresql":
            (world.server or shared_server()).drop("staging")
    [(waiting,)] = world.rows("SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL")
    assert waiting > 0
    assert start(world.url, keys) == INSTALLATION


def test_database_without_an_installation_is_not_adopted(world: World) -> None:
    change(world, "DELETE FROM installation")
    with pytest.raises(ConfigurationError, match="has no installation id yet: run `octy db upgrade`"):
        adopt(world.database, "moved", {}, time.time())


def test_original_database_is_not_adopted_as_a_copy(world: World) -> None:
    keys = chains(world)
    start(world.url, keys)
    open_everything(world)
    octy = octy_at(world.url, world.folder, keys)
    assert "this is the original" in octy("db", "adopt", "--copy", *WHY).must(2).stderr
    assert world.rows("SELECT COUNT(*) FROM incident WHERE closed_at IS NULL") == [(1,)]
    octy("db", "adopt", "--copy", "--snapshot", *WHY).must()
    assert world.rows("SELECT COUNT(*) FROM incident WHERE closed_at IS NULL") == [(0,)]


def test_lost_keys_are_replaced_by_an_explicit_command(world: World) -> None:
    keys = chains(world)
    start(world.url, keys)
    keys["link_keys"] = Keychain.generate()
    octy = octy_at(world.url, world.folder, keys)
    assert "link_keys" in octy("db", "adopt", "--keys", "link_keys", *WHY).must().stdout
    assert start(world.url, keys) == INSTALLATION


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "give one of --moved, --copy or --keys"),
        (("--moved", "--copy"), 2, "give one of --moved, --copy or --keys"),
        (("--keys", "nothing"), 2, "there are no keys of the name 'nothing'"),
        (("--keys", "temporal_keys"), 2, "OCTY_TEMPORAL_KEYS is not set"),
    ],
)
def test_adopt_command_without_a_choice_is_rejected(world: World, words: tuple, code: int, said: str) -> None:
    assert said in octy_for(world)("db", "adopt", *words, *WHY).must(code).stderr


def test_doctor_reports_a_copied_database(copied: tuple) -> None:
    url, keys = copied
    settings = WorkerSettings.build(database_url=url, **keys)
    [check] = [check for check in check_database(settings) if check.name == "installation"]
    assert check.state is State.PROBLEM
    assert "octy db adopt --copy" in check.to_do


def test_import_with_wrong_peppers_is_refused_and_changes_nothing(world: World) -> None:
    keys = chains(world)
    start(world.url, keys)
    (world.folder / "keys.csv").write_text("public_key,secret_hash,reference,email\n")
    octy = octy_for(world, OCTY_PEPPERS=Keychain.generate("k1").export())
    for words in (WHY, ("--dry-run",)):
        done = octy("keys", "import", str(world.folder / "keys.csv"), *words).must(2)
        assert "OCTY_PEPPERS: its key 'k1' differs from the key with that id" in done.stderr
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(0,)]
