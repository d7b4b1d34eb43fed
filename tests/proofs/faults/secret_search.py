"""The search for secrets, in everything that is left of a run and in the list of processes.

Here: what is a secret where. Not here: what is done about a find (`judge`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

_SECRET = re.compile(rb"\bsk_[0-9A-Za-z]{49}\b")


@dataclass(frozen=True)
class Canaries:
    """What must be found nowhere; tokens may stand in mails, addresses in mails and in the store."""

    secrets: frozenset[bytes]
    tokens: frozenset[bytes]
    addresses: frozenset[bytes]

    def for_logs(self) -> frozenset[bytes]:
        return self.secrets | self.tokens | self.addresses

    def for_store(self) -> frozenset[bytes]:
        return self.secrets | self.tokens

    def for_mails(self) -> frozenset[bytes]:
        return self.secrets


def find(where: str, content: bytes, canaries: Iterable[bytes]) -> Iterator[str]:
    """Name what stands in a place, and no value."""
    if _SECRET.search(content):
        yield f"leak: a secret key stands in {where}"
    for canary in canaries:
        if canary in content:
            yield f"leak: a canary of {len(canary)} bytes stands in {where}"


def find_in_files(files: Iterable[Path], canaries: frozenset[bytes]) -> Iterator[str]:
    for path in files:
        yield from find(path.name, path.read_bytes(), canaries)


def find_in_mails(files: Iterable[Path], canaries: frozenset[bytes]) -> Iterator[str]:
    """Search mails as they travel, and as they are read."""
    for path in files:
        content = path.read_bytes()
        parts = message_from_bytes(content, policy=policy.default).walk()
        bodies = [part.get_payload(decode=True) for part in parts if not part.is_multipart()]
        readable = b"\n".join(body for body in bodies if isinstance(body, bytes))
        yield from find(path.name, content + b"\n" + readable, canaries)


def command_lines() -> bytes:
    """Return what every user of this machine may read of every process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:  # it has ended
            continue
    return b"\n".join(lines)
