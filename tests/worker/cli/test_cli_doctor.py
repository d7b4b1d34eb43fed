"""`octy doctor` on settings, packages and the database. The network, and a healthy installation: `test_cli_decide`."""

import time
from collections.abc import Iterable
from importlib import metadata

import pytest
from support.cli_rig import fail, octy_for
from support.imported_key_pairs import have, put, slow
from support.postgres import shared_server
from support.retention_rig import add_webhooks
from support.webhook_rig import subscribe
from support.world import World

from octy_middleware.clock import utc
from octy_middleware.db.bulk_sql import run
from octy_middleware.db.database import Database
from octy_middleware.db.models import Outbox
from octy_middleware.keys.keychain import Keychain
from octy_middleware.loopback import is_loopback
from octy_worker.cli.doctor import Check, State
from octy_worker.cli.doctor.apps import check_app_processes
from octy_worker.cli.doctor.configuration import KEYS, check_packages, read_settings, variable_name
from octy_worker.cli.doctor.database import check_database
from octy_worker.cli.doctor.installation import check_identity
from octy_worker.identity import verify_installation
from octy_worker.settings import WorkerSettings

SECRET = "ab" * 32
LINK_KEYS = Keychain.generate()


def keys() -> dict[str, str]:
    return {variable_name(name): Keychain.generate().export() for name in KEYS}


def looked_at(world: World, **values: object) -> dict[str, tuple[State, str]]:
    chains = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": LINK_KEYS}
    return look(world.url, {**chains, **values})


@pytest.fixture
def registered(world: World) -> World:
    """Return the world after its worker's first start."""
    chains = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": LINK_KEYS}
    verify_installation(world.database, chains, 0.0)
    return world


def look(url: str, values: dict[str, object]) -> dict[str, tuple[State, str]]:
    return told(check_database(WorkerSettings.build(database_url=url, **values)))


def told(checks: Iterable[Check]) -> dict[str, tuple[State, str]]:
    return {check.name: (check.state, f"{check.found} → {check.to_do}") for check in checks}


def wrong(found: dict[str, tuple[State, str]]) -> list[str]:
    return [name for name, (state, _) in found.items() if state is State.PROBLEM]


# Settings


def test_doctor_ignores_kubernetes_service_variables() -> None:
    links = dict.fromkeys(
        ("OCTY_PAGES_PORT", "OCTY_METRICS_SDK_PORT_80_TCP", "OCTY_DATABASE_PORT"), "tcp://10.0.0.1:80"
    )
    variables = keys()
    settings, checks = read_settings({**variables, **links})
    assert checks == read_settings(variables)[1]
    assert settings.pages_port == 8025


@pytest.mark.parametrize(("deliver", "said"), [("link", []), ("mail", [State.OK])])
def test_doctor_mentions_secrets_sent_by_mail(deliver, said):
    _, checks = read_settings({**keys(), "OCTY_DELIVER": deliver})
    assert [check.state for check in checks if check.name == "OCTY_DELIVER"] == said


def test_doctor_reports_all_settings_errors_and_uses_the_rest():
    variables = {
        **keys(),
        "OCTY_DATABASE_URL": "sqlite:////srv/octy.db",
        "OCTY_SMTP_PORT": "many",
        "OCTY_SMTP_SECURITY": "none",
        "OCTY_OVERLAP": "60",
        "OCTY_LINK_KEYS": f"k1:{SECRET}x",
    }
    settings, checks = read_settings(variables)
    assert {check.name for check in checks if check.state is State.PROBLEM} == {
        *("OCTY_SMTP_PORT", "OCTY_SMTP_SECURITY", "OCTY_LINK_KEYS")
    }
    assert (settings.smtp_port, settings.overlap, settings.database_url) == (587, 60.0, "sqlite:////srv/octy.db")
    assert SECRET not in repr(checks)


@pytest.mark.parametrize(
    ("variables", "faults"),
    [
        ({}, []),
        ({"OCTY_SMTP_HOST": "smtp.acme.example"}, ["OCTY_MAIL_FROM", "OCTY_SUPPORT_CONTACT", "OCTY_PUBLIC_URL"]),
        (
            {
                "OCTY_SMTP_HOST": "smtp.acme.example",
                "OCTY_MAIL_FROM": "Acme <security@acme.example>",
                "OCTY_SUPPORT_CONTACT": "help@acme.example",
                "OCTY_PUBLIC_URL": "https://keys.acme.example",
            },
            [],
        ),
        ({"OCTY_PUBLIC_URL": "http://keys.acme.example"}, ["OCTY_PUBLIC_URL"]),
        ({"OCTY_MAIL_FROM": "Acme"}, ["OCTY_MAIL_FROM"]),
        ({"OCTY_TEMPORAL_ADRESS": "x:1"}, ["OCTY_TEMPORAL_ADRESS"]),
        ({"OCTY_PK": "pk_1", "OCTY_SK": "sk_1", "OCTY_ACTOR": "ada", "OCTY_EXEMPT_PATHS": "/healthz"}, []),
    ],
)
def test_doctor_reports_settings_that_do_not_reach_customers(variables, faults):
    _, checks = read_settings({**keys(), **variables})
    assert [check.name for check in checks if check.state is State.PROBLEM] == faults


