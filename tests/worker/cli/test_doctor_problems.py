"""Each problem that `octy doctor` can report, provoked once, with its text; and docs/doctor.md, which lists them all.

Here: what settings, files, SQL, mail server, pages and codec server show. Not here: Temporal (`test_doctor_temporal`),
stalled work (`test_doctor_stalled_work`).
"""

import ast
import json
import shutil
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import pytest
import trustme
from support.cli_rig import DENIED
from support.doctor_rig import PAGE, fits, words
from support.imported_key_pairs import have, put, slow
from support.relay_rig import change
from support.retention_rig import add_webhooks
from support.smtp_servers import Authority, Inbox, Scripted, Server, running
from support.staff_api_rig import staff_api_served
from support.webhook_rig import subscribe
from support.world import INSTALLATION, World

from octy_middleware.clock import utc
from octy_middleware.db.backend import WriteMode
from octy_middleware.db.database import Database
from octy_middleware.db.models import Outbox
from octy_middleware.db.sqlite import SqliteBackend
from octy_middleware.domain.outbox import MAX_DELIVERY_ATTEMPTS
from octy_middleware.errors import DatabaseUnavailableError
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.staff_settings import load_staff_access
from octy_worker.audit import repository as audit
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.cli import doctor
from octy_worker.cli.doctor import Check, State, database_server, file_systems, observability
from octy_worker.cli.doctor.audit import check_audit
from octy_worker.cli.doctor.configuration import check_packages, read_settings
from octy_worker.cli.doctor.database import check_database
from octy_worker.cli.doctor.files import check_secret_files
from octy_worker.cli.doctor.installation import read_installation
from octy_worker.cli.doctor.mail import check_signature, check_templates
from octy_worker.cli.doctor.network import check_codec_server, check_mail_server, check_pages
from octy_worker.cli.doctor.observability import check_observability
from octy_worker.cli.doctor.problems import PROBLEMS
from octy_worker.cli.doctor.restored_backup import check_restored_backup
from octy_worker.cli.doctor.retention import check_retention
from octy_worker.cli.doctor.scheduled_jobs import check_scheduled_jobs
from octy_worker.cli.doctor.staff import check_staff
from octy_worker.cli.doctor.staff_api import check_staff_api
from octy_worker.cli.doctor.stalled_work import check_stalled_work
from octy_worker.cli.doctor.temporal import check_temporal
from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.processes import free_port
from octy_worker.domain.job_lease import JobLease
from octy_worker.identity import verify_installation
from octy_worker.maintenance import digest
from octy_worker.maintenance.reconciliation import run
from octy_worker.maintenance.retention import JOB
from octy_worker.observability.database_server import DatabaseVersion
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api.access import StaffOffice
from worker.cli.test_cli_doctor import keys
from worker.cli.test_cli_mail import KEY
from worker.cli.test_doctor_staff import PROVOKED as IN_STAFF
from worker.cli.test_doctor_stalled_work import PROVOKED as IN_RESULTS
from worker.cli.test_doctor_temporal import PROVOKED as IN_TEMPORAL

