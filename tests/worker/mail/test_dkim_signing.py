"""DKIM, against a real server and the verifier that receivers use: what is signed, with which key, and bad set-ups."""

import base64
import importlib.util
import re

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from support.mail_rig import settings
from support.smtp_servers import Authority, Inbox, Server, running

from octy_middleware.errors import ConfigurationError
from octy_worker.mail.dkim_signing import DkimSigner
from octy_worker.mail.mailer import SmtpMailer
from octy_worker.mail.message_builder import MessageBuilder, OutgoingMail
from octy_worker.mail.renderer import RenderedMail
from octy_worker.mail.smtp_errors import SmtpResult, SmtpStatus

RSA = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
LETTER = RenderedMail(
    "Zoë’s subject " + "long " * 30, "The text, für alle.\n.a line with a dot\nFrom here\n", "<p>The page</p>\n"
)
ENVELOPE = OutgoingMail("<case.alert.1@octy.example>", 1_770_000_000.0, "ada@customer.example", LETTER)


def pem(key, form=PrivateFormat.PKCS8, encryption=None):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def key_file(folder, content):
    (folder / "dkim.pem").write_bytes(content)
    return str(folder / "dkim.pem")


def signed_by(folder, content, **values):
    values = {"dkim_domain": "octy.example", "dkim_selector": "s1", **values}
    return settings(**values, dkim_private_key_file=key_file(folder, content))


def verified(raw, signing):
    """Return whether the message verifies when the DNS says what hosts are asked to put there, and nothing else."""
    records = {f"{signing.record_name}.".encode(): signing.record.encode()}
    return dkim.verify(raw, dnsfunc=lambda name, timeout: records.get(name))


@pytest.fixture(scope="module")
def relay(tmp_path_factory):
    authority, inbox = Authority(tmp_path_factory.mktemp("ca")), Inbox()
    with running(Server(inbox, tls_context=authority.serving())) as server:
        server.authority = authority
        yield server


FILES = {
    "RSA in PKCS#8": pem(RSA),
    "RSA in PKCS#1": pem(RSA, PrivateFormat.TraditionalOpenSSL),
    "RSA with the line ends of Windows": pem(RSA).replace(b"\n", b"\r\n"),
    "Ed25519": pem(EDWARDS),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_dkim_signature_verifies_by_the_dns_record_that_we_print(relay, tmp_path, content):
    values = {"smtp_host": "localhost", "smtp_port": relay.port, "smtp_ca_file": str(relay.authority.file)}
    chosen = signed_by(tmp_path, content, **values)
    relay.handler.clear()
    assert SmtpMailer(chosen).send(ENVELOPE) == SmtpResult(SmtpStatus.ACCEPTED)
    (mail,) = relay.handler.sent
    signing = DkimSigner.from_settings(chosen)
    assert verified(mail.raw, signing)
    assert mail.message.keys()[0] == "DKIM-Signature"
    assert re.search(r"d=octy\.example;.*s=s1;", mail.message["DKIM-Signature"])
    assert not verified(mail.raw.replace(b"The text", b"Another text"), signing)
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("From", "Octy <eve@octy.example>"),
        ("To", "eve@evil.example"),
        ("Cc", "eve@evil.example"),
        ("Reply-To", "eve@evil.example"),
        ("Subject", "Pay"),
        ("Date", "Mon, 02 Feb 2026 02:41:00 +0000"),
        ("Message-ID", "<other@octy.example>"),
        ("Auto-Submitted", "no"),
        ("Content-Type", "text/html"),
    ],
)
def test_dkim_signature_covers_every_visible_header(tmp_path, header, value):
    chosen = signed_by(tmp_path, pem(RSA))
    raw, signing = MessageBuilder(chosen).compose(ENVELOPE).as_bytes(), DkimSigner.from_settings(chosen)
    assert verified(raw, signing)
    added = f"{header}: {value}\r\n".encode() + raw
    assert not verified(added, signing)
    changed = re.sub(rf"(?ms)^{header}:.*?\r\n(?=[\S\r])".encode(), f"{header}: {value}\r\n".encode(), raw, count=1)
    assert (changed == raw) is (header in ("Cc", "Reply-To"))
    assert changed == raw or not verified(changed, signing)


