"""LISTEN on PostgreSQL for new messages in the outbox."""

import os
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL

from octy_middleware.db.postgres_url import driver_options
from octy_middleware.errors import DatabaseUnavailableError, StandbyError

if TYPE_CHECKING:
    import psycopg

CHANNEL = "octy_outbox"
_PRIMARY_CHECK_INTERVAL = 1.0  # seconds between two checks that the server is still the primary


class PostgresListener:
    """Listens on a connection of its own, which is replaced when it is lost."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._driver: psycopg.Connection[Any] | None = None
        self._pid = os.getpid()
        self._checked_at = 0.0

    def wait(self, timeout: float) -> bool:
        """See `Listener`. After a new LISTEN it returns True at once: messages may have come before it."""
        import psycopg  # noqa: PLC0415

        if self._pid != os.getpid():  # after a fork the session is the parent's
            self._driver, self._pid = None, os.getpid()
        try:
            if self._driver is None:
                self._driver = self._listen()
                return True
            if any(True for _ in self._driver.notifies(timeout=timeout, stop_after=1)):
                return True
            self._check_primary(self._driver)
        except psycopg.Error as error:
            self.close()
            raise DatabaseUnavailableError(f"the database did not answer: {type(error).__name__}: {error}") from error
        return False

    def _check_primary(self, driver: "psycopg.Connection[Any]") -> None:
        """Check now and then that the server is still the primary: a standby never notifies."""
        now = time.monotonic()
        if now - self._checked_at < _PRIMARY_CHECK_INTERVAL:
            return
        self._checked_at = now
        if driver.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
            self.close()
            raise StandbyError("the server that notifies is a standby")

    def _listen(self) -> "psycopg.Connection[Any]":
        import psycopg  # noqa: PLC0415

        driver = psycopg.connect(**driver_options(self._url), autocommit=True, prepare_threshold=None)
        try:
            driver.execute(f"LISTEN {CHANNEL}")
        except BaseException:
            driver.close()
            raise
        return driver

    def close(self) -> None:
        """See `Listener`."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
