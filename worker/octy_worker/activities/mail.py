"""Activity that sends mails: the same input is one mail, however often it is called.

Each step is a transaction of its own: record the intent, send, record the result. `octy_worker.mail` renders and sends.

Further addresses of an account (those of the last 14 days) get a copy without links. Each copy has its own row and
Message-ID, so that a retry sends only what is missing. The result is that of the first address. An accepted mail that
can't be recorded at once is recorded a little later, because a retry of the activity would send it again.
The first alert of an incident may contain other incidents of its account (`mail.alert_grouping`).
A mail with the new secret completes its row and the collection in one transaction. When the worker is killed before
that, the mail is sent again, and the old key pair is still accepted.
Logs and errors contain mail keys and codes, but no address and no link.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sqlmodel import Session
from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.db.models import Mail
from octy_middleware.errors import DatabaseUnavailableError
from octy_middleware.states import MailState
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain.missing_subject import missing_subject_error
from octy_worker.domain.regenerations import record_mailed
from octy_worker.mail.addresses import Sender
from octy_worker.mail.alert_grouping import AlertSlot, GroupWait, alert_key, claim_alert, complete_grouped
from octy_worker.mail.alert_hold import hold_alert
from octy_worker.mail.facts import MailDraft, add_incidents, load_draft, subject_exists
from octy_worker.mail.facts.models import Facts, IncidentFacts
from octy_worker.mail.hold_notice import HoldNotice
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import MailRenderer, TemplateRenderError
from octy_worker.mail.repository import CAPPED, MailSpec, MailStatus, begin_send, complete, copy_key, skip
from octy_worker.mail.smtp_errors import INVALID_ADDRESS, TEMPLATE, SmtpResult, SmtpStatus
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import DELAYED, HELD, OBSOLETE, SendMailInput, SendMailResult

TRANSIENT = "MailTransient"
_HELD_RETRY_AFTER = 60.0  # seconds after which a held alert is tried again: it may be released
_HELD = AlertSlot(MailStatus(MailState.PENDING, HELD), own=False)
_CLOCK_TOLERANCE = 60.0  # seconds that a worker may be ahead of Temporal's clock
_RECORD_DELAYS = (0.5, 1.0)  # seconds between attempts to record an accepted mail; each may wait 5 s for a lock
_log = logging.getLogger("octy.mail")
_STATES = {
    SmtpStatus.ACCEPTED: MailState.SENT,
    SmtpStatus.REFUSED: MailState.FAILED,
    SmtpStatus.DEFERRED: MailState.PENDING,
}


@dataclass(frozen=True, slots=True)
class _Copy:
    """One address's copy of a mail."""

    spec: MailSpec
    address: str = field(repr=False)
    facts: Facts = field(repr=False)


