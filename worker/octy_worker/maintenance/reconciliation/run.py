"""One run: whatever is open in SQL runs in Temporal, and whatever runs there is open in SQL.

Here: the order of looks, what follows from each, the lease and the findings. Not here: SQL (`subjects`), Temporal
(`running`), when a run is due (`octy_worker.temporal.schedules`).
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from temporalio.client import Client

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_middleware.errors import OctyError
from octy_middleware.states import RegenerationState
from octy_worker.domain.job_lease import JobLease, LeaseLostError
from octy_worker.maintenance.reconciliation import subjects
from octy_worker.maintenance.reconciliation.running import Life, Running
from octy_worker.maintenance.reconciliation.subjects import Page, Subject
from octy_worker.maintenance.restored.detection import KINDS, find_forgotten
from octy_worker.maintenance.restored.histories import Histories

JOB = "reconciliation"
_SETTLED = 600.0  # seconds after which a workflow must have heard what SQL closed
_IN_VAIN = (RegenerationState.ABANDONED, RegenerationState.SUPERSEDED)


@dataclass
class Findings:
    """What a run found. What differs is corrected, unless it was a dry run; the last four are for people."""

    looked_at: int = 0  # what is open in SQL
    restarted: int = 0  # of these, what did not run
    reminded: int = 0  # what ran, and was not told something
    ended: int = 0  # what ran though SQL has closed it
    unknown: int = 0  # what runs and SQL does not know
    forgotten: int = 0  # what Temporal knows further than SQL: a backup was restored
    mails_late: int = 0
    dead_letters: int = 0  # messages, after the run

    @property
    def differences(self) -> int:
        """How often SQL and Temporal differed."""
        return self.restarted + self.reminded + self.ended

    @property
    def counts(self) -> dict[str, int]:
        """All of them by name."""
        return asdict(self)

    def __str__(self) -> str:
        return json.dumps(self.counts, separators=(",", ":"))


class Reconciliation:
    """One run. `dry`: look, change nothing, and take no lease."""

    def __init__(
        self,
        database: Database,
        client: Client,
        clock: Clock,
        *,
        task_queue: str,
        installation: str,
        notice_life: float,
        dry: bool = False,
        beat: Callable[[Findings], None] = lambda _found: None,
    ) -> None:
        self._database = database
        self._running = Running(client, task_queue, installation)
        self._histories = Histories(client, installation)
        self._installation = installation
        self._clock = clock
        self._notice_life = notice_life
        self._dry = dry
        self._beat = beat
        self._lease = JobLease(database, JOB, clock)
        self._found = Findings()

    async def go(self) -> Findings | None:
        """Look at everything; None when another worker does it now. Raises RPCError while Temporal is away."""
        if self._dry:
            await self._look()
            return self._found
        if await asyncio.to_thread(self._lease.take) is None:
            return None
        fault = ""
        try:
            await asyncio.to_thread(self._lease.begin, "", self._clock())
            await self._look()
            await asyncio.to_thread(self._lease.finish, str(self._found))
        except LeaseLostError:
            return None
        except BaseException as error:
            fault = type(error).__name__  # its text may hold values
            raise
        finally:
            with suppress(OctyError):  # else the lease ends by itself
                await asyncio.to_thread(self._lease.release, fault)
        return self._found

    async def _look(self) -> None:
        for kind in Subject:
            await self._look_at_open(kind)
        async for kind, ids in self._running.running():
            await self._look_at_running(kind, ids)
            await self._keep()
        self._found.forgotten = (await find_forgotten(self._database, self._histories)).total
        late = await asyncio.to_thread(subjects.count_late, self._database, self._clock())
        self._found.mails_late, self._found.dead_letters = late

    async def _look_at_open(self, kind: Subject) -> None:
        after = subjects.first_id(kind, self._clock(), self._notice_life)
        while True:
            page = await asyncio.to_thread(subjects.open_page, self._database, self._installation, kind, after)
            if not page.ids:
                return
            await self._look_at_page(kind, page)
            await self._keep()
            after = page.ids[-1]

    async def _look_at_page(self, kind: Subject, page: Page) -> None:
        self._found.looked_at += len(page.open)
        asked = {one: workflow_id for one, workflow_id in page.open.items() if one not in page.waiting}
        lives = await self._running.lives(asked)
        for subject_id, life in lives.items():
            if life is Life.COMPLETED and kind in KINDS:
                continue  # forgotten by SQL: started again, it would deliver keys again that are in use, and end them
            if life is not Life.RUNNING:
                self._found.restarted += await self._do(subjects.restore, kind, subject_id)
            elif subject_id in page.aside:
                self._found.reminded += await self._do(subjects.remind, kind, subject_id)

    async def _do(self, step: Callable[[Database, Subject, str, float], bool], kind: Subject, subject_id: str) -> bool:
        if self._dry:
            return True
        return await asyncio.to_thread(step, self._database, kind, subject_id, self._clock())

    async def _look_at_running(self, kind: Subject, ids: list[str]) -> None:
        before = self._clock() - _SETTLED
        closed = await asyncio.to_thread(subjects.closed_since, self._database, kind, ids, before)
        for subject_id, how in closed.items():
            if not how:
                self._found.unknown += 1
            elif await self._running.is_idle(kind, subject_id):
                self._found.ended += await self._end(kind, subject_id, how)

    async def _end(self, kind: Subject, subject_id: str, how: str) -> bool:
        """Have a regeneration end by itself where it can; a case, or one whose keys were collected, is ended."""
        if self._dry:
            return True
        if kind is Subject.REGENERATION and how in _IN_VAIN:
            return await asyncio.to_thread(subjects.tell_the_end, self._database, subject_id, self._clock())
        await self._running.end(kind, subject_id, f"octy: the store closed it as {how}")
        return True

    async def _keep(self) -> None:
        """Renew the lease when it is time, and tell that we are alive."""
        self._beat(self._found)
        if not self._dry and self._lease.is_ageing():
            await asyncio.to_thread(self._step)

    def _step(self) -> None:
        with self._lease.step():
            pass