SOURCES = Path(doctor.__file__).parent
DAY = 86_400.0
NO_NAME = "mail..example"  # of no host: no resolver can be asked for it
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class DoctorRig:
    """What a problem is provoked on."""

    world: World
    folder: Path
    patch: pytest.MonkeyPatch

    def settings(self, **options: object) -> WorkerSettings:
        return self.world.worker_settings(**options)

    def check_database(self, **options: object) -> list[Check]:
        settings = self.settings().model_dump() | options
        return list(check_database(WorkerSettings(**settings)))

    def file(self, name: str, text: str = "", mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path


def given(**variables: str) -> Callable[[DoctorRig], list[Check]]:
    """Return what the doctor says of these settings beside right keys."""
    return lambda _rig: read_settings({**keys(), **variables})[1]


REAL = {
    "OCTY_SMTP_HOST": "smtp.acme.example",
    "OCTY_MAIL_FROM": "Acme <security@acme.example>",
    "OCTY_SUPPORT_CONTACT": "help@acme.example",
    "OCTY_PUBLIC_URL": "https://keys.acme.example",
}


def clash(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr(metadata, "distribution", lambda _name: object())
    return [check_packages()]


SETTINGS: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "keys-missing": given(OCTY_PEPPERS=""),
    "keys-malformed": given(OCTY_PEPPERS="k1:ab"),
    "setting-refused": given(OCTY_SMTP_PORT="many"),
    "setting-misspelled": given(OCTY_TEMPORAL_ADRESS="x:1"),
    "sender-malformed": given(OCTY_MAIL_FROM="Acme"),
    "sender-placeholder": given(**REAL | {"OCTY_MAIL_FROM": "Octy <security@octy.invalid>"}),
    "contact-placeholder": given(**REAL | {"OCTY_SUPPORT_CONTACT": "help@octy.invalid"}),
    "public-url-local": given(**REAL | {"OCTY_PUBLIC_URL": "http://127.0.0.1:8025"}),
    "secret-file-readable": lambda rig: check_secret_files(rig.settings(), {}, rig.file("octy.env", mode=0o604)),
    "packages-conflict": clash,
}


# The database


def at(url: str) -> Callable[[DoctorRig], list[Check]]:
    return lambda rig: rig.check_database(database_url=url.format(folder=rig.folder))


def copied(rig: DoctorRig) -> list[Check]:
    verify_installation(rig.world.database, {"peppers": rig.world.peppers}, 0.0)
    rig.world.database.close()
    shutil.copy(rig.world.folder / "octy.db", rig.folder / "copy.db")
    return at("sqlite:///{folder}/copy.db")(rig)


def registered(rig: DoctorRig) -> None:
    verify_installation(
        rig.world.database,
        dict.fromkeys(("peppers", "link_keys"), rig.world.peppers) | {"sealing_keys": rig.world.sealing_keys},
        0.0,
    )


def foreign(rig: DoctorRig) -> list[Check]:
    registered(rig)
    return rig.check_database(link_keys=Keychain.generate())


def unregistered(rig: DoctorRig) -> list[Check]:
    registered(rig)
    return rig.check_database(link_keys=Keychain({**rig.world.peppers, **Keychain.generate("new")}))


def unreadable(table: str) -> Callable[[DoctorRig], list[Check]]:
    """Return what is said when a table is gone although it was there when the tables were compared."""

    def provoke(rig: DoctorRig) -> list[Check]:
        rig.patch.setattr("octy_worker.cli.doctor.database.check_tables", lambda _database: None)
        change(rig.world, f"DROP TABLE {table}")
        return rig.check_database()

    return provoke


def on_network_disk(rig: DoctorRig) -> list[Check]:
    mounts = rig.file("mountinfo", "22 1 0:40 / / rw,relatime shared:1 - nfs4 nas:/ rw\n")
    rig.patch.setattr(file_systems, "MOUNT_TABLE", mounts)
    return rig.check_database()


def old_sqlite(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr(sqlite3, "sqlite_version", "3.34.1")
    return rig.check_database()


def hasty_server(rig: DoctorRig) -> list[Check]:
    """Have the tests' own server, which does without fsync, looked at."""
    world = World(rig.folder, "postgresql")
    try:
        return rig.check_database(database_url=world.url)
    finally:
        world.close()


def locked(rig: DoctorRig) -> list[Check]:
    rig.patch.setattr("octy_worker.cli.doctor.database.LOCK_TIMEOUT", 0.05)
    with Database(rig.world.url).write(mode=WriteMode.EXCLUSIVE):
        return rig.check_database()


def damaged(rig: DoctorRig) -> list[Check]:
    for number in range(30):
        rig.world.register(f"c{number}")
    rig.world.database.close()
    file = rig.world.folder / "octy.db"
    content = bytearray(file.read_bytes())
    middle = content.find(b"regeneration_opened")
    content[middle - 400 : middle + 3000] = b"\xff" * 3400
    file.write_bytes(content)
    return rig.check_database()


def without(setting: str) -> Callable[[DoctorRig], list[Check]]:
    def provoke(rig: DoctorRig) -> list[Check]:
        rig.world.register()
        change(rig.world, "UPDATE sealed_secret SET sealed = 'k1$x'")
        return rig.check_database(**{setting: Keychain.generate("other")})

    return provoke


def forged(rig: DoctorRig) -> list[Check]:
    imported = have(rig.world, rig.world.register(), slow("secret"), "pbkdf2_sha256")
    put(rig.world, imported, slow("x"), "pbkdf2_sha256", imported.public_key)
    return rig.check_database()


def message(ago: float, attempts: int) -> Callable[[DoctorRig], list[Check]]:
    def provoke(rig: DoctorRig) -> list[Check]:
        with rig.world.database.write_session() as session:
            made = utc(time.time() - ago)
            session.add(
                Outbox(
                    kind="incident_opened", subject_id="x", created_at=made, delivery_attempts=attempts, last_error="no"
                )
            )
        return rig.check_database()

    return provoke


def unsent_webhooks(rig: DoctorRig) -> list[Check]:
    account = rig.world.register().account_id
    subscribe(rig.world, "https://hooks.acme.example")
    add_webhooks(rig.world, account)
    return rig.check_database()


def lose_outcomes(rig: DoctorRig) -> list[Check]:
    at = int(time.time() * 1e6)
    change(rig.world, "INSERT INTO app_process VALUES ('a', 'h', 1, '1.0', ?, 0, 7, 0, 0, '', NULL)", at)
    return rig.check_database()


DATABASE: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "sslmode-weak": at("postgresql://octy@192.0.2.1:9/octy?sslmode=prefer&connect_timeout=1&hostaddr=127.0.0.1"),
    "database-url-refused": at("mysql://x/y"),
    "database-not-this-release": at("sqlite:///{folder}/none.db"),
    "database-file-unavailable": lambda rig: (
        rig.file("text.db", "no database" * 99),
        at("sqlite:///{folder}/text.db")(rig),
    )[1],
    "database-server-unreachable": at(f"postgresql://octy@{DENIED}/octy"),
    "database-on-network-file-system": on_network_disk,
    "database-too-old": old_sqlite,
    "database-not-durable": hasty_server,
    "identity-unreadable": unreadable("installation"),
    "installation-missing": lambda rig: (change(rig.world, "DELETE FROM installation"), rig.check_database())[1],
    "installation-copied": copied,
    "keys-mismatch": foreign,
    "keys-unregistered": unregistered,
    "write-lock-failed": locked,
    "database-damaged": damaged,
    "rows-unreadable": unreadable("app_process"),
    "peppers-missing": without("peppers"),
    "hashes-forged": forged,
    "sealing-keys-missing": without("sealing_keys"),
    "dead-letters": message(60, MAX_DELIVERY_ATTEMPTS),
    "messages-late": message(60, 3),
    "webhooks-off": unsent_webhooks,
    "outcomes-lost": lose_outcomes,
}


# Tasks


def finished(job: str, cursor: str, ago: float) -> Callable[[DoctorRig], list[Check]]:
    def provoke(rig: DoctorRig) -> list[Check]:
        lease = JobLease(rig.world.database, job, lambda: time.time() - ago)
        lease.take()
        lease.begin("", time.time() - ago)
        lease.finish(cursor)
        settings = rig.settings(support_digest_to="support@acme.example")
        return [check_retention(settings, worker_runs=True), *check_scheduled_jobs(settings, worker_runs=True)]

    return provoke


def due(rig: DoctorRig) -> list[Check]:
    add_webhooks(rig.world, rig.world.register().account_id, ("sent", time.time() - 400 * DAY))
    return [check_retention(rig.settings(), worker_runs=True)]


def metrics_of_others(rig: DoctorRig) -> Iterable[Check]:
    with answering(200, b"hello") as url:
        port = int(url.rpartition(":")[2])
        return list(check_observability(rig.settings(metrics_port=port), worker_runs=True))


def no_opentelemetry(rig: DoctorRig) -> Iterable[Check]:
    rig.patch.setattr(observability, "find_spec", lambda _name: None)
    return check_observability(rig.settings(tracing=True), worker_runs=True)


def append(rig: DoctorRig, count: int, *, ago: float = 0.0) -> None:
    with rig.world.database.write_session() as session:
        for _ in range(count):
            audit.append(session, "keys.revoke", actor="ada", now=time.time() - ago)


def check_checkpoints(rig: DoctorRig, *, worker_runs: bool = True) -> list[Check]:
    return check_audit(rig.settings(audit_keys=Keychain.generate()), worker_runs=worker_runs)


def take_checkpoint(rig: DoctorRig, *, ago: float) -> None:
    at = time.time() - ago
    writer = CheckpointWriter(
        rig.world.database, Keychain.generate(), INSTALLATION, lambda: at, write=lambda _line: None
    )
    writer.take()


def broken_log(rig: DoctorRig) -> list[Check]:
    append(rig, 3)
    change(rig.world, "UPDATE audit_entry SET actor = 'eve' WHERE seq = 2")
    return check_checkpoints(rig)


def late_checkpoint(rig: DoctorRig) -> list[Check]:
    append(rig, 1, ago=1300)
    take_checkpoint(rig, ago=1200)
    append(rig, 2, ago=700)
    return check_checkpoints(rig)


TASKS: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "retention-never": due,
    "retention-late": finished(JOB, "", 4 * DAY),
    "reconciliation-late": finished(run.JOB, "", 4 * DAY),
    "workflows-unknown": finished(run.JOB, json.dumps({"checked": 3, "unknown": 1}), 60),
    "digest-failed": finished(digest.JOB, "2030-03-17 failed rcpt-550", 60),
    "digest-late": finished(digest.JOB, "2030-03-17 sent", 4 * DAY),
    "audit-keys-missing": lambda rig: check_audit(rig.settings(), worker_runs=True),
    "audit-log-broken": broken_log,
    "audit-checkpoint-late": late_checkpoint,
    "metrics-unreachable": lambda rig: check_observability(rig.settings(metrics_port=9), worker_runs=True),
    "metrics-wrong-server": metrics_of_others,
    "tracing-packages-missing": no_opentelemetry,
}


