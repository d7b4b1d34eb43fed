"""The mailer against real servers: verified TLS only, and the result of each reply and error."""

import smtplib
import socket
import ssl
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session
from support.smtp_servers import Authority, Inbox, Scripted, Server, running

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.db.models import Account
from octy_middleware.domain.accounts import change_contact
from octy_middleware.errors import ConfigurationError, InvalidInputError
from octy_middleware.keys.keychain import Keychain
from octy_worker.mail.addresses import Sender
from octy_worker.mail.mailer import SmtpMailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import RenderedMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus, StartTlsMissingError, classify
from octy_worker.mail.smtp_explanations import explain
from octy_worker.settings import WorkerSettings

CHAIN = Keychain.generate()
LETTER = RenderedMail("A subject", "The text, für alle.\n" + "x" * 120 + "\n", "<p>The page</p>")
ENVELOPE = OutgoingMail("<case.alert.1@octy.example>", 1_770_000_000.0, "ada@customer.example", LETTER)
ACCEPTED = SmtpResult(SmtpStatus.ACCEPTED)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def starttls(authority):
    inbox = Inbox()
    with (
        warnings.catch_warnings(),
        running(Server(inbox, tls_context=authority.serving(), authenticator=inbox.login, timeout=10)) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def implicit(authority):
    with running(Server(Inbox(), ssl_context=authority.serving())) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(request):
    yield
    for name in ("starttls", "implicit"):
        if name in request.fixturenames:
            server = request.getfixturevalue(name)
            server.handler.clear()
            server.connections = 0


def mailer(server, authority, security="starttls", **settings):
    values = {
        "smtp_host": "localhost",
        "smtp_port": server.port,
        "smtp_security": security,
        "smtp_ca_file": str(authority.file) if authority else "",
        "mail_from": "Octy Security <security@octy.example>",
        "smtp_timeout": 5,
        **settings,
    }
    return SmtpMailer(WorkerSettings(peppers=CHAIN, sealing_keys=CHAIN, link_keys=CHAIN, **values))


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
def test_mailer_sends_over_verified_tls_by_one_connection(request, authority, kind):
    server = request.getfixturevalue(kind)
    security = "tls" if kind == "implicit" else "starttls"
    assert mailer(server, authority, security).send(ENVELOPE) == ACCEPTED
    (mail,) = server.handler.sent
    assert server.connections == 1
    assert server.handler.tls == [True]
    assert mail.recipients == ["ada@customer.example"]
    assert dict(mail.message.items()) == {
        "Content-Type": mail.message["Content-Type"],
        "MIME-Version": "1.0",
        "Date": "Mon, 02 Feb 2026 02:40:00 +0000",
        "Message-ID": "<case.alert.1@octy.example>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "Subject": "A subject",
        "From": "Octy Security <security@octy.example>",
        "To": "ada@customer.example",
    }
    assert mail.part("plain").splitlines() == LETTER.text.splitlines()
    assert mail.part("html").strip() == "<p>The page</p>"
    assert b"base64" not in mail.raw
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
@pytest.mark.parametrize("fault", ["unknown authority", "wrong name"])
def test_mailer_sends_nothing_to_a_server_with_an_untrusted_certificate(request, authority, kind, fault):
    server = request.getfixturevalue(kind)
    sender = mailer(
        server,
        authority if fault == "wrong name" else None,
        "tls" if kind == "implicit" else "starttls",
        smtp_host="127.0.0.1" if fault == "wrong name" else "localhost",
        smtp_user="octy",
        smtp_password="relay-password",
    )
    assert sender.send(ENVELOPE) == SmtpResult(SmtpStatus.DEFERRED, "tls-certificate", our_fault=True)
    assert server.handler.sent == []
    assert server.handler.users == []


def test_mailer_sends_nothing_to_a_server_without_starttls(authority):
    with running(Server(Inbox())) as server:
        fault = mailer(server, authority, smtp_user="octy", smtp_password="x").send(ENVELOPE)
        assert fault == SmtpResult(SmtpStatus.DEFERRED, "tls-not-offered", our_fault=True)
        assert server.handler.tls == []


@pytest.mark.parametrize(
    ("password", "ending"),
    [("relay-password", ACCEPTED), ("wrong", SmtpResult(SmtpStatus.DEFERRED, "auth-535", our_fault=True))],
)
def test_mailer_logs_in_with_user_and_password(starttls, authority, password, ending):
    sender = mailer(starttls, authority, smtp_user="octy", smtp_password=password)
    assert sender.send(ENVELOPE) == ending
    assert set(starttls.handler.users) == {"octy"}
    assert len(starttls.handler.sent) == (password == "relay-password")


def test_mailer_with_a_password_defers_without_auth_of_the_server(implicit, authority):
    sender = mailer(implicit, authority, "tls", smtp_user="octy", smtp_password="x")
    assert sender.send(ENVELOPE) == SmtpResult(SmtpStatus.DEFERRED, "auth-not-offered", our_fault=True)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("421 4.3.2 going down", SmtpStatus.DEFERRED),
        ("450 4.2.1 greylisted", SmtpStatus.DEFERRED),
        ("452 4.3.1 full", SmtpStatus.DEFERRED),
        ("530 5.7.0 log in first", SmtpStatus.DEFERRED),
        ("550 5.1.1 ada@customer.example: no such user", SmtpStatus.REFUSED),
        ("552 5.2.2 over quota", SmtpStatus.REFUSED),
        ("554 5.7.1 refused", SmtpStatus.REFUSED),
    ],
)
def test_smtp_reply_at_each_stage_gives_its_result_and_code(starttls, authority, stage, reply, status):
    starttls.handler.replies[stage] = reply
    prefix = "auth-" if reply.startswith("530") else ""
    ending = mailer(starttls, authority).send(ENVELOPE)
    assert (ending.status, ending.code) == (status, f"{prefix}{stage.lower()}-{reply[:3]}")
    assert starttls.handler.sent == []
    assert starttls.connections == 1


