"""Checkpoints of the audit log: signed lines for the system log and the support digest, outside of the database.

A line is `octy-checkpoint <canonical JSON> <signature>`, signed with Ed25519 (RFC 8032). The JSON has the installation,
number and hash of an entry, the time, the id of the key, and the signature of the checkpoint before it: so a missing
line is noticed, as in AWS CloudTrail's digest files. `OCTY_AUDIT_KEYS` is a keychain of Ed25519 seeds.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from octy_middleware.keys.keychain import Keychain
from octy_worker.audit.chain import Checkpoint
from octy_worker.canonical_json import canonical_json

_MARK = "octy-checkpoint "


class InvalidCheckpointError(Exception):
    """A line is no checkpoint, or was not signed by a known key."""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A verified checkpoint. `at`: Unix seconds. `previous`: the signature of the one before; empty for the first."""

    installation: str
    seq: int
    hash: str
    at: int
    previous: str
    signature: str

    @property
    def point(self) -> Checkpoint:
        """Number and hash of the entry."""
        return Checkpoint(self.seq, self.hash)


class CheckpointSigner:
    """Signs checkpoints with the newest key."""

    def __init__(self, keys: Keychain) -> None:
        self._key_id, seed = keys.newest
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, last: Checkpoint, *, installation: str, at: int, previous: str) -> str:
        """Return the line. `previous`: the line before it, or "" for the first."""
        body = canonical_json(
            {
                "at": at,
                "hash": last.hash,
                "installation": installation,
                "key": self._key_id,
                "previous": previous.rpartition(" ")[2],
                "seq": last.seq,
            }
        )
        return f"{_MARK}{body.decode()} {base64.b64encode(self._key.sign(body)).decode()}"


def public_keys(keys: Keychain) -> dict[str, str]:
    """Return the public keys in Base64, by key id: what others need to verify checkpoints."""
    return {
        key_id: base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()
        for key_id, seed in keys.items()
    }


def read_checkpoint(line: str, keys: Mapping[str, str]) -> SignedCheckpoint:
    """Return the checkpoint in a line; text before its mark, as a system log adds, is ignored.

    `keys`: public keys as `public_keys` returns them. Raises InvalidCheckpointError, and nothing else.
    """
    _, mark, rest = line.rstrip().partition(_MARK)
    body, _, signature = rest.rpartition(" ")
    try:
        value = json.loads(body)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys[value["key"]]))
        key.verify(base64.b64decode(signature, validate=True), body.encode())
        return SignedCheckpoint(
            str(value["installation"]), int(value["seq"]), str(value["hash"]), int(value["at"]),
            str(value["previous"]), signature,
        )  # fmt: skip
    except KeyError as error:
        raise InvalidCheckpointError(f"the checkpoint was signed by an unknown key or lacks a field: {error}") from None
    except InvalidSignature:
        raise InvalidCheckpointError("the checkpoint's signature is wrong: it was changed") from None
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise InvalidCheckpointError(
            "this is not a checkpoint" if not mark else "the checkpoint is malformed"
        ) from None


def read_checkpoints(lines: Iterable[str], keys: Mapping[str, str]) -> list[SignedCheckpoint]:
    """Return all checkpoints of a log, in its order; lines without the mark are skipped.

    Raises InvalidCheckpointError for a wrong one, and where one is missing between two.
    """
    found: list[SignedCheckpoint] = []
    for line in lines:
        if _MARK not in line:
            continue
        checkpoint = read_checkpoint(line, keys)
        if found and checkpoint.signature == found[-1].signature:
            continue  # the same line twice
        if found and checkpoint.previous != found[-1].signature:
            raise InvalidCheckpointError(
                f"a checkpoint is missing between entry {found[-1].seq} and entry {checkpoint.seq}"
            )
        found.append(checkpoint)
    return found
