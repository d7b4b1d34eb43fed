"""Files for their owner alone, whatever the umask: keys, previews of mails, figures of a run."""

import os
from pathlib import Path


def write_private(path: Path, content: str, *, new: bool = False) -> None:
    """Write a text file of mode 0600, also in place of one that others could read.

    `new`: raise FileExistsError in place of replacing a file. Raises OSError.
    """
    mode = "x" if new else "w"
    with open(path, mode, encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)


def write_private_bytes(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600. Raises FileExistsError in place of replacing one, and OSError."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
