"""Every activity called twice, and killed around each of its commits, leaves the rows of one call.

A declared activity without a row in this table fails a test. Killed before a commit means that nothing of the
transaction is there; killed after it, that Temporal does not know of it. Then the activity is retried, as Temporal
does. The number of attempts of a mail or a webhook is no effect: `delivery_attempts` is not compared.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from support.mail_rig import RecordingMailer, settings
from support.orders import receipts_of, receive_order
from support.webhook_rig import enqueue_event, subscribe
from support.world import FakeRequest, World
from temporalio.testing import ActivityEnvironment

from octy_middleware.db.database import Database
from octy_middleware.db.models import METADATA
from octy_middleware.states import Answer
from octy_worker.activities.mail import MailActivities
from octy_worker.activities.webhooks import WebhookActivities
from octy_worker.activities.workflow_messages import WorkflowMessageActivities
from octy_worker.crypto.links import Links
from octy_worker.mail.renderer import MailRenderer
from octy_worker.webhooks.failures import FailureReason
from octy_worker.webhooks.failures import PostResult as WebhookDelivery
from octy_worker.webhooks.signing import WebhookMessage
from octy_workflows.messages import (
    BeginOverlapInput,
    CloseIncidentInput,
    FinishRegenerationInput,
    IgnoredSignal,
    IncidentState,
    LoadFactsInput,
    MailKind,
    MissingSubject,
    OpenRegenerationInput,
    RecordIncidentEventInput,
    RecordRegenerationEventInput,
    RefusalReason,
    RegenerationFinalState,
    RegenerationStepInput,
    RenewLinkInput,
    Resolution,
    SendMailInput,
    StaffAction,
    UseOrderInput,
    WebhookStepInput,
    WorkflowKind,
)
from octy_workflows.order_content import StaffExtension
from worker.activities.test_activities import ActivityRig, decision, declared
from worker.maintenance import test_digest, test_reconciliation, test_retention_runs

NOW = time.time() + 86_400  # after whatever `World.register` did, however long the run takes
HOUR = 3600.0
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|pk_\w+|\$octy-b2\$.+|k1\$.+")


def case(rig: ActivityRig) -> str:
    return rig.incident(rig.world.register())


def hooked(rig: ActivityRig) -> str:
    """An incident of an account with a webhook URL."""
    incident_id = case(rig)
    subscribe(rig.world, "https://hooks.acme.example/")
    return incident_id


def answered(rig: ActivityRig, said: Answer = Answer.NOT_US) -> str:
    incident_id = case(rig)
    rig.answer(incident_id, said)
    return incident_id


def ordered(rig: ActivityRig) -> str:
    return rig.order(rig.world.register())


def issued(rig: ActivityRig) -> str:
    regeneration_id = ordered(rig)
    rig.regenerations.issue_key_pair(RegenerationStepInput(regeneration_id, NOW))
    return regeneration_id


def sent(rig: ActivityRig) -> str:
    return rig.sent(ordered(rig))


def collected(rig: ActivityRig) -> str:
    regeneration_id = ordered(rig)
    rig.world.complete(regeneration_id, NOW)
    return regeneration_id


def in_overlap(rig: ActivityRig, collected_at: float = NOW) -> str:
    """The old key pair lives on, and was used before the test began."""
    keys = rig.world.register(now=time.time() - 2 * HOUR)
    regeneration_id = rig.order(keys)
    rig.world.complete(regeneration_id, collected_at)
    rig.regenerations.begin_overlap(BeginOverlapInput(regeneration_id, NOW, 72 * HOUR))
    with rig.world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(keys.basic()))
    return regeneration_id


def awaited(rig: ActivityRig) -> str:
    """An incident waits for it."""
    return rig.sent(rig.incidents.open_regeneration(OpenRegenerationInput(answered(rig), at=NOW)))


def event(rig: ActivityRig, url: str = "https://hooks.acme.example/") -> WebhookStepInput:
    """A webhook of an account to its current URL."""
    keys = rig.world.register()
    subscribe(rig.world, "https://hooks.acme.example/")
    order = enqueue_event(rig.world, keys.account_id)
    subscribe(rig.world, url)
    return order


def order_use(rig: ActivityRig, incident_id: str) -> UseOrderInput:
    said = StaffExtension(7, "ann", "on holiday")
    order_id = receive_order(rig.world, StaffAction.EXTEND, incident_id, said, NOW)
    return UseOrderInput(order_id, WorkflowKind.INCIDENT, incident_id, StaffAction.EXTEND, said.refused_event, "", NOW)


def ignored(incident_id: str) -> IgnoredSignal:
    return IgnoredSignal(WorkflowKind.INCIDENT, incident_id, "customer_answered", RefusalReason.NO_ROW, 1, NOW)


IN_TEMPORAL = (
    "use_order",
    "record_ignored_signal",
    "record_missing_subject",
)  # they ask which call of theirs this is


class GoneWebhookClient:
    """A webhook client whose server responds 410."""

    def post(self, parcel: WebhookMessage, *, first_attempt: bool = False) -> WebhookDelivery:
        return WebhookDelivery(FailureReason.GONE if "gone" in parcel.url else None, 200)


@dataclass(frozen=True)
class Row:
    """An activity, its preparation, its input, and the number of writing transactions; none: it only reads."""

    activity: str
    order: Callable[[ActivityRig], Any]
    commits: int = 1
    case: str = ""

    def __str__(self) -> str:
        return f"{self.activity}{self.case and '-'}{self.case}"


ROWS = [
    Row("send_mail", lambda rig: SendMailInput(case(rig), MailKind.ALERT, 1, NOW), 2),
    Row("send_mail", lambda rig: SendMailInput(sent(rig), MailKind.NEW_KEYS, 1, NOW), 2, "link"),
    Row("send_mail", lambda rig: SendMailInput(sent(rig), MailKind.NEW_KEYS_INSIDE, 1, NOW), 2, "keys_inside"),
    Row("send_mail", lambda rig: SendMailInput(collected(rig), MailKind.NEW_KEYS_INSIDE, 1, NOW), 1, "obsolete"),
    Row(
        "record_incident_event",
        lambda rig: RecordIncidentEventInput(case(rig), "n", "opened", NOW, state=IncidentState.WAITING),
    ),
    Row(
        "record_incident_event",
        lambda rig: RecordIncidentEventInput(hooked(rig), "opened", "opened", NOW),
        case="webhook",
    ),
    Row("load_incident_facts", lambda rig: LoadFactsInput(answered(rig), NOW), 0),
    Row("load_regeneration_facts", lambda rig: LoadFactsInput(collected(rig), NOW), 0),
    Row("use_order", lambda rig: order_use(rig, case(rig))),
    Row("record_ignored_signal", lambda rig: ignored(case(rig))),
    Row(
        "record_missing_subject",
        lambda rig: MissingSubject(WorkflowKind.INCIDENT, case(rig), "why", False, "waiting", NOW),
    ),
    Row("record_decision", lambda rig: decision(rig, case(rig), leaked=True)),
    Row("record_decision", lambda rig: decision(rig, answered(rig, Answer.IT_WAS_US)), case="too_late"),
    Row("open_regeneration", lambda rig: OpenRegenerationInput(answered(rig), at=NOW)),
    Row("close_incident", lambda rig: CloseIncidentInput(answered(rig, Answer.IT_WAS_US), Resolution.FALSE_ALARM, NOW)),
    Row("close_incident", lambda rig: CloseIncidentInput(hooked(rig), Resolution.UNANSWERED, NOW), case="webhook"),
    Row("issue_key_pair", lambda rig: RegenerationStepInput(ordered(rig), NOW)),
    Row("verify_key_pair", lambda rig: RegenerationStepInput(issued(rig), NOW), 0),
    Row("activate_key_pair", lambda rig: RegenerationStepInput(issued(rig), NOW)),
    Row("renew_link", lambda rig: RenewLinkInput(sent(rig), 2, NOW)),
    Row("begin_overlap", lambda rig: BeginOverlapInput(collected(rig), NOW, HOUR)),
    Row("count_old_key_uses", lambda rig: RegenerationStepInput(in_overlap(rig, time.time() - HOUR), NOW), 0),
    Row("retire_old_key_pair", lambda rig: RegenerationStepInput(in_overlap(rig), NOW + 73 * HOUR)),
    Row(
        "finish_regeneration",
        lambda rig: FinishRegenerationInput(awaited(rig), RegenerationFinalState.ABANDONED, NOW),
    ),
    Row("post_webhook", event, 2),
    Row("post_webhook", lambda rig: event(rig, "https://gone.acme.example/"), 2, "gone"),
    Row("post_webhook", lambda rig: event(rig, ""), 1, "no_url"),
    Row("give_up_webhook", event),
    Row(
        "record_regeneration_event",
        lambda rig: RecordRegenerationEventInput(awaited(rig), "n", "not_collected", NOW, needs_staff=True),
    ),
]


# Maintenance resumes at a cursor or a row: its own tests kill it between its steps and call it again.
ELSEWHERE = {
    "prune_database": (test_retention_runs.test_retention_run_killed_at_any_write_is_resumed_to_the_same_result,),
    "reconcile_database": (
        test_reconciliation.test_incident_without_a_workflow_is_restarted_once,
        test_reconciliation.test_reconciliation_needs_the_lease_and_an_error_releases_it,
    ),
    "send_digest": (
        test_digest.test_digest_lists_open_tasks_once_a_day_without_customer_data,
        test_digest.test_two_workers_send_one_digest,
    ),
}


def test_idempotence_table_covers_every_activity() -> None:
    rows = {row.activity for row in ROWS}
    assert rows | ELSEWHERE.keys() == set(declared())
    assert not rows & ELSEWHERE.keys()


class Crash(BaseException):
    """The process dies here."""


@cache
def renderer() -> MailRenderer:
    """All trials' renderer: mails do not depend on the keys of a world."""
    return MailRenderer(settings())


