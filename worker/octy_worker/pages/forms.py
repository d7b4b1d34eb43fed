"""A request's body into plain form fields, or a page that says why not.

Here: size, type and shape of a body. Not here: what the fields mean. It reads at most `MAX_BODY` bytes of anything.
"""

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
"""Stands for what can't be an id, so that it takes the same way to the same 404; no row ever has it."""


class FormError(Exception):
    """The body can't be taken; `notice` is the answer, `unread` tells that some of it was left on the wire."""

    def __init__(self, notice: MessagePage, *, unread: bool = False) -> None:
        super().__init__(notice.title)
        self.notice = notice
        self.unread = unread


def valid_id(text: str) -> str:
    """Return the id of an address as it is, or NO_ID: databases and logs meet no other text."""
    return text if _is_uuid(text) else UNKNOWN_ID


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of an URL-encoded body. Raises FormError for any other body and for repeated fields."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise FormError(message_pages.WRONG_TYPE, unread=True)
    try:
        text = (await _read_body(request)).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise FormError(message_pages.BAD_FORM) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormError(message_pages.BAD_FORM)
    return fields


def read_checkbox(form: Mapping[str, str], name: str) -> bool | None:
    """Tell whether a box was ticked; None when its field holds anything else than a browser sends."""
    return _CHECKBOX.get(form.get(name, ""))


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise FormError(message_pages.TOO_LARGE, unread=True)
    return body
