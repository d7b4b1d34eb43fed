"""A request's body into plain form fields, or a page that says why not.

Here: size, type and shape of a body. Not here: what the fields mean. It reads at most `LIMIT` bytes of anything.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from octy_worker.pages import notices
from octy_worker.pages.notices import Notice

LIMIT = 4096  # bytes; our longest form has about 90
_FIELDS = 8
_BOX = {"": False, "yes": True}
_TYPE = "application/x-www-form-urlencoded"

_is_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
NO_ID = "00000000-0000-0000-0000-000000000000"
"""Stands for what can't be an id, so that it takes the same way to the same 404; no row ever has it."""


class FormError(Exception):
    """The body can't be taken; `notice` is the answer, `unread` tells that some of it was left on the wire."""

    def __init__(self, notice: Notice, *, unread: bool = False) -> None:
        super().__init__(notice.title)
        self.notice = notice
        self.unread = unread


def clean_id(text: str) -> str:
    """Return the id of an address as it is, or NO_ID: databases and logs meet no other text."""
    return text if _is_uuid(text) else NO_ID


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of an URL-encoded body. Raises FormError for any other body and for repeated fields."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise FormError(notices.WRONG_TYPE, unread=True)
    try:
        text = (await _read_body(request)).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_FIELDS)
    except ValueError:
        raise FormError(notices.BAD_FORM) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormError(notices.BAD_FORM)
    return fields


def read_box(form: Mapping[str, str], name: str) -> bool | None:
    """Tell whether a box was ticked; None when its field holds anything else than a browser sends."""
    return _BOX.get(form.get(name, ""))


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise FormError(notices.TOO_LARGE, unread=True)
    return body
