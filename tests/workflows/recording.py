"""`python tests/workflows/recording.py`: play every path of the tables on the stage, and keep what Temporal wrote.

Here: which tables, the way from a history to a file, and what is taken out of it. Not here: the paths themselves, each
in its test; whether the files still replay (`test_histories`).

Ids are the stage's, which count from 1; who ran it, where and with which files is taken out. Record anew when a
change of the workflows is meant to change histories, and only then: the files stand for cases that wait out there.
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

from workflows import test_incident_changed as changed
from workflows import test_incident_extended as extended
from workflows import test_incident_paths, test_notice_paths, test_regeneration_paths
from workflows import test_incident_reopened as reopened
from workflows import test_incident_resent as resent
from workflows import test_upkeep_rounds as rounds
from workflows import test_web_ui as web_ui
from workflows import test_webhook_paths as webhooks
from workflows.workflow_stage import Stage, open_stage

FOLDER = ROOT / "workflows" / "histories"
TABLES = (  # a folder, and a test: each row of its table is played as the test plays it, and has a file
    ("incident", test_incident_paths.test_path),
    ("incident", reopened.test_a_new_answer_in_the_same_activation_as_the_abandonment_is_acted_on),
    ("incident", reopened.test_cases_that_supersede_each_other_come_to_an_end),
    ("incident", changed.test_an_answer_that_is_called_off_closes_the_case_as_a_false_alarm),
    ("incident", changed.test_a_leak_that_is_reported_later_is_shown_and_replaces_no_key_twice),
    ("incident", changed.test_a_dismissal_that_is_changed_while_the_case_is_being_closed_keeps_it_open),
    ("incident", extended.test_a_case_that_needs_staff_for_want_of_an_answer_waits_again_and_staff_is_told_later),
    ("incident", extended.test_an_extension_by_signal_is_the_same),
    ("incident", extended.test_a_customer_may_answer_after_the_old_end),
    ("incident", extended.test_an_extension_that_was_asked_for_before_the_silence_ends_keeps_the_case_open),
    ("incident", resent.test_without_a_kind_the_mail_that_went_out_last_gets_a_number_of_its_own),
    ("incident", resent.test_after_a_refused_mail_one_that_is_sent_again_leads_back_to_waiting),
    ("incident", resent.test_a_mail_that_is_refused_again_leaves_the_case_with_staff),
    ("incident", web_ui.test_a_case_shows_its_state_its_need_of_staff_and_its_failures),
    ("incident", rounds.test_the_times_of_a_case_that_is_started_again_count_from_its_first_start),
    ("incident", rounds.test_a_case_whose_keys_came_to_nothing_orders_new_ones_when_it_is_started_again),
    ("regeneration", test_regeneration_paths.test_path),
    ("regeneration", web_ui.test_a_regeneration_shows_how_far_it_is),
    ("regeneration", rounds.test_a_delivery_that_is_started_again_renews_a_link_that_has_expired_and_no_other),
    ("notice", test_notice_paths.test_a_notice_tells_its_story),
    ("maintenance", rounds.test_a_round_goes_on_until_it_is_done_and_adds_up_what_it_did),
    ("maintenance", rounds.test_a_job_that_is_done_elsewhere_is_looked_at_again_after_a_minute),
    ("webhook", webhooks.test_a_webhook_ends_as_its_activity_says),
    ("webhook", webhooks.test_a_server_that_is_away_is_tried_again_within_the_hour),
    ("webhook", webhooks.test_trying_ends_with_its_life_and_not_before),
    ("webhook", webhooks.test_a_last_try_that_arrived_is_no_failure),
)
_WHO = "recorded"
_TAKEN_OUT = {"identity": _WHO, "stackTrace": "", "buildId": "", "workerInstanceKey": "", "workerControlTaskQueue": ""}


def rows() -> Iterator[tuple[Path, Callable[[Stage], Any]]]:
    """Return for every row its file, and what plays it."""
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


def record(stage: Stage) -> Iterator[Path]:
    """Write every file anew."""
    for folder in {folder for folder, _ in TABLES}:
        shutil.rmtree(FOLDER / folder, ignore_errors=True)
    for file, play in rows():
        events: list[Any] = []
        stage.act(_play(stage, play(stage), events))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"events": [\n' + ",\n".join(json.dumps(event) for event in events) + "\n]}\n", "utf-8")
        yield file


async def _play(stage: Stage, act: Any, events: list[Any]) -> None:
    """Play one path, and add what Temporal wrote of it before the stage clears up."""
    await act
    history = await stage.plays[-1].handle.fetch_history()
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
    with open_stage() as stage:
        for file in record(stage):
            history = read(file)
            name = file.relative_to(FOLDER).with_suffix("")
            sys.stdout.write(f"{len(history.events):5d} events {size(history):7d} bytes  {name}\n")
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # see `conftest.pytest_unconfigure`
