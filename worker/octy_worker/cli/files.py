"""Files that commands read and write. An error names the file, and what to do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from octy_worker.errors import UsageError


def read_file(file: Path | str, to_do: str = "name another file") -> bytes:
    """Return the content of a file, or of stdin for `-`. Raises UsageError."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(os.path.expanduser(file)).read_bytes()  # noqa: PTH111 - it leaves the ~ of an unknown user
    except OSError as error:
        raise UsageError(f"the file {file} can't be read: {error.strerror}", to_do) from None


def read_text(file: Path | str, to_do: str = "name another file") -> str:
    """Return the text of such a file; what is not UTF-8 is replaced. Raises UsageError."""
    return read_file(file, to_do).decode(errors="replace")


def read_log(file: Path | str, to_do: str = "name another file") -> list[str]:
    """Return the lines of such a file: only a line feed ends one. Raises UsageError.

    A program may log what anybody sent, with other characters at which `str.splitlines` would begin a line.
    """
    return read_text(file, to_do).split("\n")


@contextmanager
def report_unwritable(file: Path) -> Iterator[None]:
    """Raise UsageError in place of the OSError of a body that writes this file, or files in this folder."""
    try:
        yield
    except FileExistsError:
        raise UsageError(f"{file} exists already, and is not overwritten", "name a new file") from None
    except OSError as error:
        raise UsageError(
            f"{error.filename or file} can't be written: {error.strerror}",
            "name a file in a folder where you may write",
        ) from None
