"""Requests that are not decided yet: they need a key record from the database, or a slow hash."""

from typing import NamedTuple, TypeAlias

from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.credentials import Credentials
from octy_middleware.http.decision import AuthDecision
from octy_middleware.keys.key_record import KeyRecord


class PendingCredentials(NamedTuple):
    """Credentials that the caches do not accept. `plain`: they came over plain HTTP and can't be accepted.

    `cached`: the packed record in memory by which the secret is wrong, if there is one.
    """

    credentials: Credentials
    client_address: ClientAddress
    plain: bool = False
    cached: bytes | None = None


class PendingSlowHash(NamedTuple):
    """Credentials that take an imported hash, which may last hundreds of milliseconds.

    `right`: None when the hash is the key's own and decides. Else whether the secret is right is known already, and the
    hash is a decoy, so that time does not show whether this key exists (`equal_work`).
    """

    pending: PendingCredentials
    record: KeyRecord | None
    stored: str
    right: bool | None


DecisionOrPending: TypeAlias = AuthDecision | PendingSlowHash
