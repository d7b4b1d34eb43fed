"""One run on one store: traffic, faults, healing, calm, evidence, verdict.

Here: the order of these, and the line of progress. Not here: any of them.
"""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proofs.faults import secret_search
from proofs.faults.api_clients import Books
from proofs.faults.checks import Verdict, judge
from proofs.faults.collection import Rows, Run, gather
from proofs.faults.customers import Life
from proofs.faults.diary import Diary
from proofs.faults.evidence import Beside, Evidence
from proofs.faults.fault_injector import Chaos, Trouble, undone
from proofs.faults.installation import Place
from proofs.faults.message_forger import Forger
from proofs.faults.observer import Witness
from proofs.faults.side_scenarios import Bystander, ForeignHost, FourPairs, Neighbours, RestlessCustomer

_PROGRESS = 5.0  # seconds between two lines
_LISTING = 2.0  # seconds between two looks at the list of processes
_UNSETTLED = (
    "SELECT (SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL) + (SELECT COUNT(*) FROM incident i "
    "JOIN incident_answer c ON c.incident_id = i.id WHERE i.closed_at IS NULL AND c.answer IS NOT NULL) + "
    "(SELECT COUNT(*) FROM regeneration WHERE finished_at IS NULL)"
)


@dataclass(frozen=True)
class Plan:
    """How much of it. Times are seconds: `pace` between two faults, `moment` for a named one, `calm` for the end.

    `worker` names the module that is run as the worker, `overlap` is how long an old pair lives on, `slow` which part
    of the customers is slow to answer.
    """

    store: str
    kills: int
    seed: int
    lives: int = 10
    pace: float = 1.0
    moment: float = 5.0
    calm: float = 660.0
    overlap: float = 6.0
    slow: float = 0.35
    worker: str = "octy_worker"


@dataclass(frozen=True)
class Result:
    """What one run found."""

    verdict: Verdict
    evidence: Evidence
    trouble: Trouble
    diary: Diary
    requests: int
    worker_ends: tuple[str, ...]
    seconds: float


class Siege:
    """Runs a plan. `say` takes the lines of progress."""

    def __init__(self, plan: Plan, folder: Path, *, store_folder: Path, small_disk: bool, say: Callable[[str], None]):
        self._plan, self._folder, self._store_folder = plan, folder, store_folder
        self._small_disk, self._say = small_disk, say
        self._listed: set[bytes] = set()
        self._next_line = self._next_listing = 0.0

    def run(self) -> Result:
        """Do all of it; whatever was started has ended when this returns or raises."""
        begun = time.monotonic()
        self._begun = begun
        plan = self._plan
        place = Place(
            self._folder, plan.store, store_folder=self._store_folder, worker=plan.worker, overlap=plan.overlap
        )
        with place as self._place, Witness(place.database, place.inbox) as self._witness:
            self._books, self._diary = Books(), Diary()
            self._stop, self._over = threading.Event(), float("inf")
            self._chaos = Chaos(
                place,
                f"{plan.seed}/{plan.store}",
                tick=self._tick,
                small_disk=self._store_folder if self._small_disk else None,
                pace=plan.pace,
                moment=plan.moment,
            )
            lives = self._begin_lives()
            self._begin_bystanders()
            with undone(self._chaos):
                self._chaos.run(plan.kills)
            place.heal()
            self._stop.set()
            self._over = time.monotonic() + plan.calm
            self._come_to_rest([*lives, *self._bystanding])
            evidence = gather(self._participants())
            return Result(
                verdict=judge(evidence),
                evidence=evidence,
                trouble=self._chaos.trouble,
                diary=self._diary,
                requests=self._books.seen(),
                worker_ends=tuple(place.parts["worker"].ends),
                seconds=time.monotonic() - begun,
            )

    def _participants(self) -> Run:
        listed = b"\n".join(self._listed)
        beside = Beside(
            forged=dict(self._forger.sent),
            taken=tuple(self._forger.taken),
            acts={name: each.acts for name, each in self._bystanders.items()},
            findings=tuple(finding for each in self._bystanders.values() for finding in each.findings),
        )
        return Run(self._place, self._witness, self._books, self._diary, self._chaos.trouble, listed, beside)

    def _begin_lives(self) -> list[threading.Thread]:
        threads = []
        for number in range(self._plan.lives):
            life = Life(
                self._place,
                self._witness,
                self._books,
                self._diary,
                seed=f"{self._plan.seed}/{self._plan.store}/{number}",
                patience=self._patience,
                slow=self._plan.slow,
            )
            threads.append(threading.Thread(target=self._live, args=(life,), daemon=True))
            threads[-1].start()
        return threads

    def _begin_bystanders(self) -> None:
        """Begin whatever else goes on; each leaves its findings, and counts what it did."""
        place, seed = self._place, f"{self._plan.seed}/{self._plan.store}"
        self._forger = Forger(place.port_of("temporal"), seed)
        self._bystanders: dict[str, Bystander] = {
            "foreign host": ForeignHost(place, self._diary, self._patience),
            "restless customer": RestlessCustomer(place),
            "four pairs": FourPairs(place, self._witness, self._books, seed=seed, patience=self._patience),
            "second installation": Neighbours(place.second, self._patience),
        }
        self._bystanding = [
            threading.Thread(target=self._stand_by, args=(name, each.run), daemon=True)
            for name, each in {**self._bystanders, "forger": self._forger}.items()
        ]
        for thread in self._bystanding:
            thread.start()

    def _stand_by(self, name: str, run: Callable[[threading.Event], None]) -> None:
        try:
            run(self._stop)
        except Exception as error:
            self._diary.stopped.append(f"the {name} ended by {type(error).__name__}: {error}")
            raise

    def _live(self, life: Life) -> None:
        try:
            life.run(self._stop)
        except Exception as error:
            self._diary.stopped.append(f"a life ended by {type(error).__name__}: {error}")
            raise

    def _patience(self) -> float:
        """Return how long a customer waits from now on: to the end of the calm, which is not known before the end."""
        return max(0.0, min(self._over - time.monotonic(), 3600.0))

    def _come_to_rest(self, lives: list[threading.Thread]) -> None:
        rows = Rows(self._place)
        while time.monotonic() < self._over:
            self._tick()
            if not any(life.is_alive() for life in lives) and rows.all(_UNSETTLED)[0][0] == 0:
                break
            time.sleep(0.1)
        for life in lives:
            life.join(30)
        time.sleep(2)  # the last workflows end after their rows, and Temporal's list a moment after them

    def _tick(self) -> None:
        """Keep the parts running, look at the list of processes, and say how it goes."""
        self._place.tend()
        now = time.monotonic()
        if now >= self._next_listing:
            self._next_listing = now + _LISTING
            self._listed.update(secret_search.command_lines().split(b"\n"))
        if now >= self._next_line:
            self._next_line = now + _PROGRESS
            sight = self._witness.sight
            closed = sum(resolution is not None for _, resolution, _ in sight.incidents.values())
            self._say(
                f"{self._plan.store} {now - self._begun:5.0f} s: {self._chaos.trouble.kills}/{self._plan.kills} kills, "
                f"{self._books.seen()} requests, {len(sight.incidents)} cases ({closed} closed), "
                f"{sum(done for _, _, done in sight.regenerations.values())} deliveries ended"
                f"{', calming' if self._stop.is_set() else ''}"
            )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
