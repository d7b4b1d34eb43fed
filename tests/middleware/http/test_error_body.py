"""Octy's envelope: what its clients parse, in refusals and in responses of the host app."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from octy_middleware.errors import DatabaseUnavailableError, InvalidInputError
from octy_middleware.http.error_body import error_body, exception_response, success_body


def test_success_body_has_data_and_meta() -> None:
    assert success_body("Done.", account_data={"a": "b"}) == {
        "request_meta": {"request_status": "Success", "message": "Done."},
        "account_data": {"a": "b"},
    }


@given(st.sampled_from([400, 401, 403, 404, 422, 429, 431, 500, 503]), st.text(), st.text())
@example(400, "a::b", "")
@example(400, "a:::b::::c", "")
@example(400, ":::", "")
def test_failure_body_is_readable_by_octy_clients(status: int, text: str, help_text: str) -> None:
    body = error_body(status, text, help_text)
    assert body["request_meta"]["request_status"] == "Failed"
    assert body["error"]["code"] == body["status"] == status
    assert body["error"]["reason"]
    [error] = body["error"]["errors"]  # an empty list is a success to Octy's command line
    assert "::" not in error["error_message"]


@pytest.mark.parametrize(
    ("error", "status", "expected", "headers"),
    [
        (DatabaseUnavailableError("disk full"), None, 503, {"Retry-After": "5"}),
        (InvalidInputError("contact_name must be text"), None, 422, {}),
        (ValueError("Expecting value"), None, 422, {}),
        (RecursionError("too deep"), None, 422, {}),
        (RuntimeError("a framework's own"), 404, 404, {}),
    ],
)
def test_errors_of_a_view_become_error_responses(
    error: Exception, status: int | None, expected: int, headers: dict[str, str]
) -> None:
    body, found, sent = exception_response(error, status)
    assert (found, sent, body["error"]["code"]) == (expected, headers, expected)
    assert "disk full" not in str(body)
