"""Webhook bodies, secrets and signatures in the format of Standard Webhooks 1.0 (standardwebhooks.com).

An account's secret is derived from a key of the keychain and the account's secret version, so no table contains it.
Each key of the keychain and each active version signs, the newest first: during a rotation, customers can change to the
new secret at any time.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from octy_middleware.keys.keychain import Keychain

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """One event to send. `url` may contain a password, so no `repr` shows it."""

    webhook_id: str
    event: str
    at: datetime
    account_id: str
    url: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    secret_versions: tuple[int, ...] = (1,)  # newest first

    @property
    def body(self) -> bytes:
        """The bytes that are signed and sent, the same in each attempt."""
        time = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {"type": self.event, "timestamp": time, "data": dict(self.data)}
        return json.dumps(event, separators=(",", ":"), sort_keys=True).encode()


class Signer:
    """Derives secrets of accounts and signs messages."""

    def __init__(self, keys: Keychain) -> None:
        self._keys = keys

    def __repr__(self) -> str:
        return f"Signer({', '.join(self._keys)})"

    def secret(self, account_id: str, version: int = 1) -> str:
        """Return the account's secret of this version with the newest key, as the receiver is configured with it."""
        return _PREFIX + b64encode(_secret(self._keys.newest[1], account_id, version)).decode()

    def headers(self, message: WebhookMessage, now: float) -> dict[str, str]:
        """Return the headers with id, timestamp and signatures."""
        time = str(int(now))
        signed = b".".join((message.webhook_id.encode(), time.encode(), message.body))
        signatures = (
            b64encode(hmac.digest(_secret(key, message.account_id, version), signed, "sha256")).decode()
            for version in message.secret_versions
            for key in reversed(list(self._keys.values()))
        )
        return {
            "webhook-id": message.webhook_id,
            "webhook-timestamp": time,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _secret(key: bytes, account_id: str, version: int) -> bytes:
    return hmac.digest(key, f"octy-webhook\0{account_id}\0{version}".encode(), "sha256")
