"""Takes checkpoints of the audit log, keeps them in the database, and writes them to the system log."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from sqlmodel import Session

from octy_middleware.clock import Clock, utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import AuditCheckpoint
from octy_middleware.errors import DatabaseUnavailableError
from octy_middleware.keys.keychain import Keychain
from octy_worker.audit import repository
from octy_worker.audit.checkpoints import AuditSigner, InvalidCheckpointError, public_keys, read_checkpoint
from octy_worker.system_log import write_line

POLL_INTERVAL = 5.0
"""Seconds between two looks of a worker for new entries."""
MIN_INTERVAL = timedelta(minutes=1)
"""Between two checkpoints of all workers."""
MAX_INTERVAL = timedelta(days=1)
"""After this time one is taken without new entries too, so that a missing one is seen."""

_logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Takes the checkpoints of one installation. Several workers may: each sees those of the others."""

    def __init__(
        self,
        database: Database,
        keys: Keychain,
        installation: str,
        clock: Clock,
        *,
        write: Callable[[str], None] = write_line,
    ) -> None:
        self._database = database
        self._signer = AuditSigner(keys)
        self._public = public_keys(keys)
        self._installation = installation
        self._clock = clock
        self._write = write

    def take_if_due(self) -> str | None:
        """Take a checkpoint if there are new entries, at most one a minute, or if the last is a day old.

        Returns its line, or None. Raises DatabaseUnavailableError.
        """
        with self._database.read_session() as session:
            if not self._is_due(session):
                return None
        with self._database.write_session() as session:
            line = self._take(session) if self._is_due(session) else None  # another worker may have taken one
        if line is not None:
            self._write(line)
        return line

    def take(self) -> str:
        """Take a checkpoint now, and return its line. Raises DatabaseUnavailableError."""
        with self._database.write_session() as session:
            line = self._take(session)
        self._write(line)
        return line

    async def run(self, stop: asyncio.Event, poll_interval: float = POLL_INTERVAL) -> None:
        """Take those that are due, until `stop` is set."""
        while not stop.is_set():
            with suppress(DatabaseUnavailableError):  # others log it; the next look comes soon
                await asyncio.to_thread(self.take_if_due)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), poll_interval)

    def _is_due(self, session: Session) -> bool:
        last, now = repository.last_checkpoint(session), utc(self._clock())
        if last is None:
            return True
        interval = MIN_INTERVAL if repository.last_entry(session).seq > last.seq else MAX_INTERVAL
        return now - last.at >= interval

    def _take(self, session: Session) -> str:
        now, last = self._clock(), repository.last_checkpoint(session)
        number, previous = (1, "") if last is None else (last.number + 1, self._signature(last))
        point = repository.last_entry(session)
        line = self._signer.sign_checkpoint(
            point, installation=self._installation, at=int(now), number=number, previous=previous
        )
        repository.save_checkpoint(session, number, point.seq, line, now)
        return line

    def _signature(self, last: AuditCheckpoint) -> str:
        """Return the signature of the last one, as it is: a wrong one is found by `octy audit verify`."""
        with suppress(InvalidCheckpointError):
            return read_checkpoint(last.text, self._public).signature
        _logger.error("audit: checkpoint %d in the database was changed; run `octy audit verify`", last.number)
        return last.text.rpartition(" ")[2]
