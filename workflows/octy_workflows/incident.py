"""KeyIncidentWorkflow: alert → wait for the customer's or staff's answer → regenerate or close."""

import asyncio
from collections.abc import Sequence
from typing import Any, assert_never

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from octy_workflows import activities
    from octy_workflows.current_details import CurrentDetails
    from octy_workflows.deadlines import IncidentDeadlines
    from octy_workflows.incident_answer import AnswerTracker
    from octy_workflows.incident_mails import IncidentMails
    from octy_workflows.incident_regenerations import IncidentRegenerations
    from octy_workflows.incident_status import IncidentStatus
    from octy_workflows.messages import (
        DecisionResult,
        EventDetail,
        ExtendedDeadlines,
        IncidentInput,
        IncidentState,
        LoadFactsInput,
        RefusalReason,
        ResendResult,
        Resolution,
        Signal,
        StaffAction,
        StatusResult,
        WorkflowKind,
    )
    from octy_workflows.order_content import Choice, StaffExtension
    from octy_workflows.search_attributes import SearchAttributes
    from octy_workflows.signals import FactsLoader, IgnoredSignals
    from octy_workflows.staff_input import (
        HOW_TO_DECIDE,
        HOW_TO_EXTEND,
        ORDER_REFUSED,
        STAFF_SIGNALS,
        StaffOrders,
        order_id_in_signal,
        order_id_in_update,
    )

_SIGNALS = frozenset(
    {Signal.CUSTOMER_ANSWERED, Signal.ANSWER_AMENDED, Signal.FAILURES_INCREASED, Signal.REGENERATION_FINISHED}
)
_NO_ANSWER = "no_answer"


