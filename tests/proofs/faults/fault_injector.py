"""Chooses from a seed which part is killed or disturbed when: at random, and at kill points, the rarest first.

All of it runs in the main thread.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from octy_middleware.errors import OctyError
from proofs.faults import clock_offset, resource_faults
from proofs.faults.context import RunContext
from proofs.faults.kill_points import KILL_POINTS, KillPoint
from proofs.faults.tcp_proxy import Mode

_POLL_INTERVAL = 0.003
_FAULTS_IN_A_ROW, _PAUSE = 8, 5.0  # seconds without faults after so many: traffic must go on
_DELAYED = {"temporal": 0.15, "smtp": 0.06}  # seconds each way, so that kill points last long enough to be seen
_FREQUENCY_RANGE = 4  # a kill point may have been met so many times more than the rarest, at the end of the wait
_CLOCK_OFFSETS = {"worker": 15.0, "asgi": 3600.0, "wsgi": 3600.0}  # more would only extend old keys in the worker
_IDLE_CONNECTIONS = 500
_RECOVERY = 3.0  # seconds in which apps may not reach the database after an outage


class FaultInjector:
    """`tick` is called all the time, whatever is waited for. `small_disk` is the folder that may be filled."""

    def __init__(self, run: RunContext, tick: Callable[[], None], small_disk: Path | None) -> None:
        self._options, self._installation, self._faults = run.options, run.installation, run.faults
        self._random, self._tick, self._small_disk = run.random("faults"), tick, small_disk
        self._met: Counter[str] = Counter()  # kill points
        self._active: list[tuple[float, Callable[[], None]]] = []  # disturbances: when each ends, and how

    def run(self) -> None:
        """Go on until enough processes were killed. No disturbance lasts longer."""
        try:
            for number in count(1):
                kind = self._random.random()
                if kind < 0.45:
                    self._kill_at_point()
                elif kind < 0.8:
                    self._kill_any()
                else:
                    self._disturb()
                if not self._kills_left:
                    return
                pause = _PAUSE * (number % _FAULTS_IN_A_ROW == 0)
                self._wait(self._random.uniform(0.2, 1.8) * self._options.interval + pause)
        finally:
            self._end_disturbances(float("inf"))

    # Kills

    @property
    def _kills_left(self) -> int:
        return self._options.kills - self._faults.kills

    def _kill_at_point(self) -> None:
        """Wait for a kill point on slow connections, and kill one of the parts that take part in it."""
        for name, delay in _DELAYED.items():
            self._installation.proxies[name].set(Mode.DELAY, delay)
        reached = self._wait_for_kill_point()
        if reached is not None:
            point, targets = reached
            target = self._random.choice(targets)
            self._wait(0.0 if point.brief else self._random.choice([0.0, 0.0, 0.1, 0.3]))
            self._met[point.name] += 1
            self._kill(target, f"between {point.name}: {target}")
        for name in _DELAYED:
            self._installation.proxies[name].set(Mode.PASS)
        if reached is None:
            self._faults.missed += 1
            self._kill_any()

    def _wait_for_kill_point(self) -> tuple[KillPoint, list[str]] | None:
        """Return the first kill point that is reached, and its targets. At first only the rarest ones count."""
        watched = {point: point.watch(self._installation) for point in KILL_POINTS}
        begun, timeout = time.monotonic(), self._options.kill_point_timeout
        while (waited := time.monotonic() - begun) < timeout:
            most = min(self._met[point.name] for point in KILL_POINTS) + int(waited / timeout * _FREQUENCY_RANGE)
            try:
                for point in sorted(KILL_POINTS, key=lambda point: self._met[point.name]):
                    rare = self._met[point.name] <= most
                    if rare and watched[point]() and (targets := point.targets_in(self._installation)):
                        return point, targets
            except OctyError:  # the database is down
                self._wait(0.05)
            self._wait(_POLL_INTERVAL)
        return None

    def _kill_any(self) -> None:
        """Kill one part, or several at once; some have just started again."""
        for target in self._random.sample([*self._installation.targets], self._random.choice([1, 1, 1, 2, 3])):
            if target == "wsgi" and self._random.random() < 0.4:
                if self._kills_left:
                    self._count_kill("a forked child of wsgi", done=self._installation.parts["wsgi"].kill_child())
            else:
                self._kill(target, target)

    def _kill(self, target: str, kind: str) -> None:
        downtime = self._random.choice([0.0, 0.3, 1.0, 2.0])
        begun = time.monotonic()
        if self._kills_left:
            self._count_kill(kind, done=self._installation.targets[target].kill(downtime))
        if target == "database":
            self._faults.outages.append((begun, time.monotonic() + downtime + _RECOVERY))

    def _count_kill(self, kind: str, *, done: bool) -> None:
        if done:
            self._faults.kills += 1
            self._faults.times.append(time.time())
            self._faults.by_kind[f"killed {kind}"] += 1

    # Disturbances: each lasts a while, during other faults

    def _disturb(self) -> None:
        disturb = [self._disturb_connections, self._disturb_connections, self._move_clock, self._suspend]
        disturb += [self._open_idle_connections]
        disturb += [self._disturb_file if self._options.database == "sqlite" else self._fail_over]
        self._random.choice(disturb)()

    def _disturb_connections(self) -> None:
        name = self._random.choice(sorted(self._installation.proxies))
        mode = self._random.choice([Mode.REFUSE, Mode.STALL, Mode.DELAY])
        proxy, length = self._installation.proxies[name], self._random.uniform(0.5, 4.0)
        if name == "database":
            self._wait_for_attack()
        proxy.set(mode, self._random.uniform(0.05, 0.5))
        self._end_after(length, f"{name}: {mode}", lambda: proxy.set(Mode.PASS), database=name == "database")

    def _suspend(self) -> None:
        """Stop a part's processes for longer than caches are valid; they go on as if no time had passed."""
        name = self._random.choice([*_CLOCK_OFFSETS])
        if (resume := self._installation.parts[name].suspend()) is not None:
            self._end_after(self._random.uniform(0.5, 5.0), f"{name} stopped", resume)

    def _open_idle_connections(self) -> None:
        connections = ExitStack()
        connections.enter_context(
            resource_faults.idle_connections(self._installation.port_of("worker"), _IDLE_CONNECTIONS)
        )
        kind = f"{_IDLE_CONNECTIONS} idle connections to the pages"
        self._end_after(self._random.uniform(2.0, 5.0), kind, connections.close)

    def _fail_over(self) -> None:
        self._wait_for_attack()
        self._installation.fail_over(to_standby=True)
        self._end_after(
            self._random.uniform(1.0, 4.0),
            "database: standby",
            lambda: self._installation.fail_over(to_standby=False),
            database=True,
        )

    def _move_clock(self) -> None:
        """Set a wall clock ahead or back. It stays so until it is set again."""
        name, most = self._random.choice(sorted(_CLOCK_OFFSETS.items()))
        clock_offset.write(self._installation.clocks[name], self._random.uniform(-most, most))
        self._faults.by_kind[f"clock of {name} moved"] += 1

    def _disturb_file(self) -> None:
        faults = {
            "file locked by another program": resource_faults.foreign_write_lock,
            "lock file held": resource_faults.lock_file_held,
        }
        if self._small_disk is not None:
            faults["disk full"] = resource_faults.full_disk
        kind = self._random.choice(sorted(faults))
        self._wait_for_attack()
        stack = ExitStack()
        try:
            stack.enter_context(faults[kind](self._installation.database_folder))
        except (OSError, sqlite3.Error):  # another process has the lock, or the file does not exist yet
            return
        self._end_after(self._random.uniform(0.5, 2.5), kind, stack.close, database=True)

    def _wait_for_attack(self) -> None:
        """Disturb the database when that is hardest: while refusals are about to be written."""
        deadline = time.monotonic() + self._options.kill_point_timeout
        while not any(self._installation.attackers.values()) and time.monotonic() < deadline:
            self._wait(_POLL_INTERVAL)

    def _end_after(self, length: float, kind: str, end: Callable[[], None], *, database: bool = False) -> None:
        """Record a disturbance that has begun, and end it after `length` seconds."""
        now = time.monotonic()
        self._faults.by_kind[kind] += 1
        self._faults.times.append(time.time())
        if database:
            self._faults.outages.append((now, now + length + _RECOVERY))
        self._active.append((now + length, end))

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self._tick()
            self._end_disturbances(time.monotonic())
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def _end_disturbances(self, now: float) -> None:
        for entry in [entry for entry in self._active if entry[0] <= now]:
            self._active.remove(entry)
            entry[1]()
