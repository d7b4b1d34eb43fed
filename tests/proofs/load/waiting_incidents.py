"""`python -m proofs.load.waiting_incidents --cases 1000`: so many incidents wait on the embedded Temporal server.

Cases are opened as the recorder opens them, at one and the same time, and wait once their customers have mail. Then
some are answered, one after the other, through the database as the customers' page does it; and one goes all the way to
new keys, for the size of a whole history. The last line but one is JSON.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from support.world import INSTALLATION, World

from octy_middleware import Outcome
from octy_middleware.http.event import AuthEvent
from octy_middleware.recording.outcome_writer import OutcomeWriter
from octy_worker.dev.processes import Process
from octy_worker.dev.temporal_server import find_temporal
from octy_worker.domain.incidents import Answer, answer_incident
from octy_worker.domain.regenerations import collect
from octy_workflows.messages import incident_workflow_id, regeneration_workflow_id
from proofs.load.report import Report, conclude, percentile
from proofs.load.stops import SlowMailServer, WorkerSetup, worker_setup

_PATIENCE = 60.0
_ANSWERED = 20  # cases, for the time to answer one
_MIB = 1024 * 1024
Figures = dict[str, Any]


def attack(world: World, cases: int) -> list[str]:
    """Have so many customers attacked; return the ids of their cases. Nobody has been told yet."""
    customers = [world.register(f"c{number}") for number in range(cases)]
    with world.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM outbox")  # their first keys are an old story
    now = time.time()
    ledger = OutcomeWriter(
        world.database,
        threshold=20,
        attempts_per_minute=60,
        sources_per_minute=256,
        max_networks=1000,
        clock=lambda: now,
    )
    pairs = dict(world.rows("SELECT public_key, id FROM key_pair"))
    for keys in customers:
        event = AuthEvent(
            *(Outcome.WRONG_SECRET, now, "203.0.113.9", "203.0.113.0/24", keys.public_key),
            pair_id=pairs[keys.public_key],
            user_agent="curl/8.5",
            method="GET",
            path="/v1",
        )
        ledger.write([event._replace() for _ in range(20)])  # one object is one request, however often it is given
    return [row[0] for row in world.rows("SELECT id FROM incident ORDER BY id")]


def measure(place: WorkerSetup, cases: int) -> tuple[Report, Figures]:
    report = Report(f"{cases} waiting cases")
    incidents = attack(place.world, cases)
    server = place.group["temporal"]
    empty = {"server_mib_empty": memory(server)}
    begun = time.monotonic()
    worker = place.start_worker()
    until(worker, lambda: waiting(place.world) == cases, _PATIENCE + cases * 0.5, pause=0.25)
    took = time.monotonic() - begun
    figures: Figures = {
        "cases": cases,
        "seconds_until_all_wait": round(took, 1),
        "cases_a_second": round(cases / took, 1),
        **empty,
        "server_mib": memory(server),
        "worker_mib": memory(worker),
        "temporal_db_mib": round(
            sum(file.stat().st_size for file in place.world.folder.glob("temporal.db*")) / _MIB, 1
        ),
        "alerts": sum(place.mail.kept.values()),
    }
    report.same("cases that wait", waiting(place.world), cases)
    answers = sorted(answered(place, worker, incident) for incident in incidents[1 : 1 + _ANSWERED])
    figures["answer_to_closed_ms"] = {
        "p50": round(percentile(answers, 0.5) * 1000),
        "max": round(answers[-1] * 1000),
        "n": len(answers),
    }
    figures["whole_case"] = whole_case(place, worker, incidents[0])
    report.same("mails sent twice", sum(count > 1 for count in place.mail.kept.values()), 0)
    report.same("cases that still wait", waiting(place.world), cases - 1 - len(answers))
    worker.stop(_PATIENCE)
    report.same("exit status of the worker", worker.returncode, 0)
    for name, value in figures.items():
        report.figure(name, value)
    return report, figures


def waiting(world: World) -> int:
    """Return how many cases wait, and have told their customer."""
    statement = (
        "SELECT COUNT(*) FROM incident JOIN mail ON mail.incident_id = incident.id "
        "WHERE incident.state = 'waiting' AND mail.kind = 'alert' AND mail.state = 'sent'"
    )
    return int(world.rows(statement)[0][0])


def answered(place: WorkerSetup, worker: Process, incident_id: str) -> float:
    """Say that it was us; return the seconds until the case is closed."""
    begun = time.monotonic()
    answer_incident(place.world.database, incident_id, Answer.IT_WAS_US, leaked=False, by="customer", now=time.time())
    until(worker, lambda: is_closed(place.world, incident_id), _PATIENCE)
    return time.monotonic() - begun


def whole_case(place: WorkerSetup, worker: Process, incident_id: str) -> Figures:
    """Have the keys replaced and collected; return the sizes of both histories."""
    world = place.world
    answer_incident(world.database, incident_id, Answer.NOT_US, leaked=False, by="customer", now=time.time())
    statement = (
        "SELECT regeneration.id FROM regeneration JOIN mail ON mail.key = regeneration.id || '/new_keys/1' "
        "WHERE mail.state = 'sent'"
    )
    until(worker, lambda: bool(world.rows(statement)), _PATIENCE)
    regeneration_id = world.rows(statement)[0][0]
    assert collect(world.database, world.sealer, regeneration_id, 1, time.time()) is not None
    until(worker, lambda: is_closed(world, incident_id), _PATIENCE)
    workflows = {
        "incident": incident_workflow_id(INSTALLATION, incident_id),
        "regeneration": regeneration_workflow_id(INSTALLATION, regeneration_id),
    }
    return {name: size_of_history(place.temporal, workflow_id) for name, workflow_id in workflows.items()}


def is_closed(world: World, incident_id: str) -> bool:
    return bool(world.rows("SELECT 1 FROM incident WHERE id = :id AND state = 'closed'", id=incident_id))


def size_of_history(port: int, workflow_id: str) -> dict[str, int]:
    """Ask Temporal. Its command, not the SDK: this process shall end with a meaningful status (sdk-python#300)."""
    command = [find_temporal(), "workflow", "describe", "--workflow-id", workflow_id, "--output", "json"]
    done = subprocess.run([*command, "--address", f"127.0.0.1:{port}"], check=True, capture_output=True, timeout=30)
    info = json.loads(done.stdout)["workflowExecutionInfo"]
    return {"events": int(info["historyLength"]), "bytes": int(info["historySizeBytes"])}


def memory(process: Process) -> float:
    """Return the resident memory of a process and its children, in MiB."""
    family = psutil.Process(process.pid)
    return round(sum(each.memory_info().rss for each in [family, *family.children(recursive=True)]) / _MIB, 1)


def until(worker: Process, ready: Callable[[], bool], patience: float, *, pause: float = 0.0) -> None:
    """Wait; the machine is needed by those who are waited for."""

    def after_a_pause() -> bool:
        time.sleep(pause)
        return ready()

    worker.wait_until(after_a_pause, patience)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    options = parser.parse_args(arguments)
    with worker_setup(mail=SlowMailServer(0), OCTY_OVERLAP="1") as place:
        report, figures = measure(place, options.cases)
    sys.stdout.write(json.dumps(figures) + "\n")
    return conclude("proofs.load.waiting_incidents", [report])


if __name__ == "__main__":
    sys.exit(main())
