"""Who is killed or hindered, and when: at random, and at every named moment, the rarest first.

Here: the choice, from a seed, and the doing, from the main thread. Not here: what is done to a part (`place`,
`proxy`, `disk`).
"""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from octy_middleware.errors import OctyError
from proofs.faults import clock_offset, resource_faults
from proofs.faults.idle import IdleConnections
from proofs.faults.installation import Place
from proofs.faults.kill_points import STEPS, Step
from proofs.faults.tcp_proxy import Mode

_POLL = 0.003
_BREATHLESS, _BREATH = 8, 5.0  # faults in a row, and seconds after them
_SLOW = {"temporal": 0.15, "smtp": 0.06}  # on these wires moments are made long enough to be met, each way
_FUSSY = 4  # how many times more a moment may have been met than the rarest, at the end of the wait
_JUMPS = {"worker": 15.0, "asgi": 3600.0, "wsgi": 3600.0}  # the worker's would only make old keys live longer

_CROWD = 500  # connections

Tick = Callable[[], None]


@dataclass
class Trouble:
    """What was done, for the report and the judge."""

    by_kind: Counter[str] = field(default_factory=Counter)
    missed: int = 0  # how often no named moment came in time
    killed_at: list[float] = field(default_factory=list)  # wall clock: after each, a mail may come twice
    store_away: list[tuple[float, float]] = field(default_factory=list)  # monotonic
    kills: int = 0