HELLO = ["220 hello", "250 hello"]


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        (["421 busy"], "server-421"),
        (["554 not you"], "server-554"),
        ([None], "disconnected"),
        (["220 hello", None], "disconnected"),
        ([*HELLO, None], "disconnected"),
        ([*HELLO, "250 ok", None], "disconnected"),
        ([*HELLO, "250 ok", "250 ok", None], "disconnected"),
        ([*HELLO, "250 ok", "250 ok", "354 go on", None], "disconnected"),
        ([*HELLO, "250 ok", "250 ok", "421 going down"], "data-421"),
        ([*HELLO, "250 ok", "250 ok", "554 no"], "data-554"),
        ([*HELLO, ""], "timeout"),
    ],
)
def test_smtp_server_that_disconnects_gets_one_attempt(authority, replies, code):
    with Scripted(replies, authority.serving()) as server:
        ending = mailer(server, authority, "tls", smtp_timeout=0.3).send(ENVELOPE)
    assert ending.code == code
    assert ending.status is (SmtpStatus.REFUSED if code == "data-554" else SmtpStatus.DEFERRED)
    assert server.connections == 1


def test_smtp_server_that_rejects_starttls_is_deferred(authority):
    with Scripted(["220 hello", "250-hello\r\n250 STARTTLS", "454 not now"]) as server:
        ending = mailer(server, authority).send(ENVELOPE)
    assert ending == SmtpResult(SmtpStatus.DEFERRED, "server-454", our_fault=True)


STARTTLS = ["220 hello", "250-hello\r\n250 STARTTLS"]
ENDINGS = {
    "the name of the greeter is refused": (["220 hello", "502 no EHLO", "550 who are you?"], "server-550"),
    "it speaks no SMTP": (["HTTP/1.1 400 Bad Request"], "server-0"),
    "it says nothing": ([""], "timeout"),
    "it says nothing to EHLO": (["220 hello", ""], "timeout"),
    "it hangs up in the handshake": ([*STARTTLS, "220 go on"], "tls|connection"),  # as TCP has it
    "it says nothing in the handshake": ([*STARTTLS, "220 go on", ""], "timeout"),
}


