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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import test_incident_paths
import test_notice_paths
import test_regeneration_paths
from temporalio.client import WorkflowHistory
from workflow_stage import Stage, open_stage

FOLDER = Path(__file__).parents[2] / "workflows" / "histories"
TABLES = {  # a folder for each: a module whose rows are played, and the test that plays one
    "incident": (test_incident_paths, test_incident_paths.test_path),
    "regeneration": (test_regeneration_paths, test_regeneration_paths.test_path),
    "notice": (test_notice_paths, test_notice_paths.test_a_notice_tells_its_story),
}
_WHO = "recorded"
_TAKEN_OUT = {"identity": _WHO, "stackTrace": "", "buildId": "", "workerInstanceKey": "", "workerControlTaskQueue": ""}


def files() -> list[Path]:
    """Return the file of every row of the tables."""
    return [_file(subject, path.name) for subject, (module, _) in TABLES.items() for path in module.PATHS]


def _file(subject: str, name: str) -> Path:
    return FOLDER / subject / f"{name}.json"


def record(stage: Stage) -> Iterator[Path]:
    """Write every file anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for subject, (module, test) in TABLES.items():
        (FOLDER / subject).mkdir(parents=True)
        for path in module.PATHS:
            events: list[Any] = []
            stage.act(_play(stage, test.__wrapped__(stage, path=path), events))
            file = _file(subject, path.name)
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
