"""Files for their owner alone, whatever the umask: keys, previews of mails, figures of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_private(path: Path, content: str, *, new: bool = False) -> None:
    """Write a text file of mode 0600, also in place of one that others could read.

    `new`: raise FileExistsError in place of replacing a file. Raises OSError.
    """
    mode = "x" if new else "w"
    with open(path, mode, encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)


@contextmanager
def new_private_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file of mode 0600 for the bytes that the caller writes; remove it where that fails.

    Raises FileExistsError in place of replacing one, and OSError.
    """
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        try:
            yield file
            file.flush()  # a full disk raises here
        except BaseException:
            path.unlink(missing_ok=True)
            raise
