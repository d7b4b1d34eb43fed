"""Checkpoints of the audit log: signed lines for the system log and the support digest, outside of the database.

A line is `octy-checkpoint: <canonical JSON> <signature>`, signed with Ed25519 (RFC 8032). The JSON has the
installation, its own number, number and hash of an entry, the time, the id of the key, and the signature of the
checkpoint before it: so a missing line is noticed, as in AWS CloudTrail's digest files. `OCTY_AUDIT_KEYS` is a keychain
of Ed25519 seeds.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from octy_middleware.keys.keychain import Keychain
from octy_worker.audit.chain import Checkpoint
from octy_worker.canonical_json import canonical_json

MARK = "octy-checkpoint: "
"""What a line begins with, as it is written."""

# As it was written to stderr or into a mail, or what systemd or rsyslog kept of it under its own name, or of a unit's
# stderr. It counts only there: other programs' lines can hold what any client sent.
_HEAD = r"(?:[A-Z][a-z]{2} +\d+ [\d:]+|\d[\d:.TZ+-]+) \S+ "
_LINE = re.compile(
    rf"\s*(?:{_HEAD}(?:octy(?:\[\d+\])?: )?)?octy-checkpoint(?:\[\d+\])?: (?P<body>.*) (?P<signature>\S+)\s*"
)


class InvalidCheckpointError(Exception):
    """A line is no checkpoint, was not signed by a known key, or does not continue the others."""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A verified checkpoint. `at`: Unix seconds. `previous`: the signature of the one before; empty for the first."""

    installation: str
    number: int  # 1 for the first of an installation
    seq: int
    hash: str
    at: int
    previous: str
    signature: str

    @property
    def point(self) -> Checkpoint:
        """Number and hash of the entry."""
        return Checkpoint(self.seq, self.hash)


class AuditSigner:
    """Signs with the newest key of `OCTY_AUDIT_KEYS`."""

    def __init__(self, keys: Keychain) -> None:
        self.key_id, seed = keys.newest
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, data: bytes) -> str:
        """Return the signature in Base64."""
        return base64.b64encode(self._key.sign(data)).decode()

    def sign_checkpoint(self, last: Checkpoint, *, installation: str, at: int, number: int, previous: str) -> str:
        """Return a line. `number`: from 1 on. `previous`: the signature of the one before, "" for the first."""
        body = canonical_json(
            {
                "at": at,
                "hash": last.hash,
                "installation": installation,
                "key": self.key_id,
                "number": number,
                "previous": previous,
                "seq": last.seq,
            }
        )
        return f"{MARK}{body.decode()} {self.sign(body)}"


def public_keys(keys: Keychain) -> dict[str, str]:
    """Return the public keys in Base64, by key id: what others need to verify checkpoints and evidence packs."""
    return {
        key_id: base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()
        for key_id, seed in keys.items()
    }


def parse_public_keys(text: str) -> dict[str, str]:
    """Return public keys, by id, of lines as `octy audit keys` prints them. Raises ValueError, which names the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            key_id, key = words
            Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        except (ValueError, binascii.Error):
            raise ValueError(f"line {number} is not an id and a public key in Base64") from None
        found[key_id] = key
    return found


def verify_signature(data: bytes, signature: str, key_id: str, keys: Mapping[str, str]) -> bool:
    """Return whether the signature (Base64) is one of the data by this key of `public_keys`; an unknown one is not."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys[key_id]))
        key.verify(base64.b64decode(signature, validate=True), data)
    except (KeyError, ValueError, TypeError, binascii.Error, InvalidSignature):
        return False
    return True


def is_checkpoint(line: str) -> bool:
    """Return whether a line of a log looks like a checkpoint; nothing is verified."""
    return _LINE.match(line) is not None


def read_checkpoint(line: str, keys: Mapping[str, str]) -> SignedCheckpoint:
    """Return the checkpoint in a line; text before its mark, as a system log adds, is ignored.

    `keys`: public keys as `public_keys` returns them. Raises InvalidCheckpointError, and nothing else.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        raise InvalidCheckpointError("this is not a checkpoint")
    body, signature = found["body"], found["signature"]
    try:
        value = json.loads(body)
        key_id = value["key"]
        if key_id not in keys:
            raise InvalidCheckpointError(f"the checkpoint was signed by an unknown key, {str(key_id)[:40]!r}")
        checkpoint = SignedCheckpoint(
            str(value["installation"]), int(value["number"]), int(value["seq"]), str(value["hash"]), int(value["at"]),
            str(value["previous"]), signature,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidCheckpointError("the checkpoint is malformed") from None
    if not verify_signature(body.encode(errors="replace"), signature, key_id, keys):
        raise InvalidCheckpointError("the checkpoint's signature is wrong: it was changed")
    return checkpoint


def read_checkpoints(lines: Iterable[str], keys: Mapping[str, str], *, installation: str) -> list[SignedCheckpoint]:
    """Return the checkpoints of all logs together, in their order, each once; lines without the mark are skipped.

    The lines of several workers and of the database may be given in any order; the earliest may be missing, as where a
    log was rotated. Raises InvalidCheckpointError for a wrong one, for one of another installation, and where one is
    missing between two.
    """
    read = {}
    for line in lines:
        if is_checkpoint(line):
            checkpoint = read_checkpoint(line, keys)
            read[checkpoint.number, checkpoint.signature] = checkpoint
    ordered = [read[key] for key in sorted(read)]
    for checkpoint in ordered:
        if checkpoint.installation != installation:
            raise InvalidCheckpointError(f"a checkpoint is of another installation, {checkpoint.installation[:40]!r}")
    for before, after in pairwise(ordered):
        if before.number == after.number:
            raise InvalidCheckpointError(
                f"there are two different checkpoints number {after.number}: the database was replaced, or restored "
                f"from a backup made after entry {min(before.seq, after.seq)} or earlier"
            )
        if after.number != before.number + 1:
            raise InvalidCheckpointError(
                f"checkpoints are missing between number {before.number} (entry {before.seq}) and number "
                f"{after.number} (entry {after.seq})"
            )
        if after.previous != before.signature or after.seq < before.seq:
            raise InvalidCheckpointError(f"checkpoint number {after.number} does not continue the one before it")
    return ordered
