"""Descriptions of requests: read when they are used, once, without holding the request afterwards."""

import gc
import weakref

import pytest
from support.world import FakeRequest

from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.event import Description, build_event
from octy_middleware.http.outcome import Outcome

ADDRESS = ClientAddress("192.0.2.1", "https")
HEADERS = {b"user-agent": [b"curl/8\r\n\x1b[0m"], b"x-request-id": [b"r-1"]}


@pytest.mark.parametrize("described", [True, False])
def test_description_is_sanitized_whenever_it_is_read(described: bool) -> None:
    request = FakeRequest(headers=HEADERS, method="POST", path="/v1/\xe4" + "x" * 300)
    event = build_event(Outcome.WRONG_SECRET, request, ADDRESS, 0.0, described=described)
    wanted = Description("curl/8???[0m", "POST", "/v1/?" + "x" * 195, "r-1")
    assert event.description.read() == wanted
    assert (event.user_agent, event.method, event.path, event.request_id) == wanted


def test_unread_description_gives_one_id_and_holds_the_request_until_it_is_read() -> None:
    request = FakeRequest()
    held = weakref.ref(request)
    event = build_event(Outcome.WRONG_SECRET, request, ADDRESS, 0.0, described=False)
    del request
    assert held() is not None
    assert event.request_id == event.request_id != ""
    gc.collect()
    assert held() is None
