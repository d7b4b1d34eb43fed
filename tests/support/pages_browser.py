"""A browser without scripts, and a real server for it.

Here: requests that the tests of the pages share; every response is judged by `pages_rules`. Not here: tests.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import uvicorn
from starlette.applications import Starlette

from support.pages_rules import check_response
from support.until import until

BASE = "http://pages.localhost"  # in clear on this machine only


class Browser:
    """Sends requests to the app in process. It follows no redirect and runs no script; it judges every response."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def send(self, method: str, path: str, **options) -> httpx2.Response:
        return self.send_all([(method, path)], **options)[0]

    def send_all(self, requests: list[tuple[str, str]], **options) -> list[httpx2.Response]:
        """Send requests one after the other."""

        async def run() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(app=self._app)
            async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
                return [await client.request(method, path, **options) for method, path in requests]

        responses = asyncio.run(run())
        for response in responses:
            check_response(response)
        return responses

    def get(self, path: str) -> httpx2.Response:
        return self.send("GET", path)

    def post(self, path: str, **fields: str) -> httpx2.Response:
        """Send a form. Where the answer is to look at what the page says of it, look."""
        response = self.send("POST", path, data=fields)
        return self.get(said) if (said := what_is_said(path, response)) else response

    def press(self, path: str, button: str, value: str, **fields: str) -> httpx2.Response:
        """Open the page, fill its form as it stands there, and press one of its visible buttons."""
        page = self.get(path).text
        assert f'name="{button}" value="{value}"' in page
        return self.post(path, form=form_token(page), **{button: value}, **fields)


def form_token(page: str) -> str:
    """Return the hidden field of a page's form."""
    found = re.search(r'<input type="hidden" name="form" value="([^"]+)">', page)
    assert found is not None
    return found[1]


def what_is_said(path: str, response: httpx2.Response) -> str | None:
    """Return the address of the page that says why a POST changed nothing, or None when there is none."""
    found = httpx2.URL(BASE + path).join(response.headers.get("location", path))
    return found.raw_path.decode() if response.status_code == 303 and found.params.get("problem") else None


def send_form(client: httpx2.Client, path: str, data: dict[str, str]) -> httpx2.Response:
    """Send a form as `Browser.post` does, over a socket."""
    response = client.post(path, data=data)
    said = what_is_said(path, response)
    return client.get(said) if said else response


def path_of(url: str) -> str:
    """Return the path of one of our links."""
    return url.removeprefix(BASE)


@contextmanager
def serving(app: Starlette) -> Iterator[httpx2.Client]:
    """Serve the app on a real socket; yields a client of it for many threads."""
    config = uvicorn.Config(app, port=0, ws="none", lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        host, port = server.servers[0].sockets[0].getsockname()
        with httpx2.Client(base_url=f"http://{host}:{port}", verify=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
