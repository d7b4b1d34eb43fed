"""Which SSH certificates and signatures are accepted, and each way to be refused."""

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ssh_keys import SoftToken, SshKey, armor, wire_of

from octy_middleware.errors import ConfigurationError
from octy_worker.crypto.ssh_certificates import (
    CertificateAuthorities,
    RefusedSignatureError,
    Revocations,
    check_principal,
    check_source,
    fingerprint_of,
)
from octy_worker.crypto.ssh_signatures import CertifiedSignature, verify_signature
from octy_worker.crypto.ssh_wire import string, verify_raw

NOW = time.time()
ORDER = b'{"action":"decide"}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ssh")


@pytest.fixture(scope="module")
def authority(folder: Path) -> SshKey:
    return SshKey.make(folder / "ca")


@pytest.fixture(scope="module")
def ada(folder: Path, authority: SshKey) -> SshKey:
    key = SshKey.make(folder / "ada")
    key.certify(authority, "-z", "17")
    return key


@pytest.fixture(scope="module")
def new_key(folder: Path) -> Callable[..., SshKey]:
    made = iter(range(1000))
    return lambda *options: SshKey.make(folder / f"key{next(made)}", *options)


def accepting(*authorities: SshKey, revoked: tuple[str, ...] = ()) -> CertificateAuthorities:
    lines = [authority.public for authority in authorities]
    return CertificateAuthorities(lines, max_lifetime=16 * 3600, revoked=Revocations.parse(revoked))


def verify(
    signature: str, authorities: CertificateAuthorities, *, message: bytes = ORDER, now: float = NOW
) -> CertifiedSignature:
    return verify_signature(signature, message, namespace="octy-order", authorities=authorities, now=now)


def refusal(signature: str, authorities: CertificateAuthorities, **options: object) -> str:
    with pytest.raises(RefusedSignatureError) as refused:
        verify(signature, authorities, **options)  # type: ignore[arg-type]
    return str(refused.value)