def test_dkim_signature_survives_changes_by_mail_relays(tmp_path):
    chosen = signed_by(tmp_path, pem(RSA))
    raw = MessageBuilder(chosen).compose(ENVELOPE).as_bytes()
    refolded = raw.replace(b"Message-ID: <", b"Message-ID:\r\n  <")
    assert refolded != raw
    assert verified(b"Received: from a by b; now\r\n" + refolded + b"\r\n\r\n", DkimSigner.from_settings(chosen))


def test_mails_are_not_signed_without_dkim_settings():
    assert DkimSigner.from_settings(settings()) is None
    assert b"DKIM" not in MessageBuilder(settings()).compose(ENVELOPE).as_bytes()


def test_message_that_cannot_be_signed_is_deferred(relay, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise dkim.ParameterError("no")

    monkeypatch.setattr(dkim, "sign", fail)
    relay.handler.clear()
    ending = SmtpMailer(signed_by(tmp_path, pem(RSA))).send(ENVELOPE)
    assert ending == SmtpResult(SmtpStatus.DEFERRED, "message-ParameterError", our_fault=True)
    assert relay.handler.sent == []


@pytest.mark.parametrize("missing", ["dkim_domain", "dkim_selector", "dkim_private_key_file"])
def test_dkim_settings_must_be_set_together(tmp_path, missing):
    given = {"dkim_domain": "octy.example", "dkim_selector": "s1", "dkim_private_key_file": str(tmp_path)}
    with pytest.raises(ConfigurationError, match=f"OCTY_{missing.upper()} not set"):
        SmtpMailer(settings(**{**given, missing: ""}))


@pytest.mark.parametrize("name", ["octy..example", "-octy.example", "octy.example;", "octy example", "ö.example"])
@pytest.mark.parametrize("setting", ["dkim_domain", "dkim_selector"])
def test_dkim_names_that_are_invalid_in_dns_are_rejected(tmp_path, setting, name):
    with pytest.raises(ConfigurationError, match=f"OCTY_{setting.upper()}"):
        DkimSigner.from_settings(signed_by(tmp_path, pem(RSA), **{setting: name}))


UNFIT = {
    "no key": (b"hello", "holds no private key"),
    "not even text": (b"\xff\x00", "holds no private key"),
    "a public key": (
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
        "holds no private key",
    ),
    "under a password": (pem(RSA, encryption=BestAvailableEncryption(b"x")), "without a password"),
    "of another kind": (pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
}


@pytest.mark.parametrize(("content", "why"), UNFIT.values(), ids=UNFIT)
def test_dkim_key_file_without_a_usable_key_is_rejected(tmp_path, content, why):
    with pytest.raises(ConfigurationError, match=f"OCTY_DKIM_PRIVATE_KEY_FILE.*{why}"):
        DkimSigner.from_settings(signed_by(tmp_path, content))


def test_weak_dkim_key_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr("octy_worker.mail.dkim_signing.MIN_RSA_BITS", 4096)
    with pytest.raises(ConfigurationError, match="2048 bits is too weak"):
        DkimSigner.from_settings(signed_by(tmp_path, pem(RSA)))


def test_missing_dkim_key_file_is_rejected(tmp_path):
    gone = {"dkim_domain": "a.example", "dkim_selector": "s", "dkim_private_key_file": str(tmp_path / "no.pem")}
    with pytest.raises(ConfigurationError, match=r"no\.pem' can't be read: No such file"):
        DkimSigner.from_settings(settings(**gone))


def test_ed25519_dkim_key_without_its_package_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"octy-middleware\[ed25519\]"):
        DkimSigner.from_settings(signed_by(tmp_path, pem(EDWARDS)))
    assert DkimSigner.from_settings(signed_by(tmp_path, pem(RSA))) is not None


@pytest.mark.parametrize("key", [RSA, EDWARDS], ids=["RSA", "Ed25519"])
def test_repr_of_dkim_signing_shows_no_key(tmp_path, key):
    signing = DkimSigner.from_settings(signed_by(tmp_path, pem(key)))
    assert signing.key not in repr(signing).encode()
    assert base64.b64decode(signing.record.partition("p=")[2]) not in signing.key
