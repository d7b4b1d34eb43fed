"""`octy mail`: previews of every kind, a test mail through a real server and its result, the DNS entry."""

import re
from email import message_from_bytes, policy
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.cli_rig import Octy
from support.smtp_servers import Authority, Inbox, Server, running

from octy_worker.cli import mail
from octy_worker.cli.doctor.check import State
from octy_worker.cli.doctor.mail import check_signature, check_templates
from octy_worker.dev.demo_oracle import expected_figures
from octy_worker.dev.demo_report import write_report
from octy_worker.dev.demo_staff import AuditFigures
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus
from octy_worker.mail.smtp_explanations import explain
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import MailKind
from worker.cli.test_cli_lists import documented

KEY = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    authority, inbox = Authority(tmp_path_factory.mktemp("ca")), Inbox()
    with running(Server(inbox, tls_context=authority.serving())) as server:
        server.authority = authority
        yield server


@pytest.fixture
def octy(relay) -> Octy:
    """The command with the settings of mail and nothing else: no keys, no database."""
    relay.handler.clear()
    return Octy(
        {
            "OCTY_SMTP_HOST": "localhost",
            "OCTY_SMTP_PORT": str(relay.port),
            "OCTY_SMTP_CA_FILE": str(relay.authority.file),
            "OCTY_MAIL_FROM": "Acme <security@acme.example>",
            "OCTY_PRODUCT_NAME": "Acme",
        }
    )


@pytest.fixture
def signed(octy, tmp_path) -> Octy:
    (tmp_path / "dkim.pem").write_bytes(KEY)
    (tmp_path / "dkim.pem").chmod(0o600)
    names = {"DOMAIN": "acme.example", "SELECTOR": "s1", "PRIVATE_KEY_FILE": str(tmp_path / "dkim.pem")}
    octy.variables |= {f"OCTY_DKIM_{name}": value for name, value in names.items()}
    return octy


# Previews


def test_mail_preview_lists_all_kinds(octy, tmp_path):
    page = octy("mail", "preview").must().stdout
    assert [kind for kind in MailKind if not re.search(rf"^{kind} .* Acme\b", page, re.MULTILINE)] == []
    assert "all built in" in page
    (tmp_path / "alert").mkdir()
    (tmp_path / "alert/subject.txt").write_text("Mine")
    page = octy("mail", "preview", OCTY_MAIL_TEMPLATES=str(tmp_path)).must().stdout
    assert re.search(r"^alert .* Mine$", page, re.MULTILINE)
    assert f"your templates  {tmp_path}/alert/subject.txt" in page


def test_mail_preview_prints_one_kind_in_each_format(octy):
    text = octy("mail", "preview", "alert").must().stdout
    assert text.startswith("Subject: Acme security alert: 20 failed attempts with your API key\n\nHello Ada,\n")
    assert octy("mail", "preview", "alert", "--text").must().stdout == text
    assert octy("mail", "preview", "alert", "--html").must().stdout.startswith("<!doctype html>")
    message = message_from_bytes(
        octy("mail", "preview", "alert", "--eml").must().stdout.encode(), policy=policy.default
    )
    assert message["From"] == "Acme <security@acme.example>"
    assert text.endswith(message.get_body(("plain",)).get_content())


def test_mail_preview_writes_files_of_all_kinds_or_one(octy, tmp_path):
    made = octy("mail", "preview", "--out", str(tmp_path / "all")).must().stdout.split()
    assert sorted(made) == sorted(map(str, (tmp_path / "all").iterdir()))
    assert {Path(path).name for path in made} == {
        f"{kind}.{form}" for kind in MailKind for form in ("txt", "html", "eml")
    }
    octy("mail", "preview", "new_keys", "--html", "--out", str(tmp_path / "one")).must()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["new_keys.html"]


