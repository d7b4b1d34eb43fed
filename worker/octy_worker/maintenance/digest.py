"""The daily digest: a mail with the open tasks of support staff, once a UTC day; none if there are no tasks.

Where checkpoints of the audit log are taken, it is sent every day, with one: a mailbox is outside of the database.
It contains ids, counts and commands only: no address, no key, no name. The job's row holds the day and its result.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from octy_middleware.clock import Clock, utc
from octy_middleware.db.database import Database
from octy_middleware.db.models import Incident, IncidentAnswer, IncidentEvent, Mail, Regeneration
from octy_middleware.errors import OctyError
from octy_middleware.states import IncidentState, MailState
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.domain.job_lease import JobLease
from octy_worker.domain.restart_state import last_extension
from octy_worker.mail.addresses import Sender
from octy_worker.mail.facts.digest import DayCounts, DigestFacts, DigestList, OpenTasks
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpStatus
from octy_worker.mail.unsent import is_capped, unsent_alerts
from octy_worker.maintenance.reconciliation.subjects import is_dead_letter
from octy_worker.settings import WorkerSettings

JOB = "digest"
MAX_LINES = 20  # lines of a list; the rest is counted
_DAY = timedelta(days=1)
_LATE = timedelta(hours=1)  # a mail, or the end of an incident
_UNSENT = 1200.0  # seconds; joined and held alerts leave before
_log = logging.getLogger("octy.mail")


@dataclass(frozen=True, slots=True)
class DigestResult:
    """The result of a day's digest: sent, nothing, failed; `waits` and `held` ones are tried again."""

    state: str
    code: str = ""

    @property
    def waits(self) -> bool:
        """Whether the mail server could not take it yet."""
        return self.state == "waits"

    @property
    def held(self) -> bool:
        """Whether another worker is sending it."""
        return self.state == "held"

    @property
    def counts(self) -> dict[str, int]:
        """For the workflow's report."""
        return {self.state: 1}