@workflow.defn
class KeyIncidentWorkflow:
    """One incident, from its opening to its end. Returns its resolution."""

    @workflow.init
    def __init__(self, incident: IncidentInput) -> None:
        self._incident = incident
        self._id = incident.incident_id
        self._start = incident.restart.started_at or workflow.info().workflow_start_time.timestamp()
        self.current_details = CurrentDetails(f"Incident {incident.incident_id}")
        self._search_attributes = SearchAttributes(enabled=incident.searchable)
        self._facts_loader = FactsLoader(self._load_facts)
        self._failures = incident.failures  # as last recorded
        self._loaded_failures = 0  # of the facts loaded last
        self._recorded_signals: list[str] = []  # of the facts loaded last
        self._ignored_signals = IgnoredSignals(WorkflowKind.INCIDENT, incident.incident_id)
        self._staff_orders = StaffOrders(WorkflowKind.INCIDENT, incident.incident_id)
        self._status = IncidentStatus(incident.incident_id, self.current_details, self._search_attributes)
        self.caller = self._status.caller
        self._answers = AnswerTracker(
            incident.incident_id, self.current_details, self._staff_orders, self._facts_loader.reload, self.caller
        )
        self._deadlines = IncidentDeadlines(incident.times, self._start, incident.deadlines)
        self._mails = IncidentMails(incident, self._answers, self._status, self.current_details, self._staff_orders)
        self._regenerations = IncidentRegenerations(
            incident, self._answers, self._status, self.current_details, self._facts_loader.reload
        )

    # Steps

    @workflow.run
    async def run(self, _incident: IncidentInput) -> Resolution:
        """Ask the customer, act on the current answer, and wait again when the new keys could not be delivered."""
        self.current_details.update(decide=HOW_TO_DECIDE, extend=HOW_TO_EXTEND)
        self._search_attributes.set_failures(self._incident.failures)
        # The alert does not wait for this event.
        recording = asyncio.create_task(self._status.record_event("opened", state=IncidentState.WAITING))
        await self._facts_loader.wait_for_pending()  # no alert for an incident that is answered already
        await self._wait_for_answer()
        await recording
        while self._answers.resolution is None:
            await workflow.wait_condition(lambda: self._answers.current is not None)
            await self._act_on_answer()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._answers.resolution

    async def _wait_for_answer(self) -> None:
        """Send mails, and wait for the deadlines beside, until the incident is settled."""
        await asyncio.gather(self._mails.send_alert_and_reminders(self._start), self._wait_for_deadlines())
        self._deadlines.finished = True

    async def _wait_for_deadlines(self) -> None:
        """Notify staff that there is no answer, then end the wait. After an extension staff is notified again."""
        deadlines, settled = self._deadlines, self._answers.settled
        while await deadlines.reached(lambda: deadlines.staff_at, settled, "staff task"):
            extensions = len(deadlines.extensions)

            def settled_or_extended(extensions: int = extensions) -> bool:
                return settled() or len(deadlines.extensions) > extensions

            await self._status.notify_staff(
                _NO_ANSWER,
                "The customer has not answered. Please reach them another way.",
                key=f"{deadlines.staff_at:.0f}" if deadlines.extended else "",
            )
            if await deadlines.reached(lambda: deadlines.close_at, settled_or_extended, "end of the incident"):
                await self._end_without_answer()

    async def _end_without_answer(self) -> None:
        """Close the incident, or regenerate where that is configured. The customer may answer at the same time."""
        async with self._answers.lock:
            if self._answers.current is not None or self._deadlines.close_at > workflow.time():
                return
            if not self._incident.times.regenerate_on_silence:
                await self._close(Resolution.UNANSWERED)
                return
            await self._answers.record("", "no answer in time")

    async def _act_on_answer(self) -> None:
        answer = self._answers.current
        assert answer is not None
        match answer.choice:
            case Choice.REGENERATE:
                if await self._regenerations.regenerate():
                    await self._close(Resolution.REGENERATED)
            case Choice.DISMISS:
                await self._close(Resolution.FALSE_ALARM)
            case unknown:  # pragma: no cover - mypy shows that there is no other
                assert_never(unknown)

    async def _close(self, resolution: Resolution) -> None:
        """Close the incident. When the database refuses that, its facts have changed: load them again."""
        if await self._status.close(resolution):
            self._answers.resolution = resolution
        else:
            await self._facts_loader.reload()

    # Updates, signals and queries

    @workflow.update
    async def decide(self, value: Any) -> DecisionResult:
        """Use the staff order of this id.

        Fails as "Invalid", "StaffOrderRefused" or "TooLate". A repeat gets the same result again.
        """
        return await self._answers.decide(order_id_in_update(value))

    @decide.validator
    def _check_decide(self, value: Any) -> None:
        self._answers.check_update(order_id_in_update(value))

    @workflow.update
    async def extend(self, value: Any) -> ExtendedDeadlines:
        """Use the staff order of this id: the incident ends later. Fails as `decide`; a repeat changes nothing."""
        return await self._extend(order_id_in_update(value))

    @extend.validator
    def _check_extend(self, value: Any) -> None:
        if order_id_in_update(value) not in self._deadlines.extensions:
            self._check_extension()

    @workflow.update
    async def resend(self, value: Any) -> ResendResult:
        """Use the staff order of this id: send a mail again. Returns when it was sent, or why it was not.

        Fails as `decide`, or as "TooEarly"; a repeat sends nothing.
        """
        return await self._mails.resend(order_id_in_update(value))

    @resend.validator
    def _check_resend(self, value: Any) -> None:
        self._mails.check_resend(order_id_in_update(value))

    @workflow.signal(dynamic=True, description=HOW_TO_DECIDE)
    async def on_signal(self, name: str, content: Sequence[RawValue]) -> None:
        """Load the facts from the database, or use the staff order whose id staff sent from the Web UI.

        Dynamic, so that every signal arrives here, whatever its name and content. No signal is believed: one without a
        row in the database is recorded and counted, and changes nothing.
        """
        if name in _SIGNALS:
            await self._facts_loader.reload()
            if name not in self._recorded_signals:
                await self._ignored_signals.record(name, RefusalReason.NO_ROW)
            await self._record_failures()
        elif name in STAFF_SIGNALS:
            await self._on_staff_signal(STAFF_SIGNALS[name], content)
        else:
            self.current_details.update(
                signal=f"A signal was ignored; those of support staff are {', '.join(STAFF_SIGNALS)}."
            )
            await self._ignored_signals.record(name, RefusalReason.UNKNOWN_NAME)

    @workflow.query
    def status(self) -> StatusResult:
        """Return the incident's state and current answer."""
        answer = self._answers.current
        if answer is None:
            return StatusResult(self._status.state, None, None)
        return StatusResult(self._status.state, answer.choice, answer.answered_by)

    # Helpers

    async def _load_facts(self) -> None:
        step = LoadFactsInput(self._id, workflow.time())
        facts = await self.caller.execute(activities.load_incident_facts, step, "facts")
        self._recorded_signals = facts.recorded_signals
        self._regenerations.update(facts)
        self._answers.update(facts)
        self._loaded_failures = facts.failures if Signal.FAILURES_INCREASED in facts.recorded_signals else 0

    async def _record_failures(self) -> None:
        """Record that the attack goes on; the signal is sent only when the number has doubled."""
        failures = self._loaded_failures
        if failures <= self._failures:
            return
        self._failures = failures
        self.current_details.update(failures=f"{failures} failed attempts in a row so far.")
        self._search_attributes.set_failures(failures)
        await self._status.record_event("failures_increased", key=str(failures), detail={"failures": failures})

    async def _on_staff_signal(self, action: StaffAction, content: Sequence[RawValue]) -> None:
        order_id, input_error = order_id_in_signal(content)
        try:
            await self._use_order(action, order_id, input_error)
        except FailureError as error:
            self.current_details.update(signal=f"A signal was refused: {error.message}.")
            order = self._staff_orders.used.get(order_id)
            if order is not None and not (isinstance(error, ApplicationError) and error.type == ORDER_REFUSED):
                await self._status.record_refused(order, error.message)

    async def _use_order(self, action: StaffAction, order_id: str, error: str) -> None:
        match action:
            case StaffAction.DECIDE:
                await self._answers.decide(order_id, signalled=True, error=error)
            case StaffAction.EXTEND:
                await self._extend(order_id, signalled=True, error=error)
            case StaffAction.RESEND | StaffAction.RESEND_KEYS:
                await self._mails.resend(order_id, signalled=True, error=error)
            case unknown:  # pragma: no cover - mypy shows that there is no other
                assert_never(unknown)

    def _check_extension(self, days: int = 0) -> None:
        self._answers.check_open()
        self._deadlines.check_extension(days)

    async def _extend(self, order_id: str, *, signalled: bool = False, error: str = "") -> ExtendedDeadlines:
        """Extend the deadlines, unless the incident is being ended right now. The staff task is resolved."""
        async with self._answers.lock:
            if not signalled and order_id in self._deadlines.extensions:
                return self._deadlines.extensions[order_id]
            order = await self._staff_orders.use(order_id, StaffAction.EXTEND, error)
            assert isinstance(order, StaffExtension)
            self._check_extension(order.days)
            extended = self._deadlines.extend(order)
            ends: EventDetail = {"staff_at": int(extended.staff_at), "ends_at": int(extended.close_at)}
            detail: EventDetail = {"days": order.days, **ends, "reason": order.reason}
            state = self._status.state_without(_NO_ANSWER)
            await self._status.record_event(
                "extended", key=order.order_id, state=state, actor=order.actor, detail=detail
            )
            return extended
