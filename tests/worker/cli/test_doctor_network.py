"""`octy doctor` on the network: a mail up to RCPT, certificates, and the TLS mode of PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest
import trustme
from sqlalchemy import make_url
from support.smtp_servers import Authority, Inbox, Scripted, Server, running
from support.world import World

from octy_middleware.db.postgres_url import unverified_sslmode
from octy_worker.cli.doctor import command
from octy_worker.cli.doctor.check import Check, State
from octy_worker.cli.doctor.database import check_database
from octy_worker.cli.doctor.network import check_mail_server

NOW = datetime.now(UTC)


def looked_at(world: World, server: Server | Scripted, authority: Authority, **options: object) -> Check:
    place = {"smtp_host": "localhost", "smtp_port": server.port, "smtp_ca_file": str(authority.file)}
    return check_mail_server(world.worker_settings(**place, **options))


@pytest.mark.parametrize(
    ("reply", "password", "state", "said"),
    [
        ("", "relay-password", State.OK, "sender accepted"),
        ("451 try later", "relay-password", State.PROBLEM, "sender's address with 451"),
        ("550 no such sender", "relay-password", State.PROBLEM, "sender's address with 550"),
        ("", "other", State.PROBLEM, "refuses the login with 535"),
    ],
)
def test_doctor_reports_a_mail_server_that_accepts_no_mail(tmp_path, reply, password, state, said) -> None:
    world, authority, inbox = World(tmp_path), Authority(tmp_path), Inbox()
    if reply:
        inbox.replies["MAIL"] = reply
    with running(Server(inbox, tls_context=authority.serving(), authenticator=inbox.login)) as server:
        found = looked_at(world, server, authority, smtp_user="octy", smtp_password=password)
    world.close()
    assert found.state is state
    assert said in found.found
    assert inbox.sent == []


def test_doctor_speaks_tls_from_the_first_byte_where_it_is_set(tmp_path) -> None:
    world, authority = World(tmp_path), Authority(tmp_path)
    replies = ["220 hi", "250 hi", "250 sender", "250 recipient", "250 reset", "221 bye"]
    with Scripted(replies, authority.serving()) as server:
        found = looked_at(world, server, authority, smtp_security="tls", support_contact="help@acme.example")
    world.close()
    assert (found.state, [line[:4] for line in server.heard][1:4]) == (State.OK, [b"mail", b"rcpt", b"rset"])


@pytest.mark.parametrize(
    ("options", "said"),
    [({"mail_from": "Octy"}, [b"quit"]), ({"support_contact": "https://help.example"}, [b"mail", b"rset", b"quit"])],
)
def test_doctor_names_no_recipient_to_the_mail_server_where_none_is_set(tmp_path, options, said) -> None:
    world, authority = World(tmp_path), Authority(tmp_path)
    with Scripted(["220 hi", *["250 ok"] * len(said), "221 bye"], authority.serving()) as server:
        found = looked_at(world, server, authority, smtp_security="tls", **options)
    world.close()
    assert (found.state, [line[:4].lower() for line in server.heard][1:]) == (State.OK, said)


@pytest.mark.parametrize(
    ("begins", "ends", "to_do"),
    [(-2, -1, "renew the certificate"), (1, 2, "check this host's clock")],
)
def test_doctor_reports_an_expired_or_expiring_certificate(tmp_path, begins, ends, to_do) -> None:
    world, authority = World(tmp_path), Authority(tmp_path)
    own = trustme.CA()
    own.cert_pem.write_to_path(str(authority.file))
    context = authority.serving()
    days = {"not_before": NOW + timedelta(days=begins), "not_after": NOW + timedelta(days=ends)}
    own.issue_cert("localhost", **days).configure_cert(context)
    with running(Server(Inbox(), tls_context=context)) as server:
        found = looked_at(world, server, authority)
    world.close()
    assert found.state is State.PROBLEM
    assert to_do in found.to_do


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ([State.OK], "No problems found."),
        ([State.OK, State.UNCHECKED], "1 check could not be made."),
        ([State.PROBLEM, State.UNCHECKED], "1 problem found."),
    ],
)
def test_doctor_summary_reports_no_problems_only_when_every_check_was_made(states, text) -> None:
    assert command.summary([Check("x", state, "") for state in states]) == text


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://octy@db.example/octy", ""),
        ("postgresql://octy@127.0.0.1/octy?sslmode=prefer", ""),
        ("postgresql://octy@db.example/octy?sslmode=prefer", "prefer"),
        ("postgresql://octy@db.example/octy?sslmode=require", "require"),
        ("postgresql://octy@db.example/octy?sslmode=require&sslrootcert=ca.pem", ""),
        ("postgresql://octy@db.example/octy?sslmode=verify-ca", ""),
        ("postgresql://octy@db.example/octy?sslmode=disable", "disable"),
    ],
)
def test_doctor_reports_a_postgresql_connection_that_does_not_verify_its_server(url: str, mode: str) -> None:
    assert unverified_sslmode(make_url(url)) == mode


def test_doctor_mentions_a_plaintext_postgresql_connection_that_the_url_allows(tmp_path) -> None:
    world = World(tmp_path)
    url = "postgresql://octy@192.0.2.1:9/octy?sslmode=disable&connect_timeout=1&hostaddr=127.0.0.1"
    settings = world.worker_settings().model_copy(update={"database_url": url})
    [check] = [check for check in check_database(settings) if check.name == "database connection"]
    assert (check.state, "OCTY_DATABASE_URL has sslmode=disable" in check.found) == (State.OK, True)
    assert "sslmode=verify-full with sslrootcert" in check.found
    world.close()