class DigestSender:
    """Sends the digests of one installation."""

    def __init__(
        self,
        database: Database,
        mailer: Mailer,
        renderer: MailRenderer,
        settings: WorkerSettings,
        clock: Clock,
        *,
        checkpoints: CheckpointWriter | None = None,
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._renderer = renderer
        self._settings = settings
        self._clock = clock
        self._checkpoints = checkpoints

    def send(self, day_of: float) -> DigestResult:
        """Send the digest of the UTC day of a time, unless that was done."""
        day = f"{utc(day_of):%Y-%m-%d}"
        lease, error_code = JobLease(self._database, JOB, self._clock), ""
        state = lease.take()
        if state is None:
            return DigestResult("held")
        try:
            last_day, _, last_result = state.cursor.partition(" ")
            if last_result and last_day >= day:
                return DigestResult(last_result.partition(" ")[0])
            lease.begin(day, self._clock())
            result = self._send(day)
            error_code = result.code
            if not result.waits:
                lease.finish(f"{day} {result.state} {result.code}".rstrip())
            return result
        finally:
            with suppress(OctyError):  # else the lease ends by itself
                lease.release(error_code)

    def _send(self, day: str) -> DigestResult:
        now = self._clock()
        facts = gather(self._database, self._settings, day, now)
        if self._checkpoints is not None:
            facts = replace(facts, checkpoint=self._checkpoints.take())
        elif not facts.tasks.has_tasks:
            _log.info("mail digest/%s: no open tasks, no mail sent", day)
            return DigestResult("nothing")
        message_id = f"<digest.{day}@{Sender.parse(self._settings.mail_from).domain}>"
        envelope = OutgoingMail(message_id, now, self._settings.support_digest_to, self._renderer.render(facts))
        delivery = self._mailer.send(envelope)
        match delivery.status:
            case SmtpStatus.ACCEPTED:
                _log.info("mail digest/%s: sent", day)
                return DigestResult("sent")
            case SmtpStatus.REFUSED:
                _log.error("mail digest/%s: refused, %s; check OCTY_SUPPORT_DIGEST_TO", day, delivery.code)
                return DigestResult("failed", delivery.code)
        return DigestResult("waits", delivery.code)


def gather(database: Database, settings: WorkerSettings, day: str, now: float) -> DigestFacts:
    """Return what waits now, and what was done on the day before this one."""
    end = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    with database.read_session() as session:
        return DigestFacts(day, _waiting(session, settings, now), _yesterday(session, end - _DAY, end))


def _waiting(session: Session, settings: WorkerSettings, now: float) -> OpenTasks:
    is_open, time = col(Incident.closed_at).is_(None), utc(now)
    remind = timedelta(seconds=min(settings.resend_after, default=_DAY.total_seconds()))
    uncollected = col(Regeneration.collected_at).is_(None) & col(Regeneration.finished_at).is_(None)
    pending, unsent = col(Mail.state) == MailState.PENDING, unsent_alerts(session, now)
    incident, regeneration = (Incident.id, Incident.opened_at), (Regeneration.id, Regeneration.opened_at)
    mail = (Mail.key, Mail.created_at)
    return OpenTasks(
        needs_staff=_list(session, incident, is_open & (col(Incident.state) == IncidentState.NEEDS_STAFF)),
        overdue=_list(session, incident, is_open & _is_overdue(session, settings, time)),
        uncollected=_list(session, regeneration, uncollected & (col(Regeneration.opened_at) < time - remind)),
        failed_mails=_list(
            session, mail, (col(Mail.state) == MailState.FAILED) & (col(Mail.created_at) >= time - _DAY)
        ),
        capped_mails=_list(session, mail, is_capped(now)),
        unsent_alerts=unsent.count if unsent.oldest > _UNSENT else 0,
        delayed_mails=session.exec(select(func.count()).where(pending, col(Mail.created_at) < time - _LATE)).one(),
        dead_letters=session.exec(select(func.count()).where(is_dead_letter())).one(),
    )


def _is_overdue(session: Session, settings: WorkerSettings, time: datetime) -> ColumnElement[bool]:
    """Return the condition for an open incident that should have ended.

    An unanswered one has the time that staff gave it, if they did. An answered one may have been answered in the last
    moment, and then waits until its new keys are collected or abandoned.
    """
    unanswered = timedelta(seconds=settings.incident_close_after)
    answered = unanswered + timedelta(seconds=settings.collect_abandon_after + settings.overlap)
    answers = select(IncidentAnswer.incident_id).where(col(IncidentAnswer.answer).is_not(None))
    late, last = col(Incident.opened_at) < time - unanswered - _LATE, col(Incident.opened_at) < time - answered - _LATE
    extended = session.exec(
        select(IncidentEvent.incident_id)
        .join(Incident, col(Incident.id) == IncidentEvent.incident_id)
        .where(IncidentEvent.what == "extended", col(Incident.closed_at).is_(None), late)
        .distinct()
    ).all()
    ends = {one: last_extension(session, one) for one in extended}
    longer = [one for one, end in ends.items() if end is not None and utc(end.close_at) > time - _LATE]
    is_answered = col(Incident.id).in_(answers)
    return late & (~is_answered | last) & col(Incident.id).not_in(longer)


def _list(session: Session, columns: tuple[str, datetime], condition: ColumnElement[bool]) -> DigestList:
    """Return the first ones by their id, each with the time since when it is open, and how many more there are.

    `columns`: of the id and of that time.
    """
    key, since = columns
    rows = session.exec(select(key, since).where(condition).order_by(col(key)).limit(MAX_LINES)).all()
    count = session.exec(select(func.count(col(key))).where(condition)).one()
    return DigestList(tuple((found, at) for found, at in rows), count - len(rows))


def _yesterday(session: Session, begin: datetime, end: datetime) -> DayCounts:
    def count(*conditions: ColumnElement[bool]) -> int:
        return session.exec(select(func.count()).where(*conditions)).one()

    def within(column: object) -> ColumnElement[bool]:
        time = col(column)
        return (time >= begin) & (time < end)

    return DayCounts(
        opened=count(within(Incident.opened_at)),
        closed=count(within(Incident.closed_at)),
        mails=count(within(Mail.sent_at)),
        issued=count(within(Regeneration.opened_at)),
        collected=count(within(Regeneration.collected_at)),
    )