def test_preview_and_report_files_are_readable_by_their_owner_only(octy, tmp_path):
    open_file = tmp_path / "alert.txt"
    open_file.write_text("of yesterday")
    open_file.chmod(0o644)
    octy("mail", "preview", "alert", "--out", str(tmp_path)).must()
    write_report(tmp_path / "report.json", expected_figures([]), 1.0, (), AuditFigures(0, verified=True))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert "of yesterday" not in open_file.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--html"], "name a KIND"),
        (["alert", "--html", "--eml"], "one form"),
        (["alarm"], "'alarm' is not one of"),
        (["--out", "/dev/null/x"], "can't be written"),
        (["--out", "/dev/null"], "/dev/null is a file → name a folder"),
    ],
)
def test_mail_preview_of_an_unknown_kind_is_rejected(octy, words, said):
    assert said in octy("mail", "preview", *words).must(2).stderr


def test_mail_preview_reports_a_template_error_with_file_and_line(octy, tmp_path):
    (tmp_path / "parts.txt").write_text("\n{{ nothing }}")
    for words in (["preview"], ["preview", "alert"], ["test", "ada@customer.example"]):
        ended = octy("mail", *words, OCTY_MAIL_TEMPLATES=str(tmp_path)).must(2)
        assert f"{tmp_path}/parts.txt, line 2: 'nothing' is undefined" in ended.stderr


# A mail that is really sent


def test_mail_test_sends_a_mail(octy, relay):
    ended = octy("mail", "test", "ada@customer.example").must()
    (sent,) = relay.handler.sent
    assert sent.message["Subject"] == "[Test] Acme security alert: 20 failed attempts with your API key"
    assert sent.message["To"] == "ada@customer.example"
    assert f"The mail server localhost:{relay.port}: it accepted the mail, not signed" in ended.stdout
    assert sent.message["Message-ID"].strip() in ended.stdout


def test_mail_test_is_signed_as_the_dns_entry_says(signed, relay):
    report = signed("mail", "test", "ada@customer.example", "--kind", "new_keys", "--json").must().json
    assert set(report) == set(documented(mail.TEST_JSON.replace(": accepted | deferred | refused", "")))
    assert (report["kind"], report["signed"], report["status"]) == ("new_keys", True, "accepted")
    entry = signed("mail", "record", "--json").must().json
    assert set(entry) == set(documented(mail.RECORD_JSON))
    name, value = re.match(r"(\S+) TXT (.*)\n", signed("mail", "record").must().stdout).groups()
    assert name == f"{entry['name']}." == "s1._domainkey.acme.example."
    strings = re.findall(r'"([^"]*)"', value)
    assert "".join(strings) == entry["value"]
    assert max(map(len, strings)) <= 255
    records = {name.encode(): entry["value"].encode()}
    assert dkim.verify(relay.handler.sent[0].raw, dnsfunc=lambda name, timeout: records[name])


@pytest.mark.parametrize(
    ("reply", "code", "said"),
    [
        ({"RCPT": "550 ada@customer.example: unknown"}, 3, "it refused the recipient's address (550)"),
        ({"RCPT": "451 later"}, 4, "it refused the recipient's address (451), temporarily"),
        ({"MAIL": "553 not yours"}, 3, "it refused the sender's address (553) → check OCTY_MAIL_FROM"),
        ({"MAIL": "530 who are you?"}, 1, "it requires a log-in (530)"),
        ({"DATA": "554 spam"}, 3, "it refused the mail (554)"),
    ],
)
def test_mail_test_that_fails_reports_the_code(octy, relay, reply, code, said):
    relay.handler.replies.update(reply)
    ended = octy("mail", "test", "ada@customer.example").must(code)
    assert f"the mail server localhost:{relay.port}: {said}" in ended.stderr
    assert "ada@" not in ended.stderr
    report = octy("mail", "test", "ada@customer.example", "--json").must(code).json
    assert (report["status"] == "refused") is (code == 3)


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"OCTY_SMTP_HOST": "127.0.0.1"}, 1, "its certificate is not trusted for this name → set OCTY_SMTP_CA_FILE"),
        ({"OCTY_SMTP_PORT": "9"}, 4, "it refused or closed the connection"),
        ({"OCTY_SMTP_USER": "octy"}, 1, "it refused the log-in (535) → check OCTY_SMTP_USER"),
        ({"OCTY_SMTP_SECURITY": "none"}, 2, "OCTY_SMTP_SECURITY"),
        ({"OCTY_DKIM_DOMAIN": "acme.example"}, 2, "OCTY_DKIM_SELECTOR, OCTY_DKIM_PRIVATE_KEY_FILE not set"),
    ],
)
def test_mail_test_with_unusable_settings_is_rejected(octy, variables, code, said):
    assert said in octy("mail", "test", "ada@customer.example", **variables).must(code).stderr


