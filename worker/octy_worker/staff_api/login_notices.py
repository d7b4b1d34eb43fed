"""Tells the admins by mail of log-ins that failed five times in a row; one mail in fifteen minutes at most.

It is sent from the process that judged the log-ins: the audit log has each of them, whether or not this mail arrives.
"""

import logging
import threading
from collections.abc import Callable

from octy_middleware.clock import Clock, utc
from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_worker.access.members import Members
from octy_worker.mail.addresses import Sender
from octy_worker.mail.facts.digest import FailedLoginFacts, FailedLogins
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpStatus
from octy_worker.settings import WorkerSettings

INTERVAL = 900.0
"""Seconds between two mails."""
_MAX_LINES = 20  # people and addresses in one mail

_log = logging.getLogger(__name__)

SendMail = Callable[[FailedLoginFacts], bool]
"""Returns whether the mail was sent, or will never be; False: try again later."""


class FailedLoginNotices:
    """Collects failures and sends them in one mail. Safe to call from several threads."""

    def __init__(self, send: SendMail, clock: Clock, run: Callable[[Callable[[], None]], None] | None = None) -> None:
        """`run`: runs the sending; by default in a thread, because the client does not wait for a mail server."""
        self._send = send
        self._run = run or _run_in_thread
        self._clock = clock
        self._waiting: dict[tuple[str, str], int] = {}
        self._sent_at = float("-inf")
        self._lock = threading.Lock()

    def add(self, handle: str, source: str, count: int) -> None:
        """Tell of failures in a row."""
        with self._lock:
            if (handle, source) in self._waiting or len(self._waiting) < _MAX_LINES:
                self._waiting[handle, source] = count
            now = self._clock()
            if now - self._sent_at < INTERVAL:
                return
            self._sent_at = now
            facts = FailedLoginFacts(
                tuple(FailedLogins(*key, failed) for key, failed in self._waiting.items()), utc(now)
            )
            self._waiting.clear()
        self._run(lambda: self._deliver(facts))

    def _deliver(self, facts: FailedLoginFacts) -> None:
        try:
            is_done = self._send(facts)
        except OctyError as error:
            _log.error("mail failed-logins: %s", error)  # the message is enough
            is_done = False
        if not is_done:
            with self._lock:  # the next failure tries again, with these
                self._sent_at = float("-inf")
                self._waiting = {(one.handle, one.source): one.count for one in facts.failures} | self._waiting


def _run_in_thread(task: Callable[[], None]) -> None:
    threading.Thread(target=task, name="octy-failed-logins", daemon=True).start()


class FailedLoginMail:
    """Sends the mail to all active admins and to the address of the daily digest."""

    def __init__(
        self, database: Database, members: Members, mailer: Mailer, renderer: MailRenderer, settings: WorkerSettings
    ) -> None:
        self._database = database
        self._members = members
        self._mailer = mailer
        self._renderer = renderer
        self._digest_to = settings.support_digest_to
        self._domain = Sender.parse(settings.mail_from).domain

    def send(self, facts: FailedLoginFacts) -> bool:
        """Send it to each address; return whether no mail server deferred it. Without an address it is logged only."""
        _log.warning("log-ins of staff failed: %s", "; ".join(f"{one.count} times" for one in facts.failures))
        with self._database.read_session() as session:
            addresses = [*self._members.admin_addresses(session), self._digest_to]
        rendered, results = self._renderer.render(facts), set()
        for number, address in enumerate(filter(None, dict.fromkeys(addresses))):
            message_id = f"<failed-logins.{int(facts.at.timestamp())}.{number}@{self._domain}>"
            results.add(self._mailer.send(OutgoingMail(message_id, facts.at.timestamp(), address, rendered)).status)
        return SmtpStatus.DEFERRED not in results
