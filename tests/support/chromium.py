"""Debian's Chromium with its virtual authenticator, driven by playwright. An error that a page logs fails the test.

A profile costs a second of CPU: the tests of a module have one, `renewed` for each of them.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, ConsoleMessage, Page, sync_playwright

PROGRAM = "chromium"
TIMEOUT = 30_000  # milliseconds; beside a load


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Run the browser without a window. The sandbox is off: it needs name spaces, which containers don't give."""
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(PROGRAM), args=options, env={**os.environ})
        yield browser
        browser.close()


@dataclass
class Tab:
    """A page with an authenticator of its own. `errors`: what it logged, such as violations of its policy.

    `url`: the beginning of the addresses that are opened.
    """

    page: Page
    url: str = ""
    authenticator_id: str = ""
    errors: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ("status of 4",)  # a refused request is logged as an error, too

    def __post_init__(self) -> None:
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.devtools: CDPSession = self.page.context.new_cdp_session(self.page)
        self.devtools.send("WebAuthn.enable")
        self.add_authenticator()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(text in message.text for text in self.expected):
            self.errors.append(message.text)

    def open(self, path: str, **options: Any) -> None:
        """Go to the page at this path."""
        self.page.goto(f"{self.url}{path}", **options)

    def add_authenticator(self, *, verifies_user: bool = True) -> None:
        """Plug in a new authenticator in place of the last one."""
        if self.authenticator_id:
            self.devtools.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.authenticator_id})
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verifies_user,
        }
        made = self.devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.authenticator_id = made["authenticatorId"]

    def verify_user(self, verifies: bool) -> None:
        """Set whether the authenticator verifies its user: by fingerprint or PIN, say."""
        self.devtools.send(
            "WebAuthn.setUserVerified", {"authenticatorId": self.authenticator_id, "isUserVerified": verifies}
        )

    def credentials(self) -> list[dict]:
        """Return what the authenticator holds."""
        return self.devtools.send("WebAuthn.getCredentials", {"authenticatorId": self.authenticator_id})["credentials"]

    def add_credentials(self, credentials: Sequence[dict]) -> None:
        """Have the authenticator hold these, too."""
        for credential in credentials:
            given = {"authenticatorId": self.authenticator_id, "credential": credential}
            self.devtools.send("WebAuthn.addCredential", given)

    @property
    def heading(self) -> str:
        return self.page.locator("h1").inner_text()

    @property
    def problem(self) -> str:
        """The message that is shown, once it is."""
        shown = self.page.locator(".message-box:visible").first
        shown.wait_for()
        return shown.inner_text()


@contextmanager
def open_tab(browser: Browser) -> Iterator[Tab]:
    """Open a tab in a profile of its own."""
    context: BrowserContext = browser.new_context()
    yield Tab(context.new_page())
    context.close()


@contextmanager
def renewed(tab: Tab, url: str) -> Iterator[Tab]:
    """Yield the tab for the pages of one site: with a new authenticator, without cookies and what was routed.

    It leaves the last page before it looks at the errors: they come during calls, and the next site has its own.
    """
    tab.url = url
    tab.add_authenticator()
    tab.errors.clear()  # after the last call
    yield tab
    tab.page.unroute_all(behavior="ignoreErrors")
    tab.page.context.clear_cookies()
    tab.page.goto("about:blank")
    assert tab.errors == []
