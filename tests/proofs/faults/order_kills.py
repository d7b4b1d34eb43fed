"""`kill -9` at each step of an order, between row, update and act: it is done once or not at all, never half.

`PYTHONPATH=tests python -m proofs.faults.order_kills --kills 20` kills command and worker so often at each step, with a
real Temporal server and worker that judge orders (OCTY_STAFF_AUTH=on; the orders' proof is break glass, as one-time
codes would need half a minute each). After each kill the command is repeated with its order's id; the incident must be
decided by one answer, the order used once, and the audit log whole.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cli_rig import CommandResult
from support.cli_stack import CliStack, open_stack
from support.until import until

from octy_middleware.clock import uuid7
from octy_middleware.keys.keychain import Keychain
from octy_worker.audit import repository as audit
from octy_worker.audit.chain import verify_chain
from proofs.load.report import Report, conclude

COMMAND_STEPS = ("received", "sent")
WORKER_STEPS = ("used", "recorded")
SQL_STEPS = {
    "received": ("active", "received"),
    "in transaction": ("active", "received"),
    "committed": ("retired", "used"),
}
"""Of `octy keys revoke`: states of key pair and order after the kill."""
_KILLED = -signal.SIGKILL


@dataclass
class KilledStack:
    """The stack, and the file whose presence lets a process kill itself."""

    stack: CliStack
    file: Path
    killed: int = 0

    def command(self, step: str, *words: str) -> CommandResult:
        """Run `octy --break-glass` as a process that kills itself at this step."""
        if step != "none":
            self.file.touch()
        return self.stack.octy.process(
            "--break-glass", *words, module=("proofs.faults.killed_octy", step, str(self.file))
        )

    def decide(self, step: str, incident_id: str, order_id: str) -> CommandResult:
        return self.command(step, *_decide_words(incident_id, order_id))

    def start_worker(self, step: str) -> None:
        """Start a worker that kills itself at this step while the file is there."""
        self.stack.start_worker("-m", "proofs.faults.killed_octy", step, str(self.file), "worker")

    def restart_worker(self, step: str) -> None:
        assert self.stack.worker is not None
        self.stack.worker.stop(60.0)
        self.start_worker(step)

    def order_state(self, order_id: str) -> str:
        found = self.stack.world.rows("SELECT state FROM staff_order WHERE id = :id", id=order_id)
        return found[0][0] if found else "missing"


@contextmanager
def open_killed(folder: Path) -> Iterator[KilledStack]:
    more = {"OCTY_STAFF_AUTH": "on", "OCTY_STAFF_KEYS": Keychain.generate().export()}
    with open_stack(folder, "sqlite", **more) as stack:
        yield KilledStack(stack, folder / "kill")


def run(folder: Path, kills: int) -> Report:
    """Kill at every step, `kills` times each, and return what did not hold."""
    report = Report("orders killed at each step")
    with open_killed(folder) as rig:
        for step in COMMAND_STEPS:
            for _ in range(kills):
                _kill_command(rig, step, report)
            report.figure(f"{step}: commands killed", kills)
        for step in WORKER_STEPS:
            rig.restart_worker(step)
            for _ in range(kills):
                _kill_worker(rig, step, report)
            report.figure(f"{step}: workers killed", kills)
        rig.restart_worker("none")
        for step in SQL_STEPS:
            for _ in range(kills):
                _kill_revocation(rig, step, report)
            report.figure(f"revocation, {step}: commands killed", kills)
        with rig.stack.world.database.read_session() as session:
            report.figure("audit entries, all in one chain", verify_chain(audit.entries(session)).entries)
        report.same("processes killed", rig.killed, kills * (len(COMMAND_STEPS + WORKER_STEPS) + len(SQL_STEPS)))
    return report


def _kill_command(rig: KilledStack, step: str, report: Report) -> None:
    incident_id, order_id = rig.stack.open_incident()[1], uuid7(time.time())
    killed = rig.decide(step, incident_id, order_id)
    report.expect(killed.code == _KILLED, f"{step}: the command ended with {killed.code}: {killed.stderr}")
    rig.killed += 1
    before = rig.order_state(order_id)
    report.expect(before == {"received": "received", "sent": "used"}[step], f"{step}: the order was {before}")
    _check_done(rig, step, incident_id, order_id, report)


def _kill_worker(rig: KilledStack, step: str, report: Report) -> None:
    """Kill the worker, start it again while the command waits, and see that the command is answered."""
    incident_id, order_id = rig.stack.open_incident()[1], uuid7(time.time())
    rig.file.touch()
    worker = rig.stack.worker
    assert worker is not None
    with rig.stack.octy.begin("--break-glass", *_decide_words(incident_id, order_id)) as command:
        until(lambda: worker.returncode is not None, message=worker.log_tail)
        report.expect(worker.returncode == _KILLED, f"{step}: the worker ended with {worker.returncode}")
        rig.killed += 1
        state = rig.order_state(order_id)
        report.expect(state == "used", f"{step}: the order was {state} when the worker was killed")
        rig.start_worker(step)
        code = command.wait(120)
    report.expect(code in {0, 4}, f"{step}: the command ended with {code}")  # 4: no answer within its time
    _check_done(rig, step, incident_id, order_id, report)


def _decide_words(incident_id: str, order_id: str) -> tuple[str, ...]:
    why = ("--reason", "killed on purpose", "--order-id", order_id, "--timeout", "90")
    return ("incidents", "decide", incident_id, "dismiss", *why)


def _check_done(rig: KilledStack, step: str, incident_id: str, order_id: str, report: Report) -> None:
    """Repeat the command; then the incident must be decided once, by this order."""
    again = rig.decide("none", incident_id, order_id)
    report.expect(again.code == 0, f"{step}: the repeated command ended with {again.code}: {again.stderr}")
    until(lambda: rig.stack.state(incident_id) == "closed")
    answers = len(rig.stack.events(incident_id, "answered"))
    used = rig.stack.world.rows(
        "SELECT COUNT(*) FROM audit_entry WHERE order_id = :id AND action = 'order.used'", id=order_id
    )
    found = (answers, used, rig.order_state(order_id), rig.stack.events(incident_id, "decision_refused"))
    report.expect(found == (1, [(1,)], "used", []), f"{step}: answers, uses, state, refusals were {found}")


def _kill_revocation(rig: KilledStack, step: str, report: Report) -> None:
    rig.stack.customers += 1
    keys = rig.stack.world.register(f"c{rig.stack.customers}")
    killed = rig.command(step, "keys", "revoke", keys.public_key, "--reason", "killed on purpose", "--yes")
    report.expect(killed.code == _KILLED, f"revoke, {step}: it ended with {killed.code}: {killed.stderr}")
    rig.killed += 1
    [(pair,)] = rig.stack.world.rows("SELECT state FROM key_pair WHERE public_key = :key", key=keys.public_key)
    orders = rig.stack.world.rows("SELECT state FROM staff_order WHERE subject = :key", key=keys.public_key)
    wanted = SQL_STEPS[step]
    report.expect((pair, orders) == (wanted[0], [(wanted[1],)]), f"revoke, {step}: {pair}, {orders}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="so often at each step")
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as folder:
        return conclude("orders", [run(Path(folder), kills)])


if __name__ == "__main__":
    sys.exit(main())
