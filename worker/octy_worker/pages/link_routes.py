"""What every page behind a link does with a request before it looks at the link.

Here: the way from a request to plain values, in a thread of its own. Not here: which link is good, what the page shows.
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from octy_worker.pages.forms import read_form, valid_id

Form = Mapping[str, str]
Query = Mapping[str, str]
Respond = Callable[[str, str, Form | None, Query], Response]
"""Takes the subject's id, the link's token, the form of a POST (None for a GET or HEAD) and the query. May block."""

_PROBLEM = "problem"


def redirect_to_page(token: str, said: str = "", *, ticked: bool = False) -> Response:
    """Answer a POST: the browser is sent to the page, which says what came of it.

    A page that is itself the answer to a POST can't be shown again by Back and Forward. The address is relative, so it
    holds under any path of a proxy; `said` is a name in the page's own table, so that no address makes it say more.
    """
    query = urlencode(({_PROBLEM: said} if said else {}) | ({"leaked": "yes"} if ticked else {}))
    return RedirectResponse(f"./{token}?{query}" if query else f"./{token}", 303)


def problem_code(query: Query) -> str:
    """Return the name that `say` put into the address; strangers can put any."""
    return query.get(_PROBLEM, "")


def link_route(kind: str, respond: Respond) -> Route:
    """Return the route of `/kind/{subject_id}/{token}`."""
    return Route(f"/{kind}/{{subject_id}}/{{token}}", _endpoint(respond), methods=["GET", "POST"])


def _endpoint(respond: Respond) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else None
        return await run_in_threadpool(
            respond,
            valid_id(request.path_params["subject_id"]),
            request.path_params["token"],
            form,
            request.query_params,
        )

    return endpoint
