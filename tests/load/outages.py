"""`python -m load.outages`: the store goes away under load and comes back, for both doors and in every way of `stores`.

While it is away, remembered pairs pass (for the grace, if the store can't even be read), everything else that needs it
is 503 with Retry-After in bounded time, and no counted 401 is sent. Afterwards all is back by itself, and what is on
disk equals what clients were answered, to the last request.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.world import Keys, World, basic

from load.clients import Shot, keep_asking, statuses, times, until
from load.report import Report, conclude, in_ms
from load.servers import DOORS, Server, serving
from load.stores import KINDS, Kind, with_small_disk

_EARLY, _LATE = 0.75, 0.05  # seconds: the feed is read four times a second, by a thread that has to get its turn
_RETRY = 0.5  # seconds that the recorder rests after a failed commit
_SLACK = 1.0  # seconds that a busy machine may add
_BATCH = 20  # outcomes: more than this crowd sends during one commit
_PATIENCE = 10.0  # seconds in which the service must be back
_STRANGER = basic("pk_" + "0" * 28, "sk_guess")


@dataclass(frozen=True)
class Limits:
    """In seconds: how long memory is trusted, how long a refusal waits for its commit, how long the store is away.

    `attackers` is how many connections send wrong secrets.
    """

    grace: float
    commit_timeout: float
    length: float
    attackers: int = 4

    def settings(self) -> dict[str, str]:
        return {"OCTY_GRACE": str(self.grace), "OCTY_COMMIT_TIMEOUT": str(self.commit_timeout)}

    def options(self) -> list[str]:
        """Return them as this command takes them."""
        times = {"grace": self.grace, "commit-timeout": self.commit_timeout, "length": self.length}
        return [f"--{name}={value}" for name, value in {**times, "attackers": self.attackers}.items()]


@dataclass
class Crowd:
    """Everybody who asks, and how they were answered: by role."""

    asks: dict[str, str]
    shots: dict[str, list[Shot]] = field(default_factory=dict)

    @classmethod
    def of(cls, remembered: Keys, fresh: Keys, attacked: Keys) -> "Crowd":
        wrong = attacked.basic("sk_wrong")
        return cls(
            {"remembered": remembered.basic(), "fresh": fresh.basic(), "wrong": wrong, "unknown": _STRANGER, "none": ""}
        )

    def everyone(self, status: int | None = None) -> list[Shot]:
        return [shot for some in self.shots.values() for shot in some if status in (None, shot.status)]


WELL = {"remembered": 200, "fresh": 200, "wrong": 401, "unknown": 401, "none": 401}


class Watch:
    """One outage, from a working service to a working service."""

    def __init__(self, crowd: Crowd, server: Server) -> None:
        self._crowd = crowd
        self._server = server
        self._done = False
        self.begun = self.ended = 0.0

    async def run(self, world: World, kind: Kind, limits: Limits) -> None:
        tasks = [self._ask("remembered"), self._ask("none"), *(self._ask("wrong") for _ in range(limits.attackers))]
        await self._until({"wrong": 30, "remembered": 10, "none": 5})
        with kind.outage(world, self._server):
            self.begun = time.monotonic()
            tasks += [self._ask("fresh"), self._ask("unknown")]
            await asyncio.sleep(limits.length)
            self.ended = time.monotonic()
        await self._until(dict.fromkeys(WELL, 5))
        self._done = True
        await asyncio.gather(*tasks)

    def _ask(self, role: str) -> "asyncio.Task[None]":
        shots = self._crowd.shots.setdefault(role, [])
        asking = keep_asking(self._server.port, self._crowd.asks[role], shots, lambda: self._done, pause=0.01)
        return asyncio.create_task(asking)

    async def _until(self, wanted: dict[str, int]) -> None:
        """Wait until each role had so many right answers to what it sent since the outage, if there was one."""
        await until(lambda: all(len(self.well(role)) >= count for role, count in wanted.items()), _PATIENCE)

    def well(self, role: str) -> list[Shot]:
        shots = self._crowd.shots.get(role, [])
        return [shot for shot in shots if shot.sent > self.ended and shot.status == WELL[role]]

    def during(self, role: str) -> list[Shot]:
        """Return what was asked and answered while the store was away."""
        return [shot for shot in self._crowd.shots[role] if shot.sent > self.begun and shot.answered < self.ended]


def measure(world: World, door: str, name: str, limits: Limits) -> Report:
    report, kind = Report(f"{name}, {door}"), KINDS[name]
    people = [world.register(role) for role in ("remembered", "fresh", "attacked")]
    crowd = Crowd.of(*people)
    with serving(world, limits.settings()) as fleet:
        server = fleet.start(door)
        watch = Watch(crowd, server)
        try:
            asyncio.run(watch.run(world, kind, limits))
        except TimeoutError:
            report.expect(False, f"not back {_PATIENCE:g} s later: {_last(crowd)}")
            report.figure("the server's last words", server.process.log_tail())
        fleet.stop()
    _check_outage(report, crowd, watch, kind, limits)
    _check_books(report, world, crowd, people, twice=_BATCH if kind.blind else 0)
    return report


def _last(crowd: Crowd) -> dict[str, int]:
    return {role: shots[-1].status for role, shots in crowd.shots.items()}


def _check_outage(report: Report, crowd: Crowd, watch: Watch, kind: Kind, limits: Limits) -> None:
    during = {role: dict(statuses(watch.during(role))) for role in crowd.shots}
    report.figure("while the store was away", during)
    right = {200, 503} if kind.blind else {200}
    allowed = {"remembered": right, "fresh": {503} if kind.blind else {200}, "wrong": {503}, "unknown": {503}}
    for role, some in {**allowed, "none": {401}}.items():
        report.expect(bool(during[role]) and set(during[role]) <= some, f"{role} got {during[role]}, not only {some}")
    odd = set(statuses(crowd.everyone())) - {200, 401, 503}
    report.expect(not odd, f"somebody got {odd}")
    if kind.blind:
        _check_grace(report, watch, limits.grace)
    report.figure("remembered pair took", in_ms(times(watch.during("remembered"))))
    refused = crowd.everyone(503)
    report.expect(all(shot.retry_after for shot in refused), "a 503 without Retry-After")
    report.figure("time to a 503", in_ms(times(refused)))
    # A batch that has begun waits for its lock (half the time), the next one rests and waits once more.
    most = 1.5 * limits.commit_timeout + _RETRY + _SLACK
    report.expect(max(times(refused), default=0.0) < most, f"a 503 took more than {most:g} s")
    back = [watch.well(role)[0].answered - watch.ended for role in WELL if watch.well(role)]
    report.figure("all back after", f"{max(back, default=float('nan')):.2f} s")


def _check_grace(report: Report, watch: Watch, grace: float) -> None:
    """Remembered pairs pass as long as the feed's last look is no older than the grace, and not longer."""
    passed = [shot for shot in watch.during("remembered") if shot.status == 200]
    trusted = max((shot.sent for shot in passed), default=watch.begun) - watch.begun
    report.figure(f"remembered pair passed for (grace {grace:g} s)", f"{trusted:.2f} s")
    report.expect(grace - _EARLY < trusted < grace + _LATE, f"the grace of {grace:g} s lasted {trusted:.2f} s")


