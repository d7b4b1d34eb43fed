"""Reads the change feed, which names each key pair that changed, and with it what refusals need for equal work."""

import logging
from typing import NamedTuple

from sqlalchemy import text

from octy_middleware.db.database import Database
from octy_middleware.domain.key_checks import PepperCheck
from octy_middleware.equal_work import SELECT_DUMMY_KEY

_logger = logging.getLogger(__name__)

_SELECT_RANGE = text("SELECT COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM key_change")
_SELECT_CHANGES = text("SELECT public_key FROM key_change WHERE seq > :seq ORDER BY seq")
# One hash of each imported scheme, by a loose index scan: a few index lookups, even for a million imports.
_SELECT_IMPORTED_HASHES = text(
    "WITH RECURSIVE found(scheme) AS ("
    " SELECT MIN(imported_scheme) FROM key_pair WHERE imported_scheme IS NOT NULL"
    " UNION ALL"
    " SELECT (SELECT MIN(imported_scheme) FROM key_pair WHERE imported_scheme > found.scheme)"
    " FROM found WHERE found.scheme IS NOT NULL) "
    "SELECT (SELECT secret_digest FROM key_pair WHERE imported_scheme = found.scheme LIMIT 1) "
    "FROM found WHERE found.scheme IS NOT NULL"
)


class Changes(NamedTuple):
    """What a read found. `has_gap`: entries are missing, so any record may have changed.

    `went_back`: the feed ends before what was read earlier, as after the restore of a backup.
    """

    public_keys: list[str]
    has_gap: bool
    went_back: bool


class ChangeFeed:
    """The change feed of a database. Used by one thread at a time."""

    def __init__(self, database: Database, peppers: PepperCheck) -> None:
        self._database = database
        self._peppers = peppers
        self._last_seen: int | None = None  # number of a change; None: the next read is the first
        self.imported_hashes: tuple[str, ...] = ()  # one of each imported scheme that is still in use
        self.dummy_key = ""  # some public key that exists; empty while there is none

    def forget(self) -> None:
        """Let the next read be like the first."""
        self._last_seen = None

    def read(self) -> Changes:
        """Return what changed since the last read. The first read only notes the last change.

        Raises DatabaseUnavailableError, or KeyMismatchError when this host's peppers are not the database's.
        """
        seen = self._last_seen
        with self._database.read() as connection:
            first, last = connection.execute(_SELECT_RANGE).one()
            changed = [] if seen is None else connection.execute(_SELECT_CHANGES, {"seq": seen}).scalars().all()
            went_back = seen is not None and last < seen
            # Entries are kept for a while: the last read may be older.
            has_gap = went_back or (seen is not None and first > seen + 1)
            self._peppers.confirm(connection, force=seen is None or has_gap)
            if seen is None or changed or has_gap:
                self.imported_hashes = tuple(connection.execute(_SELECT_IMPORTED_HASHES).scalars())
                self.dummy_key = str(connection.execute(SELECT_DUMMY_KEY).scalar() or "")
        if went_back:
            _logger.error(
                "change feed: went back from change %d to %d: a backup was restored, or a server without the last "
                "commits was promoted. Revoked key pairs may be accepted again → run `octy db restored`",
                seen,
                last,
            )
        elif has_gap:
            _logger.warning("change feed: entries are missing since the last read; all cached key records are dropped")
        self._last_seen = last
        return Changes([*changed], has_gap, went_back)
