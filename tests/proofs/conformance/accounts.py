"""The accounts whose keys the requests carry, in databases that each cell gets a copy of.

They are made once a run, so that the bytes of a case are the same in every cell.
"""

import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.world import Keys, World

from octy_middleware.db.bulk_sql import run
from octy_middleware.keys.keychain import Keychain

UNKNOWN = "pk_" + "0" * 28
NAMES = ("octy", "neighbour")


@dataclass(frozen=True)
class KeyPairs:
    """A key pair of acme's in use, a retired one, and one in use of the neighbour installation."""

    right: Keys
    retired: Keys
    neighbour: Keys

    @property
    def pair(self) -> bytes:
        """The right key pair in clear."""
        return f"{self.right.public_key}:{self.right.secret}".encode()

    @property
    def token(self) -> bytes:
        """The right key pair in base64, which needs no padding."""
        return b64encode(self.pair)

    @property
    def basic(self) -> bytes:
        """The right header."""
        return b"Authorization: Basic " + self.token

    @property
    def wrong(self) -> bytes:
        """The header with a wrong secret."""
        return b"Authorization: " + self.right.basic("sk_wrong").encode()


def sample_key_pairs() -> KeyPairs:
    """Return key pairs of the right shape that no account has: for the table without a database."""
    keys = Keys("acme", "", "", "pk_" + "a" * 28, "sk_" + "b" * 49)
    return KeyPairs(keys, keys, keys)


@dataclass(frozen=True)
class Accounts:
    """The originals."""

    worlds: dict[str, World]
    key_pairs: KeyPairs

    def copy_to(self, folder: Path) -> dict[str, World]:
        """Return worlds of a cell's own: the same accounts, the same peppers, nothing recorded."""
        copies = {}
        for name, world in self.worlds.items():
            (folder / name).mkdir(parents=True)
            copies[name] = World(folder / name, peppers=world.peppers)
            copies[name].database.close()  # no process has the file open, or its log would be mixed with the copy
            shutil.copy(world.folder / "octy.db", folder / name / "octy.db")
        return copies


@contextmanager
def accounts(folder: Path) -> Iterator[Accounts]:
    """Open the accounts in `folder`."""
    worlds = {}
    peppers = Keychain.generate()
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        worlds[name] = World(folder / name, peppers=peppers)
    octy, neighbour = worlds.values()
    key_pairs = KeyPairs(octy.register("acme"), octy.register("old"), neighbour.register("neighbour"))
    with octy.database.write() as connection:
        run(connection, "UPDATE key_pair SET state = 'retired' WHERE public_key = ?", key_pairs.retired.public_key)
    for world in worlds.values():
        world.database.close()  # the last connection folds the log into the file
    yield Accounts(worlds, key_pairs)
