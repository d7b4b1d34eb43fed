"""Histories recorded before Temporal's names were changed have the same events as those of today, under a map of names.

`renamed_histories.json` has the digest of each earlier history's events: types and names, in order, without workflow
tasks, whose number depends on timing. Ten histories are left out: they have parallel steps, whose order is another at
each recording. When a change of the workflows is meant to change events, this test and its file are deleted.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from workflows.recording import FOLDER, files

EARLIER = json.loads((Path(__file__).parent / "renamed_histories.json").read_text("utf-8"))
NAMES = {  # today's name: the earlier one
    "KeyMaintenanceWorkflow": "KeyUpkeepWorkflow",
    "activate_key_pair": "activate_pair",
    "answer_amended": "answer_changed",
    "count_old_key_uses": "count_old_uses",
    "failures_increased": "attempts_grew",
    "issue_key_pair": "issue_pair",
    "load_incident_facts": "look_at_incident",
    "load_regeneration_facts": "look_at_regeneration",
    "prune_database": "prune_store",
    "reconcile_database": "reconcile_store",
    "record_decision": "take_decision",
    "record_ignored_signal": "note_ignored",
    "record_incident_event": "note_incident",
    "record_missing_subject": "note_missing",
    "record_regeneration_event": "note_regeneration",
    "retire_old_key_pair": "retire_old_pair",
    "verify_key_pair": "prove_pair",
}


def digest(file: Path, names: dict[str, str]) -> str:
    """Return the digest of a history's events, with names replaced."""
    events = json.loads(file.read_text("utf-8"))["events"]
    steps = [_step(event, names) for event in events if "WORKFLOW_TASK" not in event["eventType"]]
    return hashlib.sha256("\n".join(steps).encode()).hexdigest()[:16]


def _step(event: dict[str, Any], names: dict[str, str]) -> str:
    [attributes] = [value for key, value in event.items() if key.endswith("EventAttributes")]
    kind = attributes.get("activityType", attributes.get("workflowType", {})).get("name", "")
    update = attributes.get("acceptedRequest", {}).get("input", {}).get("name", "")
    name = kind or attributes.get("signalName", "") or update
    return f"{event['eventType']} {names.get(name, name)}"


def test_histories_have_the_same_events_as_before_the_renaming() -> None:
    today = {str(file.relative_to(FOLDER)): digest(file, NAMES) for file in files()}
    assert len(today.keys() - EARLIER.keys()) == 10
    assert {name: today.get(name) for name in EARLIER} == EARLIER