class PreparedDatabase:
    """One database in which a row's activity is called, and its rows."""

    def __init__(self, folder: Path, like: "PreparedDatabase | None" = None) -> None:
        self.folder = folder
        folder.mkdir()
        keys = {} if like is None else {"peppers": like.world.peppers, "sealing_keys": like.world.sealing_keys}
        self.world = World(folder, **keys)
        if like is not None:
            shutil.copyfile(like.folder / "octy.db", folder / "octy.db")
        self.rig, self.mailer = ActivityRig(self.world), RecordingMailer()

    def does(self, name: str) -> Callable[[Any], Any]:
        own = settings().model_copy(update={"peppers": self.world.peppers})
        mail = MailActivities(
            database=self.world.database,
            mailer=self.mailer,
            renderer=renderer(),
            links=Links(own.link_keys, own.public_url),
            sealer=self.world.sealer,
            settings=own,
            clock=lambda: NOW,
        )
        hooks = WebhookActivities(self.world.database, GoneWebhookClient(), lambda: NOW)
        control = WorkflowMessageActivities(
            self.world.database, receipts_of(self.world), lambda _kind, _why: None, lambda _kind: None, lambda: NOW
        )
        rooms = (control, mail, hooks, self.rig.incidents, self.rig.regenerations)
        [activity] = [getattr(room, name) for room in rooms if hasattr(room, name)]
        return partial(ActivityEnvironment().run, activity) if name in IN_TEMPORAL else activity

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        found = {}
        with self.world.database.read() as connection:
            for table in METADATA.sorted_tables:
                if table.name in ("installation", "key_check"):  # each world's own
                    continue
                rows = [dict(row) for row in connection.execute(table.select()).mappings()]
                found[table.name] = sorted(rows, key=repr)
        for tried in (*found["mail"], *found["webhook"]):
            del tried["delivery_attempts"]
        return found


@contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, moment: str, number: int) -> Iterator[None]:
    """Die before or after the commit of this number, counted from 1; 0 is never."""
    real, commits = Database.write, 0

    @contextmanager
    def write(database: Database, **options: Any) -> Iterator[Any]:
        nonlocal commits
        commits += 1
        own = commits
        with real(database, **options) as connection:
            yield connection
            if (moment, own) == ("before", number):
                raise Crash
        if (moment, own) == ("after", number):
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", write)
        with pytest.raises(Crash):
            yield


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Yield a list that grows with every transaction that may write."""
    real, seen = Database.write, []

    @contextmanager
    def write(database: Database, **options: Any) -> Iterator[Any]:
        with real(database, **options) as connection:
            yield connection
        seen.append(len(seen) + 1)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", write)
        yield seen


CHAINED = {"salt", "commitment", "previous_hash", "hash"}


def plain(rows: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return rows with new ids and keys, which differ between databases, replaced by placeholders.

    Salts, commitments and hashes of the audit log differ too, and are left out.
    """
    known = {value for found in before.values() for row in found for value in row.values() if isinstance(value, str)}

    def masked(value: Any) -> Any:
        return "new" if isinstance(value, str) and value not in known and RANDOM.fullmatch(value) else value

    tables = {
        name: [{key: masked(value) for key, value in row.items() if key not in CHAINED} for row in found]
        for name, found in rows.items()
    }
    return {name: sorted(found, key=repr) for name, found in tables.items()}