# Mails


def signed(mode: int = 0o600, **options: object) -> Callable[[DoctorRig], list[Check]]:
    def provoke(rig: DoctorRig) -> list[Check]:
        key = rig.file("dkim.pem", KEY.decode(), mode)
        right = {"dkim_domain": "acme.example", "dkim_selector": "s1", "mail_from": "Acme <a@acme.example>"}
        return [check_signature(rig.settings(**{**right, "dkim_private_key_file": str(key), **options}))]

    return provoke


def faulty_template(rig: DoctorRig) -> list[Check]:
    rig.file("parts.txt", "{{ one }}")
    return [check_templates(rig.settings(mail_templates=str(rig.folder)))]


MAILS: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "templates-missing": lambda rig: [check_templates(rig.settings(mail_templates=f"{rig.folder}/no"))],
    "templates-faulty": faulty_template,
    "signature-refused": signed(dkim_selector=""),
    "signature-not-aligned": signed(mail_from="Acme <a@acme.org>"),
    "signing-key-readable": signed(0o644),
}


# The mail server


def out_of_time(begins: int, ends: int) -> tuple[trustme.CA, ssl.SSLContext]:
    own, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    days = {"not_before": NOW + timedelta(days=begins), "not_after": NOW + timedelta(days=ends)}
    own.issue_cert("localhost", **days).configure_cert(context)
    return own, context


