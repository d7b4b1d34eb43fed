"""A browser of staff without scripts: it keeps cookies, sends forms as they stand, and has a passkey of software."""

import html
import json
import re
from functools import cache
from http.cookies import SimpleCookie
from typing import Any

import httpx2

from octy_worker.staff_api.pages.access import LOGIN_COOKIE, SESSION_COOKIE
from support.soft_authenticator import SoftAuthenticator
from support.staff_site import StaffSite

CSRF = re.compile(r'name="csrf" value="([^"]+)"')
OPTIONS = re.compile(r'data-options="([^"]+)"')


@cache
def _transport() -> httpx2.HTTPTransport:
    """Return one for all browsers, which keeps no connection: making one takes a third of a request."""
    return httpx2.HTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0))


class StaffBrowser:
    """One profile. It follows no redirect."""

    def __init__(self, site: StaffSite) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}
        self.authenticator = SoftAuthenticator()

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        headers |= {"origin": self.site.url} if method == "POST" else {}
        headers |= options.pop("headers", {})
        client = httpx2.Client(base_url=self.site.url, timeout=30, transport=_transport(), trust_env=False)
        response = client.request(method, path, headers=headers, **options)
        for line in response.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        self.cookies = {name: value for name, value in self.cookies.items() if value}
        return response

    def get(self, path: str) -> httpx2.Response:
        return self.send("GET", path)

    def post(self, path: str, *, form: str | None = None, headers: dict[str, str] | None = None, **fields: str):
        """Send the form of a page (`form`: its path) with the token that it has."""
        token = self.csrf(form or path)
        return self.send("POST", path, data={"csrf": token, **fields}, headers=headers or {})

    def csrf(self, path: str) -> str:
        found = CSRF.search(self.get(path).text)
        return found[1] if found else ""

    def options(self, path: str) -> dict[str, Any]:
        """Return what the page's script asks the browser for."""
        found = OPTIONS.search(self.get(path).text)
        assert found is not None
        return json.loads(html.unescape(found[1]))

    def enrol(self, handle: str = "ada") -> httpx2.Response:
        link = self.site.link(handle)
        assert self.post(link, code=self.site.code(handle)).status_code == 303
        return self.post(link, answer=self.register(self.options(link)))

    def enter_code(self, handle: str = "ada") -> httpx2.Response:
        return self.post("/staff/login", code=self.site.code(handle))

    def log_in(self, handle: str = "ada") -> httpx2.Response:
        assert self.enter_code(handle).status_code == 303
        return self.post("/staff/factor", answer=self.sign(self.options("/staff/factor")))

    def register(self, options: dict[str, Any], **changes: Any) -> str:
        return self.authenticator.register(options, **{"origin": self.site.url, **changes})

    def sign(self, options: dict[str, Any], **changes: Any) -> str:
        return self.authenticator.sign(options, **{"origin": self.site.url, **changes})

    @property
    def session(self) -> str:
        return self.cookies.get(SESSION_COOKIE, "")

    @property
    def login(self) -> str:
        return self.cookies.get(LOGIN_COOKIE, "")
