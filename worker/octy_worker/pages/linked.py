"""What every page behind a link does with a request before it looks at the link.

Here: the way from a request to plain values, in a thread of its own. Not here: which link is good, what the page shows.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from octy_worker.pages.forms import clean_id, read_form

Form = Mapping[str, str]
Respond = Callable[[str, str, Form | None], Response]
"""Takes the subject's id, the link's token, and the form of a POST; None for a GET or HEAD. May block."""


def linked(kind: str, respond: Respond) -> Route:
    """Return the route of `/kind/{subject_id}/{token}`."""
    return Route(f"/{kind}/{{subject_id}}/{{token}}", _endpoint(respond), methods=["GET", "POST"])


def _endpoint(respond: Respond) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else None
        return await run_in_threadpool(
            respond, clean_id(request.path_params["subject_id"]), request.path_params["token"], form
        )

    return endpoint