class Chaos:
    """Breaks things, `pace` seconds after each other on the average. A named moment is waited for `moment` seconds.

    `tick` is called again and again from the main thread, whatever is waited for.
    """

    def __init__(
        self, place: Place, seed: str, *, tick: Tick, small_disk: Path | None, pace: float, moment: float
    ) -> None:
        self._place = place
        self._chance = random.Random(seed)
        self._tick, self._small_disk, self._pace, self._moment = tick, small_disk, pace, moment
        self.trouble = Trouble()
        self._met: Counter[str] = Counter()  # named moments
        self._undo: list[tuple[float, ExitStack]] = []
        self._left = 0  # kills to come

    def run(self, kills: int) -> None:
        """Go on until so many processes were killed. Now and then there is time to breathe: traffic must go on."""
        self._left = kills
        for number in count(1):
            kind = self._chance.random()
            if kind < 0.45:
                self._kill_at_a_moment()
            elif kind < 0.8:
                self._kill_some()
            else:
                self._hinder()
            if self._left <= 0:
                return
            self._wait(self._chance.uniform(0.2, 1.8) * self._pace + _BREATH * (number % _BREATHLESS == 0))

    # Kills

    def _kill_at_a_moment(self) -> None:
        """Wait for a named moment, on slow wires, and kill one of those who are in the middle of it."""
        for name, seconds in _SLOW.items():
            self._place.proxies[name].set(Mode.DELAY, seconds)
        step = self._meet()
        if step is not None:
            victim = self._chance.choice(step.within_reach(self._place))
            later = [0.0] if step.passing else [0.0, 0.0, 0.1, 0.3]
            self._wait(self._chance.choice(later))
            self._met[step.name] += 1
            self._kill(victim, f"between {step.name}: {victim}")
        for name in _SLOW:
            self._place.proxies[name].set(Mode.PASS)
        if step is None:
            self.trouble.missed += 1
            self._kill_some()

    def _meet(self) -> Step | None:
        """Return the first moment that comes; for a while only such as were met least often are waited for."""
        watches = {step: step.watch(self._place) for step in STEPS}
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < self._moment:
            most = min(self._met[step.name] for step in STEPS) + int(waited / self._moment * _FUSSY)
            try:
                for step in sorted(STEPS, key=lambda step: self._met[step.name]):
                    if self._met[step.name] <= most and watches[step]():
                        return step
            except OctyError:  # the store is away: whoever was in the middle of something waits as well
                self._wait(0.05)
            self._wait(_POLL)
        return None

    def _kill_some(self) -> None:
        """Kill one part, now and then several at once, and sometimes one that has just come back."""
        victims = list(self._place.victims)
        for victim in self._chance.sample(victims, self._chance.choice([1, 1, 1, 2, 3])):
            if victim == "wsgi" and self._left > 0 and self._chance.random() < 0.4:
                self._count("a forked child of wsgi", done=self._place.kill_child("wsgi"))
            else:
                self._kill(victim, victim)

    def _kill(self, victim: str, kind: str) -> None:
        downtime = self._chance.choice([0.0, 0.3, 1.0, 2.0])
        begun = time.monotonic()
        if self._left > 0:
            self._count(kind, done=self._place.kill(victim, downtime))
        if victim == "database":
            self.trouble.store_away.append((begun, time.monotonic() + downtime + 3.0))

    def _count(self, kind: str, *, done: bool) -> None:
        if done:
            self._left -= 1
            self.trouble.kills += 1
            self.trouble.killed_at.append(time.time())
            self.trouble.by_kind[f"killed {kind}"] += 1

    # Hindrances: each lasts a while, beside whatever else happens

    def _hinder(self) -> None:
        hindrances = [self._block_a_wire, self._block_a_wire, self._move_a_clock, self._freeze, self._crowd_the_pages]
        hindrances += [self._spoil_the_file if self._place.store == "sqlite" else self._fail_over]
        self._chance.choice(hindrances)()

    def _block_a_wire(self) -> None:
        name = self._chance.choice(sorted(self._place.proxies))
        mode = self._chance.choice([Mode.REFUSE, Mode.STALL, Mode.DELAY])
        proxy, length = self._place.proxies[name], self._chance.uniform(0.5, 4.0)
        if name == "database":
            self._wait_for_an_attack()
        proxy.set(mode, self._chance.uniform(0.05, 0.5))
        self._lasting(f"{name}: {mode}", length, lambda: proxy.set(Mode.PASS), store=name == "database")

    def _freeze(self) -> None:
        """Stop a part's processes for longer than memory is trusted; they go on as if no time had passed."""
        name = self._chance.choice([*_JUMPS])
        if (go_on := self._place.freeze(name)) is not None:
            self._lasting(f"{name} stopped", self._chance.uniform(0.5, 5.0), go_on, store=False)

    def _crowd_the_pages(self) -> None:
        """Hold so many connections to the pages open that send half a header."""
        crowd = IdleConnections(self._place.port_of("worker"), _CROWD)
        self._lasting(
            f"{_CROWD} idle connections to the pages", self._chance.uniform(2.0, 5.0), crowd.close, store=False
        )

    def _fail_over(self) -> None:
        """Let the database's address lead to a standby for a while."""
        self._wait_for_an_attack()
        self._place.lead_to_standby(wanted=True)
        self._lasting(
            "database: standby",
            self._chance.uniform(1.0, 4.0),
            lambda: self._place.lead_to_standby(wanted=False),
            store=True,
        )

    def _move_a_clock(self) -> None:
        """Set a wall clock ahead or back; it stays so until it is set again."""
        name, most = self._chance.choice(sorted(_JUMPS.items()))
        clock_offset.move(self._place.clocks[name], self._chance.uniform(-most, most))
        self.trouble.by_kind[f"clock of {name} moved"] += 1

    def _spoil_the_file(self) -> None:
        folder = self._place.store_folder
        ways: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
            "file locked by a stranger": resource_faults.locked,
            "lock file held": resource_faults.lock_file_held,
        }
        if self._small_disk is not None:
            ways["disk full"] = resource_faults.full
        kind = self._chance.choice(sorted(ways))
        self._wait_for_an_attack()
        stack = ExitStack()
        try:
            stack.enter_context(ways[kind](folder))
        except (OSError, sqlite3.Error):  # somebody else is faster, or nothing is there to be locked yet
            return
        self._lasting(kind, self._chance.uniform(0.5, 2.5), stack.close, store=True)

    def _wait_for_an_attack(self) -> None:
        """Spoil the store when that is hardest: with refusals on their way to it."""
        deadline = time.monotonic() + self._moment
        while not any(self._place.attackers.values()) and time.monotonic() < deadline:
            self._wait(_POLL)

    def _lasting(self, kind: str, length: float, undo: Callable[[], None], *, store: bool) -> None:
        now = time.monotonic()
        self.trouble.by_kind[kind] += 1
        self.trouble.killed_at.append(time.time())
        if store:
            self.trouble.store_away.append((now, now + length + 3.0))
        stack = ExitStack()
        stack.callback(undo)
        self._undo.append((now + length, stack))

    # Time

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self._tick()
            self._undo_until(time.monotonic())
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def undo(self) -> None:
        """End every hindrance now."""
        self._undo_until(None)

    def _undo_until(self, now: float | None) -> None:
        for end in [entry for entry in self._undo if now is None or entry[0] <= now]:
            self._undo.remove(end)
            end[1].close()


@contextmanager
def undone(chaos: Chaos) -> Iterator[Chaos]:
    """Whatever happens in the block, no hindrance lasts longer."""
    try:
        yield chaos
    finally:
        chaos.undo()
