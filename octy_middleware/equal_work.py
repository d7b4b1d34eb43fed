"""What makes unknown, retired and wrong keys cost the same, so that time does not show which keys exist (threat T7).

A refused request does the same digests, statements and rows whatever its public key is. Where it has no key record,
imported hash, lock, streak or incident of its own, the work is done on a dummy record or under a decoy instead:

step                             | live key, wrong secret      | unknown or retired key
compare the digest in memory     | its cached record           | `dummy_record`
load the key record              | its own row                 | the row that `SELECT_DUMMY_KEY` names
compare the digest               | its own digest              | the decoy digest, bound to the dummy record's row
verify an imported hash, if any  | its own or `decoy_hash`     | `decoy_hash`
wait for that hash               | the common queue of `HashQueue`, in which existing keys are no faster
lock the key                     | its own lock                | `make_decoy_lock`
grow a streak                    | its own streaks             | those of `DECOY_KEY` and `decoy_network`
load the open incident           | its own                     | that of the key that failed last
add up failures                  | its incident, or the decoy  | `make_decoy_subject`

The tests are in tests/middleware (test_authenticator, test_incident_counts) and `python -m proofs.security.timing`.
"""

import secrets
from collections.abc import Sequence
from uuid import UUID
from zlib import crc32

from sqlalchemy import text

from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.key_record import KeyRecord, pack
from octy_middleware.keys.secret import KeyHasher, has_valid_checksum
from octy_middleware.states import KeyPairState

SAME_COST_AS_WRONG_SECRET = frozenset({Outcome.UNKNOWN_KEY, Outcome.RETIRED, Outcome.RETIRED_WRONG})
"""Outcomes that count in no streak and must cost what a wrong secret of a live key costs."""
SELECT_DUMMY_KEY = text("SELECT public_key FROM key_pair ORDER BY id LIMIT 1")
"""Some public key that exists: its row is read where the requested key has none."""
DECOY_KEY = ""
"""The public key under which refusals of unknown and retired keys grow streaks. These streaks open no incident."""
DECOY_SUBJECT_PREFIX = "decoy-"
DECOY_SUBJECTS = 64
"""Each process has one of so many decoy subjects, so that processes seldom wait for each other's rows."""
_DECOY_NETWORKS = 64
_DUMMY_ID = str(UUID(int=0))


def dummy_record(digest: str) -> bytes:
    """Return a packed record that no secret is accepted for."""
    return pack(KeyRecord(_DUMMY_ID, _DUMMY_ID, "", "", digest, KeyPairState.RETIRED, None))


def decoy_hash(hasher: KeyHasher, public_key: str, imported_hashes: Sequence[str]) -> str | None:
    """Return the imported hash to verify for a key that may look like an imported one; the same for the same key.

    None when there are no imported hashes, or the key has our own checksum and so can't be an imported one.
    """
    if not imported_hashes or has_valid_checksum(public_key):
        return None
    return imported_hashes[int(hasher.key_hash(public_key), 16) % len(imported_hashes)]


def decoy_network(network: str) -> str:
    """Return one of 64 names for a network: as many streaks as a live key under attack has."""
    return f"decoy-{crc32(network.encode()) % _DECOY_NETWORKS}"


def make_decoy_subject() -> str:
    """Return the subject of `incident_count` for failures that belong to no open incident."""
    return f"{DECOY_SUBJECT_PREFIX}{secrets.randbelow(DECOY_SUBJECTS)}"


def make_decoy_lock() -> str:
    """Return a key that only this process locks, for batches without a live key."""
    return f"decoy lock {secrets.token_hex(8)}"