def test_mail_test_to_an_invalid_address_is_rejected(octy, relay):
    assert "is not a valid mail address" in octy("mail", "test", "ada").must(2).stderr
    assert relay.connections == 0 or relay.handler.sent == []


def test_mail_dns_entry_needs_a_dkim_key(octy):
    assert "DKIM is not configured" in octy("mail", "record").must(2).stderr


CODES = [
    *("timeout", "connection", "network", "dns", "disconnected", "unfinished", "tls", "tls-certificate"),
    *(
        "characters",
        "server-0",
        "tls-not-offered",
        "auth-not-offered",
        "auth-no-method",
        "auth-535",
        "auth-454",
        "auth-mail-530",
    ),
    *("auth-rcpt-535", "auth-data-538", "server-421", "server-554", "mail-451", "mail-553", "rcpt-450", "rcpt-550"),
    *("rcpt-0", "data-354", "data-552", "invalid-address", "message-ValueError"),
]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("status", [SmtpStatus.DEFERRED, SmtpStatus.REFUSED])
def test_every_smtp_code_has_a_description(code, status):
    told = explain(SmtpResult(status, code))
    assert told.action
    assert "{" not in told.problem
    number = re.search(r"\d+", code)
    assert number is None or number[0] in told.problem
    assert ("report it" in told.action) is code.startswith("message-")


# The doctor


def set_up(octy, **variables):
    chain = "k1:" + "ab" * 32
    keys = {f"OCTY_{name}": chain for name in ("PEPPERS", "SEALING_KEYS", "LINK_KEYS")}
    return WorkerSettings.from_environment({**octy.variables, **keys, **variables})


def test_doctor_says_whether_mails_are_signed(signed):
    signature = check_signature(set_up(signed))
    assert signature.state is State.OK
    assert "RSA, 2048 bits, for s1._domainkey.acme.example" in signature.found
    assert "DKIM is not configured" in check_signature(set_up(Octy())).found
    assert check_signature(set_up(signed, OCTY_MAIL_FROM="Acme <a@mail.acme.example>")).state is State.OK


def test_doctor_reports_dkim_signatures_that_would_not_verify(signed, tmp_path):
    foreign = check_signature(set_up(signed, OCTY_MAIL_FROM="Acme <a@acme.org>"))
    assert (foreign.state, "mails are sent from acme.org" in foreign.found) == (State.PROBLEM, True)
    (tmp_path / "dkim.pem").chmod(0o644)
    assert "every user of this machine can read" in check_signature(set_up(signed)).found
    assert check_signature(set_up(signed, OCTY_MAIL_FROM="Acme")).state is State.UNCHECKED
    half = check_signature(set_up(signed, OCTY_DKIM_SELECTOR=""))
    assert (half.state, "OCTY_DKIM_SELECTOR not set" in half.found) == (State.PROBLEM, True)


def test_doctor_reports_template_errors(octy, tmp_path):
    (tmp_path / "parts.txt").write_text("{{ one }}{{ two }}")
    assert check_templates(set_up(octy)).state is State.OK
    templates = check_templates(set_up(octy, OCTY_MAIL_TEMPLATES=str(tmp_path)))
    assert (templates.state, templates.to_do[:9]) == (State.PROBLEM, "correct t")
    assert "parts.txt, line 1" in templates.found
    assert "(and 1 more)" in templates.found
    gone = check_templates(set_up(octy, OCTY_MAIL_TEMPLATES=str(tmp_path / "gone")))
    assert "is not a folder" in gone.found