def served(
    replies: dict[str, str] | None = None,
    *,
    days: tuple[int, int] | None = None,
    tls: bool = True,
    trusted: bool = True,
    **options: object,
) -> Callable[[DoctorRig], list[Check]]:
    """Return what the doctor says of a mail server that answers so."""

    def provoke(rig: DoctorRig) -> list[Check]:
        authority, inbox = Authority(rig.folder), Inbox()
        inbox.replies.update(replies or {})
        context = authority.serving()
        if days:
            own, context = out_of_time(*days)
            own.cert_pem.write_to_path(str(authority.file))
        with_tls = {"tls_context": context, "authenticator": inbox.login} if tls else {}
        ca = {"smtp_ca_file": str(authority.file)} if trusted else {}
        with running(Server(inbox, **with_tls)) as server:
            found = check_mail_server(rig.settings(smtp_host="localhost", smtp_port=server.port, **ca, **options))
        assert inbox.sent == []
        return [found]

    return provoke


def refuse_at_once(rig: DoctorRig) -> list[Check]:
    with Scripted(["421 too busy"]) as server:
        return [check_mail_server(rig.settings(smtp_port=server.port))]


MAIL_SERVER: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "ca-file-unreadable": lambda rig: [check_mail_server(rig.settings(smtp_ca_file="missing.pem"))],
    "mail-server-certificate-refused": served(trusted=False),
    "mail-server-certificate-expired": served(days=(-2, -1)),
    "mail-server-certificate-not-yet-valid": served(days=(1, 2)),
    "mail-server-without-tls": served(tls=False),
    "mail-server-refuses-login": served(smtp_user="octy", smtp_password="wrong"),
    "mail-server-refuses-sender": served({"MAIL": "451 later"}),
    "mail-server-refuses-recipient": served({"RCPT": "550 no relaying"}, support_contact="help@acme.example"),
    "mail-server-refuses": refuse_at_once,
    "mail-server-unreachable": lambda rig: [check_mail_server(rig.settings(smtp_port=9))],
}