@pytest.mark.parametrize(
    ("text", "state", "found"),
    [
        ("", State.OK, "not set: payloads are not encrypted; they contain ids and choices"),
        (f"k1:{SECRET},k2:{SECRET}", State.OK, "payloads are encrypted; keys k1, k2, the last one encrypts"),
        (f"k1:{SECRET}x", State.PROBLEM, "entry 1 is not '<id>:<64 hex digits>'"),
    ],
)
def test_doctor_says_whether_temporal_payloads_are_encrypted(text, state, found):
    chains = {variable_name(name): f"k1:{SECRET}" for name in KEYS}
    settings, checks = read_settings({**chains, "OCTY_TEMPORAL_KEYS": text})
    [told] = [check for check in checks if check.name == "OCTY_TEMPORAL_KEYS"]
    assert (told.state, found in told.found) == (state, True)
    assert SECRET not in repr(checks) + repr(settings)
    assert (settings.temporal_keys is not None) is (": payloads" not in found and state is State.OK)


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("a.localhost", True), ("10.0.0.1", False), ("x", False)],
)
def test_loopback_hosts_are_recognized(host, local):
    assert is_loopback(host) is local


def test_doctor_reports_passlib_beside_libpass(monkeypatch):
    assert check_packages().state is State.OK
    monkeypatch.setattr(metadata, "distribution", lambda _name: object())
    found = check_packages()
    assert found.state is State.PROBLEM
    assert "pip uninstall passlib libpass" in found.found


# The database


def test_doctor_reports_no_problem_of_a_sound_database(registered, world):
    world.register()
    assert wrong(looked_at(world)) == (
        [] if world.database_kind == "sqlite" else ["durability"]
    )  # the tests' server has no fsync


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///{folder}/none.db", "there is no database"),
        (f"sqlite:///{{folder}}/{'n' * 300}.db", "can't be reached: File name too long"),
        ("sqlite:///{folder}", "the database did not answer"),
        ("sqlite:///{folder}/empty.db", "run `octy db upgrade`"),
        ("sqlite:///{folder}/text.db", "check the path"),
        ("postgresql://octy@127.0.0.1:9/octy", "check that the server runs"),
        ("{server}/none", "does not exist"),
        ("{server}/postgres", "run `octy db upgrade`"),
        ("mysql://x/y", "give sqlite:///<file> or postgresql://"),
    ],
)
def test_doctor_reports_an_unusable_database_once(tmp_path, url, said):
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database" * 100)
    chain = Keychain.generate()
    server = shared_server().url("").rstrip("/") if "{server}" in url else ""
    found = look(url.format(folder=tmp_path, server=server), dict.fromkeys(KEYS, chain))
    assert wrong(found) == ["database"]
    assert said in found["database"][1]
    assert {state for name, (state, _) in found.items() if not name.startswith("database")} == {State.UNCHECKED}


def test_doctor_reports_a_write_lock_that_is_held(registered, world, monkeypatch):
    monkeypatch.setattr("octy_worker.cli.doctor.database.LOCK_TIMEOUT", 0.05)
    with Database(world.url).write():
        found = looked_at(world)
    assert [name for name in wrong(found) if name != "durability"] == ["write lock"]  # the tests' server has no fsync


@pytest.mark.parametrize("purpose", ["peppers", "sealing_keys", "link_keys"])
def test_doctor_reports_keys_with_the_same_id_and_another_value(registered, world, purpose):
    chains = {"peppers": world.peppers, "sealing_keys": world.sealing_keys, "link_keys": LINK_KEYS}

    def found(keys: Keychain) -> tuple[State, str]:
        settings = WorkerSettings.build(database_url=world.url, **{**chains, purpose: keys})
        return told(check_identity(world.database, settings))["keys of this database"]

    mine = chains[purpose]
    for foreign in (Keychain.generate(mine.newest[0]), Keychain.generate()):
        state, said = found(foreign)
        assert state is State.PROBLEM
        assert f"set OCTY_{purpose.upper()} to the value on the hosts" in said
    assert "run `octy db upgrade`" in found(Keychain({**mine, **Keychain.generate()}))[1]


@pytest.mark.sqlite
def test_doctor_reports_a_damaged_database_file(world):
    for number in range(8):
        world.register(f"c{number}")
    world.database.close()
    file = world.folder / "octy.db"
    content = bytearray(file.read_bytes())
    middle = content.find(b"regeneration_opened")
    content[middle - 400 : middle + 3000] = b"\xff" * 3400
    file.write_bytes(content)
    assert "integrity" in wrong(looked_at(world))


