"""TLS of the stack: a CA and one server certificate for localhost.

The CA's private key is never written, so no other certificate can be signed with it, and it is safe to trust `ca.pem`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509

from octy_worker.private_files import write_private

NAMES = ("localhost", "127.0.0.1", "::1")
_VALIDITY = timedelta(days=397)  # browsers refuse a longer validity
_RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """Three PEM files: the CA, the server's chain, the server's private key."""

    ca: Path
    chain: Path
    key: Path


def ensure_certificate(folder: Path, now: datetime | None = None) -> Certificate:
    """Return the folder's certificate. It is created when there is none or it expires within 30 days."""
    now = now or datetime.now(UTC)
    files = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    if not _is_fresh(files, now):
        _make(files, now)
    return files


def _is_fresh(files: Certificate, now: datetime) -> bool:
    try:
        served = x509.load_pem_x509_certificate(files.chain.read_bytes())
        authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
        served.verify_directly_issued_by(authority)
        names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = [*names.get_values_for_type(x509.DNSName)]
        known += map(str, names.get_values_for_type(x509.IPAddress))
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return files.key.exists() and set(known) == set(NAMES) and served.not_valid_after_utc - now > _RENEW_BEFORE


def _make(files: Certificate, now: datetime) -> None:
    files.ca.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="Octy development")
    server = authority.issue_cert(*NAMES, not_before=now - timedelta(hours=1), not_after=now + _VALIDITY)
    write_private(files.key, server.private_key_pem.bytes().decode())
    write_private(files.chain, b"".join(blob.bytes() for blob in server.cert_chain_pems).decode())
    write_private(files.ca, authority.cert_pem.bytes().decode())