@pytest.mark.parametrize(
    "options", [("-t", "ed25519"), ("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "384")], ids=" ".join
)
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_signature_by_a_certified_key_is_accepted(
    authority: SshKey, new_key: Callable[..., SshKey], options: tuple[str, ...], hash_name: str
) -> None:
    key = new_key(*options)
    key.certify(authority, "-z", "18", principals="ada,oncall")
    certificate = verify(key.sign(ORDER, hash_name=hash_name), accepting(authority)).certificate
    assert certificate.principals == ("ada", "oncall")
    assert (certificate.serial, certificate.key_id) == (18, "ada@laptop")
    assert certificate.fingerprint == fingerprint_of(wire_of(key.public))
    assert certificate.authority == fingerprint_of(wire_of(authority.public))
    assert certificate.text() == " ".join(key.certificate.read_text().split()[:2])


@pytest.mark.parametrize(
    "options", [("-t", "rsa", "-b", "2048"), ("-t", "ecdsa", "-b", "256"), ("-t", "ecdsa", "-b", "384")], ids=" ".join
)
def test_authorities_of_common_tools_are_accepted(new_key: Callable[..., SshKey], options: tuple[str, ...]) -> None:
    authority, key = new_key(*options), new_key()
    key.certify(authority)
    assert verify(key.sign(ORDER), accepting(authority)).certificate.principals == ("ada",)


@pytest.mark.parametrize("valid", ["-1m:+16h", "-30s:+16h"], ids=["step-ca", "Vault"])
def test_longest_life_may_be_backdated_as_common_authorities_do(
    authority: SshKey, new_key: Callable[..., SshKey], valid: str
) -> None:
    key = new_key()
    key.certify(authority, valid=valid)
    assert verify(key.sign(ORDER), accepting(authority), now=time.time()).certificate.principals == ("ada",)


CERTIFICATES = [
    ("host certificate", ("-h",), {}, "host certificate"),
    ("no principal", (), {"principals": ""}, "names no principal"),
    ("expired", (), {"valid": "-8h:-1h"}, "has expired"),
    ("not valid yet", (), {"valid": "+1h:+8h"}, "not valid yet"),
    ("longer than allowed", (), {"valid": "-3m:+16h"}, "valid for longer than 16 h"),
    ("forever", (), {"valid": "always:forever"}, "valid for longer than 16 h"),
    ("force-command", ("-O", "force-command=/bin/true"), {}, "not supported: force-command"),
    ("unknown critical option", ("-O", "critical:fleet@octy=1"), {}, "not supported: fleet@octy"),
    ("demands verification", ("-O", "verify-required"), {}, "demands a key that verifies its user"),
]


@pytest.mark.parametrize(
    ("options", "more", "why"), [row[1:] for row in CERTIFICATES], ids=[r[0] for r in CERTIFICATES]
)
def test_certificate_is_refused(
    authority: SshKey, new_key: Callable[..., SshKey], options: tuple[str, ...], more: dict[str, str], why: str
) -> None:
    key = new_key()
    key.certify(authority, *options, **more)
    assert why in refusal(key.sign(ORDER), accepting(authority))


FIELDS: list[tuple[str, dict[str, Any], str]] = [
    (
        "options in another order",
        {"options": string(b"verify-required") + string(b"") + string(b"source-address") + string(string(b"::/0"))},
        "the certificate is malformed",
    ),
    ("option without a value", {"options": string(b"verify-required")}, "the certificate is malformed"),
    ("empty source-address", {"options": string(b"source-address") + string(string(b" "))}, "source-address is empty"),
    ("principal that is no text", {"principals": (b"\xff",)}, "the certificate is malformed"),
]


@pytest.mark.parametrize(("fields", "why"), [row[1:] for row in FIELDS], ids=[row[0] for row in FIELDS])
def test_certificate_that_openssh_does_not_make_is_refused(authority: SshKey, fields: dict[str, Any], why: str) -> None:
    token = SoftToken()
    certificate = token.certificate(authority, after=int(NOW) - 60, before=int(NOW) + 3600, **fields)
    assert why in refusal(token.sign(certificate, ORDER), accepting(authority))


def test_certificate_of_another_authority_is_refused(ada: SshKey, new_key: Callable[..., SshKey]) -> None:
    assert "is not in OCTY_STAFF_CA_KEYS" in refusal(ada.sign(ORDER), accepting(new_key()))


def test_certificate_that_only_names_a_trusted_authority_is_refused(
    authority: SshKey, new_key: Callable[..., SshKey]
) -> None:
    eve, key = new_key(), new_key()
    key.certify(eve)
    named = _unarmored(key.sign(ORDER)).replace(string(wire_of(eve.public)), string(wire_of(authority.public)))
    assert "the authority's signature does not match" in refusal(armor(named), accepting(authority))


def test_plain_key_is_refused(ada: SshKey, authority: SshKey) -> None:
    assert "by a plain key" in refusal(ada.sign(ORDER, plain=True), accepting(authority))


def test_certified_rsa_key_is_refused(authority: SshKey, new_key: Callable[..., SshKey]) -> None:
    key = new_key("-t", "rsa", "-b", "2048")
    key.certify(authority)
    assert "are not accepted" in refusal(key.sign(ORDER), accepting(authority))


def test_sha1_signature_of_an_authority_is_refused(new_key: Callable[..., SshKey]) -> None:
    authority, key = new_key("-t", "rsa", "-b", "2048"), new_key()
    key.certify(authority, "-t", "ssh-rsa")
    assert "signed with ssh-rsa" in refusal(key.sign(ORDER), accepting(authority))


@pytest.mark.parametrize("entry", ["serial:17", "id:ada@laptop", "user key", "authority"])
def test_revoked_certificate_is_refused(ada: SshKey, authority: SshKey, entry: str) -> None:
    keys = {"user key": ada, "authority": authority}
    revoked = fingerprint_of(wire_of(keys[entry].public)) if entry in keys else entry
    assert "was revoked" in refusal(ada.sign(ORDER), accepting(authority, revoked=(revoked,)))
    assert verify(ada.sign(ORDER), accepting(authority, revoked=("serial:18", "id:bob", "SHA256:other")))


def test_signature_in_another_namespace_or_over_another_message_is_refused(ada: SshKey, authority: SshKey) -> None:
    assert "signed for 'octy-login'" in refusal(ada.sign(ORDER, "octy-login"), accepting(authority))
    assert "does not match" in refusal(ada.sign(ORDER), accepting(authority), message=ORDER + b" ")


def test_signature_with_another_hash_or_algorithm_is_refused(ada: SshKey, authority: SshKey) -> None:
    signed = _unarmored(ada.sign(ORDER))
    other_hash = signed.replace(string(b"sha512"), string(b"sha1"))
    assert "its hash algorithm is not accepted" in refusal(armor(other_hash), accepting(authority))
    before, algorithm, after = signed.rpartition(b"ssh-ed25519")
    other_algorithm = before + algorithm[::-1] + after
    assert "does not match" in refusal(armor(other_algorithm), accepting(authority))


@pytest.mark.parametrize("raw", [b"", b"\0\0\0\1", string(b"\1") * 3])
def test_raw_signature_that_is_none_does_not_match(new_key: Callable[..., SshKey], raw: bytes) -> None:
    key = wire_of(new_key("-t", "ecdsa", "-b", "256").public)
    with pytest.raises(InvalidSignature):
        verify_raw(key, b"ecdsa-sha2-nistp256", raw, ORDER)


def test_signature_of_another_certified_key_is_refused(
    ada: SshKey, authority: SshKey, new_key: Callable[..., SshKey]
) -> None:
    """The certificate of one person over the signature of another one."""
    eve = new_key()
    eve.certify(authority, principals="eve")
    hers, his = ada.certificate.read_text(), eve.certificate.read_text()
    eve.certificate.write_text(hers)
    with pytest.raises(Exception, match=r"sign|returned non-zero"):
        eve.sign(ORDER)  # ssh-keygen itself refuses
    eve.certificate.write_text(his)
    forged = armor(_unarmored(eve.sign(ORDER)).replace(string(wire_of(his)), string(wire_of(hers))))
    assert "does not match" in refusal(forged, accepting(authority))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an SSH signature"),
        ("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----", "malformed"),
        ("-----BEGIN SSH SIGNATURE-----\n%%%%\n-----END SSH SIGNATURE-----", "malformed"),
        (armor(b"SSHSIG" + (2).to_bytes(4, "big") + string(b"") * 5), "version 1"),
        (armor(b"SSHSIG" + (1).to_bytes(4, "big") + b"\xff\xff\xff\xff"), "malformed"),
        ("-----BEGIN SSH SIGNATURE-----\n" + "A" * 20_000 + "\n-----END SSH SIGNATURE-----", "not an SSH signature"),
    ],
)
def test_text_that_is_no_signature_is_refused(authority: SshKey, text: str, why: str) -> None:
    assert why in refusal(text, accepting(authority))


