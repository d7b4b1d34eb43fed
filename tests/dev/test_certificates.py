"""The development certificate for localhost: verified by clients, private, renewed before it expires."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from octy_worker.dev.certificates import ensure_certificate

NOW = datetime.now(UTC)


@pytest.fixture
def certificate(tmp_path):
    return ensure_certificate(tmp_path / "tls")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_client_verifies_the_certificate(certificate, name):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.chain, certificate.key)
    client = ssl.create_default_context(cafile=certificate.ca)
    assert handshake(server, client, name) == "TLSv1.3"


@pytest.mark.parametrize("trusted", [False, True])
def test_client_rejects_another_name_or_authority(certificate, tmp_path, trusted):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.chain, certificate.key)
    other = ensure_certificate(tmp_path / "other")
    client = ssl.create_default_context(cafile=certificate.ca if trusted else other.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client, "evil.example" if trusted else "localhost")


def test_certificate_files_are_private_and_hold_no_authority_key(certificate):
    folder = certificate.ca.parent
    assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "server.key", "server.pem"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert b"PRIVATE" not in certificate.ca.read_bytes() + certificate.chain.read_bytes()


def test_certificate_is_kept_between_runs(certificate):
    before = certificate.chain.read_bytes()
    assert ensure_certificate(certificate.ca.parent, NOW + timedelta(days=300)).chain.read_bytes() == before


def test_certificate_is_renewed_before_it_expires(certificate):
    before = certificate.chain.read_bytes()
    assert ensure_certificate(certificate.ca.parent, NOW + timedelta(days=370)).chain.read_bytes() != before


@pytest.mark.parametrize("victim", ["ca.pem", "server.pem", "server.key"])
def test_certificate_is_made_again_when_a_file_is_missing_or_foreign(certificate, victim):
    folder = certificate.ca.parent
    before = certificate.chain.read_bytes()
    (folder / victim).unlink()
    after = ensure_certificate(folder).chain.read_bytes()
    assert after != before
    (folder / "server.pem").write_bytes(before)  # signed by the authority before this one
    assert ensure_certificate(folder).chain.read_bytes() not in (before, after)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """Return the version that both sides agree on over a real socket pair."""
    here, there = socket.socketpair()
    for end in (here, there):
        end.settimeout(10)

    def serve():
        try:
            with server.wrap_socket(there, server_side=True) as connection:
                connection.recv(1)
        except (ssl.SSLError, OSError):
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with here, client.wrap_socket(here, server_hostname=name) as connection:
            return str(connection.version())
    finally:
        thread.join()
