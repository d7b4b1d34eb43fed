"""Shares one authenticator among all adapters of a process with equal settings.

Frameworks build a middleware for each route or mounted app; each must not have its own threads and connections.
"""

import hashlib
import threading
from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from octy_middleware.auth.authenticator import Authenticator
from octy_middleware.errors import ConfigurationError
from octy_middleware.http.response import RefusalHook
from octy_middleware.keys.keychain import Keychain
from octy_middleware.process.fork import restart_after_fork
from octy_middleware.process.signals import flush_on_sigterm
from octy_middleware.settings import Settings


class SharedAuthenticators:
    """The authenticators that adapters of this process have opened by settings. Safe for threads and after fork.

    An authenticator is kept as long as one of its adapters.
    """

    def __init__(self) -> None:
        self._by_settings: WeakValueDictionary[Hashable, Authenticator] = WeakValueDictionary()
        self._adapters: WeakKeyDictionary[Authenticator, WeakSet[object]] = WeakKeyDictionary()
        self.restart()
        restart_after_fork(self)

    def restart(self) -> None:
        """Take a new lock, in a forked child. The authenticators restart by themselves."""
        self._lock = threading.RLock()

    def open(
        self,
        adapter: object,
        authenticator: Authenticator | None,
        settings: Settings | None,
        on_refusal: RefusalHook | None,
        options: Mapping[str, Any],
    ) -> Authenticator:
        """Return an adapter's authenticator: the given one, or that for settings, or for options and OCTY_* variables.

        Raises what `Authenticator` raises, and ConfigurationError for arguments that exclude each other.
        """
        if authenticator is None:
            if settings is not None and options:
                raise ConfigurationError(f"give settings or options, not both: {', '.join(sorted(options))}")
            authenticator = self._share(adapter, settings or Settings.from_environment(**options), on_refusal)
        elif settings is not None or on_refusal is not None or options:
            raise ConfigurationError("give an authenticator alone: settings, options and on_refusal are its own")
        if authenticator.settings.flush_on_sigterm:  # pragma: no branch - SIGTERM ends the process of its test
            flush_on_sigterm(authenticator)
        return authenticator

    def _share(self, adapter: object, settings: Settings, on_refusal: RefusalHook | None) -> Authenticator:
        key = settings_key(settings), on_refusal
        with self._lock:
            authenticator = self._by_settings.get(key)
            if authenticator is None:
                authenticator = self._by_settings[key] = Authenticator(settings, on_refusal=on_refusal)
            self._adapters.setdefault(authenticator, WeakSet()).add(adapter)
            return authenticator

    def close(self, adapter: object, authenticator: Authenticator) -> None:
        """Write the queued events; close the authenticator if no other adapter uses it, or if it was passed in."""
        with self._lock:
            adapters = self._adapters.get(authenticator, WeakSet())
            adapters.discard(adapter)
            is_last = not adapters
        if is_last:
            authenticator.close()
        else:
            authenticator.flush()

    def of_database(self, url: str) -> list[Authenticator]:
        """Return the authenticators on a database."""
        with self._lock:
            return [
                authenticator
                for authenticator in self._by_settings.values()
                if authenticator.settings.database_url == url
            ]


shared_authenticators = SharedAuthenticators()
"""Those of this process."""


def settings_key(settings: Settings) -> Hashable:
    """Return a key for these settings that holds no secret. The order of peppers matters."""
    return tuple(
        (name, hashlib.blake2b(value.export().encode()).digest() if isinstance(value, Keychain) else value)
        for name, value in settings
    )