def _check_books(report: Report, world: World, crowd: Crowd, people: Sequence[Keys], *, twice: int) -> None:
    """Every answer is on disk as what it was, and nothing else is.

    What was being committed at the very moment when the file went away is written again, for nobody could know that
    the file would come back: then up to `twice` outcomes may stand there twice, but none is ever missing.
    """
    remembered, fresh, attacked = people
    seen = {role: statuses(shots) for role, shots in crowd.shots.items()}
    told = Counter(wrong_secret=seen["wrong"][401], unknown_key=seen["unknown"][401], missing=seen["none"][401])
    told["store_unavailable"] = len(crowd.everyone(503))
    recorded = world.recorded()
    for outcome, count in told.items():
        report.between(outcome, recorded.get(outcome, 0), count, count + twice)
    for keys, role in ((remembered, "remembered"), (fresh, "fresh")):
        accepted = world.recorded(keys.public_key).get("accepted", 0)
        report.between(f"accepted, {role}", accepted, seen[role][200], seen[role][200] + twice)
    [(streak,)] = world.rows(
        "SELECT length FROM streak WHERE public_key = :key AND network = ''", key=attacked.public_key
    )
    report.between("streak", streak, seen["wrong"][401], seen["wrong"][401] + twice)
    report.same("incidents", world.rows("SELECT length FROM incident"), [(20,)])


def full_disk(doors: Sequence[str], limits: Limits) -> Report:
    """Measure a full disk in a process that has a small one of its own.

    Where the kernel lets nobody have one, the refused writes stand for it, which are measured anyway.
    """
    report = Report("disk_full")
    places = [option for door in doors for option in ("--door", door)]
    done = with_small_disk([sys.executable, "-m", "load.outages", "--kind", "disk_full", *places, *limits.options()])
    if done is None:
        report.figure("a disk of its own", "not allowed here; the refused writes stand for it")
    else:
        report.same("exit status on a small disk", done.returncode, 0)
    return report


def _in(folder: Path, doors: Sequence[str], kinds: Sequence[str], limits: Limits) -> list[Report]:
    reports = []
    for kind in kinds:
        for door in doors:
            store = folder / f"{door}-{kind}"
            store.mkdir()
            reports.append(measure(World(store), door, kind, limits))
    return reports


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="default: all")
    parser.add_argument("--door", action="append", choices=DOORS, help="default: both")
    parser.add_argument("--grace", type=float, default=2.0)
    parser.add_argument("--commit-timeout", type=float, default=1.0)
    parser.add_argument("--length", type=float, default=4.0, help="seconds that the store is away")
    parser.add_argument("--attackers", type=int, default=4, help="connections that send wrong secrets")
    parser.add_argument("--folder", type=Path, help="where to put databases; its disk may be filled up")
    options = parser.parse_args(arguments)
    limits = Limits(options.grace, options.commit_timeout, options.length, options.attackers)
    doors, kinds = options.door or DOORS, options.kind or list(KINDS)
    if options.folder is not None:
        return conclude("load.outages", _in(options.folder, doors, kinds, limits))
    with tempfile.TemporaryDirectory() as folder:
        reports = _in(Path(folder), doors, [kind for kind in kinds if kind != "disk_full"], limits)
    if "disk_full" in kinds:
        reports.append(full_disk(doors, limits))
    return conclude("load.outages", reports)


if __name__ == "__main__":
    sys.exit(main())
