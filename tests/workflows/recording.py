"""`PYTHONPATH=tests python -m workflows.recording`: run every path of the tables, and keep what Temporal wrote.

Here: which tables, the way from a history to a file, and what is taken out of it. Not here: the paths themselves, each
in its test; whether the files still replay (`test_histories`).

Ids are the harness's, which count from 1; who ran it, where and with which files is taken out. Record again when a
change of the workflows is meant to change histories, and only then: the files stand for workflows that are running.
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from _pytest.mark import ParameterSet
from support.paths import ROOT
from temporalio.client import WorkflowHistory

from workflows import test_incident_amended as changed
from workflows import test_incident_extended as extended
from workflows import test_incident_paths, test_notice_paths, test_regeneration_paths
from workflows import test_incident_reopened as reopened
from workflows import test_incident_resent as resent
from workflows import test_maintenance_runs as rounds
from workflows import test_web_ui as web_ui
from workflows import test_webhook_paths as webhooks
from workflows.workflow_harness import Harness, open_harness

FOLDER = ROOT / "workflows" / "histories"
TABLES = (  # a folder, and a test: each row of its table is run as the test runs it, and has a file
    ("incident", test_incident_paths.test_path),
    ("incident", reopened.test_new_answer_in_the_activation_of_the_abandonment_is_handled),
    ("incident", reopened.test_incidents_that_supersede_each_other_end),
    ("incident", changed.test_answer_amended_to_false_alarm_closes_the_incident),
    ("incident", changed.test_leak_reported_later_is_shown_and_replaces_no_key_pair_twice),
    ("incident", changed.test_dismissal_amended_during_the_close_keeps_the_incident_open),
    ("incident", extended.test_extended_unanswered_incident_waits_again_and_needs_staff_later),
    ("incident", extended.test_extension_by_signal_has_the_same_effect),
    ("incident", extended.test_customer_answer_after_the_old_end_is_accepted),
    ("incident", extended.test_extension_requested_before_the_end_keeps_the_incident_open),
    ("incident", resent.test_resend_without_a_kind_sends_the_last_mail_with_a_new_number),
    ("incident", resent.test_resend_after_a_failed_mail_returns_the_incident_to_waiting),
    ("incident", resent.test_resend_that_fails_again_keeps_the_incident_with_staff),
    ("incident", web_ui.test_incident_search_attributes_show_state_needs_staff_and_failures),
    ("incident", rounds.test_deadlines_of_a_restarted_incident_count_from_its_first_start),
    ("incident", rounds.test_restarted_incident_with_abandoned_regeneration_starts_a_new_one),
    ("regeneration", test_regeneration_paths.test_path),
    ("regeneration", web_ui.test_regeneration_search_attributes_show_its_state),
    ("regeneration", rounds.test_restarted_regeneration_renews_only_an_expired_link),
    ("notice", test_notice_paths.test_notice_path),
    ("maintenance", rounds.test_maintenance_run_continues_until_done_and_adds_up_its_results),
    ("maintenance", rounds.test_maintenance_job_leased_elsewhere_is_tried_again_after_a_minute),
    ("webhook", webhooks.test_webhook_ends_with_the_result_of_its_activity),
    ("webhook", webhooks.test_unavailable_webhook_server_is_tried_again_within_the_hour),
    ("webhook", webhooks.test_webhook_retries_end_with_its_ttl_and_not_before),
    ("webhook", webhooks.test_webhook_whose_last_try_arrived_is_not_failed),
)
_WHO = "recorded"
_TAKEN_OUT = {"identity": _WHO, "stackTrace": "", "buildId": "", "workerInstanceKey": "", "workerControlTaskQueue": ""}


def rows() -> Iterator[tuple[Path, Callable[[Harness], Any]]]:
    """Return for every row its file, and what runs it."""
    for folder, test in TABLES:
        for name, row in _rows_of(test):
            yield FOLDER / folder / f"{name}.json", partial(test.__wrapped__, **row)


def _rows_of(test: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return names and arguments of a test's cases, as pytest would; one without a table is a case itself."""
    own = test.__name__.removeprefix("test_")
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        yield own, {}
        return
    [mark] = marks
    names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else mark.args[0]
    for number, case in enumerate(mark.args[1], start=1):
        values = case.values if isinstance(case, ParameterSet) else case if len(names) > 1 else [case]
        row = dict(zip(names, values, strict=True))
        yield getattr(row.get("path"), "name", f"{own}-{number}"), row


def files() -> list[Path]:
    """Return the file of every row."""
    return [file for file, _ in rows()]


def record(harness: Harness) -> Iterator[Path]:
    """Write every file."""
    for folder in {folder for folder, _ in TABLES}:
        shutil.rmtree(FOLDER / folder, ignore_errors=True)
    for file, run in rows():
        events: list[Any] = []
        harness.act(_play(harness, run(harness), events))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"events": [\n' + ",\n".join(json.dumps(event) for event in events) + "\n]}\n", "utf-8")
        yield file


async def _play(harness: Harness, act: Any, events: list[Any]) -> None:
    """Run one path, and add what Temporal wrote of it before the harness clears up."""
    await act
    history = await harness.runs[-1].handle.fetch_history()
    events.extend(_without_places(event) for event in json.loads(history.to_json())["events"])


def _without_places(value: Any, key: str = "") -> Any:
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    if not isinstance(value, dict):
        return _TAKEN_OUT.get(key, value)
    parts = {name: _without_places(part, name) for name, part in value.items()}
    sticky = value.get("kind") == "TASK_QUEUE_KIND_STICKY"  # its name is the process's
    return {**parts, "name": _WHO} if sticky else parts


def read(file: Path) -> WorkflowHistory:
    """Return the history of a file, under the file's name."""
    return WorkflowHistory.from_json(file.stem, file.read_text("utf-8"))


def size(history: WorkflowHistory) -> int:
    """Return the bytes of its events."""
    return sum(event.ByteSize() for event in history.events)


def main() -> int:
    """Record, and print how large each history is."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)  # activities fail on purpose
    with open_harness() as harness:
        for file in record(harness):
            history = read(file)
            name = file.relative_to(FOLDER).with_suffix("")
            sys.stdout.write(f"{len(history.events):5d} events {size(history):7d} bytes  {name}\n")
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # see `conftest.pytest_unconfigure`