@pytest.mark.parametrize("ecdsa", [False, True], ids=["ed25519", "ecdsa"])
@pytest.mark.parametrize(("flags", "verified"), [(0x01, False), (0x05, True)])
def test_hardware_key_tells_whether_its_user_was_verified(
    authority: SshKey, ecdsa: bool, flags: int, verified: bool
) -> None:
    token = SoftToken(ecdsa=ecdsa)
    certificate = token.certificate(authority, after=int(NOW) - 60, before=int(NOW) + 3600)
    signed = verify(token.sign(certificate, ORDER, flags=flags), accepting(authority))
    assert signed.user_verified is verified
    assert signed.certificate.is_hardware_key


def test_hardware_key_without_a_present_user_is_refused(authority: SshKey) -> None:
    token = SoftToken()
    certificate = token.certificate(authority, after=int(NOW) - 60, before=int(NOW) + 3600)
    assert "does not match" in refusal(token.sign(certificate, ORDER, flags=0x04), accepting(authority))


def test_certificate_that_demands_verification_takes_only_a_verified_user(authority: SshKey) -> None:
    token, demand = SoftToken(), string(b"verify-required") + string(b"")
    certificate = token.certificate(authority, after=int(NOW) - 60, before=int(NOW) + 3600, options=demand)
    assert verify(token.sign(certificate, ORDER, flags=0x05), accepting(authority)).user_verified
    assert "verify-required" in refusal(token.sign(certificate, ORDER, flags=0x01), accepting(authority))


def test_source_address_is_honoured(authority: SshKey, new_key: Callable[..., SshKey]) -> None:
    key = new_key()
    key.certify(authority, "-O", "source-address=192.0.2.0/24,2001:db8::/32")
    certificate = verify(key.sign(ORDER), accepting(authority)).certificate
    for allowed in ("192.0.2.77", "2001:db8::1"):
        check_source(certificate, allowed)
    for denied in ("198.51.100.1", None, "localhost", "::ffff:198.51.100.1"):
        with pytest.raises(RefusedSignatureError, match="source-address"):
            check_source(certificate, denied)


def test_principal_must_be_the_person_who_acts(ada: SshKey, authority: SshKey) -> None:
    certificate = verify(ada.sign(ORDER), accepting(authority)).certificate
    check_principal(certificate, "ada")
    for other in ("bob", "ad", "ADA", ""):
        with pytest.raises(RefusedSignatureError, match="was not issued to"):
            check_principal(certificate, other)


@pytest.mark.parametrize("line", ["ssh-ed25519", "ssh-ed25519 AAAA", "hello world", "ssh-dss AAAAB3NzaC1kc3MAAACBAA=="])
def test_unreadable_authority_is_an_error_of_configuration(line: str) -> None:
    with pytest.raises(ConfigurationError, match="OCTY_STAFF_CA_KEYS"):
        CertificateAuthorities([line], max_lifetime=3600, revoked=Revocations())


def test_short_rsa_authority_is_an_error_of_configuration(new_key: Callable[..., SshKey]) -> None:
    with pytest.raises(ConfigurationError, match="2048"):
        accepting(new_key("-t", "rsa", "-b", "1024"))


@pytest.mark.parametrize("entry", ["17", "serial:x", "id:", "md5:00"])
def test_unreadable_revocation_is_an_error_of_configuration(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="OCTY_STAFF_REVOKED"):
        Revocations.parse([entry])


@pytest.fixture(scope="module")
def signed_blob(ada: SshKey) -> bytes:
    return _unarmored(ada.sign(ORDER))


@settings(max_examples=400)
@given(data=st.data())
def test_changed_signatures_are_refused_and_raise_nothing_else(
    authority: SshKey, signed_blob: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(signed_blob) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "copy"]))
    changed = {
        "flip": signed_blob[:place]
        + bytes([signed_blob[place] ^ data.draw(st.integers(1, 255))])
        + signed_blob[place + 1 :],
        "cut": signed_blob[:place],
        "insert": signed_blob[:place] + data.draw(st.binary(min_size=1, max_size=8)) + signed_blob[place:],
        "copy": signed_blob[: place + 1] + signed_blob[place:],
    }[kind]
    assert refusal(armor(changed), accepting(authority))


def _unarmored(signature: str) -> bytes:
    return base64.b64decode("".join(signature.split("\n")[1:-2]))
