"""`octy incidents decide` against the real workflow: a Temporal server, a worker and the command, each a process.

The order of the file is no part of the tests, but for the last ones, which stop the worker.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from cli_rig import DENIED, Octy, fail, octy_for
from octy_middleware.keychain import Keychain
from octy_middleware.models import PairState
from octy_worker.cli import incidents
from octy_worker.dev.processes import Process, ProcessGroup, free_port
from octy_worker.dev.temporal_server import find_temporal, start_temporal
from support.world import Keys, World

WHY = ("--reason", "confirmed by phone")
PATIENCE = 30.0


@dataclass
class Office:
    """Everything that a decision needs, running."""

    world: World
    octy: Octy
    group: ProcessGroup
    address: str
    worker: Process | None = None
    made: int = 0

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "octy_worker", "worker", "--no-pages"]
        self.worker = self.group.start("worker", command)

    def attacked(self) -> tuple[Keys, str]:
        """Return an attacked customer's keys and its open case, whose workflow runs."""
        self.made += 1
        keys = self.world.register(f"c{self.made}")
        fail(self.world, keys)
        [(incident_id,)] = self.world.rows("SELECT id FROM incident WHERE public_key = :key", key=keys.public_key)
        self.until(lambda: self.state(incident_id) == "waiting")
        return keys, incident_id

    def state(self, incident_id: str) -> str:
        return self.world.rows("SELECT state FROM incident WHERE id = :id", id=incident_id)[0][0]

    def events(self, incident_id: str, what: str) -> list[dict]:
        query = "SELECT actor, detail FROM incident_event WHERE incident_id = :id AND what = :what ORDER BY seq"
        return [
            {"actor": actor, **json.loads(detail)}
            for actor, detail in self.world.rows(query, id=incident_id, what=what)
        ]

    def decide(self, incident_id: str, *words: str, **variables: str):
        return self.octy.shell("incidents", "decide", incident_id, *words, **variables)

    def until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if self.worker is not None:
                self.worker.check()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    world, port = World(folder), free_port()
    octy = octy_for(world, OCTY_TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    keys = {
        "OCTY_PEPPERS": world.peppers.export(),
        "OCTY_SEALING_KEYS": world.sealing_keys.export(),
        "OCTY_LINK_KEYS": Keychain.generate().export(),
        "OCTY_SMTP_PORT": "9",
    }
    with ProcessGroup(folder / "logs", octy.environment(**keys)) as group:
        start_temporal(group, folder / "temporal.db", port=port, ui_port=None)
        opened = Office(world, octy, group, f"127.0.0.1:{port}")
        opened.start_worker()
        yield opened
        octy.close()
    world.database.close()


# Decisions that stand


def test_a_decision_stands_and_is_acted_on_and_its_repeat_is_harmless(office):
    pair, incident_id = office.attacked()
    done = office.decide(incident_id, "regenerate", "--leaked", *WHY, "--json").must()
    assert set(done.json) == set(incidents.DECIDED.split(", "))
    assert (done.json["accepted"], done.json["why"], done.json["actor"]) == (True, "", "ada")
    assert '"what": "case_decided"' in done.stderr
    [answer] = office.events(incident_id, "answered")
    assert answer == {"actor": "ada", "answer": "not_us", "leaked": True, "reason": "confirmed by phone"}
    assert office.world.rows("SELECT state FROM key_pair WHERE public_key = :key", key=pair.public_key) == [
        (PairState.RETIRED,)
    ]
    office.until(lambda: office.state(incident_id) == "regenerating")
    decision_id = done.json["decision_id"]
    again = office.decide(incident_id, "regenerate", "--leaked", *WHY, "--decision-id", decision_id).must()
    assert "Decided: regenerate, the secret leaked, by ada." in again.stdout
    assert len(office.events(incident_id, "answered")) == 1
    assert office.events(incident_id, "decision_refused") == []


def test_a_dismissed_case_closes_and_stays_closed(office):
    _, incident_id = office.attacked()
    done = office.decide(incident_id, "dismiss", *WHY, "--json").must()
    office.until(lambda: office.state(incident_id) == "closed")
    repeated = office.decide(incident_id, "dismiss", *WHY, "--decision-id", done.json["decision_id"])
    late = office.decide(incident_id, "regenerate", *WHY, "--actor", "bob")
    repeated.must()
    assert "too late, the case is closed as false_alarm: it_was_us, by ada" in late.must(3).stderr
    [refused] = office.events(incident_id, "decision_refused")
    assert (refused["actor"], refused["decision"]) == ("bob", "regenerate")


# Refusals, each with its trace


def test_the_second_decision_comes_too_late_and_is_audited(office):
    _, incident_id = office.attacked()
    office.decide(incident_id, "regenerate", *WHY).must()
    late = office.decide(incident_id, "dismiss", "--reason", "no, wait", "--actor", "bob", "--json").must(3)
    assert late.json["accepted"] is False
    assert "too late, an answer stands: regenerate, decided by ada" in late.json["why"]
    assert late.json["why"] in late.stderr
    [refused] = office.events(incident_id, "decision_refused")
    assert refused == {"actor": "bob", "decision": "dismiss", "reason": "no, wait", "why": late.json["why"]}
    assert '"what": "decision_refused"' in late.stderr


def test_a_customer_who_was_faster_is_found_in_sql_and_the_refusal_noted_once(office):
    _, incident_id = office.attacked()
    with office.world.database.write() as connection:  # the page's answer, before the workflow has heard of it
        connection.exec_driver_sql(
            "UPDATE confirmation SET answer = 'it_was_us', answered_by = 'customer', answered_at = 0 "
            "WHERE incident_id = ?",
            (incident_id,),
        )
    late = office.decide(incident_id, "regenerate", *WHY).must(3)
    assert "somebody was faster: dismiss, decided by customer" in late.stderr
    assert len(office.events(incident_id, "decision_refused")) == 1


@pytest.mark.parametrize(
    ("words", "why", "kept"),
    [
        (("dismiss", "--leaked", *WHY), "can't be dismissed", "confirmed by phone"),
        (("regenerate", "--reason", "it was sk_1Secret"), "no secret key", None),
        (("regenerate", "--reason", "wrote to ada@acme.example"), "no mail address", None),
        (("regenerate", "--reason", " "), "a reason is needed", None),
        (("regenerate", "--actor", "customer", *WHY), "actor must be a staff id", "confirmed by phone"),
        (("regenerate", "--decision-id", "a b", *WHY), "decision_id must be", "confirmed by phone"),
    ],
)
def test_a_faulty_decision_is_refused_unsent_and_audited_without_its_fault(office, words, why, kept):
    _, incident_id = office.attacked()
    done = office.octy("incidents", "decide", incident_id, *words, OCTY_TEMPORAL_ADDRESS=DENIED).must(3)
    assert why in done.stderr
    [refused] = office.events(incident_id, "decision_refused")
    assert refused["why"] in done.stderr
    assert refused.get("reason") == kept
    assert refused["actor"] != "customer"
    dump = "".join(str(row) for row in office.world.rows("SELECT * FROM incident_event"))
    assert "sk_1Secret" not in dump + done.stderr
    assert "acme.example" not in dump + done.stderr


# What can't be reached


def test_an_unknown_case_is_a_wrong_input(office):
    done = office.octy("incidents", "decide", "0123", "dismiss", *WHY).must(2)
    assert "no case has the id '0123'" in done.stderr


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"OCTY_TEMPORAL_ADDRESS": DENIED}, 4, "Temporal can't be reached at 127.0.0.1:9"),
        ({"OCTY_TEMPORAL_ADDRESS": "no host"}, 2, "OCTY_TEMPORAL_ADDRESS: 'no host' is no address"),
        ({"OCTY_TEMPORAL_NAMESPACE": "elsewhere"}, 4, "Namespace elsewhere is not found"),
    ],
)
def test_a_wrong_way_to_temporal_is_told(office, variables, code, said):
    _, incident_id = office.attacked()
    done = office.decide(incident_id, "dismiss", *WHY, **variables).must(code)
    assert said in done.stderr
    assert " → " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert office.events(incident_id, "decision_refused") == []


