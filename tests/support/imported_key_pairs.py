"""Pairs as an import leaves them: a public key of an old shape, a hash of another system. No tests."""

from dataclasses import replace

from passlib.hash import pbkdf2_sha256

from octy_middleware.db.bulk_sql import run
from octy_middleware.http.credentials import Secret
from octy_middleware.keys.secret import row_binding
from support.world import Keys, World

OLD = "pk_9b2f17a3-4573-4a9b-9128-53ee910ef2"


def slow(secret: str, rounds: int = 1) -> str:
    """Return a hash as another system made it."""
    return str(pbkdf2_sha256.using(rounds=rounds).hash(secret))


def pair_id_of(world: World, keys: Keys) -> str:
    ((pair_id,),) = world.rows("SELECT id FROM key_pair WHERE public_key = :key", key=keys.public_key)
    return str(pair_id)


def have(world: World, keys: Keys, stored: str, scheme: str, public_key: str = OLD) -> Keys:
    """Make a key pair an imported one."""
    sealed = world.hasher.seal(stored, row_binding(pair_id_of(world, keys), public_key))
    return put(world, keys, sealed, scheme, public_key)


def stored(world: World, keys: Keys) -> tuple:
    """Return the digest of a key pair and its imported scheme, as they are stored."""
    columns = "SELECT secret_digest, imported_scheme FROM key_pair WHERE public_key = :key"
    (row,) = world.rows(columns, key=keys.public_key)
    return row


def rename(world: World, keys: Keys, public_key: str) -> Keys:
    """Give a key pair another public key, with a digest of ours that fits."""
    row = row_binding(pair_id_of(world, keys), public_key)
    return put(world, keys, world.hasher.digest(Secret(keys.secret), row), None, public_key)


def put(world: World, keys: Keys, stored: str, scheme: str | None, public_key: str) -> Keys:
    """Write a digest as it is, as someone who may write SQL can."""
    with world.database.write() as connection:
        run(
            connection,
            "UPDATE key_pair SET secret_digest = ?, imported_scheme = ?, public_key = ? WHERE public_key = ?",
            stored,
            scheme,
            public_key,
            keys.public_key,
        )
        run(connection, "INSERT INTO key_change (public_key, at) VALUES (?, 0)", public_key)
    return replace(keys, public_key=public_key)
