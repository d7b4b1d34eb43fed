"""The mail to support staff that alerts are held, sent once per hold."""

import logging
from contextlib import suppress

from sqlmodel import col, update

from octy_middleware.clock import Clock, utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import AlertHold
from octy_middleware.errors import OctyError
from octy_worker.domain.job_lease import JobLease
from octy_worker.mail.addresses import Sender
from octy_worker.mail.alert_hold import current_hold
from octy_worker.mail.facts.digest import HoldFacts
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpStatus
from octy_worker.mail.unsent import unsent_alerts
from octy_worker.settings import WorkerSettings

JOB = "hold_notice"
_log = logging.getLogger("octy.mail")


class HoldNotice:
    """Sends the mail to the address of the daily digest. Without an address it only writes a log line."""

    def __init__(
        self, database: Database, mailer: Mailer, renderer: MailRenderer, settings: WorkerSettings, clock: Clock
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._renderer = renderer
        self._to = settings.support_digest_to
        self._domain = Sender.parse(settings.mail_from).domain
        self._clock = clock

    def send(self) -> None:
        """Notify staff of the current hold unless this was done. A failed send is retried with the next held alert."""
        if self._facts() is None:
            return
        lease = JobLease(self._database, JOB, self._clock)
        if lease.take() is None:  # another worker sends it
            return
        try:
            found = self._facts()
            if found is not None:
                self._notify(*found)
        finally:
            with suppress(OctyError):  # the lease then expires
                lease.release()

    def _facts(self) -> tuple[str, HoldFacts] | None:
        now = self._clock()
        with self._database.read_session() as session:
            hold = current_hold(session, now)
            if hold is None or hold.staff_notified_at is not None:
                return None
            unsent = unsent_alerts(session, now).count
            return hold.id, HoldFacts(hold.evidence, hold.accounts, unsent, hold.began_at, hold.ends_at)

    def _notify(self, hold_id: str, facts: HoldFacts) -> None:
        _log.error(
            "alerts are held until %s: %s, %d accounts. See octy incidents held",
            facts.ends_at,
            facts.evidence,
            facts.accounts,
        )
        if self._to:
            message_id = f"<hold.{hold_id}@{self._domain}>"
            delivery = self._mailer.send(
                OutgoingMail(message_id, self._clock(), self._to, self._renderer.render(facts))
            )
            if delivery.status is SmtpStatus.DEFERRED:
                _log.warning("mail hold/%s: %s", hold_id, delivery.code)
                return
        notified = update(AlertHold).where(col(AlertHold.id) == hold_id).values(staff_notified_at=utc(self._clock()))
        with self._database.write() as connection:
            connection.execute(notified)
