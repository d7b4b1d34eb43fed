"""A customer's browser: opens the link of a mail, presses a button and reads the page, over verified TLS.

It knows only what a person sees: links, forms, names of buttons and the form of keys.
"""

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx2

from octy_middleware.errors import OctyError
from octy_worker.dev.http_client import http_client
from octy_worker.dev.inbox import ReceivedMail

_PUBLIC_KEY = re.compile(r"\bpk_[0-9A-Za-z]{28}\b")
_SECRET = re.compile(r"\bsk_[0-9A-Za-z]{49}\b")


class CustomerError(OctyError):
    """A mail or page lacks what a customer needs. The text says what is missing, without links and keys."""


@dataclass(frozen=True)
class Keys:
    """A collected key pair."""

    public_key: str
    secret: str = field(repr=False)


@dataclass
class Form:
    """A form as a browser sends it: hidden fields, ticked checkboxes and the pressed button."""

    action: str
    method: str
    hidden: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def filled(self, button: tuple[str, str], ticked: Iterable[str]) -> dict[str, str]:
        """Return the fields to send; raise CustomerError when there is no such box."""
        if missing := [f"box {name!r}" for name in ticked if name not in self.boxes]:
            raise CustomerError(f"the page's form has no {' and no '.join(missing)}")
        return {**self.hidden, **{name: self.boxes[name] for name in ticked}, button[0]: button[1]}


class Customer:
    """A browser. A context manager."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._browser = http_client(tls, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._browser.close()

    def collect_keys(self, mail: ReceivedMail) -> Keys:
        """Press the button of the mail's one-time page and return the key pair that it shows."""
        page = self.press(_link(mail, "/keys/"), ("reveal", "once"))
        secret = _SECRET.search(page)
        if secret is None:
            raise CustomerError("the page shows no secret key")
        shown = [found[0] for found in _PUBLIC_KEY.finditer(page, 0, secret.start())]
        if not shown or shown[-1] not in mail.text:
            raise CustomerError("the page shows no public key that the mail also shows")
        return Keys(shown[-1], secret[0])

    def answer_alert(self, mail: ReceivedMail, answer: str, *, leaked: bool = False) -> None:
        """Answer the alert of the mail: `it_was_us` or `not_us`. `leaked`: tick the checkbox."""
        self.press(_link(mail, "/alert/"), ("answer", answer), ["leaked"] if leaked else [])

    def press(self, url: str, button: tuple[str, str], ticked: Iterable[str] = ()) -> str:
        """Open a page and press a button (name, value) of its form; return the page that follows."""
        page = self._browser.get(url)
        _check(page)
        for form in find_forms(page.text):
            if button in form.buttons and form.method == "post":
                address = urljoin(str(page.url), form.action)
                origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))  # as browsers send it with each POST
                answer = self._browser.post(address, data=form.filled(button, ticked), headers={"Origin": origin})
                _check(answer)
                return answer.text
        raise CustomerError(f"the page has no form with the button {button[0]}={button[1]}")


def find_forms(html: str) -> list[Form]:
    """Return the forms of a page, in order."""
    reader = _FormReader()
    reader.feed(html)
    reader.close()
    return reader.forms


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._open)
        elif self._open is not None and tag in ("input", "button") and "disabled" not in given:
            _add_field(self._open, tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


def _add_field(form: Form, tag: str, given: dict[str, str]) -> None:
    kind = given.get("type", "submit" if tag == "button" else "text").lower()
    name, value = given.get("name", ""), given.get("value", "")
    if kind == "submit" and name:
        form.buttons.append((name, value))
    elif kind == "hidden" and name:
        form.hidden[name] = value
    elif kind == "checkbox" and name:
        form.boxes[name] = value or "on"


def _link(mail: ReceivedMail, below: str) -> str:
    fitting = [link for link in mail.links if urlsplit(link).path.startswith(below)]
    if len(fitting) != 1:
        raise CustomerError(f"the mail {mail.subject!r} has {len(fitting)} links to {below}…, not one")
    return fitting[0]


def _check(page: httpx2.Response) -> None:
    if page.status_code != httpx2.codes.OK:
        kind = urlsplit(str(page.url)).path.split("/")[1]
        raise CustomerError(f"the /{kind}/ page answered {page.status_code}")
