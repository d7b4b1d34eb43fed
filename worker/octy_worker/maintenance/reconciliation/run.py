"""One reconciliation run: compare open subjects in SQL with workflows in Temporal, in both directions."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.states import RegenerationState
from octy_worker.domain.job_lease import JobLease, LeaseLostError
from octy_worker.maintenance.reconciliation import messages, subjects
from octy_worker.maintenance.reconciliation.subjects import Page, Subject
from octy_worker.maintenance.reconciliation.workflows import WorkflowLookup, WorkflowState
from octy_worker.maintenance.restored.detection import KINDS, find_backup_gap
from octy_worker.maintenance.restored.histories import Histories

JOB = "reconciliation"
_SETTLED = 600.0  # seconds after which the workflow of a closed subject must have completed
_NO_NEW_KEYS = (RegenerationState.ABANDONED, RegenerationState.SUPERSEDED)


@dataclass
class Findings:
    """The counts of a run. Differences are repaired, unless it was a dry run; the last four need people."""

    checked: int = 0  # open subjects in SQL
    restarted: int = 0  # of these, workflows that did not run
    resent: int = 0  # running workflows that had missed a message
    terminated: int = 0  # workflows that ran although SQL has closed their subject
    unknown: int = 0  # running workflows without a row in SQL
    temporal_ahead: int = 0  # subjects that are further in Temporal than in SQL: a backup was restored
    delayed_mails: int = 0
    dead_letters: int = 0  # messages, after the run

    @property
    def differences(self) -> int:
        """The number of differences between SQL and Temporal."""
        return self.restarted + self.resent + self.terminated

    @property
    def counts(self) -> dict[str, int]:
        """All counts by name."""
        return asdict(self)

    def __str__(self) -> str:
        return json.dumps(self.counts, separators=(",", ":"))


class Reconciliation:
    """One run. `dry_run`: change nothing, and take no lease. `on_progress` is called after each page."""

    def __init__(
        self,
        database: Database,
        workflows: WorkflowLookup,
        histories: Histories,
        clock: Clock,
        *,
        installation: str,
        notice_ttl: float,
        dry_run: bool = False,
        on_progress: Callable[[Findings], None] = lambda _findings: None,
    ) -> None:
        self._database = database
        self._workflows = workflows
        self._histories = histories
        self._installation = installation
        self._clock = clock
        self._notice_ttl = notice_ttl
        self._dry_run = dry_run
        self._on_progress = on_progress
        self._lease = JobLease(database, JOB, clock)
        self._findings = Findings()

    async def run(self) -> Findings | None:
        """Compare everything; None if another worker holds the lease. Raises RPCError during an outage of Temporal."""
        if self._dry_run:
            await self._compare()
            return self._findings
        if await asyncio.to_thread(self._lease.take) is None:
            return None
        error_type = ""
        try:
            await asyncio.to_thread(self._lease.begin, "", self._clock())
            await self._compare()
            await asyncio.to_thread(self._lease.finish, str(self._findings))
        except LeaseLostError:
            return None
        except BaseException as error:
            error_type = type(error).__name__  # its text may contain values
            raise
        finally:
            with suppress(OctyError):  # else the lease expires by itself
                await asyncio.to_thread(self._lease.release, error_type)
        return self._findings

    async def _compare(self) -> None:
        for kind in Subject:
            await self._check_open(kind)
        async for kind, ids in self._workflows.running():
            await self._check_running(kind, ids)
            await self._keep_lease()
        self._findings.temporal_ahead = (await find_backup_gap(self._database, self._histories)).total
        late = await asyncio.to_thread(subjects.count_delayed, self._database, self._clock())
        self._findings.delayed_mails, self._findings.dead_letters = late

    async def _check_open(self, kind: Subject) -> None:
        after = subjects.first_id(kind, self._clock(), self._notice_ttl)
        while True:
            page = await asyncio.to_thread(subjects.open_page, self._database, self._installation, kind, after)
            if not page.ids:
                return
            await self._check_page(kind, page)
            await self._keep_lease()
            after = page.ids[-1]

    async def _check_page(self, kind: Subject, page: Page) -> None:
        self._findings.checked += len(page.open)
        to_check = {one: workflow_id for one, workflow_id in page.open.items() if one not in page.waiting}
        states = await self._workflows.states(to_check)
        for subject_id, state in states.items():
            if state is WorkflowState.COMPLETED and kind in KINDS:
                continue  # SQL was restored: a restart would deliver keys again that are in use, and end them
            if state is not WorkflowState.RUNNING:
                self._findings.restarted += await self._repair(messages.restart, kind, subject_id)
            elif subject_id in page.dead_letters:
                self._findings.resent += await self._repair(messages.resend_state, kind, subject_id)

    async def _repair(
        self, step: Callable[[Database, Subject, str, float], bool], kind: Subject, subject_id: str
    ) -> bool:
        if self._dry_run:
            return True
        return await asyncio.to_thread(step, self._database, kind, subject_id, self._clock())

    async def _check_running(self, kind: Subject, ids: list[str]) -> None:
        before = self._clock() - _SETTLED
        closed = await asyncio.to_thread(subjects.closed_since, self._database, kind, ids, before)
        for subject_id, how in closed.items():
            if not how:
                self._findings.unknown += 1
            elif await self._workflows.is_idle(kind, subject_id):
                self._findings.terminated += await self._end(kind, subject_id, how)

    async def _end(self, kind: Subject, subject_id: str, how: str) -> bool:
        """Notify a regeneration that ended without new keys, so that it completes; terminate any other workflow."""
        if self._dry_run:
            return True
        if kind is Subject.REGENERATION and how in _NO_NEW_KEYS:
            return await asyncio.to_thread(
                messages.notify_ended_regeneration, self._database, subject_id, self._clock()
            )
        await self._workflows.terminate(kind, subject_id, f"octy: closed in the database as {how}")
        return True

    async def _keep_lease(self) -> None:
        """Report progress, and renew the lease when it is time."""
        self._on_progress(self._findings)
        if not self._dry_run and self._lease.is_ageing():
            await asyncio.to_thread(self._step)

    def _step(self) -> None:
        with self._lease.step():
            pass