# Pages and codec server


@contextmanager
def answering(status: int, body: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answer each request so, on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the module's own name

        def log_message(self, *_: object) -> None: ...

    class Quiet(HTTPServer):
        def handle_error(self, *_: object) -> None: ...

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'http' if context is None else 'https'}://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def pages(status: int, body: bytes, days: tuple[int, int] | None = None) -> Callable[[DoctorRig], list[Check]]:
    def provoke(rig: DoctorRig) -> list[Check]:
        ca, context = rig.folder / "ca.pem", None
        options: dict[str, object] = {}
        if days:
            own, context = out_of_time(*days)
            own.cert_pem.write_to_path(str(ca))
            options["smtp_ca_file"] = str(ca)
        with answering(status, body, context) as url:
            return [check_pages(rig.settings(public_url=url, **options))]

    return provoke


PAGES: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "pages-error-status": pages(404, b""),
    "pages-wrong-server": pages(200, b'{"status": "up"}'),
    "pages-certificate-expired": pages(200, b"", (-2, -1)),
    "pages-certificate-not-yet-valid": pages(200, b"", (1, 2)),
    "pages-unreachable": lambda rig: [check_pages(rig.settings(public_url=f"http://{DENIED}"))],
    "codec-server-missing": lambda rig: [
        check_codec_server(rig.settings(temporal_keys=Keychain.generate(), codec_url=f"http://{DENIED}"))
    ],
}


def staff_api(status: int, body: object) -> Callable[[DoctorRig], list[Check]]:
    def provoke(rig: DoctorRig) -> list[Check]:
        with answering(status, json.dumps(body).encode()) as url:
            answer = check_staff_api(staff_settings(rig, staff_url=url), INSTALLATION)
        return [answer]

    return provoke


def staff_settings(rig: DoctorRig, **options: object) -> WorkerSettings:
    return rig.settings(**{"staff_auth": "on", "staff_port": 8026, "staff_keys": Keychain.generate(), **options})