@pytest.mark.parametrize(("replies", "code"), ENDINGS.values(), ids=ENDINGS)
def test_smtp_conversation_that_ends_before_tls_is_deferred(authority, replies, code):
    with Scripted(replies) as server:
        ending = mailer(server, authority, smtp_timeout=0.3).send(ENVELOPE)
    assert ending.status is SmtpStatus.DEFERRED
    assert ending.code in code.split("|")
    assert server.connections == 1


def test_smtp_server_that_never_begins_implicit_tls_times_out(authority):
    with Scripted([""]) as server:
        ending = mailer(server, authority, "tls", smtp_timeout=0.3).send(ENVELOPE)
    assert ending == SmtpResult(SmtpStatus.DEFERRED, "timeout")


SENDING = [*HELLO, "250 ok", "250 ok", "354 go on"]
AFTER_DATA = {
    "it hangs up": ([*SENDING, "250 kept", None], ACCEPTED),
    "it says nothing to QUIT": ([*SENDING, "250 kept", ""], ACCEPTED),
    "it goes down": ([*SENDING, "250 kept", "421 going down"], ACCEPTED),
    "it never says whether it took the mail": ([*SENDING, ""], SmtpResult(SmtpStatus.DEFERRED, "timeout")),
    "it says what no server says": ([*SENDING, "kept it, thanks"], SmtpResult(SmtpStatus.DEFERRED, "data-0")),
}


@pytest.mark.parametrize(("replies", "ending"), AFTER_DATA.values(), ids=AFTER_DATA)
def test_mail_accepted_after_data_is_sent_whatever_follows_and_no_other(authority, replies, ending):
    """The server has the whole mail by now: its answer to DATA alone says whether it keeps it."""
    with Scripted(replies, authority.serving()) as server:
        assert mailer(server, authority, "tls", smtp_timeout=0.3).send(ENVELOPE) == ending
    assert server.connections == 1
    assert b"Message-ID: <case.alert.1@octy.example>\r\n" in server.heard


def test_smtp_server_that_answers_slowly_without_end_times_out(authority):
    with Scripted([*SENDING, "250 kept"], authority.serving(), pause=0.25) as server:
        ending = mailer(server, authority, "tls", smtp_timeout=0.5).send(ENVELOPE)
    assert ending == SmtpResult(SmtpStatus.DEFERRED, "timeout")
    assert b".\r\n" not in server.heard


def test_password_that_smtp_cannot_encode_is_deferred(starttls, authority):
    sender = mailer(starttls, authority, smtp_user="octy", smtp_password="pässword")
    assert sender.send(ENVELOPE) == SmtpResult(SmtpStatus.DEFERRED, "characters", our_fault=True)


def test_mailer_without_a_reachable_server_is_deferred(authority):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    server = type("Gone", (), {"port": port})
    assert mailer(server, authority).send(ENVELOPE) == SmtpResult(SmtpStatus.DEFERRED, "connection")


