"""Signing on a staff member's machine by `ssh-keygen`: with a file, with an agent alone, and each way to fail."""

import time
from pathlib import Path

import pytest
from support.ssh_keys import SoftToken, SshKey, armor, ssh_agent, ssh_keygen

from octy_worker.crypto import ssh_signer
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError, Revocations
from octy_worker.crypto.ssh_signatures import claims_verified_user, verify_signature
from octy_worker.crypto.ssh_signer import find_signer
from octy_worker.crypto.ssh_wire import string
from octy_worker.errors import CommandError


@pytest.fixture
def authority(tmp_path: Path) -> SshKey:
    return SshKey.make(tmp_path / "ca")


@pytest.fixture
def ada(tmp_path: Path, authority: SshKey) -> SshKey:
    key = SshKey.make(tmp_path / "ada")
    key.certify(authority)
    return key


def is_accepted(authority: SshKey, signature: str) -> bool:
    authorities = CertificateAuthorities([authority.public], max_lifetime=16 * 3600, revoked=Revocations())
    signed = verify_signature(signature, b"text", namespace="octy-order", authorities=authorities, now=time.time())
    return signed.certificate.principals == ("ada",)


@pytest.mark.parametrize("name", ["ada", "ada.pub", "ada-cert.pub"])
def test_key_file_signs_by_the_certificate_beside_it(ada: SshKey, authority: SshKey, name: str) -> None:
    signer = find_signer(str(ada.path.with_name(name)))
    assert signer.handle() == "ada"
    assert is_accepted(authority, signer.sign(b"text", "octy-order"))


def test_agent_signs_when_neither_key_nor_certificate_is_in_a_file(
    ada: SshKey, authority: SshKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_agent(tmp_path, ada) as environ:
        monkeypatch.setenv("SSH_AUTH_SOCK", environ["SSH_AUTH_SOCK"])
        ada.path.unlink()
        ada.certificate.unlink()
        assert is_accepted(authority, find_signer(None).sign(b"text", "octy-order"))


def test_token_that_verified_its_user_is_seen_in_the_signature(ada: SshKey, authority: SshKey) -> None:
    token, now = SoftToken(), int(time.time())
    certificate = token.certificate(authority, after=now - 60, before=now + 3600)
    flags = {0x05: True, 0x01: False}
    assert {flag: claims_verified_user(token.sign(certificate, b"text", flags=flag)) for flag in flags} == flags
    assert not claims_verified_user(ada.sign(b"text"))
    with pytest.raises(RefusedSignatureError, match="malformed"):
        claims_verified_user(armor(b"SSHSIG" + (1).to_bytes(4, "big") + string(b"") * 5))


def test_ed25519_file_signs_where_openssh_is_not_installed(
    ada: SshKey, authority: SshKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = SshKey.make(tmp_path / "locked", "-t", "ed25519")
    locked.certify(authority)
    ssh_keygen("-p", "-P", "", "-N", "a passphrase", "-f", locked.path)
    other = SshKey.make(tmp_path / "other", "-t", "ecdsa")
    other.certify(authority)
    by_openssh = find_signer(str(ada.path)).sign(b"text", "octy-order")
    monkeypatch.setenv("PATH", str(tmp_path))
    signature = find_signer(str(ada.path)).sign(b"text", "octy-order")
    assert is_accepted(authority, signature)
    assert signature == by_openssh  # Ed25519 is deterministic
    for key in (locked, other):
        told = failure(find_signer(str(key.path)).sign, b"text", "octy-order")
        assert "is not an Ed25519 key without a passphrase" in told


def failure(call: object, *values: object) -> str:
    with pytest.raises(CommandError) as failed:
        call(*values)  # type: ignore[operator]
    return str(failed.value)


def test_what_is_missing_is_named_with_what_to_do(
    ada: SshKey, authority: SshKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = SshKey.make(tmp_path / "plain")
    assert "there is no certificate" in failure(find_signer, str(plain.path))
    assert "there is no certificate ~no-user/key-cert.pub" in failure(find_signer, "~no-user/key")
    plain.certificate.write_text("ssh-ed25519 AAAA plain\n")
    assert "can't be used: the certificate is malformed" in failure(find_signer, str(plain.path))
    plain.certificate.write_text("nothing")
    assert "can't be read" in failure(find_signer, str(plain.path))
    plain.certify(authority, principals="ada,bob")
    assert "names several people: ada, bob" in failure(find_signer(str(plain.path)).handle)
    assert find_signer(str(plain.path)).handle("bob") == "bob"
    assert "not to eve" in failure(find_signer(str(ada.path)).handle, "eve")
    assert "has expired" in failure(find_signer(str(ada.path)).check_time, time.time() + 9 * 3600)
    assert "not valid yet" in failure(find_signer(str(ada.path)).check_time, time.time() - 3 * 3600)
    with ssh_agent(tmp_path, plain, ada) as environ:
        monkeypatch.setenv("SSH_AUTH_SOCK", environ["SSH_AUTH_SOCK"])
        assert "several certificates" in failure(find_signer, None)
    assert "the agent has none" in failure(find_signer, None)
    signer = find_signer(str(ada.path))
    ada.path.unlink()
    assert "ssh-keygen did not sign" in failure(signer.sign, b"text", "octy-order")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh-keygen is not installed" in failure(signer.sign, b"text", "octy-order")
    assert "ssh-add is not installed" in failure(find_signer, None)


def test_agent_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh-add"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(ssh_signer, "TIMEOUT", 0.2)
    assert "ssh-add did not answer within 0.2 s" in failure(find_signer, None)
