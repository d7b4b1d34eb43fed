"""LISTEN on PostgreSQL for new messages in the outbox."""

from typing import Any

import psycopg
from sqlalchemy import URL

from octy_middleware.db.postgres_url import driver_options
from octy_middleware.errors import DatabaseUnavailableError

CHANNEL = "octy_outbox"
_WITH_IDLE_SESSION_TIMEOUT = 140_000  # PostgreSQL 14


class PostgresListener:
    """Listens on a connection of its own, which is replaced when it is lost."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._driver: psycopg.Connection[Any] | None = None

    def wait(self, timeout: float) -> bool:
        """See `Listener`. After a new LISTEN it returns True at once: messages may have come before it."""
        try:
            if self._driver is None:
                self._driver = self._listen()
                return True
            return any(True for _ in self._driver.notifies(timeout=timeout, stop_after=1))
        except psycopg.Error as error:
            self.close()
            raise DatabaseUnavailableError(f"the database did not answer: {type(error).__name__}: {error}") from error

    def _listen(self) -> psycopg.Connection[Any]:
        driver = psycopg.connect(**driver_options(self._url), autocommit=True, prepare_threshold=None)
        try:
            if driver.info.server_version >= _WITH_IDLE_SESSION_TIMEOUT:  # pragma: no branch - older servers
                driver.execute("SET idle_session_timeout = 0")  # it is idle for as long as no message comes
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