def ending_certificate(rig: DoctorRig) -> list[Check]:
    certificate = ensure_certificate(rig.folder / "tls")
    files = {"staff_certificate": str(certificate.chain), "staff_private_key": str(certificate.key)}
    settings = staff_settings(rig, staff_url="https://localhost:8026", **files)
    later = NOW + timedelta(days=365 * 100)
    return [check_staff_api(settings, INSTALLATION, later), check_staff_api(settings, INSTALLATION, NOW)]


STAFF_API: dict[str, Callable[[DoctorRig], Iterable[Check]]] = {
    "staff-api-refused": lambda rig: [check_staff_api(staff_settings(rig), INSTALLATION)],
    "staff-api-certificate-expiring": ending_certificate,
    "staff-api-wrong-server": staff_api(200, {"installation": "f" * 16, "server": "https://other"}),
    "staff-api-unreachable": lambda rig: [
        check_staff_api(staff_settings(rig, staff_url=f"http://{DENIED}"), INSTALLATION)
    ],
}


def test_staff_api_that_answers_or_is_not_served_has_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, port = World(tmp_path), free_port()
    rig = DoctorRig(world, tmp_path, monkeypatch)
    assert check_staff_api(rig.settings(), INSTALLATION).state is State.OK
    settings = staff_settings(rig, staff_url=f"http://localhost:{port}", staff_port=port)
    staff = load_staff_access(settings, INSTALLATION, bytes)
    assert staff is not None
    with staff_api_served(StaffOffice(settings, world.database, installation=INSTALLATION, staff=staff), settings):
        found = check_staff_api(settings, INSTALLATION)
    world.close()
    assert (found.state, found.found) == (State.OK, settings.staff_url)


# Further ways to a problem that is provoked above


def integrity_that_raises(rig: DoctorRig) -> list[Check]:
    def fail(*_: object) -> str:
        raise DatabaseUnavailableError("a page can't be read")

    rig.patch.setattr(SqliteBackend, "integrity_problem", fail)
    return rig.check_database()


def version_that_raises(rig: DoctorRig) -> list[Check]:
    def fail(_database: object) -> DatabaseVersion:
        raise DatabaseUnavailableError("the server has gone")

    rig.patch.setattr(database_server, "read_version", fail)
    return rig.check_database()


def codec_server_of_others(rig: DoctorRig) -> list[Check]:
    with answering(200, b"<html>no JSON</html>") as url:
        return [check_codec_server(rig.settings(temporal_keys=Keychain.generate(), codec_url=url))]


def metrics_of_no_web_server(rig: DoctorRig) -> list[Check]:
    with Scripted(["SSH-2.0-OpenSSH_9.2"]) as server:
        return list(check_observability(rig.settings(metrics_port=server.port), worker_runs=True))


def mail_server_of_others(rig: DoctorRig) -> list[Check]:
    with Scripted(["SSH-2.0-OpenSSH_9.2"]) as server:
        return [check_mail_server(rig.settings(smtp_port=server.port))]


def unencodable_temporal(rig: DoctorRig) -> list[Check]:
    return check_temporal(rig.settings(temporal_address=f"{NO_NAME}:7233", temporal_plaintext="allowed"), INSTALLATION)


FURTHER: list[tuple[str, Callable[[DoctorRig], Iterable[Check]]]] = [
    ("metrics-unreachable", metrics_of_no_web_server),
    (
        "metrics-unreachable",
        lambda rig: check_observability(rig.settings(metrics_port=9, metrics_host=NO_NAME), worker_runs=True),
    ),
    ("mail-server-unreachable", lambda rig: [check_mail_server(rig.settings(smtp_host=NO_NAME))]),
    ("mail-server-unreachable", mail_server_of_others),
    ("pages-unreachable", lambda rig: [check_pages(rig.settings(public_url=f"https://{NO_NAME}"))]),
    ("temporal-unreachable", unencodable_temporal),
    ("pages-wrong-server", pages(200, b"<html>no JSON</html>")),
    ("staff-api-wrong-server", staff_api(200, [])),
    ("staff-api-wrong-server", staff_api(404, {})),
    ("staff-api-unreachable", ending_certificate),
    ("database-damaged", integrity_that_raises),
    ("rows-unreadable", version_that_raises),
    ("codec-server-missing", codec_server_of_others),
]
HERE = {**SETTINGS, **DATABASE, **TASKS, **MAILS, **MAIL_SERVER, **PAGES, **STAFF_API}