def test_mail_server_name_without_address_is_deferred(authority, monkeypatch):
    def no_such_host(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    server = type("Nowhere", (), {"port": 25})
    assert mailer(server, authority).send(ENVELOPE) == SmtpResult(SmtpStatus.DEFERRED, "dns", our_fault=True)


def test_implicit_tls_to_a_plaintext_server_is_deferred(authority):
    with Scripted(["220 hello", "250 hello"]) as server:
        assert mailer(server, authority, "tls").send(ENVELOPE) == SmtpResult(SmtpStatus.DEFERRED, "tls", our_fault=True)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (smtplib.SMTPRecipientsRefused({"ada@customer.example": (550, b"no")}), SmtpStatus.REFUSED, "rcpt-550"),
        (smtplib.SMTPRecipientsRefused({}), SmtpStatus.DEFERRED, "rcpt-0"),
        (smtplib.SMTPSenderRefused(553, b"no", "security@octy.example"), SmtpStatus.REFUSED, "mail-553"),
        (smtplib.SMTPDataError(354, b"odd"), SmtpStatus.DEFERRED, "data-354"),
        (smtplib.SMTPAuthenticationError(454, b"later"), SmtpStatus.DEFERRED, "auth-454"),
        (smtplib.SMTPHeloError(550, b"who?"), SmtpStatus.DEFERRED, "server-550"),
        (smtplib.SMTPException("No suitable authentication method found."), SmtpStatus.DEFERRED, "auth-no-method"),
        (StartTlsMissingError(), SmtpStatus.DEFERRED, "tls-not-offered"),
        (ssl.SSLCertVerificationError(), SmtpStatus.DEFERRED, "tls-certificate"),
        (ssl.SSLEOFError(), SmtpStatus.DEFERRED, "tls"),
        (TimeoutError(), SmtpStatus.DEFERRED, "timeout"),
        (ConnectionResetError(), SmtpStatus.DEFERRED, "connection"),
        (OSError(113, "No route to host"), SmtpStatus.DEFERRED, "network"),
        (UnicodeEncodeError("ascii", "ada@customer.exämple", 0, 1, "no"), SmtpStatus.DEFERRED, "characters"),
        (ValueError("ada@customer.example"), SmtpStatus.DEFERRED, "message-ValueError"),
    ],
)
def test_each_smtp_error_has_its_code(error, status, code):
    ending = classify(error)
    assert (ending.status, ending.code) == (status, code)
    assert "@" not in repr(ending)
    assert ("report it" in explain(ending).action) is code.startswith("message-")


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("ada@customer.example", "ada@customer.example"),
        ("Ada+keys@Customer.example", "Ada+keys@customer.example"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ops@relay", "ops@relay"),
        ("", None),
        ("ada", None),
        ("ada@", None),
        ("ada@localhost", None),
        ("zoë@customer.example", None),
        ("ada..x@customer.example", None),
        ("ada@customer.example, eve@evil.example", None),
        ("ada@customer.example\r\nBcc: eve@evil.example", None),
        ("ada@customer.example\n", None),
        ("<ada@customer.example>", None),
        ("ada@customer.example>\x00", None),
        ('"ada"@customer.example', None),
        (f"{'a' * 65}@customer.example", None),
    ],
)
def test_mail_addresses_are_validated_before_smtplib_gets_them(address, taken):
    assert normalize_mail_address(address) == taken


_TEXTS = st.text("abzAZ059!#$%&'*+-/=?^_`{|}~.@ \"ü\u0430<>[],\n", max_size=80)
_LABELS = st.text("abzAZ059-ü", min_size=1, max_size=66)


@settings(max_examples=200, deadline=None)
@given(address=_TEXTS | st.builds("{}@{}.example".format, _TEXTS, _LABELS))
def test_accounts_accept_exactly_the_addresses_that_mail_can_be_sent_to(address):
    known = normalize_mail_address(address.strip()) or ""
    account = Account(contact_email_address="", security_email=known)  # a change that is taken back: no notice
    try:
        change_contact(Session(), account, {"contact_email_address": address}, 0.0)
    except InvalidInputError:
        assert normalize_mail_address(address.strip()) is None or not address.isprintable()
    else:
        assert account.contact_email_address == normalize_mail_address(address.strip())
        assert normalize_mail_address(account.contact_email_address) == account.contact_email_address


@pytest.mark.parametrize("text", ["", "Octy", "Octy <octy>", "a@b\r\nBcc: eve@evil.example", "Octy <a b@c.example>"])
def test_invalid_sender_is_rejected(text):
    with pytest.raises(ConfigurationError, match="OCTY_MAIL_FROM"):
        Sender.parse(text)


def test_invalid_smtp_ca_file_is_rejected(tmp_path):
    for path in (tmp_path / "missing.pem", tmp_path):
        with pytest.raises(ConfigurationError, match="OCTY_SMTP_CA_FILE"):
            mailer(type("Any", (), {"port": 25}), None, smtp_ca_file=str(path))


def test_repr_of_an_outgoing_mail_shows_neither_address_nor_content():
    assert repr(ENVELOPE) == "OutgoingMail(message_id='<case.alert.1@octy.example>', at=1770000000.0)"
