"""How a workflow began is asked for, remembered for a while, and never guessed."""

import asyncio

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.history.v1 import History, HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryResponse
from temporalio.service import RPCError, RPCStatusCode

from octy_worker import beginnings
from octy_worker.beginnings import Beginnings

PLAIN, SEALED = (Payload(metadata={"encoding": name}) for name in (b"json/plain", b"binary/encrypted"))


class Service:
    """Answers with first events, by workflow id; an error is raised."""

    def __init__(self, **known: list[Payload] | Exception) -> None:
        self.known = known
        self.asked: list[str] = []

    async def get_workflow_execution_history(self, request, *, retry):
        assert (request.namespace, request.maximum_page_size, retry) == ("octy", 1, True)
        self.asked.append(request.execution.workflow_id)
        found = self.known[request.execution.workflow_id]
        if isinstance(found, Exception):
            raise found
        started = WorkflowExecutionStartedEventAttributes(input=Payloads(payloads=found))
        return GetWorkflowExecutionHistoryResponse(
            history=History(events=[HistoryEvent(workflow_execution_started_event_attributes=started)])
        )


def knowing(**known: list[Payload] | Exception) -> tuple[Beginnings, Service]:
    service, found = Service(**known), Beginnings("octy")
    found.ask(service)
    return found, service


def ask(found: Beginnings, *workflow_ids: str) -> list[bool]:
    async def act() -> list[bool]:
        return [await found.plain(workflow_id) for workflow_id in workflow_ids]

    return asyncio.run(act())


def error(status: RPCStatusCode) -> RPCError:
    return RPCError("an answer", status, b"")


def test_the_first_event_tells_and_is_asked_for_once():
    found, service = knowing(old=[PLAIN], new=[SEALED], empty=[])
    assert ask(found, "old", "new", "empty", "old", "new", "empty") == [True, False, True, True, False, True]
    assert service.asked == ["old", "new", "empty"]


def test_one_that_was_started_again_with_encryption_takes_no_plaintext_any_more():
    clock = [0.0]
    service, found = Service(case=[PLAIN]), Beginnings("octy", lambda: clock[0])
    found.ask(service)
    assert ask(found, "case", "case") == [True, True]
    service.known["case"] = [SEALED]
    clock[0] = 61.0
    assert ask(found, "case") == [False]
    assert service.asked == ["case", "case"]


def test_a_workflow_that_is_not_there_takes_no_plaintext_and_is_asked_for_again():
    found, service = knowing(later=error(RPCStatusCode.NOT_FOUND))
    assert ask(found, "later") == [False]
    service.known["later"] = [PLAIN]
    assert ask(found, "later") == [True]


def test_an_outage_is_no_answer():
    found, service = knowing(case=error(RPCStatusCode.UNAVAILABLE))
    with pytest.raises(RPCError):
        ask(found, "case")
    service.known["case"] = [SEALED]
    assert ask(found, "case") == [False]


def test_it_remembers_a_bounded_number(monkeypatch):
    monkeypatch.setattr(beginnings, "_REMEMBERED", 2)
    found, service = knowing(a=[PLAIN], b=[PLAIN], c=[PLAIN])
    assert ask(found, "a", "b", "c", "c", "b", "a") == [True] * 6
    assert service.asked == ["a", "b", "c", "a"]
