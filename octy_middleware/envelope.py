"""PURE. Octy's JSON envelope (CONTRACT.md), for refusals and for the host app's own answers.

Here: the shape of bodies. Not here: status lines and headers (`refusal`).
"""

from http import HTTPStatus
from typing import Any


def success(message: str, **data: Any) -> dict[str, Any]:
    """Return the body of an answer that went well; `data` stands beside `request_meta`."""
    return {"request_meta": {"request_status": "Success", "message": message}, **data}


def failure(status: int, text: str, help_text: str = "") -> dict[str, Any]:
    """Return the body of a failed request, with the members of RFC 9457 beside Octy's own.

    Octy's command line takes a failure with an empty list of errors for success, so there always is one. It cuts
    `text` at `::`, so that is replaced.
    """
    text = text.replace("::", ":")
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