@pytest.mark.parametrize(
    ("digest", "peppers", "fits"),
    [
        (None, "its own", True),
        (None, "k2", False),
        ("$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "k2", True),
    ],
)
def test_doctor_reports_key_pairs_that_no_pepper_fits(world, digest, peppers, fits):
    pair = world.register()
    if digest is not None:
        with world.database.write() as connection:
            run(connection, "UPDATE key_pair SET secret_digest = ?", digest)
    chain = world.peppers if peppers == "its own" else Keychain.generate(peppers)
    found = looked_at(world, peppers=chain)
    assert ("peppers and key pairs" in wrong(found)) is not fits
    assert pair.public_key not in repr(found)


def test_doctor_reports_an_invalid_imported_hash(world):
    pair = world.register()
    imported = have(world, pair, slow(pair.secret), "pbkdf2_sha256")
    assert "imported hashes" not in wrong(looked_at(world))
    put(world, imported, slow("x"), "pbkdf2_sha256", imported.public_key)
    found = looked_at(world)
    assert "imported hashes" in wrong(found)
    assert imported.public_key not in repr(found)


@pytest.mark.parametrize(
    ("age", "delivered", "fault", "state"),
    [
        (5, False, "", State.OK),
        (600, False, "", State.PROBLEM),
        (600, False, "Temporal can't be reached", State.PROBLEM),
        (600, True, "", State.OK),
    ],
)
def test_doctor_reports_old_undelivered_outbox_messages(world, age, delivered, fault, state):
    now = time.time()
    with world.database.write_session() as session:
        session.add(
            Outbox(
                kind="incident_opened",
                subject_id="x",
                created_at=utc(now - age),
                delivered_at=utc(now) if delivered else None,
                delivery_attempts=3,
                last_error=fault,
            )
        )
    found = looked_at(world)["outbox"]
    assert found[0] is state
    assert fault in found[1]
    assert ("octy worker" in found[1]) is (state is State.PROBLEM)


def test_doctor_changes_nothing(world):
    pair = world.register()
    fail(world, pair, 20)
    before = world.everything()
    looked_at(world)
    octy_for(world)("db", "check").must()
    assert world.everything() == before


APP = "INSERT INTO app_process VALUES (?, 'web1', 77, '1.0', ?, 3, ?, 1500, ?, ?, NULL)"


@pytest.mark.parametrize(
    ("rows", "state", "said"),
    [
        ([], "ok", "no app process recorded anything in the last 10 minutes"),
        ([(0, 0, 0, "")], "ok", "1 processes in the last 10 minutes, 3 outcomes queued, slowest last commit 1.5 ms"),
        ([(0, 0, 2, "disk full")], "ok", "2 commits failed, last on web1 (pid 77): disk full"),
        ([(60, 0, 2, "disk full"), (0, 0, 0, "")], "ok", "2 commits failed, last on web1 (pid 77): disk full"),
        ([(0, 5, 0, ""), (0, 1, 0, "")], "problem", "6 outcomes were lost since these processes started"),
        ([(660, 5, 0, "")], "ok", "no app process"),
    ],
)
def test_doctor_reports_problems_of_app_processes(world: World, rows: list[tuple], state: str, said: str) -> None:
    with world.database.write() as connection:
        for number, (ago, lost, failures, error) in enumerate(rows):
            run(connection, APP, str(number), int((time.time() - ago) * 1e6), lost, failures, error)
    with world.database.read_session() as session:
        found = told([check_app_processes(session, world.worker_settings())])["apps"]
    assert found[0] == State(state)
    assert said in found[1]


@pytest.mark.parametrize(
    ("chain", "url", "state", "said"),
    [
        (None, "", "ok", "off: OCTY_WEBHOOK_KEYS is not set, and no account has a webhook URL"),
        (
            None,
            "https://hooks.acme.example",
            "problem",
            "webhooks are off: OCTY_WEBHOOK_KEYS is not set → set OCTY_WEBHOOK_KEYS",
        ),
        (Keychain.generate(), "https://hooks.acme.example", "ok", "1 accounts have a webhook URL; 1 webhooks"),
    ],
)
def test_doctor_reports_webhooks_that_nobody_sends(
    world: World, chain: Keychain | None, url: str, state: str, said: str
) -> None:
    keys = world.register()
    subscribe(world, url)
    add_webhooks(world, keys.account_id, ("failed", time.time()), ("sent", time.time()))
    found = looked_at(world, webhook_keys=chain)["webhooks"]
    assert found[0] == State(state)
    assert said in found[1]


@pytest.mark.parametrize(("text", "faults"), [("", []), (f"k1:{SECRET}", []), ("k1:abcd", ["OCTY_WEBHOOK_KEYS"])])
def test_doctor_accepts_missing_webhook_keys_but_no_wrong_ones(text: str, faults: list[str]) -> None:
    settings, checks = read_settings({**keys(), "OCTY_WEBHOOK_KEYS": text})
    assert [check.name for check in checks if check.state is State.PROBLEM] == faults
    assert (settings.webhook_keys is None) is (text == "")
    assert "abcd" not in repr(checks)
