"""Requests that are not decided yet: they need a key record from the database, or a slow hash."""

from typing import NamedTuple, TypeAlias

from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.credentials import Credentials
from octy_middleware.http.decision import AuthDecision
from octy_middleware.keys.key_record import KeyRecord
from octy_middleware.recording.commit_waiter import CommitWaiter


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

    `right`: None when the hash is the key's own, and will tell. Else the answer is known, and the hash is another
    key's, verified in vain, so that time tells nobody whether this key exists (T7). `waiter`: what is settled when
    the decision is on record.
    """

    pending: PendingCredentials
    record: KeyRecord | None
    stored: str
    right: bool | None
    waiter: CommitWaiter | None = None


DecisionOrPending: TypeAlias = AuthDecision | PendingSlowHash
