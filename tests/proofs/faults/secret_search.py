"""Searches files, mails, tables and command lines for secrets."""

import re
from collections.abc import Iterable, Iterator, Sequence
from email import message_from_bytes, policy
from pathlib import Path

import psutil

_SECRET_KEY = re.compile(rb"\bsk_[0-9A-Za-z]{49}\b")


class Secrets:
    """What must not be in each place: tokens are allowed in mails, addresses in mails and in the database."""

    def __init__(self, keys: Sequence[str], tokens: Sequence[str], addresses: Sequence[str]) -> None:
        self.in_mails = [*keys]
        self.in_database = [*keys, *tokens]
        self.in_logs = [*keys, *tokens, *addresses]  # also in Temporal's files and command lines


def search(where: str, content: bytes, secrets: Iterable[str]) -> Iterator[str]:
    """Return a finding for each secret and for any secret key, without its value."""
    if _SECRET_KEY.search(content):
        yield f"leak: a secret key in {where}"
    for secret in secrets:
        if secret.encode() in content:
            yield f"leak: a secret of {len(secret)} characters in {where}"


def search_files(files: Iterable[Path], secrets: Iterable[str]) -> Iterator[str]:
    for path in files:
        yield from search(path.name, path.read_bytes(), secrets)


def search_mails(files: Iterable[Path], secrets: Iterable[str]) -> Iterator[str]:
    """Search mails as they were sent, and decoded."""
    for path in files:
        content = path.read_bytes()
        parts = message_from_bytes(content, policy=policy.default).walk()
        decoded = [part.get_payload(decode=True) or b"" for part in parts if not part.is_multipart()]
        yield from search(path.name, b"\n".join([content, *decoded]), secrets)


def command_lines() -> set[bytes]:
    """Return the command lines of all processes, which every user of this machine can read."""
    processes = psutil.process_iter(["cmdline"])
    return {" ".join(process.info["cmdline"] or ()).encode("utf-8", "surrogateescape") for process in processes}
