"""Mail for workflows: one order, one mail, however often it is asked for.

Here: intent, send, note, in this order and each in its own transaction. Not here: what a mail says and how it
travels (`octy_worker.mail`), when one is due (`octy_workflows`).

The further addresses of an account (those of the last 14 days) get a notice without links beside a mail; each has its
own row and its own Message-ID, so a retry sends what is missing and nothing twice. The first address is the one that
counts for the report.
The first alert of an incident may carry those of other incidents of its account (`mail.joining`).
A mail with the new secret inside hands it over with its acceptance, in the transaction that completes its row: killed
before that, it is sent again, and the old pair still waits.
Logs and faults hold keys of mails and codes: no address, no link.
"""

import logging
from dataclasses import dataclass, field, replace

from sqlmodel import Session
from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_middleware.addresses import mail_address
from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.db.models import Mail
from octy_middleware.states import MailState
from octy_worker.crypto.links import Links
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.domain.regenerations import note_mailed
from octy_worker.domain.subjects_missing import subject_missing
from octy_worker.mail.addresses import Sender
from octy_worker.mail.composing import Envelope
from octy_worker.mail.facts import Draft, draft, is_there, with_others
from octy_worker.mail.facts.shapes import CaseFacts, Facts
from octy_worker.mail.hold_notice import HoldNotice
from octy_worker.mail.holding import hold_for
from octy_worker.mail.joining import Turn, Waiting, alert_key, complete_carried, take_turn
from octy_worker.mail.mailer import Mailer
from octy_worker.mail.renderer import Letters, TemplateFaultError
from octy_worker.mail.repository import CAPPED, Intent, Standing, complete, copy_key, intend, withdraw
from octy_worker.mail.smtp_errors import INVALID_ADDRESS, TEMPLATE, Delivery, Verdict
from octy_worker.settings import WorkerSettings
from octy_workflows.messages import DELAYED, HELD, OUTDATED, SendMailInput, SendMailResult

TRANSIENT = "MailTransient"
_ASK_AGAIN = 60.0  # seconds after which a held alert is tried again: it may be released
_HELD = Turn(Standing(MailState.PENDING, HELD), own=False)
_CLOCK_TOLERANCE = 60.0  # seconds that a worker may be ahead of Temporal's clock
_log = logging.getLogger("octy.mail")
_STATES = {
    Verdict.ACCEPTED: MailState.SENT,
    Verdict.REFUSED: MailState.FAILED,
    Verdict.DEFERRED: MailState.PENDING,
}


@dataclass(frozen=True, slots=True)
class _Copy:
    """One address's copy of a mail."""

    intent: Intent
    address: str = field(repr=False)
    facts: Facts = field(repr=False)