def like(given: Any, result: Any) -> bool:
    """Return whether two calls returned the same, apart from generated ids."""
    both_new = all(isinstance(one, str) and RANDOM.fullmatch(one) for one in (given, result))
    return both_new or given == result


@pytest.fixture(params=ROWS, ids=str)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture
def prepared(row: Row, tmp_path: Path) -> Iterator[tuple[PreparedDatabase, Any]]:
    """A prepared database, and the input of the activity."""
    trial = PreparedDatabase(tmp_path / "prepared")
    order = row.order(trial.rig)
    yield trial, order
    trial.world.close()


@pytest.fixture
def trials(prepared: tuple[PreparedDatabase, Any], tmp_path: Path) -> Iterator[Callable[[], PreparedDatabase]]:
    """Make databases with equal rows."""
    prepared[0].world.database.close()
    made: list[PreparedDatabase] = []

    def another() -> PreparedDatabase:
        made.append(PreparedDatabase(tmp_path / f"trial-{len(made)}", like=prepared[0]))
        return made[-1]

    yield another
    for trial in made:
        trial.world.close()


def test_activity_run_twice_or_killed_around_each_commit_has_one_effect(
    row: Row,
    prepared: tuple[PreparedDatabase, Any],
    trials: Callable[[], PreparedDatabase],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, order = prepared
    undisturbed = trials()
    before = undisturbed.rows()
    with counted(monkeypatch) as commits:
        result = undisturbed.does(row.activity)(order)
    after = undisturbed.rows()
    assert len(commits) == row.commits
    assert (after != before) is (row.commits > 0)

    assert undisturbed.does(row.activity)(order) == result
    assert undisturbed.rows() == after

    for moment in ("before", "after"):
        for number in commits:
            trial = trials()
            with killed(monkeypatch, moment, number):
                trial.does(row.activity)(order)
            assert like(trial.does(row.activity)(order), result)
            assert plain(trial.rows(), before) == plain(after, before), (moment, number)
            assert len({envelope.message_id for envelope in trial.mailer.envelopes}) <= 1
