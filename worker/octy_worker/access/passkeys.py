"""PURE. Passkeys (WebAuthn Level 3) as second factor of staff in a browser: what a browser is asked, and its answers.

The library `webauthn` verifies; here its rules are set: relying party and origin are those of `OCTY_STAFF_URL`, the
authenticator must have verified its user, and no page of another origin may have asked. No input raises anything but
RefusedSignatureError.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import webauthn
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json_dict,
    parse_attestation_object,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from octy_worker.crypto.ssh_certificates import RefusedSignatureError

TIMEOUT = 60.0  # seconds that a browser waits for its user
_MAX_LENGTH = 16_384  # characters of an answer; a registration has about 1,000
_MIN_RSA_BITS = 2048
_ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,  # Windows Hello on older machines
]
_FORMATS = (AttestationFormat.NONE, AttestationFormat.PACKED)  # packed: self-attestation, which browsers pass on


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who asks for passkeys. `id`: host name; `origin`: scheme, host and port, as a browser writes it."""

    id: str
    origin: str
    name: str

    @classmethod
    def of_url(cls, url: str, name: str) -> "RelyingParty | None":
        """Return that of a server's URL; None for an IP address, for which no browser makes a passkey."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if not host or _is_address(host):
            return None
        default = {"https": 443, "http": 80}.get(parts.scheme)
        port = "" if parts.port in (None, default) else f":{parts.port}"
        return cls(host, f"{parts.scheme}://{host}{port}", name)


@dataclass(frozen=True, slots=True)
class Passkey:
    """A public key that an authenticator made for one person here. `counter`: of the last accepted signature."""

    credential_id: bytes
    public_key: bytes = field(repr=False)  # COSE_Key (RFC 9052)
    counter: int = 0


def registration_options(
    party: RelyingParty, *, handle: str, user_id: str, challenge: bytes, known: Iterable[Passkey] = ()
) -> dict[str, Any]:
    """Return what `navigator.credentials.create` is called with, as JSON. `known`: passkeys that the person has."""
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_name=handle,
        user_id=user_id.encode(),
        challenge=challenge,
        timeout=int(1000 * TIMEOUT),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_descriptors(known),
        supported_pub_key_algs=_ALGORITHMS,
    )
    return options_to_json_dict(options)


def assertion_options(party: RelyingParty, *, challenge: bytes, passkeys: Iterable[Passkey]) -> dict[str, Any]:
    """Return what `navigator.credentials.get` is called with, as JSON."""
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=int(1000 * TIMEOUT),
        allow_credentials=_descriptors(passkeys),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def verify_registration(party: RelyingParty, answer: str, *, challenge: bytes) -> Passkey:
    """Return the new passkey. `answer`: JSON of a RegistrationCredential. Raises RefusedSignatureError."""
    _check_length(answer)
    try:
        credential = parse_registration_credential_json(answer)
        _check_format(credential.response.attestation_object)
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
            supported_pub_key_algs=_ALGORITHMS,
        )
        _check_same_origin(credential.response.client_data_json)
        _check_key(verified.credential_public_key)
    except Exception as error:  # noqa: BLE001  # of CBOR, COSE, X.509 and JSON: whatever it is, it is no passkey
        raise _refusal(error) from None
    return Passkey(verified.credential_id, verified.credential_public_key, verified.sign_count)


def verify_assertion(
    party: RelyingParty, passkey: Passkey, answer: str, *, challenge: bytes, user_id: str, last_counter: int = 0
) -> int:
    """Return the counter of a right signature over the challenge. Raises RefusedSignatureError.

    `answer`: JSON of an AuthenticationCredential. `last_counter`: of the last accepted signature; 0 when the counter
    does not matter, and for authenticators that have none.
    """
    _check_length(answer)
    try:
        credential = parse_authentication_credential_json(answer)
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=last_counter,
            require_user_verification=True,
        )
        _check_same_origin(credential.response.client_data_json)
    except Exception as error:  # noqa: BLE001  # as above
        raise _refusal(error) from None
    if verified.credential_id != passkey.credential_id:
        raise RefusedSignatureError("another passkey has signed")
    if credential.response.user_handle not in (None, user_id.encode()):
        raise RefusedSignatureError("the passkey belongs to another person")
    return verified.new_sign_count


def credential_id_of(answer: str) -> bytes:
    """Return which passkey an answer says it is from; nothing is verified here. Raises RefusedSignatureError."""
    _check_length(answer)
    try:
        return parse_authentication_credential_json(answer).raw_id
    except Exception as error:  # noqa: BLE001  # as above
        raise _refusal(error) from None


def _descriptors(passkeys: Iterable[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=passkey.credential_id) for passkey in passkeys]


def _check_length(answer: str) -> None:
    if len(answer) > _MAX_LENGTH:
        raise RefusedSignatureError("the browser's answer is too long")


def _check_same_origin(client_data: bytes) -> None:
    if parse_client_data_json(client_data).cross_origin:  # a frame of ours in a page of others
        raise RefusedSignatureError("a page of another origin asked for the passkey")


def _check_format(attestation: bytes) -> None:
    if parse_attestation_object(attestation).fmt not in _FORMATS:
        raise RefusedSignatureError("the passkey came with an attestation that was not asked for")


def _check_key(public_key: bytes) -> None:
    key = decoded_public_key_to_cryptography(decode_credential_public_key(public_key))
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise RefusedSignatureError("the passkey's RSA key is too short")


def _refusal(error: Exception) -> RefusedSignatureError:
    if isinstance(error, RefusedSignatureError):
        return error
    why = str(error).partition("\n")[0][:200] if isinstance(error, WebAuthnException) else "it is malformed"
    return RefusedSignatureError(f"the passkey's answer is not accepted: {why}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
