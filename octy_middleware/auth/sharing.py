"""One gate for equal settings in a process: frameworks build a middleware for each route, or for each mounted app.

Here: who shares a gate, and what becomes of it when one of them ends. Not here: what a gate does (`gate`).
"""

import hashlib
import threading
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.errors import ConfigurationError
from octy_middleware.http.response import Shape
from octy_middleware.keys.keychain import Keychain
from octy_middleware.process.fork import restart_after_fork
from octy_middleware.process.signals import write_at_sigterm
from octy_middleware.settings import Settings


class SharedAuthenticators:
    """The gates of this process that doors have opened by settings. Safe for threads and after fork.

    Gates live as long as a door of theirs does.
    """

    def __init__(self) -> None:
        self._by_settings: WeakValueDictionary[Hashable, Authenticator] = WeakValueDictionary()
        self._doors: WeakKeyDictionary[Authenticator, WeakSet[object]] = WeakKeyDictionary()
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Have a lock that no thread of the parent holds. The gates restart by themselves."""
        self._lock = threading.RLock()

    def open(self, door: object, settings: Settings, shape: Shape | None) -> Authenticator:
        """Return the gate for these settings. Raises what `Authenticator` raises."""
        key = _identity(settings), shape
        with self._lock:
            gate = self._by_settings.get(key)
            if gate is None:
                gate = self._by_settings[key] = Authenticator(settings, shape_refusal=shape)
            self._doors.setdefault(gate, WeakSet()).add(door)
            return gate

    def close(self, door: object, gate: Authenticator) -> None:
        """Write what is queued; close the gate when no other door uses it, or when it was given by its owner."""
        with self._lock:
            doors = self._doors.get(gate, WeakSet())
            doors.discard(door)
            is_last = not doors
        if is_last:
            gate.close()
        else:
            gate.flush()

    def of_database(self, url: str) -> list[Authenticator]:
        """Return the gates on a database."""
        with self._lock:
            return [gate for gate in self._by_settings.values() if gate.settings.database_url == url]


def _identity(settings: Settings) -> Hashable:
    """Return what equal settings have in common, without a key in it. The order of peppers counts."""
    return tuple(
        (name, hashlib.blake2b(value.export().encode()).digest() if isinstance(value, Keychain) else value)
        for name, value in settings
    )


_shared = SharedAuthenticators()


def open_authenticator(
    door: object, gate: Authenticator | None, settings: Settings | None, shape: Shape | None, options: Mapping[str, Any]
) -> Authenticator:
    """Return a door's gate: a given one, or the one for settings, or for options and OCTY_* variables; one way only."""
    if gate is not None:
        if settings is not None or shape is not None or options:
            raise ConfigurationError("give a gate alone: settings, options and shape_refusal are its own")
        opened = gate
    else:
        if settings is not None and options:
            raise ConfigurationError(f"give settings or options, not both: {', '.join(sorted(options))}")
        opened = _shared.open(door, settings or Settings.from_environment(**options), shape)
    if opened.settings.write_at_sigterm:
        write_at_sigterm(opened)
    return opened


def close_authenticator(door: object, gate: Authenticator) -> None:
    """Have a door end: what is queued is written, and the last door closes the gate."""
    _shared.close(door, gate)


def flush_authenticators(database_url: str) -> None:
    """Write what is queued for a database, in this process."""
    for gate in _shared.of_database(database_url):
        gate.flush()


def close_authenticators(database_url: str) -> None:
    """Close the shared gates on a database. A later request opens them again."""
    for gate in _shared.of_database(database_url):
        gate.close()