def test_the_end_of_the_process_never_aborts(office):
    _, incident_id = office.attacked()
    office.octy.process("incidents", "decide", incident_id, "regenerate", *WHY).must()
    command = [sys.executable, "-m", "octy_worker", "incidents", "decide", incident_id, "dismiss", *WHY]
    environment = office.octy.environment(OCTY_TEMPORAL_ADDRESS=DENIED)
    children = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(4)
    ]
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [4] * len(children)


def test_without_a_worker_it_says_so_and_how_to_repeat(office):
    """A workflow on a task queue that nobody asks for work."""
    _, incident_id = office.attacked()
    other = f"octy-incident-{incident_id}"
    where = ["--address", office.address]
    subprocess.run(
        [find_temporal(), "workflow", "terminate", "--workflow-id", other, *where], check=True, capture_output=True
    )
    start = ["workflow", "start", "--type", "KeyIncidentWorkflow", "--task-queue", "nobody", "--workflow-id", other]
    case = json.dumps({"incident_id": incident_id})
    subprocess.run([find_temporal(), *start, "--input", case, *where], check=True, capture_output=True)
    done = office.decide(incident_id, "dismiss", *WHY, "--timeout", "1.5", OCTY_TEMPORAL_TASK_QUEUE="nobody").must(4)
    assert "no worker asks Temporal for work (task queue 'nobody')" in done.stderr
    assert "start `octy worker`; repeat with --decision-id " in done.stderr


def test_a_decision_during_an_outage_of_the_worker_is_taken_once_after_it(office):
    _, incident_id = office.attacked()
    office.worker.stop(10)
    first = office.decide(incident_id, "dismiss", *WHY, "--timeout", "1.5", "--decision-id", "d-1").must(4)
    assert "--decision-id d-1" in first.stderr
    office.start_worker()
    office.decide(incident_id, "dismiss", *WHY, "--decision-id", "d-1").must()
    assert len(office.events(incident_id, "answered")) == 1
    office.until(lambda: office.state(incident_id) == "closed")
