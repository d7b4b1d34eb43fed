"""Routes of pages behind a link: they parse a request into plain values and run the page's code in a thread."""

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from octy_worker.pages.forms import read_form, valid_id

Form = Mapping[str, str]
Query = Mapping[str, str]
Respond = Callable[[str, str, Form | None, Query], Response]
"""Arguments: subject id, link token, form of a POST (None for GET and HEAD), query. May block."""

STALE, NO_BUTTON, LATE = "stale", "none", "late"
"""Problem codes: the form token is old; no button was pressed; another POST was first, or the time is over."""
_PROBLEM = "problem"


def redirect_to_page(token: str, problem: str = "", *, ticked: bool = False) -> Response:
    """Return the response to a POST: a redirect to the page, which shows the result (POST/redirect/GET).

    The Location is relative, so it works under any path prefix of a proxy. `problem` is a code from the page's own
    table, so that no URL can put text into the page.
    """
    query = urlencode(({_PROBLEM: problem} if problem else {}) | ({"leaked": "yes"} if ticked else {}))
    return RedirectResponse(f"./{token}?{query}" if query else f"./{token}", 303)


def problem_code(query: Query) -> str:
    """Return the code that `redirect_to_page` put into the query. It is untrusted."""
    return query.get(_PROBLEM, "")


def message_about_post(
    query: Query, retry_messages: Mapping[str, str], late_message: str, *, is_open: bool
) -> tuple[int, str]:
    """Return the HTTP status of the page and its message about the last POST; empty when no message applies.

    `retry_messages` apply by problem code while the page `is_open` for a POST; `late_message` does afterwards.
    """
    code = problem_code(query)
    if is_open:
        return (400, retry_messages[code]) if code in retry_messages else (200, "")
    return (409, late_message) if code == LATE or code in retry_messages else (200, "")


def link_route(kind: str, respond: Respond) -> Route:
    """Return the route of `/kind/{subject_id}/{token}`."""

    async def endpoint(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else None
        return await run_in_threadpool(
            respond,
            valid_id(request.path_params["subject_id"]),
            request.path_params["token"],
            form,
            request.query_params,
        )

    return Route(f"/{kind}/{{subject_id}}/{{token}}", endpoint, methods=["GET", "POST"])
