"""Links in mails: capability tokens that are derived on demand and not stored.

A token is HMAC-SHA-256 over purpose, subject and generation, truncated to 192 bits: it can't be guessed, a token of one
incident is not valid for another, and a newer generation revokes older ones. ASVS 6.5.5 demands 10 minutes for such
codes; these are no login but the answer to an incident, and are valid as long as it is open (14 days; reveal: 24 h).
See docs/decisions.md.
"""

import hmac
from base64 import urlsafe_b64encode
from enum import StrEnum

from octy_middleware.keys.keychain import Keychain

_TOKEN_BYTES = 24


class Purpose(StrEnum):
    """What a token is good for."""

    ALERT = "alert"  # answer an incident
    REVEAL = "keys"  # collect a new secret
    ALERT_FORM = "alert-form"  # the hidden field of the answer's form
    REVEAL_FORM = "keys-form"
    NOTICE = "notice"  # have the keys replaced that a notice is about
    NOTICE_FORM = "notice-form"


class Links:
    """Makes and checks links under `public_url`. Any key of the chain is accepted, the newest one makes new links."""

    def __init__(self, keys: Keychain, public_url: str) -> None:
        self._keys = keys
        self._public_url = public_url

    def __repr__(self) -> str:
        return f"Links({self._public_url})"

    def token(self, purpose: Purpose, subject_id: str, generation: int = 1) -> str:
        """Return the token, 32 characters of the URL-safe alphabet."""
        return _token(self._keys.newest[1], purpose, subject_id, generation)

    def check(self, token: str, purpose: Purpose, subject_id: str, generation: int = 1) -> bool:
        """Return whether the token was made for just this; compares every key in constant time."""
        given = token.encode("utf-8", "replace")
        fits = [
            hmac.compare_digest(given, _token(key, purpose, subject_id, generation).encode())
            for key in self._keys.values()
        ]
        return any(fits)

    def alert_url(self, incident_id: str) -> str:
        """Return the address of the page on which the customer answers."""
        return f"{self._public_url}/alert/{incident_id}/{self.token(Purpose.ALERT, incident_id)}"

    def reveal_url(self, regeneration_id: str, generation: int) -> str:
        """Return the address of the page that shows the new secret once."""
        return f"{self._public_url}/keys/{regeneration_id}/{self.token(Purpose.REVEAL, regeneration_id, generation)}"

    def notice_url(self, notice_id: str) -> str:
        """Return the address of the page on which the customer has the keys replaced."""
        return f"{self._public_url}/notice/{notice_id}/{self.token(Purpose.NOTICE, notice_id)}"


def _token(key: bytes, purpose: Purpose, subject_id: str, generation: int) -> str:
    message = f"octy-link\0{purpose}\0{subject_id}\0{generation}".encode()
    return urlsafe_b64encode(hmac.digest(key, message, "sha256")[:_TOKEN_BYTES]).decode()
