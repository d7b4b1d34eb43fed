"""Parsing of form bodies of bounded size."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from octy_worker.pages import message_pages
from octy_worker.pages.message_pages import MessagePage

MAX_BODY = 4096  # bytes; our longest form has about 90
_MAX_FIELDS = 8
_CHECKBOX = {"": False, "yes": True}
_TYPE = "application/x-www-form-urlencoded"

_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"
"""Replaces text that is no id, so that it takes the same path to the same 404. No row has this id."""


class FormError(Exception):
    """The body is invalid. `notice` is the page to return; `unread`: part of the body was not read."""

    def __init__(self, notice: MessagePage, *, unread: bool = False) -> None:
        super().__init__(notice.title)
        self.notice = notice
        self.unread = unread


def valid_id(text: str) -> str:
    """Return an id from a URL unchanged, or UNKNOWN_ID, so that no other text reaches database and log."""
    return text if _is_uuid(text) else UNKNOWN_ID


async def read_form(request: Request, max_body: int = MAX_BODY) -> Mapping[str, str]:
    """Return the fields of a URL-encoded body. Raises FormError for any other body and for repeated fields."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise FormError(message_pages.WRONG_TYPE, unread=True)
    try:
        text = (await _read_body(request, max_body)).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise FormError(message_pages.BAD_FORM) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormError(message_pages.BAD_FORM)
    return fields


def read_checkbox(form: Mapping[str, str], name: str) -> bool | None:
    """Return whether a checkbox is ticked; None when its value is not what a browser sends."""
    return _CHECKBOX.get(form.get(name, ""))


async def _read_body(request: Request, max_body: int) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_body:
            raise FormError(message_pages.TOO_LARGE, unread=True)
    return body