# The list


def test_each_problem_is_provoked_by_one_test() -> None:
    provoked = [*HERE, *IN_TEMPORAL, *IN_RESULTS, *IN_STAFF]
    assert sorted(provoked) == sorted(PROBLEMS)


def test_doctor_document_lists_each_problem_with_its_text() -> None:
    rows = [
        f"| {code} | {words(each.name)} | {words(each.found)} | {words(each.to_do)} |"
        for code, each in PROBLEMS.items()
    ]
    listed = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| code |")]
    assert listed == rows


def test_doctor_problems_are_built_only_from_the_problem_table() -> None:
    """The list is whole when nothing else makes such a check, and true when each entry is used."""
    texts: set[str] = set()
    for file in SOURCES.glob("*.py"):
        tree = ast.parse(file.read_text())
        if file.name not in ("problems.py", "check.py"):
            calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
            assert not any(isinstance(called, ast.Name) and called.id == "Check" for called in calls), file
        if not file.name.startswith("problems"):
            texts |= {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    composed = {code for code in PROBLEMS if "-certificate-" in code}
    assert PROBLEMS.keys() - composed - texts == set()


@pytest.mark.parametrize(("code", "provoke"), [*HERE.items(), *FURTHER])
def test_doctor_reports_each_problem_with_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, provoke: Callable[[DoctorRig], Iterable[Check]]
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    world = World(tmp_path)
    try:
        found = [check for check in provoke(DoctorRig(world, folder, monkeypatch)) if check.code == code]
    finally:
        world.close()
    assert found
    for check in found:
        assert check.state is State.PROBLEM
        assert fits(PROBLEMS[code], check)


# Checks that can't be made


def test_checks_of_rows_are_not_made_without_a_database(tmp_path: Path) -> None:
    world = World(tmp_path)
    keys = {"audit_keys": Keychain.generate(), "staff_auth": "on", "staff_keys": Keychain.generate()}
    settings = world.worker_settings(**keys, database_url=f"sqlite:///{tmp_path}/none/octy.db")
    found = [
        *check_audit(settings, worker_runs=True),
        check_retention(settings, worker_runs=True),
        *check_scheduled_jobs(settings, worker_runs=True),
        *check_stalled_work(settings),
        *list(check_staff(settings, INSTALLATION))[1:],
        check_restored_backup(settings, INSTALLATION),
        check_restored_backup(settings, read_installation(settings)),
    ]
    world.close()
    assert {check.state for check in found} == {State.UNCHECKED}
    assert all("not available" in check.found or "likewise" in check.found for check in found)


def test_file_of_an_unusable_database_is_no_secret_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    settings = world.worker_settings().model_copy(update={"database_url": "mysql://octy@db.example/octy"})
    [check] = check_secret_files(settings, {"OCTY_PAGES_PRIVATE_KEY": str(tmp_path / "none.pem")}, None)
    world.close()
    assert (check.state, read_installation(settings)) == (State.OK, None)


def test_network_checks_that_need_another_setting_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    rig = DoctorRig(world, tmp_path, monkeypatch)
    codec = check_codec_server(
        rig.settings(
            temporal_keys=Keychain.generate(), codec_url="http://localhost:1", temporal_address="temporal:7233"
        )
    )
    with answering(200, json.dumps({"installation": INSTALLATION, "server": "https://other"}).encode()) as url:
        api = check_staff_api(staff_settings(rig, staff_url=url), "")
    world.close()
    assert [check.state for check in (codec, api)] == [State.UNCHECKED, State.UNCHECKED]
