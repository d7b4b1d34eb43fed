"""JSON response bodies as Octy's published clients read them: error responses, and the host app's own responses."""

import re
from http import HTTPStatus
from typing import Any

from octy_middleware.errors import DatabaseUnavailableError

_RETRY_AFTER = 5  # seconds


def success_body(message: str, **data: Any) -> dict[str, Any]:
    """Return the body of a successful response; `data` is added beside `request_meta`."""
    return {"request_meta": {"request_status": "Success", "message": message}, **data}


def error_body(status: int, text: str, help_text: str = "") -> dict[str, Any]:
    """Return the body of a failed request, with the members of RFC 9457 beside Octy's own.

    Octy's command line reads a failure with an empty list of errors as success, so the list is never empty. It cuts
    `text` at `::`, so that is replaced.
    """
    text = re.sub("::+", ":", text)
    reason = HTTPStatus(status).phrase
    return {
        "request_meta": {"request_status": "Failed", "message": text},
        "error": {
            "code": status,
            "reason": reason,
            "errors": [{"error_message": text, "extended_help": help_text}],
        },
        "type": "about:blank",  # the title is then the status phrase (RFC 9457 4.2.1)
        "title": reason,
        "status": status,
        "detail": text,
    }


def exception_response(error: Exception, status: int | None = None) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Return body, status and headers of the response to an exception in a host app's view.

    `status`: that of a framework's HTTP exception. Without it DatabaseUnavailableError is 503 and everything else 422:
    InvalidInputError, and errors of JSON parsing (ValueError; RecursionError for deep nesting).
    """
    if isinstance(error, DatabaseUnavailableError):
        body = error_body(503, "The service is temporarily unavailable.", "Nothing was changed. Try again.")
        return body, 503, {"Retry-After": str(_RETRY_AFTER)}
    if status is not None:
        return error_body(status, HTTPStatus(status).phrase), status, {}
    return error_body(422, str(error), "Send a JSON object with the fields of this route."), 422, {}