class MailActivities:
    """Sends what workflows order. `clock` gives the time of rows and of the mails' Date."""

    def __init__(
        self,
        *,
        database: Database,
        mailer: Mailer,
        letters: Letters,
        links: Links,
        sealer: Sealer,
        settings: WorkerSettings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._links = links
        self._sealer = sealer
        self._letters = letters
        self._cap = settings.mail_daily_cap
        self._join_window = settings.alert_join_window
        self._peppers = settings.peppers
        self._hold_notice = HoldNotice(database, mailer, letters, settings, clock)
        self._domain = Sender.parse(settings.mail_from).domain
        self._clock = clock

    @activity.defn(name="send_mail", no_thread_cancel_exception=True)
    def send_mail(self, order: SendMailInput) -> SendMailResult:
        """Write the intent row, send, and note the result. A transient fault raises, to be retried."""
        with self._database.read_session() as session:
            found = draft(session, self._links, order, self._clock(), sealer=self._sealer)
            if found is None and not is_there(session, order):
                raise subject_missing("subject", order.subject_id)
        if found is None:
            _log.error("mail %s: there is nothing to write about", _key(order))
            return SendMailResult(MailState.FAILED, "unknown-subject")
        first, *others = self._copies(order, found)
        if found.overtaken:
            return _report(order, [self._withdraw(first)])
        if _key(order) == alert_key(order.subject_id) and isinstance(found.facts, CaseFacts):
            return self._alert(order, found, found.facts, first, others)
        standings = [self._settle(first, found)]
        if standings[0].state is not MailState.SKIPPED:
            standings += [self._settle(copy, found) for copy in others]
        return _report(order, standings)

    def _alert(
        self, order: SendMailInput, found: Draft, facts: CaseFacts, first: _Copy, others: list[_Copy]
    ) -> SendMailResult:
        """Send an incident's first alert with those that join it, or say when it is its turn."""
        waiting = Waiting(self._join_window, facts.opened_at.timestamp(), order.waited)
        with self._database.write_session() as session:
            held = self._hold_for(session, first.intent, waiting)
            turn = take_turn(session, first.intent, waiting, self._clock()) if held <= 0 else _HELD
            joined = with_others(session, self._links, found, turn.others)
        if held > 0:
            self._tell_staff()
            return SendMailResult(DELAYED, HELD, again_in=min(held, _ASK_AGAIN))
        if turn.wait > 0:
            return SendMailResult(DELAYED, turn.standing.code, again_in=turn.wait)
        if not turn.own:
            return _report(order, [turn.standing])
        first = replace(first, facts=joined.facts)
        standing = self._send(first, joined) if turn.standing.state is MailState.PENDING else turn.standing
        return _report(order, [standing, *(self._settle(copy, joined) for copy in others)])

    def _hold_for(self, session: Session, intent: Intent, waiting: Waiting) -> float:
        """Return for how many seconds the alert is held. One that was tried is never held."""
        if session.get(Mail, intent.key) is not None:
            return 0.0
        return hold_for(session, self._peppers, waiting.opened_at, waiting.waited, self._clock())

    def _tell_staff(self) -> None:
        """Tell of the hold; whatever hinders that hinders no alert."""
        try:
            self._hold_notice.send()
        except Exception:  # noqa: BLE001  # any fault at all
            _log.exception("support staff could not be told that alerts are held")

    def _copies(self, order: SendMailInput, found: Draft) -> list[_Copy]:
        key = _key(order)
        keys = [key, *(copy_key(key, number) for number in range(2, len(found.addresses) + 1))]
        capped = order.kind in CAPPED
        return [
            _Copy(
                Intent(
                    key=copy,
                    account_id=found.account_id,
                    incident_id=found.incident_id,
                    kind=order.kind,
                    message_id=f"<{copy.replace('/', '.')}@{self._domain}>",
                    cap=self._cap if capped and copy == key else None,
                ),
                address,
                found.facts if copy == key else found.other_facts or found.facts,
            )
            for copy, address in zip(keys, found.addresses, strict=True)
        ]

    def _settle(self, copy: _Copy, found: Draft) -> Standing:
        """Bring one copy as far as it goes: a row that is sent, failed or skipped stays as it is."""
        with self._database.write_session() as session:
            standing = intend(session, copy.intent, self._clock())
        return self._send(copy, found) if standing.state is MailState.PENDING else standing

    def _send(self, copy: _Copy, found: Draft) -> Standing:
        """Send one copy, and note what became of it and of the alerts that it carries."""
        delivery = self._deliver(copy)
        state = _STATES[delivery.verdict]
        with self._database.write_session() as session:
            complete(session, copy.intent.key, state, self._clock(), code=delivery.code)
            complete_carried(session, copy.intent.key, state, self._clock(), code=delivery.code)
            if state is MailState.SENT and found.hands_over is not None:
                note_mailed(session, found.hands_over, self._clock())
        _tell(copy.intent.key, delivery)
        return Standing(state, delivery.code)

    def _withdraw(self, copy: _Copy) -> Standing:
        with self._database.write_session() as session:
            return withdraw(session, copy.intent, OUTDATED, self._clock())

    def _deliver(self, copy: _Copy) -> Delivery:
        address = mail_address(copy.address)
        if address is None:
            return Delivery(Verdict.REFUSED, INVALID_ADDRESS)
        try:
            letter = self._letters.render(copy.facts)
        except TemplateFaultError as fault:  # proven at the start, and still: it waits until somebody mends it
            _log.error("mail %s: the template %s fails", copy.intent.key, fault.place)  # facts are in it
            return Delivery(Verdict.DEFERRED, TEMPLATE, ours=True)
        return self._mailer.send(Envelope(copy.intent.message_id, self._date(), address, letter))

    def _date(self) -> float:
        """Return the time for the mail's Date: ours, but not later than Temporal's clock by more than a minute.

        A worker whose clock is ahead would date an alert into the future, where mail programs take it for junk.
        """
        if not activity.in_activity():
            return self._clock()
        return min(self._clock(), activity.info().started_time.timestamp() + _CLOCK_TOLERANCE)


def _key(order: SendMailInput) -> str:
    return f"{order.subject_id}/{order.kind}/{order.number}"


def _report(order: SendMailInput, standings: list[Standing]) -> SendMailResult:
    waiting = [standing.code for standing in standings if standing.state is MailState.PENDING]
    if waiting:
        raise ApplicationError(f"mail {_key(order)} has not left yet: {', '.join(waiting)}", type=TRANSIENT)
    first, *others = standings
    failed = [f"a copy failed: {standing.code}" for standing in others if standing.state is MailState.FAILED]
    return SendMailResult(first.state, "; ".join([first.code] * bool(first.code) + failed))


def _tell(key: str, delivery: Delivery) -> None:
    if delivery.verdict is Verdict.ACCEPTED:
        _log.info("mail %s: sent", key)
    elif delivery.ours:
        where = "templates (`octy mail preview`)" if delivery.code == TEMPLATE else "OCTY_SMTP_* settings"
        _log.error("mail %s: %s, %s; check the %s", key, delivery.verdict, delivery.code, where)
    else:
        _log.warning("mail %s: %s, %s", key, delivery.verdict, delivery.code)
