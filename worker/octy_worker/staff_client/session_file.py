"""The sessions of this user at staff APIs, each in a file for its owner alone, under $XDG_STATE_HOME/octy."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from octy_worker.errors import CommandError
from octy_worker.private_files import write_private


@dataclass(frozen=True, slots=True)
class SavedSession:
    """An open session at a server. `key`: the file that signs; empty: the agent. `expires_at`: ISO 8601."""

    server: str
    installation: str
    handle: str
    session_id: str
    key: str
    expires_at: str
    token: str = field(repr=False)


def sessions_folder(environ: Mapping[str, str]) -> Path:
    """Return where sessions are kept (XDG Base Directory Specification); a relative $XDG_STATE_HOME is ignored."""
    state = environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return base / "octy"


def save_session(folder: Path, session: SavedSession) -> Path:
    """Write the session's file, of mode 0600; return its path. Raises CommandError."""
    path = _path(folder, session.server)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, json.dumps(asdict(session), indent=2) + "\n")
    except OSError as error:
        raise CommandError(f"the session can't be saved in {path}: {error.strerror}", "set XDG_STATE_HOME") from None
    return path


def load_session(folder: Path, server: str) -> SavedSession | None:
    """Return the session at a server; None when there is none, or its file can't be read."""
    try:
        return SavedSession(**json.loads(_path(folder, server).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def remove_session(folder: Path, server: str) -> None:
    """Remove the session's file."""
    _path(folder, server).unlink(missing_ok=True)


def _path(folder: Path, server: str) -> Path:
    return folder / f"session-{hashlib.sha256(server.encode()).hexdigest()[:16]}.json"
