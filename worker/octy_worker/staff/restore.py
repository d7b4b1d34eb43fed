"""`octy db restored`: read from Temporal what the restored database lacks, and apply it.

SQL is in `maintenance.restored.repair`, reading Temporal in `maintenance.restored.histories`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sqlmodel import Session, select
from temporalio.service import RPCError

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.db.models import Account, KeyPair
from octy_middleware.domain.installation import load_installation
from octy_middleware.errors import ConfigurationError
from octy_middleware.states import KeyPairState
from octy_worker.audit import repository as audit
from octy_worker.domain.account_erasure import erase_account, erasure_obstacle, is_erased
from octy_worker.domain.job_lease import JobLease
from octy_worker.errors import RefusedError, UnavailableError
from octy_worker.identity import copied_message
from octy_worker.maintenance.reconciliation.subjects import Subject
from octy_worker.maintenance.restored import repair
from octy_worker.maintenance.restored.detection import JOB, LOST_KEYS, endings_by_id
from octy_worker.maintenance.restored.histories import Execution, Histories
from octy_worker.maintenance.restored.known import KnownIncident, KnownRegeneration, UnprovenError
from octy_worker.maintenance.restored.repair import Repaired
from octy_worker.settings import TemporalAccess
from octy_worker.staff import key_orders
from octy_worker.staff.audit import record
from octy_worker.temporal.access import open_client

RESTORED = "database.restored"
"""The action of the run's audit entry; its subject is the installation."""
_AT_ONCE = 8  # histories read at a time
_WHY = "octy: the database was restored from a backup that knows nothing of it"
_Known = TypeVar("_Known", KnownIncident, KnownRegeneration)
_READ = ("", LOST_KEYS)  # what an earlier run ended for its keys are lost is still to be listed


@dataclass(frozen=True, slots=True)
class LostKeys:
    """A customer who has, or was promised, keys that the database does not know.

    `account`: the reference; None when the database lacks the account, too.
    """

    account_id: str
    account: str | None
    regeneration_id: str


@dataclass(frozen=True, slots=True)
class Unproven:
    """A workflow that differs from SQL, and that anybody with access to Temporal may have started."""

    workflow_id: str
    why: str


@dataclass(frozen=True, slots=True)
class NotErased:
    """An account that was erased after the backup and can't be erased again yet, and why."""

    account_id: str
    why: str


