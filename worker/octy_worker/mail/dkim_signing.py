"""DKIM signatures (RFC 6376, 8301, 8463): the private key, the signed headers and the DNS record."""

import base64
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from emails.message import Message
from emails.signers import DKIMSigner

from octy_middleware.errors import ConfigurationError
from octy_worker.settings import WorkerSettings

_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")
MIN_RSA_BITS = 1024  # bits; RFC 8301 lets receivers ignore anything smaller
# Each is listed twice (oversigning): a header that is added later breaks the signature.
_SIGNED_HEADERS = (
    *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "auto-submitted"),
    *("mime-version", "content-type"),
)


@dataclass(frozen=True, slots=True)
class DkimSigner:
    """Domain, selector and key of the signature. `record` is the DNS record at `record_name`."""

    domain: str
    selector: str
    algorithm: str
    key_type: str
    record: str
    key: bytes = field(repr=False)

    @classmethod
    def from_settings(cls, settings: WorkerSettings) -> "DkimSigner | None":
        """Return the signer of the settings, None without DKIM settings. Raises ConfigurationError."""
        given = {name: getattr(settings, name) for name in ("dkim_domain", "dkim_selector", "dkim_private_key_file")}
        if not any(given.values()):
            return None
        missing = [f"OCTY_{name.upper()}" for name, value in given.items() if not value]
        if missing:
            raise ConfigurationError(f"DKIM needs all of its settings or none: {', '.join(missing)} not set")
        for name in ("dkim_domain", "dkim_selector"):
            if not _DNS_NAME.fullmatch(given[name]):
                raise ConfigurationError(f"{name} (OCTY_{name.upper()}): {given[name]!r} is not a DNS name")
        return _signer(settings.dkim_domain.lower(), settings.dkim_selector.lower(), _load_key(settings))

    @property
    def record_name(self) -> str:
        """The DNS name of the public key."""
        return f"{self.selector}._domainkey.{self.domain}"

    def sign(self, message: Message) -> None:
        """Sign the message when it is converted to bytes."""
        if self.algorithm == "ed25519-sha256":
            message.signer_cls = _Ed25519Signer  # type: ignore[assignment]  # its constructor differs
        message.dkim(
            key=self.key,
            domain=self.domain,
            selector=self.selector,
            signature_algorithm=self.algorithm.encode(),
            canonicalize=(b"relaxed", b"relaxed"),  # relays may refold headers
            include_headers=[name for name in _SIGNED_HEADERS for _ in range(2)],
        )


class _Ed25519Signer(DKIMSigner):
    """The library's signer accepts only RSA keys, although dkimpy accepts both."""

    def __init__(self, selector: str, domain: str, key: bytes, **params: object) -> None:
        self.ignore_sign_errors = False
        self._sign_params = {**params, "privkey": key, "domain": domain.encode(), "selector": selector.encode()}


def _load_key(settings: WorkerSettings) -> RSAPrivateKey | Ed25519PrivateKey:
    path = settings.dkim_private_key_file
    setting = "dkim_private_key_file (OCTY_DKIM_PRIVATE_KEY_FILE)"
    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path!r} can't be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their text may contain the key
        raise ConfigurationError(f"{setting}: {path!r} holds no private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise ConfigurationError(f"{setting}: {path!r} holds a key that is neither RSA nor Ed25519")
    if isinstance(key, RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise ConfigurationError(f"{setting}: a key of {key.key_size} bits is too weak → make one of 2048")
    if isinstance(key, Ed25519PrivateKey) and importlib.util.find_spec("nacl") is None:
        raise ConfigurationError(f"{setting}: Ed25519 needs PyNaCl → pip install 'octy-middleware[ed25519]'")
    return key


def _signer(domain: str, selector: str, key: RSAPrivateKey | Ed25519PrivateKey) -> DkimSigner:
    if isinstance(key, RSAPrivateKey):
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return DkimSigner(
            domain,
            selector,
            algorithm="rsa-sha256",
            key_type=f"RSA, {key.key_size} bits",
            record=f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}",
            # The format that dkimpy reads.
            key=key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        )
    return DkimSigner(
        domain,
        selector,
        algorithm="ed25519-sha256",
        key_type="Ed25519",
        record=f"v=DKIM1; k=ed25519; p={base64.b64encode(key.public_key().public_bytes_raw()).decode()}",
        key=base64.b64encode(key.private_bytes_raw()),
    )