class MailActivities:
    """Sends mails for workflows. `clock` gives the time of rows and of the mails' Date."""

    def __init__(
        self,
        *,
        database: Database,
        mailer: Mailer,
        renderer: MailRenderer,
        links: Links,
        sealer: Sealer,
        settings: WorkerSettings,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._sleep = sleep
        self._mailer = mailer
        self._links = links
        self._sealer = sealer
        self._renderer = renderer
        self._cap = settings.mail_daily_cap
        self._group_interval = settings.alert_group_interval
        self._peppers = settings.peppers
        self._hold_notice = HoldNotice(database, mailer, renderer, settings, clock)
        self._domain = Sender.parse(settings.mail_from).domain
        self._clock = clock

    @activity.defn(name="send_mail", no_thread_cancel_exception=True)
    def send_mail(self, mail: SendMailInput) -> SendMailResult:
        """Record the intent, send the mail, and record the result. A transient failure raises, and is retried."""
        with self._database.read_session() as session:
            found = load_draft(session, self._links, mail, self._clock(), sealer=self._sealer)
            if found is None and not subject_exists(session, mail):
                raise missing_subject_error("subject", mail.subject_id)
        if found is None:
            _log.error("mail %s: its subject has no account", _key(mail))
            return SendMailResult(MailState.FAILED, "unknown-subject")
        first, *others = self._copies(mail, found)
        if found.obsolete:
            return _result(mail, [self._skip_obsolete(first)])
        if _key(mail) == alert_key(mail.subject_id) and isinstance(found.facts, IncidentFacts):
            return self._alert(mail, found, found.facts, first, others)
        statuses = [self._send_if_pending(first, found)]
        if statuses[0].state is not MailState.SKIPPED:
            statuses += [self._send_if_pending(copy, found) for copy in others]
        return _result(mail, statuses)

    def _alert(
        self, mail: SendMailInput, found: MailDraft, facts: IncidentFacts, first: _Copy, others: list[_Copy]
    ) -> SendMailResult:
        """Send an incident's first alert with those grouped with it, or return when it is due."""
        waiting = GroupWait(self._group_interval, facts.opened_at.timestamp(), mail.delayed_for)
        with self._database.write_session() as session:
            held = self._hold_for(session, first.spec, waiting)
            slot = claim_alert(session, first.spec, waiting, self._clock()) if held <= 0 else _HELD
            joined = add_incidents(session, self._links, found, slot.others)
        if held > 0:
            self._notify_staff()
            return SendMailResult(DELAYED, HELD, retry_after=min(held, _HELD_RETRY_AFTER))
        if slot.wait > 0:
            return SendMailResult(DELAYED, slot.status.code, retry_after=slot.wait)
        if not slot.own:
            return _result(mail, [slot.status])
        first = replace(first, facts=joined.facts)
        status = self._send(first, joined) if slot.status.state is MailState.PENDING else slot.status
        return _result(mail, [status, *(self._send_if_pending(copy, joined) for copy in others)])

    def _hold_for(self, session: Session, spec: MailSpec, waiting: GroupWait) -> float:
        """Return for how many seconds the alert is held. One with an attempt is never held."""
        if session.get(Mail, spec.key) is not None:
            return 0.0
        return hold_alert(session, self._peppers, waiting.opened_at, waiting.waited, self._clock())

    def _notify_staff(self) -> None:
        """Mail staff that alerts are held; an error here must not stop alerts."""
        try:
            self._hold_notice.send()
        except Exception:  # noqa: BLE001  # any error at all
            _log.exception("could not notify support staff that alerts are held")

    def _copies(self, mail: SendMailInput, found: MailDraft) -> list[_Copy]:
        key = _key(mail)
        keys = [key, *(copy_key(key, number) for number in range(2, len(found.addresses) + 1))]
        capped = mail.kind in CAPPED
        return [
            _Copy(
                MailSpec(
                    key=copy,
                    account_id=found.account_id,
                    incident_id=found.incident_id,
                    kind=mail.kind,
                    message_id=f"<{copy.replace('/', '.')}@{self._domain}>",
                    cap=self._cap if capped and copy == key else None,
                ),
                address,
                found.facts if copy == key else found.other_facts or found.facts,
            )
            for copy, address in zip(keys, found.addresses, strict=True)
        ]

    def _send_if_pending(self, copy: _Copy, found: MailDraft) -> MailStatus:
        """Send one copy, unless its row is sent, failed or skipped already."""
        with self._database.write_session() as session:
            status = begin_send(session, copy.spec, self._clock())
        return self._send(copy, found) if status.state is MailState.PENDING else status

    def _send(self, copy: _Copy, found: MailDraft) -> MailStatus:
        """Send one copy, and record the result for it and for the alerts grouped in it."""
        delivery = self._deliver(copy)
        status = MailStatus(_STATES[delivery.status], delivery.code)
        try:
            self._record(copy, found, status)
        except DatabaseUnavailableError as error:
            if status.state is not MailState.SENT:
                raise
            _log.warning("mail %s: sent, but not recorded yet: %s", copy.spec.key, error)
            self._record_late(copy, found, status)
        _log_result(copy.spec.key, delivery)
        return status

    def _record(self, copy: _Copy, found: MailDraft, status: MailStatus) -> None:
        with self._database.write_session() as session:
            complete(session, copy.spec.key, status.state, self._clock(), code=status.code)
            complete_grouped(session, copy.spec.key, status.state, self._clock(), code=status.code)
            if status.state is MailState.SENT and found.delivers_secret_of is not None:
                record_mailed(session, found.delivers_secret_of, self._clock())

    def _record_late(self, copy: _Copy, found: MailDraft, status: MailStatus) -> None:
        """Record a mail that was accepted while writers waited for locks: a retry of the activity would send it again.

        Raises DatabaseUnavailableError after a few attempts, well before the activity's timeout.
        """
        for delay in _RECORD_DELAYS:
            self._sleep(delay)
            with suppress(DatabaseUnavailableError):
                return self._record(copy, found, status)
        return self._record(copy, found, status)

    def _skip_obsolete(self, copy: _Copy) -> MailStatus:
        with self._database.write_session() as session:
            return skip(session, copy.spec, OBSOLETE, self._clock())

    def _deliver(self, copy: _Copy) -> SmtpResult:
        address = normalize_mail_address(copy.address)
        if address is None:
            return SmtpResult(SmtpStatus.REFUSED, INVALID_ADDRESS)
        try:
            rendered = self._renderer.render(copy.facts)
        except TemplateRenderError as error:  # although it was checked at the start: retried until it is repaired
            _log.error("mail %s: the template %s fails", copy.spec.key, error.place)  # its message contains facts
            return SmtpResult(SmtpStatus.DEFERRED, TEMPLATE, our_fault=True)
        return self._mailer.send(OutgoingMail(copy.spec.message_id, self._date(), address, rendered))

    def _date(self) -> float:
        """Return the time for the mail's Date: our clock, but at most a minute later than Temporal's.

        A worker whose clock is ahead would date an alert into the future, and spam filters reject that.
        """
        if not activity.in_activity():
            return self._clock()
        return min(self._clock(), activity.info().started_time.timestamp() + _CLOCK_TOLERANCE)


def _key(mail: SendMailInput) -> str:
    return f"{mail.subject_id}/{mail.kind}/{mail.number}"


def _result(mail: SendMailInput, statuses: list[MailStatus]) -> SendMailResult:
    waiting = [status.code for status in statuses if status.state is MailState.PENDING]
    if waiting:
        raise ApplicationError(f"mail {_key(mail)} is not sent yet: {', '.join(waiting)}", type=TRANSIENT)
    first, *others = statuses
    failed = [f"a copy failed: {status.code}" for status in others if status.state is MailState.FAILED]
    return SendMailResult(first.state, "; ".join([first.code] * bool(first.code) + failed))


def _log_result(key: str, delivery: SmtpResult) -> None:
    if delivery.status is SmtpStatus.ACCEPTED:
        _log.info("mail %s: sent", key)
    elif delivery.our_fault:
        where = "templates (`octy mail preview`)" if delivery.code == TEMPLATE else "OCTY_SMTP_* settings"
        _log.error("mail %s: %s, %s; check the %s", key, delivery.status, delivery.code, where)
    else:
        _log.warning("mail %s: %s, %s", key, delivery.status, delivery.code)
