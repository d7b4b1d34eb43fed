"""Recorded histories of every path still replay: an incident that waits out there goes on with this release.

After a change that is meant to change histories, `PYTHONPATH=tests python -m workflows.recording` records them again.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import cache

import pytest
from google.protobuf.message import Message
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from octy_workflows import activities
from octy_workflows.messages import MailKind, RegenerationInput, RegenerationStepInput, SendMailInput
from octy_workflows.regeneration import KeyRegenerationWorkflow
from octy_workflows.retry import DEFAULT_RETRY
from workflows.recording import FOLDER, files, read
from workflows.workflow_harness import BUILD_ID, replayer

RECORDED = sorted(FOLDER.rglob("*.json"))
COLLECTED = FOLDER / "regeneration" / "collected_then_overlap_then_the_old_pair_is_retired.json"
SECRETS = {
    "a mail address, or who recorded it": re.compile(r"[\w.+-]+@\w"),
    "a key": re.compile(r"\b[ps]k_[0-9A-Za-z]"),
    "a link": re.compile(r"https?://"),
    "a link's token": re.compile(r"(?=[\w-]*[0-9])(?=[\w-]*[A-Z])(?<![\w-])[\w-]{32}(?![\w-])"),
    "a path of a machine": re.compile(r"/(home|root|tmp|usr|work|Users|var)/"),
}


history = cache(read)


def test_every_row_of_the_path_tables_has_a_recorded_history() -> None:
    assert sorted(files()) == RECORDED, "record again: PYTHONPATH=tests python -m workflows.recording"


def test_every_history_replays() -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for file in RECORDED:
            yield history(file)

    names = {history(file).run_id: file.stem for file in RECORDED}
    assert len(names) == len(RECORDED)
    results = asyncio.run(replayer().replay_workflows(histories(), raise_on_replay_failure=False))
    assert {names[run_id]: str(error) for run_id, error in results.replay_failures.items()} == {}


def test_histories_are_small_and_have_no_personal_data_or_secrets() -> None:
    assert {file.name for file in RECORDED if file.stat().st_size > 64 * 1024} == set()
    told = {file.stem: list(_texts(history(file))) for file in RECORDED}
    assert min(map(len, told.values())) > 20  # they were looked at
    assert '"decision":"regenerate"' in str(told["staff_regenerates_by_update"])  # payloads, too
    found = {
        (name, what, text)
        for name, texts in told.items()
        for what, pattern in SECRETS.items()
        for text in texts
        if pattern.search(text)
    }
    assert found == set()


@pytest.mark.parametrize(
    "text",
    ["to ada@acme.example", "41@host", "sk_1Secret", "https://keys.example/x", f"link {'aB3-' * 8}", "/home/ada/octy"],
)
def test_personal_data_and_secrets_would_be_found_in_a_history(text: str) -> None:
    assert [what for what, pattern in SECRETS.items() if pattern.search(text)]


def _texts(message: object) -> Iterator[str]:
    """Return every text of a history: fields, names in maps, and payloads, which are JSON."""
    match message:
        case str():
            yield message
        case bytes():
            yield message.decode("utf-8", "replace")
        case WorkflowHistory():
            yield from _texts(message.events)
        case Message():
            for _, value in message.ListFields():
                yield from _texts(value)
        case Mapping():
            yield from _texts([*message.keys(), *message.values()])
        case Iterable():
            for part in message:
                yield from _texts(part)


# What a replay finds: without these, a replayer that takes everything would pass


@workflow.defn(name="KeyRegenerationWorkflow")
class _Same(KeyRegenerationWorkflow):
    @workflow.init
    def __init__(self, case: RegenerationInput) -> None:
        super().__init__(case)

    @workflow.run
    async def run(self, case: RegenerationInput) -> str:
        return await super().run(case)


@workflow.defn(name="KeyRegenerationWorkflow")
class _Added(_Same):
    @workflow.init
    def __init__(self, case: RegenerationInput) -> None:
        super().__init__(case)

    @workflow.run
    async def run(self, case: RegenerationInput) -> str:
        await workflow.execute_activity(
            activities.send_mail, SendMailInput(self._id, MailKind.NEW_KEYS, 0, workflow.time()), **DEFAULT_RETRY
        )
        return await super().run(case)


@workflow.defn(name="KeyRegenerationWorkflow")
class _Removed(_Same):
    @workflow.init
    def __init__(self, case: RegenerationInput) -> None:
        super().__init__(case)

    @workflow.run
    async def run(self, case: RegenerationInput) -> str:
        return await super().run(case)

    async def _overlap(self) -> None:
        """Cut the old key pair without its overlap."""


@workflow.defn(name="KeyRegenerationWorkflow")
class _Reordered(_Same):
    @workflow.init
    def __init__(self, case: RegenerationInput) -> None:
        super().__init__(case)

    @workflow.run
    async def run(self, case: RegenerationInput) -> str:
        return await super().run(case)

    async def _make_key_pair(self) -> None:
        for step in (activities.issue_key_pair, activities.activate_key_pair, activities.verify_key_pair):
            await workflow.execute_activity(step, RegenerationStepInput(self._id, workflow.time()), **DEFAULT_RETRY)


def _replay(changed: type) -> None:
    replayer = Replayer(workflows=[changed], workflow_runner=UnsandboxedWorkflowRunner(), build_id=BUILD_ID)
    asyncio.run(replayer.replay_workflow(history(COLLECTED)))


def test_workflow_of_the_same_commands_replays() -> None:
    _replay(_Same)


@pytest.mark.parametrize("changed", [_Added, _Removed, _Reordered])
def test_added_removed_or_moved_command_fails_the_replay(changed: type) -> None:
    with pytest.raises(workflow.NondeterminismError):
        _replay(changed)
