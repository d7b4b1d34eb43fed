"""Fake activities: what SQL and mail would do for one incident, regeneration or notice, in memory.

`FakeRecords` stands in for the database and keeps the story of all calls; `FakeActivities` are the activities over it.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from octy_worker.domain.missing_subject import missing_subject_error
from octy_workflows import activities
from octy_workflows.messages import (
    COLLECTED,
    DAILY_CAP,
    DELAYED,
    FINAL_REGENERATION_STATES,
    GROUPED,
    HELD,
    OBSOLETE,
    BeginOverlapInput,
    CloseIncidentInput,
    DecisionResult,
    FinishRegenerationInput,
    IgnoredSignal,
    IncidentFacts,
    LoadFactsInput,
    MaintenanceStepInput,
    MaintenanceStepResult,
    MissingSubject,
    OpenRegenerationInput,
    RecordDecisionInput,
    RecordIncidentEventInput,
    RecordRegenerationEventInput,
    RefusalReason,
    RegenerationFacts,
    RegenerationFinalState,
    RegenerationStepInput,
    RenewLinkInput,
    Resolution,
    SendMailInput,
    SendMailResult,
    Signal,
    StaffAction,
    UseOrderInput,
    UseOrderResult,
    WebhookStepInput,
    WebhookStepResult,
)
from octy_workflows.order_content import Choice, OrderContent, StaffDecision, StaffExtension, StaffResend

_numbers = itertools.count(1)  # of regenerations and orders, across all records
_ACTIONS = {StaffDecision: StaffAction.DECIDE, StaffExtension: StaffAction.EXTEND, StaffResend: StaffAction.RESEND}


def declared() -> set[str]:
    """Return the names of the activities that workflows may ask for."""
    return {name for name, value in vars(activities).items() if hasattr(value, "__temporal_activity_definition")}


@dataclass
class FakeRecords:
    """What SQL and the mailer hold for one incident, regeneration or notice, and what they were asked, in order."""

    start: float = 0.0
    told: list[tuple[float, str]] = field(default_factory=list)  # Unix seconds, by the workflow's clock
    inputs: list[Any] = field(default_factory=list)  # of the activities that told it
    # By mail, one end a try; "down" raises, "obsolete" is skipped, "withheld" until the next day, "grouped" and
    # "held" are delayed by five minutes; then "sent".
    mail_ends: dict[str, list[str]] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)  # by mail, and of a webhook
    posts: list[str] = field(default_factory=list)  # of a webhook, one end a try; "down" raises; then "sent"
    broken: set[str] = field(default_factory=set)  # activities that fail for good
    pieces: list[MaintenanceStepResult] = field(default_factory=list)  # of a round of maintenance, one a call
    missing: set[str] = field(default_factory=set)  # activities that do not find their subject
    shaky: set[str] = field(default_factory=set)  # activities that fail at every try
    slow: dict[str, asyncio.Event] = field(default_factory=dict)  # activities, or notes, that wait for the test
    late: dict[str, asyncio.Event] = field(default_factory=dict)  # activities that have done it, and return later
    staff_orders: dict[str, tuple[StaffAction, OrderContent]] = field(default_factory=dict)  # by id
    used: dict[str, str] = field(default_factory=dict)  # orders, each by the activity that used it
    ignored: list[IgnoredSignal] = field(default_factory=list)  # signals that no row backs
    failures: int = 20
    endings: dict[str, str] = field(default_factory=dict)  # of the incident's regenerations, by id
    leaked: bool = False  # reported before, whether an answer stands or not
    answered: bool = False  # ever
    changed: bool = False  # the answer, ever
    standing: DecisionResult | None = None  # the confirmation's row
    standing_id: str = ""  # of the decision that gave it; none when the customer did
    regeneration_id: str = ""
    later_id: str = ""  # the regeneration that an order joins instead of opening one
    resolution: str = ""
    generation: int = 1
    collected_at: float | None = None
    retired: bool = False  # the old key pair
    old_uses: int = 0  # of the old key pair since the collection
    ending: str = ""
    opened: asyncio.Event = field(default_factory=asyncio.Event)  # that the incident was opened is told

    @property
    def alert_follows(self) -> bool:
        """Return whether an alert waits until the opening is told, so that a story is always told in one order."""
        hindered = {*self.slow, *self.broken, *self.missing, *self.shaky}
        return not hindered & {"record_incident_event", "opened"}

    def tell(self, at: float, line: str, step: object) -> None:
        self.told.append((at, line))
        self.inputs.append(step)

    @property
    def story(self) -> list[str]:
        """Every line with its hour; the first may be told before the test knows when the workflow was started."""
        return [f"{_when(at - self.start)} {line}" for at, line in self.told]

    @property
    def lines(self) -> list[str]:
        """Every line without its hour."""
        return [line for _, line in self.told]

    def events(self, name: str) -> list[RecordIncidentEventInput]:
        """Return the timeline's events of a name."""
        return [step for step in self.inputs if isinstance(step, RecordIncidentEventInput) and step.event == name]

    def customer_says(self, choice: Choice, *, leaked: bool = False) -> None:
        """Take the customer's answer as the page does: SQL holds it before anybody is told."""
        assert self.take(DecisionResult(False, choice, leaked, "customer"), ""), "the page shows that an answer stands"

    def changes(self, choice: Choice, *, leaked: bool, by: str, order_id: str) -> None:
        """Change the answer as the command does: SQL holds it before anybody is told."""
        self.standing, self.standing_id, self.changed = DecisionResult(False, choice, leaked, by), order_id, True
        self.leaked = self.leaked or leaked

    def order(self, said: OrderContent, action: StaffAction | None = None) -> dict[str, str]:
        """Write a staff order down; return what a message says of it."""
        said = said if said.order_id else replace(said, order_id=f"o-{next(_numbers)}")
        self.staff_orders[said.order_id] = action or _ACTIONS[type(said)], said
        return {"order": said.order_id}

    def take(self, answer: DecisionResult, decision_id: str) -> bool:
        """Let the first answer stand, until the question is reopened or the incident closed."""
        if self.standing is not None or self.resolution or (self.leaked and answer.current_choice == Choice.DISMISS):
            return False
        self.standing, self.standing_id, self.answered = answer, decision_id, True
        self.leaked = self.leaked or answer.current_leaked
        return True

    def use(self, use: UseOrderInput) -> UseOrderResult:
        """Load an order, once; a refused one is told."""
        action, said = self.staff_orders.get(use.order_id, (None, None))
        refused = RefusalReason.ORDER_USED if use.order_id in self.used else None
        refused = RefusalReason.ORDER_MISMATCH if action != use.action else refused
        refused = RefusalReason.ORDER_MISSING if said is None else refused
        refused = RefusalReason.UNREADABLE if not use.order_id else refused
        if refused is not None:
            words = use.error or str(refused)
            self.tell(use.at, f"refused {use.refused_event}: {words}", use)
            return UseOrderResult(words)
        assert said is not None
        self.used[use.order_id] = activity.info().activity_id
        return UseOrderResult("", asdict(said))

    @property
    def recorded_signals(self) -> list[Signal]:
        """Name the signals for which there is a row."""
        newest = self.endings.get(self.regeneration_id, "") in FINAL_REGENERATION_STATES
        there = {
            Signal.CUSTOMER_ANSWERED: self.answered,
            Signal.ANSWER_AMENDED: self.changed,
            Signal.REGENERATION_FINISHED: newest or bool(self.endings),
            Signal.FAILURES_INCREASED: self.failures > 20,
            Signal.KEYS_COLLECTED: self.collected_at is not None,
            Signal.SUPERSEDED: self.ending not in ("", RegenerationFinalState.DONE),
        }
        return [signal for signal, recorded_signals in there.items() if recorded_signals]

    @property
    def called_off(self) -> bool:
        return self.standing is not None and self.standing.current_choice == Choice.DISMISS

    def passed_over(self, resolution: str) -> bool:
        """Return whether SQL denies what this end rests on."""
        match Resolution(resolution):
            case Resolution.UNANSWERED:
                return self.standing is not None
            case Resolution.FALSE_ALARM:
                return not self.called_off
            case Resolution.REGENERATED:
                ended = (RegenerationFinalState.DONE, RegenerationFinalState.SUPERSEDED)
                over = self.endings.get(self.regeneration_id) in ended
                return self.standing is None or self.called_off or not over

    def ends(self, state: str) -> None:
        """End the regeneration of the incident: an abandonment reopens the answer before anybody is told."""
        self.endings[self.regeneration_id] = state
        if state == RegenerationFinalState.ABANDONED:
            self.standing, self.standing_id = None, ""


