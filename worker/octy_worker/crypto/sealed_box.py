"""Sealed secrets at rest: AES-256-GCM under a keychain, bound to the row that contains them."""

from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from octy_middleware.clock import RandomBytes
from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain

_NONCE_BYTES = 12  # NIST SP 800-38D, 8.2: 96 random bits, far below 2**32 messages a key


class Sealer:
    """Seals under the newest key, opens under any. `context` (the row's id) is authenticated with the text.

    `setting` and `what` name the keys and what they seal, in errors.
    """

    def __init__(
        self,
        keys: Keychain,
        random_bytes: RandomBytes,
        *,
        setting: str = "OCTY_SEALING_KEYS",
        what: str = "an uncollected secret",
    ) -> None:
        self._keys = keys
        self._random_bytes = random_bytes
        self._setting = setting
        self._what = what

    def __repr__(self) -> str:
        return f"Sealer({self._keys!r})"

    def seal(self, plain: str, context: str) -> str:
        """Return `<key id>$<nonce>$<ciphertext>`, base64."""
        key_id, key = self._keys.newest
        nonce = self._random_bytes(_NONCE_BYTES)
        sealed = AESGCM(key).encrypt(nonce, plain.encode(), context.encode())
        return f"{key_id}${b64encode(nonce).decode()}${b64encode(sealed).decode()}"

    def open(self, sealed: str, context: str) -> str:
        """Return the plain text; raise ConfigurationError when no key of the chain fits."""
        key_id, nonce, text = sealed.split("$")
        key = self._keys.get(key_id)
        if key is None:
            raise ConfigurationError(f"{self._setting} lacks the key {key_id!r} with which {self._what} is sealed")
        try:
            return AESGCM(key).decrypt(b64decode(nonce), b64decode(text), context.encode()).decode()
        except InvalidTag:
            raise ConfigurationError(f"{self._setting}: the key {key_id!r} does not decrypt {self._what}") from None
