"""The child process that computes slow hashes for `hash_processes`.

It reads one line of JSON a hash, `[secret, stored]`, and writes one byte. It ends when its input ends, with its parent.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from passlib.context import CryptContext

from octy_middleware.keys.imported_hashes import IMPORTED_SCHEMES, verify_imported

READY, MATCH, NO_MATCH, OUT_OF_MEMORY = b"r", b"1", b"0", b"m"
_NICE = 19  # the lowest
_LOWEST = {  # of Linux
    "/proc/self/autogroup": str(_NICE),  # with autogroups this counts instead of the nice value
    "/proc/self/oom_score_adj": "1000",  # out of memory, the kernel kills this process, not the app
}


def serve() -> None:  # pragma: no cover - runs in children with no environment
    """Verify hashes until the input ends."""
    lower_priority()
    replies = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that output of libraries is no reply
    context = CryptContext(schemes=[*IMPORTED_SCHEMES])
    os.write(replies, READY)
    for line in sys.stdin.buffer:
        secret, stored = json.loads(line)
        try:
            reply = MATCH if verify_imported(context, secret, stored) else NO_MATCH
        except MemoryError:
            reply = OUT_OF_MEMORY
        os.write(replies, reply)


def lower_priority() -> None:  # pragma: no cover - runs in such a child
    """Give this process the lowest priority, and make it the first to end without memory."""
    with suppress(OSError):  # a sandbox
        os.nice(_NICE)
    for path, value in _LOWEST.items():
        with suppress(OSError):
            Path(path).write_text(value)
