"""A database that holds the key pairs, and an authenticator for each setup over it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.world import World

from octy_middleware import Authenticator
from octy_middleware.clock import uuid7
from octy_middleware.domain import key_pairs
from octy_middleware.domain.accounts import create_account
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.secret import row_binding
from octy_middleware.states import KeyPairCause
from proofs.fuzz.keys import FuzzKeys
from proofs.fuzz.reference import EXEMPT, SETUPS, Setup


def install(folder: Path, keys: FuzzKeys) -> World:
    """Put the key pairs into a database in `folder`, as issue and retirement would leave them."""
    world = World(folder)
    now = time.time()
    with world.database.write_session() as session:
        connection = session.connection()
        for public_key, secret in keys.secrets.items():
            name = keys.references[public_key]
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
            if public_key == keys.retired[0]:
                assert key_pairs.retire(connection, pair_id, now)
    return world


@contextmanager
def open_authenticators(world: World) -> Iterator[list[Authenticator]]:
    """Open an authenticator for each setup."""
    with ExitStack() as stack:
        yield [stack.enter_context(world.authenticator(**_options(setup))) for setup in SETUPS]


def _options(setup: Setup) -> dict[str, object]:
    return {
        "trusted_proxies": setup.trusted,
        "forwarded_header": "forwarded" if setup.forwarded else "x-forwarded",
        "schemeless": setup.schemeless,
        "header_limit": setup.limit,
        "optional": setup.optional,
        "rate_limit": int(setup.rate_limited),
        "exempt_paths": EXEMPT,
        "commit_timeout": 60.0,  # a slow disk is no finding
        "grace_period": 3600.0,
        "batch_delay": 1.0,  # fewer commits, more requests
        "queue_limit": 20_000,
    }


def environment(world: World) -> dict[str, str]:
    """Return what a server needs to have the first setup."""
    return {
        "OCTY_DATABASE_URL": world.url,
        "OCTY_PEPPERS": world.peppers.export(),
        "OCTY_TRUSTED_PROXIES": ",".join(SETUPS[0].trusted),
        "OCTY_EXEMPT_PATHS": ",".join(EXEMPT),
        "OCTY_COMMIT_TIMEOUT": "60",
        "OCTY_GRACE_PERIOD": "3600",
    }
