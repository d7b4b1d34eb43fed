"""Files for their owner alone, whatever the umask: keys, previews of mails, figures of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def private(path: str, flags: int) -> int:
    """Open a file, of mode 0600 if it is new: an opener for `open`."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, content: str, *, new: bool = False) -> None:
    """Write a text file of mode 0600, also in place of one that others could read.

    `new`: raise FileExistsError in place of replacing a file. Raises OSError.
    """
    with open(path, "x" if new else "w", encoding="utf-8", opener=private) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)


@contextmanager
def new_private_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file of mode 0600 for the bytes that the caller writes; remove it where that fails.

    Raises FileExistsError in place of replacing one, and OSError.
    """
    with open(path, "xb", opener=private) as file:
        try:
            yield file
            file.flush()  # a full disk raises here
        except BaseException:
            path.unlink(missing_ok=True)
            raise
