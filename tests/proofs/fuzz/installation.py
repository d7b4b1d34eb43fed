"""A real database that holds the pairs, and real authenticators over it, whose recorders are listened to.

Here: setting up and taking down. Not here: what is asked of the authenticators (`lanes`), what the database must hold
in the end (`books`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from support.world import World

from octy_middleware import Authenticator
from octy_middleware.clock import uuid7
from octy_middleware.domain import key_pairs
from octy_middleware.domain.accounts import create_account
from octy_middleware.http.credentials import Secret
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from octy_middleware.keys.secret import row_binding
from octy_middleware.recording.commit_waiter import CommitWaiter
from octy_middleware.recording.recorder import Recorder
from octy_middleware.states import KeyPairCause
from proofs.fuzz.origin import is_counted, network_of
from proofs.fuzz.pairs import Pairs
from proofs.fuzz.reference import Site

_PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48", "unix")
EXEMPT = ("/health", "/static/*", "GET /v1/versions", "OPTIONS *")
SITES = (
    Site(_PROXIES),
    Site(_PROXIES, forwarded=True, schemeless=False, limit=256, optional=True),
    Site(_PROXIES[:1], rate_limited=True),
)
Written = TypeVar("Written")
_REQUEST_ID = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")


def options(site: Site) -> dict[str, Any]:
    """Return the settings that make an authenticator this site's."""
    return {
        "trusted_proxies": site.trusted,
        "forwarded_header": "forwarded" if site.forwarded else "x-forwarded",
        "schemeless": site.schemeless,
        "header_limit": site.limit,
        "optional": site.optional,
        "rate_limit": int(site.rate_limited),
        "exempt_paths": EXEMPT,
        "commit_timeout": 60.0,  # a slow disk is no finding
        "grace_period": 3600.0,
        "batch_delay": 1.0,  # whole batches: fewer commits, more headers
        "queue_limit": 20_000,
    }


class Listener:
    """Looks at each event on its way into a recorder: words made harmless, lengths bounded, one form of address."""

    def __init__(self, recorder: Recorder) -> None:
        self.faults: list[str] = []
        self.heard = 0
        note, submit = recorder.record, recorder.commit

        def noted(event: AuthEvent) -> bool:
            self._hear(event)
            return note(event)

        def submitted(decision: AuthDecision, waiter: CommitWaiter) -> None:
            assert decision.event is not None
            self._hear(decision.event)
            submit(decision, waiter)

        recorder.record, recorder.commit = noted, submitted

    def take_faults(self) -> list[str]:
        """Return what was wrong since the last time, once."""
        faults, self.faults = self.faults, []
        return faults

    def _hear(self, event: AuthEvent) -> None:
        self.heard += 1
        self._look_at(event)

    def _look_at(self, event: AuthEvent) -> None:
        texts = event.user_agent + event.method + event.path
        if not (texts.isascii() and texts.isprintable()):
            self.faults.append(f"an event holds what a terminal would act on: {event!r}")
        if len(event.user_agent) > 200 or len(event.path) > 200 or len(event.method) > 16 or len(event.request_id) > 64:
            self.faults.append(f"an event is longer than it may be: {event!r}")
        if not _REQUEST_ID.issuperset(event.request_id):
            self.faults.append(f"an event's request id is none: {event!r}")
        if not is_counted(event.source) or network_of(event.source) != event.network:
            self.faults.append(f"an event's source or network is in no canonical form: {event!r}")


HeardGate = tuple[Authenticator, Listener]


def install(folder: Path, given: Pairs) -> World:
    """Put the pairs into a database in `folder`, as issue and retirement would leave them."""
    world = World(folder)
    now = time.time()
    with world.database.write_session() as session:
        connection = session.connection()
        for public_key, secret in given.secrets.items():
            name = given.references[public_key]
            account = create_account(session, name, {"contact_email_address": f"security@{name}.example"}, now)
            session.flush()
            pair_id = uuid7(now)
            key_pairs.insert_key_pair(
                connection,
                pair_id,
                account_id=account.id,
                public_key=public_key,
                secret_digest=world.hasher.digest(Secret(secret), row_binding(pair_id, public_key)),
                cause=KeyPairCause.FIRST,
                now=now,
            )
            assert key_pairs.activate(connection, pair_id, now)
            if public_key == given.retired[0]:
                assert key_pairs.retire(connection, pair_id, now)
    return world


@contextmanager
def authenticators(world: World) -> Iterator[list[HeardGate]]:
    """Open an authenticator for each site, with a listener at its recorder."""
    opened = [Authenticator(world.settings(**options(site))) for site in SITES]
    try:
        yield [(authenticator, Listener(authenticator._recorder)) for authenticator in opened]
    finally:
        for authenticator in opened:
            authenticator.close()
        world.database.close()


def environment(world: World) -> dict[str, str]:
    """Return what a server needs to be the first site."""
    return {
        "OCTY_DATABASE_URL": world.url,
        "OCTY_PEPPERS": world.peppers.export(),
        "OCTY_TRUSTED_PROXIES": ",".join(SITES[0].trusted),
        "OCTY_EXEMPT_PATHS": ",".join(EXEMPT),
        "OCTY_COMMIT_TIMEOUT": "60",
        "OCTY_GRACE_PERIOD": "3600",
    }
