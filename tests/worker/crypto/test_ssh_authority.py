"""The built-in certificate authority: what it signs is what OpenSSH signs with and what orders accept."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.ssh_keys import SoftToken, SshKey

from octy_worker.crypto.ssh_authority import authority_line, issue_certificate, new_authority_key
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, Revocations
from octy_worker.crypto.ssh_signatures import verify_signature
from octy_worker.errors import UsageError

NOW = time.time()
AUTHORITY = new_authority_key()


def issue(public_key: str) -> str:
    return issue_certificate(AUTHORITY, public_key, handle="ada", serial=5, lifetime=8 * 3600, now=NOW)


@pytest.mark.parametrize(
    "options", [("-t", "ed25519"), ("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "384")], ids=" ".join
)
def test_certificate_serves_ssh_keygen_and_is_accepted(tmp_path: Path, options: tuple[str, ...]) -> None:
    key = SshKey.make(tmp_path / "ada", *options)
    key.certificate.write_text(issue(key.public))
    accepted = CertificateAuthorities([authority_line(AUTHORITY)], max_lifetime=16 * 3600, revoked=Revocations())
    signed = verify_signature(key.sign(b"x"), b"x", namespace="octy-order", authorities=accepted, now=NOW)
    certificate = signed.certificate
    assert (certificate.principals, certificate.serial, certificate.key_id) == (("ada",), 5, "ada-5")
    assert certificate.valid_before - certificate.valid_after == pytest.approx(8 * 3600 + 60, abs=1)


def rsa_key(folder: Path) -> str:
    return SshKey.make(folder / "rsa", "-t", "rsa", "-b", "2048").public


def token_key(_folder: Path) -> str:
    return SoftToken().public_line


@pytest.mark.parametrize("make", [rsa_key, token_key, lambda _folder: "hello", lambda _folder: ""])
def test_other_keys_are_refused_with_what_to_do(tmp_path: Path, make: Callable[[Path], str]) -> None:
    with pytest.raises(UsageError, match="→"):
        issue(make(tmp_path))