@dataclass
class RestoreReport:
    """What was done; of a dry run, what would be."""

    cut: list[str] = field(default_factory=list)  # public keys
    updated: int = 0  # incidents and regenerations that were brought as far as they were
    terminated: int = 0  # workflows
    lost_keys: list[LostKeys] = field(default_factory=list)
    unproven: list[Unproven] = field(default_factory=list)  # nothing was done about these
    erased: list[str] = field(default_factory=list)  # accounts that were erased again
    not_erased: list[NotErased] = field(default_factory=list)
    retention_days: float = 0.0  # of Temporal: what ended longer ago is not known there either

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to do, and nothing is left for staff."""
        found = (self.cut, self.updated, self.terminated, self.lost_keys, self.unproven, self.erased, self.not_erased)
        return not any(found)

    @property
    def counts(self) -> str:
        """The counts as the job's row keeps them. Accounts that are missing as well are not in `lost_keys` there."""
        lost = sum(one.account is not None for one in self.lost_keys)
        counts = {"cut": len(self.cut), "updated": self.updated, "terminated": self.terminated, "lost_keys": lost}
        return json.dumps(counts, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """Who repairs, and how. `revoked`: public keys that the audit lines say were revoked; `erased`: ids of accounts.

    `dry`: change nothing. `trust`: also apply workflows whose payloads are not encrypted.
    """

    actor: str
    reason: str
    revoked: Sequence[str]
    dry: bool
    trust: bool
    erased: Sequence[str] = ()


async def repair_from_temporal(
    database: Database, place: TemporalAccess, options: RestoreOptions, clock: Clock
) -> RestoreReport:
    """Apply what Temporal and the command log know and the restored database lacks; audit it.

    Raises RefusedError for a copy of the database, and UnavailableError while Temporal is not available.
    """
    installation = _installation_in_place(database)
    histories = Histories(await open_client(place), installation, trust=options.trust)
    try:
        found = await RestoredBackup(database, histories, options, clock).go()
    except RPCError as error:
        raise UnavailableError(f"Temporal: {error.message}", "run `octy doctor`") from None
    erase_again(database, options, found, clock())
    if not options.dry:
        unproven = str(len(found.unproven))
        with database.write_session() as session:
            facts = {"reason": options.reason, "found": found.counts, "unproven": unproven}
            audit.append(session, RESTORED, actor=options.actor, subject=installation, detail=facts, now=clock())
        record("database_restored", options.actor, reason=options.reason, found=found.counts, unproven=unproven)
    return found


def erase_again(database: Database, options: RestoreOptions, report: RestoreReport, now: float) -> None:
    """Erase the accounts that were erased after the backup, after their key pairs were revoked again."""
    for account_id in options.erased:
        with database.write_session() as session:
            account = session.get(Account, account_id)
            if account is None or is_erased(account):
                continue
            obstacle = erasure_obstacle(session, account)
            if obstacle:
                report.not_erased.append(NotErased(account_id, obstacle))
                continue
            if not options.dry:
                erase_account(session, account, actor=options.actor, reason=options.reason, now=now)
            report.erased.append(account_id)
        if not options.dry:
            record("account_erased", options.actor, account=account_id, reason=options.reason)


def _installation_in_place(database: Database) -> str:
    """Return the installation's id. Raises RefusedError for a copy: it must not terminate the original's workflows."""
    with database.read() as connection:
        found = load_installation(database, connection)
    if found is None:
        raise ConfigurationError("the database has no installation id yet: run `octy db upgrade`")
    if not found.is_at_recorded_location:
        problem, _, to_do = copied_message(found).partition(" → ")
        raise RefusedError(problem, to_do)
    return found.id


class _RollBackError(Exception):
    """Ends a transaction of a dry run."""


class RestoredBackup:
    """One run.

    What is applied is applied in one transaction for each subject, and a repeat changes nothing: a run that was killed
    is done again, and two at a time do no harm.
    """

    def __init__(self, database: Database, histories: Histories, options: RestoreOptions, clock: Clock) -> None:
        self._database = database
        self._histories = histories
        self._options = options
        self._clock = clock
        self._report = RestoreReport()
        self._found: dict[Subject, list[Execution]] = {}
        self._rows: dict[Subject, Mapping[str, str]] = {}
        self._unproven: dict[str, str] = {}  # why, by workflow id

    async def go(self) -> RestoreReport:
        """Run it. Raises RPCError while Temporal is not available."""
        self._report.retention_days = await self._histories.retention() / 86_400
        for kind in (Subject.INCIDENT, Subject.REGENERATION):
            await self._list(kind)
        incidents = await self._read(Subject.INCIDENT, self._histories.incident)
        regenerations = await self._read(Subject.REGENERATION, self._histories.regeneration)
        lost = self._repair_regenerations(incidents, regenerations)
        for incident in incidents:
            self._apply(repair.repair_incident, incident)
        self._cut_revoked()
        await self._terminate(incidents)
        self._list_lost(lost)
        self._report.unproven = [Unproven(*each) for each in sorted(self._unproven.items())]
        if not self._options.dry and not self._unproven:  # else something may be left to cut
            self._note_end()
        return self._report

    def _note_end(self) -> None:
        lease = JobLease(self._database, JOB, self._clock)
        lease.free_if_dead()
        if lease.take() is not None:  # else another run ends at this very moment
            lease.finish(self._report.counts)

    def _repair_regenerations(
        self, incidents: Iterable[KnownIncident], regenerations: Iterable[KnownRegeneration]
    ) -> list[KnownRegeneration]:
        """Return those whose keys are lost."""
        leaked = {incident.regeneration_id for incident in incidents if incident.leaked}
        lost = []
        for known in _merged(regenerations):
            whole = replace(known, leaked=known.leaked or known.id in leaked)
            if self._apply(repair.repair_regeneration, whole).lost_keys:
                lost.append(whole)
        return lost

    async def _list(self, kind: Subject) -> None:
        """List what was completed before what runs, and SQL after both: what ends meanwhile differs in nothing."""
        found = [one async for one in self._histories.executions(kind, running=False)]
        found += [one async for one in self._histories.executions(kind, running=True)]
        self._found[kind] = found
        self._rows[kind] = await asyncio.to_thread(endings_by_id, self._database, kind, found)

    async def _read(self, kind: Subject, read: Callable[[Execution], Awaitable[_Known]]) -> list[_Known]:
        """Read the histories of what SQL does not know, or calls open, or lost."""
        turn, rows = asyncio.Semaphore(_AT_ONCE), self._rows[kind]

        async def one(execution: Execution) -> _Known | None:
            async with turn:
                try:
                    return await read(execution)
                except UnprovenError as error:
                    self._unproven[self._histories.workflow_id(execution.kind, execution.subject_id)] = str(error)
                    return None

        differing = [each for each in self._found[kind] if rows.get(each.subject_id, "") in _READ]
        found = await asyncio.gather(*map(one, sorted(differing, key=lambda each: each.subject_id)))
        return [known for known in found if known is not None]

    def _apply(self, step: Callable[[Session, _Known, float], Repaired], known: _Known) -> Repaired:
        try:
            done = self._in_transaction(step, known)
        except UnprovenError as error:
            self._unproven[self._histories.workflow_id(Subject.REGENERATION, known.id)] = str(error)
            return Repaired()
        for public_key in done.cut:
            self._note_cut(public_key)
        self._report.updated += done.changed
        return done

    def _note_cut(self, public_key: str) -> None:
        """Report it once that is committed, by the audit line of `octy keys revoke`, which the next run reads too."""
        if public_key in self._report.cut:  # of a dry run, which cuts nothing
            return
        self._report.cut.append(public_key)
        if not self._options.dry:
            by, why = self._options.actor, self._options.reason
            record("key_revoked", by, reason=why, changed=True, public_key=public_key, incident=None)

    def _in_transaction(self, step: Callable[[Session, _Known, float], Repaired], known: _Known) -> Repaired:
        """Do it in a transaction, which a dry run rolls back."""
        done = Repaired()
        with suppress(_RollBackError), self._database.write_session() as session:
            done = step(session, known, self._clock())
            if self._options.dry:
                raise _RollBackError
        return done

    def _cut_revoked(self) -> None:
        """Cut what the command log says was cut, as `octy keys revoke` does."""
        with self._database.read_session() as session:
            live = [public_key for public_key in self._options.revoked if _is_live(session, public_key)]
        for public_key in live:
            if public_key in self._report.cut:
                continue
            if not self._options.dry:
                by, why = self._options.actor, self._options.reason
                with self._database.write_session() as session:
                    key_orders.revoke(session, public_key, actor=by, reason=why, now=self._clock())
            self._note_cut(public_key)

    async def _terminate(self, incidents: Iterable[KnownIncident]) -> None:
        """Terminate what can't go on: its row is missing, or that of the regeneration that an incident waits for.

        An incident that SQL calls open is started again by the reconciliation, with the answer that was given.
        """
        rows = self._rows[Subject.REGENERATION]
        stuck = {
            each.id for each in incidents if each.running and each.regeneration_id and each.regeneration_id not in rows
        }
        for kind, found in self._found.items():
            for execution in found:
                missing = execution.subject_id not in self._rows[kind]
                waits = kind is Subject.INCIDENT and execution.subject_id in stuck
                proven = self._histories.workflow_id(execution.kind, execution.subject_id) not in self._unproven
                if execution.running and (missing or waits) and proven:
                    self._report.terminated += 1
                    if not self._options.dry:
                        await self._histories.terminate(execution, _WHY)

    def _list_lost(self, lost: Iterable[KnownRegeneration]) -> None:
        """Name each customer once, by the newest regeneration, unless keys were ordered since."""
        newest = {known.account_id: known.id for known in sorted(lost, key=lambda known: known.id)}
        with self._database.read_session() as session:
            self._report.lost_keys = [
                LostKeys(account_id, repair.reference_of(session, account_id), regeneration_id)
                for account_id, regeneration_id in newest.items()
                if repair.needs_keys(session, account_id, regeneration_id)
            ]


def _is_live(session: Session, public_key: str) -> bool:
    state = session.exec(select(KeyPair.state).where(KeyPair.public_key == public_key)).first()
    return state is not None and state != KeyPairState.RETIRED


def _merged(found: Iterable[KnownRegeneration]) -> list[KnownRegeneration]:
    """Return one of each id, in the order of ids: a workflow that was started again has several runs."""
    merged: dict[str, KnownRegeneration] = {}
    for known in found:
        other = merged.get(known.id)
        merged[known.id] = known if other is None else _both(other, known)
    return [merged[key] for key in sorted(merged)]


def _both(one: KnownRegeneration, other: KnownRegeneration) -> KnownRegeneration:
    collected = [at for at in (one.collected_at, other.collected_at) if at is not None]
    return replace(
        one,
        leaked=one.leaked or other.leaked,
        running=one.running or other.running,
        ending=one.ending or other.ending,
        collected_at=min(collected, default=None),
        overlap_end=one.overlap_end or other.overlap_end,
    )
