"""The OCTY_* variables of a stack, in a file that a shell can load. Its secrets are created once and kept."""

import os
from collections.abc import Mapping
from pathlib import Path

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_middleware.settings import PREFIX
from octy_worker.env_file import EnvFileError, parse, write_value
from octy_worker.private_files import write_private
from octy_worker.settings import KEY_SETTINGS

_HEAD = "# Settings of this embedded stack, with secrets. Load them with: set -a; . {path}; set +a\n"


def load_or_create_secrets(path: Path) -> dict[str, str]:
    """Return the secrets of the file; missing ones are created."""
    known = read(path) if path.exists() else {}
    names = [f"{PREFIX}{name.upper()}" for name in KEY_SETTINGS if name != "temporal_keys"]  # payloads stay readable
    return {name: known.get(name) or Keychain.generate().export() for name in names}


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file. Raises ConfigurationError for an invalid file."""
    try:
        return parse(path.read_text("utf-8"))
    except EnvFileError as error:
        raise ConfigurationError(f"{path}: line {error.line}: {error.wrong}; correct it or delete the file") from None


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the file atomically, readable by its owner only."""
    lines = [f"{name}={_format_value(name, value)}\n" for name, value in variables.items()]
    unfinished = path.with_name(path.name + ".part")
    write_private(unfinished, _HEAD.format(path=path) + "".join(lines))
    unfinished.replace(path)


def _format_value(name: str, value: str) -> str:
    try:
        return write_value(value)
    except EnvFileError as error:
        raise ConfigurationError(f"{name}: {error.wrong}: {error.to_do}") from None


def inherited_environment() -> dict[str, str]:
    """Return this process's variables without OCTY_* and TEMPORAL_*, so that no production setting is used."""
    return {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "TEMPORAL_"))}
