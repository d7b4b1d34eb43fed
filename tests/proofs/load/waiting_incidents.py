"""`python -m proofs.load.waiting_incidents --incidents 1000`: so many wait on the embedded Temporal server.

Incidents are opened as the recorder opens them, at the same time, and wait once their customers have mail. Then some
are answered, one after the other, through the database as the customers' page does it; and one goes all the way to new
keys, for the size of a whole history. The last line but one is JSON.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import psutil
from support.in_session import in_session
from support.until import until
from support.world import INSTALLATION, World

from octy_middleware import Outcome
from octy_middleware.http.event import AuthEvent, Description
from octy_worker.dev.processes import Process
from octy_worker.dev.temporal_server import find_temporal
from octy_worker.domain.incidents import Answer, answer_incident
from octy_worker.domain.regenerations import collect
from octy_workflows.messages import incident_workflow_id, regeneration_workflow_id
from proofs.load.report import Report, conclude, percentile
from proofs.load.stops import SlowMailServer, WorkerSetup, worker_setup

_TIMEOUT = 60.0
_ANSWERED = 20  # incidents, for the time to answer one
_MIB = 1024 * 1024
Figures = dict[str, Any]


def attack(world: World, incidents: int) -> list[str]:
    """Have so many customers attacked; return the ids of their incidents. No mail is sent yet."""
    customers = [world.register(f"c{number}") for number in range(incidents)]
    with world.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM outbox")  # of their first keys
    now = time.time()
    writer, pair_ids = world.outcome_writer(now), dict(world.rows("SELECT public_key, id FROM key_pair"))
    for keys in customers:
        source = ("203.0.113.9", "203.0.113.0/24", keys.public_key)
        request = Description("curl/8.5", "GET", "/v1")
        event = AuthEvent(Outcome.WRONG_SECRET, now, *source, pair_id=pair_ids[keys.public_key], description=request)
        writer.write([event._replace() for _ in range(20)])  # one object is one request, however often it is given
    return [row[0] for row in world.rows("SELECT id FROM incident ORDER BY id")]


def measure(setup: WorkerSetup, number: int) -> tuple[Report, Figures]:
    report = Report(f"{number} waiting incidents")
    world, server = setup.world, setup.group["temporal"]
    incidents, server_mib_empty = attack(world, number), memory_mib(server)
    begun = time.monotonic()
    worker = setup.start_worker()
    # The interval: the machine is needed by those who are waited for.
    until(lambda: worker.check() or waiting(world) == number, _TIMEOUT + number * 0.5, interval=0.25)
    took = time.monotonic() - begun
    files = world.folder.glob("temporal.db*")
    figures: Figures = {
        "incidents": number,
        "seconds_until_all_wait": round(took, 1),
        "incidents_a_second": round(number / took, 1),
        "server_mib_empty": server_mib_empty,
        "server_mib": memory_mib(server),
        "worker_mib": memory_mib(worker),
        "temporal_db_mib": round(sum(file.stat().st_size for file in files) / _MIB, 1),
        "alerts": sum(setup.mail.kept.values()),
    }
    report.same("incidents that wait", waiting(world), number)
    seconds = sorted(answer(world, worker, incident) for incident in incidents[1 : 1 + _ANSWERED])
    p50, longest = round(percentile(seconds, 0.5) * 1000), round(seconds[-1] * 1000)
    figures["answer_to_closed_ms"] = {"p50": p50, "max": longest, "n": len(seconds)}
    figures["whole_incident"] = regenerate(setup, worker, incidents[0])
    report.same("mails sent twice", setup.mail.duplicates(), 0)
    report.same("incidents that still wait", waiting(world), number - 1 - len(seconds))
    worker.stop(_TIMEOUT)
    report.same("exit status of the worker", worker.returncode, 0)
    for name, value in figures.items():
        report.figure(name, value)
    return report, figures


def waiting(world: World) -> int:
    """Return how many incidents wait, and have told their customer."""
    statement = (
        "SELECT COUNT(*) FROM incident JOIN mail ON mail.incident_id = incident.id "
        "WHERE incident.state = 'waiting' AND mail.kind = 'alert' AND mail.state = 'sent'"
    )
    return int(world.rows(statement)[0][0])


def answer(world: World, worker: Process, incident_id: str) -> float:
    """Answer that it was us; return the seconds until the incident is closed."""
    begun = time.monotonic()
    in_session(
        world.database, answer_incident, incident_id, Answer.IT_WAS_US, leaked=False, by="customer", now=time.time()
    )
    worker.wait_until(lambda: is_closed(world, incident_id), _TIMEOUT)
    return time.monotonic() - begun


def regenerate(setup: WorkerSetup, worker: Process, incident_id: str) -> Figures:
    """Have the keys replaced and collected; return the sizes of both histories."""
    world = setup.world
    in_session(
        world.database, answer_incident, incident_id, Answer.NOT_US, leaked=False, by="customer", now=time.time()
    )
    statement = (
        "SELECT regeneration.id FROM regeneration JOIN mail ON mail.key = regeneration.id || '/new_keys/1' "
        "WHERE mail.state = 'sent'"
    )
    worker.wait_until(lambda: bool(world.rows(statement)), _TIMEOUT)
    regeneration_id = world.rows(statement)[0][0]
    assert in_session(world.database, collect, world.sealer, regeneration_id, 1, time.time()) is not None
    worker.wait_until(lambda: is_closed(world, incident_id), _TIMEOUT)
    workflows = {
        "incident": incident_workflow_id(INSTALLATION, incident_id),
        "regeneration": regeneration_workflow_id(INSTALLATION, regeneration_id),
    }
    return {name: history_size(setup.temporal_port, workflow_id) for name, workflow_id in workflows.items()}


def is_closed(world: World, incident_id: str) -> bool:
    return bool(world.rows("SELECT 1 FROM incident WHERE id = :id AND state = 'closed'", id=incident_id))


def history_size(port: int, workflow_id: str) -> dict[str, int]:
    """Ask Temporal. Its command, not the SDK: this process shall end with a meaningful status (sdk-python#300)."""
    command = [find_temporal(), "workflow", "describe", "--workflow-id", workflow_id, "--output", "json"]
    done = subprocess.run([*command, "--address", f"127.0.0.1:{port}"], check=True, capture_output=True, timeout=30)
    info = json.loads(done.stdout)["workflowExecutionInfo"]
    return {"events": int(info["historyLength"]), "bytes": int(info["historySizeBytes"])}


def memory_mib(process: Process) -> float:
    """Return the resident memory of a process and its children."""
    family = psutil.Process(process.pid)
    return round(sum(each.memory_info().rss for each in [family, *family.children(recursive=True)]) / _MIB, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incidents", type=int, default=1000)
    options = parser.parse_args()
    with worker_setup(mail=SlowMailServer(0), OCTY_OVERLAP="1") as setup:
        report, figures = measure(setup, options.incidents)
    sys.stdout.write(json.dumps(figures) + "\n")
    return conclude("waiting_incidents", [report])


if __name__ == "__main__":
    sys.exit(main())