def _when(seconds: float) -> str:
    """Return hours, rounded: a test may take seconds of real time, a deadline is hours away."""
    return f"{seconds / 3600:.1f}h".replace(".0h", "h")


class FakeActivities:
    """Every declared activity, in memory."""

    def __init__(self) -> None:
        self.records: dict[str, FakeRecords] = {}

    def activities(self) -> list[Callable[..., Any]]:
        found = (getattr(self, name) for name in dir(self))
        return [value for value in found if hasattr(value, "__temporal_activity_definition")]

    async def _open(self, subject_id: str) -> FakeRecords:
        records, name = self.records[subject_id], activity.info().activity_type
        if name in records.slow:
            await records.slow[name].wait()
        if name in records.broken:
            raise ApplicationError(f"{name} failed for good", non_retryable=True)
        if name in records.missing:
            raise missing_subject_error("row", subject_id)
        if name in records.shaky:
            raise ApplicationError(f"{name} failed")
        return records

    @activity.defn
    async def send_mail(self, step: SendMailInput) -> SendMailResult:
        records = await self._open(step.subject_id)
        mail = f"{step.kind}-{step.number}"
        if mail == "alert-1" and records.alert_follows:
            await records.opened.wait()
        ends = records.mail_ends.get(mail, [])
        end = ends.pop(0) if ends else "sent"
        records.attempts[mail] += 1
        if end == "down":
            raise ApplicationError("no mail server answers")
        records.tell(step.at, f"mail {mail}{'' if end == 'sent' else f' {end}'}", step)
        if end == OBSOLETE:
            return SendMailResult("skipped", OBSOLETE)
        if end == "withheld":
            return SendMailResult("skipped", DAILY_CAP)
        if end in (GROUPED, HELD):
            return SendMailResult(DELAYED, end, retry_after=300.0)
        return SendMailResult(end, "a reason" if end != "sent" else "")

    @activity.defn
    async def record_incident_event(self, step: RecordIncidentEventInput) -> None:
        records = await self._open(step.incident_id)
        if step.event in records.slow:
            await records.slow[step.event].wait()
        records.tell(step.at, f"note {step.event}{f' {step.state}' if step.state else ''}", step)
        if step.event == "opened":
            records.opened.set()

    @activity.defn
    async def load_incident_facts(self, step: LoadFactsInput) -> IncidentFacts:
        records = await self._open(step.subject_id)
        said = records.standing
        facts = IncidentFacts(
            choice=None if said is None else said.current_choice,
            leaked=records.leaked,
            answered_by="" if said is None else said.answered_by,
            failures=records.failures,
            regeneration_id=records.regeneration_id,
            regeneration_state=records.endings.get(records.regeneration_id, ""),
            recorded_signals=[str(signal) for signal in records.recorded_signals],
        )
        if "load_incident_facts" in records.late:
            await records.late["load_incident_facts"].wait()
        return facts

    @activity.defn
    async def load_regeneration_facts(self, step: LoadFactsInput) -> RegenerationFacts:
        records = await self._open(step.subject_id)
        return RegenerationFacts(
            records.collected_at is not None, records.ending, [str(one) for one in records.recorded_signals]
        )

    @activity.defn
    async def record_ignored_signal(self, signal: IgnoredSignal) -> None:
        subject = signal.subject_id or activity.info().workflow_id  # a round of maintenance is about no subject
        (await self._open(subject)).ignored.append(signal)

    @activity.defn
    async def record_missing_subject(self, missing: MissingSubject) -> None:
        records = self.records[missing.subject_id]
        records.tell(missing.at, f"{'over' if missing.resolved else 'missing'} {missing.kind}", missing)

    @activity.defn
    async def use_order(self, use: UseOrderInput) -> UseOrderResult:
        return (await self._open(use.subject_id)).use(use)

    @activity.defn
    async def record_decision(self, step: RecordDecisionInput) -> DecisionResult:
        records = await self._open(step.incident_id)
        decision = StaffDecision("regenerate", "system", "no answer in time")
        if step.order_id:
            said = records.staff_orders[step.order_id][1]
            assert isinstance(said, StaffDecision)
            decision = said
        given = DecisionResult(True, Choice(decision.decision), decision.leaked, decision.actor)
        taken = records.take(given, decision.order_id) or records.standing_id == decision.order_id != ""
        records.tell(step.at, f"take {decision.decision} of {decision.actor}", decision)
        why = "" if records.resolution else "the secret leaked, so it can't be dismissed"
        none = DecisionResult(False, Choice.DISMISS, False, "", why)
        report = replace(records.standing or none, accepted=taken)
        if "record_decision" in records.late:
            await records.late["record_decision"].wait()
        return report

    @activity.defn
    async def open_regeneration(self, step: OpenRegenerationInput) -> str:
        records = await self._open(step.incident_id)
        if records.standing is None or records.called_off:
            return ""
        if records.regeneration_id == step.after:
            records.regeneration_id = records.later_id or f"{step.incident_id}-r{next(_numbers)}"
        records.tell(step.at, f"regenerate{' leaked' if records.standing.current_leaked else ''}", step)
        return records.regeneration_id

    @activity.defn
    async def close_incident(self, step: CloseIncidentInput) -> bool:
        records = await self._open(step.incident_id)
        if records.passed_over(step.resolution):
            return False
        records.resolution = step.resolution
        records.tell(step.at, f"close {step.resolution}", step)
        return True

    @activity.defn
    async def issue_key_pair(self, step: RegenerationStepInput) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "issue", step)

    @activity.defn
    async def verify_key_pair(self, step: RegenerationStepInput) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "prove", step)

    @activity.defn
    async def activate_key_pair(self, step: RegenerationStepInput) -> None:
        (await self._open(step.regeneration_id)).tell(step.at, "activate", step)

    @activity.defn
    async def renew_link(self, step: RenewLinkInput) -> int:
        records = await self._open(step.regeneration_id)
        if records.collected_at is not None or records.ending:
            return 0
        records.generation = max(records.generation, step.generation)
        records.tell(step.at, f"renew {records.generation}", step)
        return records.generation

    @activity.defn
    async def begin_overlap(self, step: BeginOverlapInput) -> float | None:
        records = await self._open(step.regeneration_id)
        if records.collected_at is None:
            return None
        end = step.at if records.retired else records.collected_at + step.overlap
        records.tell(step.at, f"overlap until {_when(end - records.start)}", step)
        return end

    @activity.defn
    async def count_old_key_uses(self, step: RegenerationStepInput) -> int:
        records = await self._open(step.regeneration_id)
        records.tell(step.at, f"look {records.old_uses}", step)
        return records.old_uses

    @activity.defn
    async def retire_old_key_pair(self, step: RegenerationStepInput) -> bool:
        records = await self._open(step.regeneration_id)
        if records.collected_at is None:
            return False
        records.tell(step.at, "retire", step)
        return True

    @activity.defn
    async def finish_regeneration(self, step: FinishRegenerationInput) -> str:
        records = await self._open(step.regeneration_id)
        if not records.ending and records.collected_at is not None and step.state != RegenerationFinalState.DONE:
            return COLLECTED
        if not records.ending and records.collected_at is None and step.state != RegenerationFinalState.ABANDONED:
            return "sent"
        records.ending = records.ending or step.state
        records.tell(step.at, f"finish {records.ending}", step)
        return records.ending

    @activity.defn
    async def record_regeneration_event(self, step: RecordRegenerationEventInput) -> None:
        records = await self._open(step.regeneration_id)
        staff = f"{' needs_staff' if step.needs_staff else ''}{' staff_done' if step.staff_not_needed else ''}"
        records.tell(step.at, f"note {step.event}{staff}", step)

    @activity.defn
    async def prune_database(self, step: MaintenanceStepInput) -> MaintenanceStepResult:
        return await self._piece("prune", step)

    @activity.defn
    async def reconcile_database(self, step: MaintenanceStepInput) -> MaintenanceStepResult:
        return await self._piece("reconcile", step)

    @activity.defn
    async def send_digest(self, step: MaintenanceStepInput) -> MaintenanceStepResult:
        return await self._piece("digest", step)

    async def _piece(self, name: str, step: MaintenanceStepInput) -> MaintenanceStepResult:
        records = await self._open(activity.info().workflow_id)  # a round is about no subject
        records.tell(step.at, name, step)
        return records.pieces.pop(0)

    @activity.defn
    async def post_webhook(self, step: WebhookStepInput) -> WebhookStepResult:
        records = await self._open(step.webhook_id)
        end = records.posts.pop(0) if records.posts else "sent"
        records.attempts["post"] += 1
        if end == "down":
            raise ApplicationError("no server answers")
        records.tell(step.at, f"post {end}", step)
        return WebhookStepResult(end, "a-code" if end != "sent" else "")

    @activity.defn
    async def give_up_webhook(self, step: WebhookStepInput) -> WebhookStepResult:
        records = await self._open(step.webhook_id)
        state = records.ending or "failed"
        records.tell(step.at, f"give up {state}", step)
        return WebhookStepResult(state, "a-code")
