"""What holds for every single response of the pages, whatever it says.

Here: the rules on headers and HTML that the tests' browser checks on each response. Not here: tests.
"""

import html
import re
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

import httpx2

_FIXED = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex, nofollow, noarchive",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_VOID = {"meta", "input", "link", "br", "hr", "rect", "path"}
_NEEDS_LABEL = {"input", "textarea", "select"}


class Outline(HTMLParser):
    """Tags and attributes of a page, in order; fails on unbalanced ones."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def text_of(page: str) -> str:
    """Return what a reader sees of a page, in one line."""
    seen = re.sub(r"<style>.*?</style>|<head>.*?</head>", "", page, flags=re.DOTALL)
    seen = re.sub(r"</?(?:a|bdi|code|span|strong|time)\b[^>]*>", "", seen)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", seen)).split())


def check_response(response: httpx2.Response) -> None:
    """Fail when a response lacks a security header, or its page breaks a rule."""
    assert {name: response.headers.get(name) for name in _FIXED} == _FIXED
    policy = dict(part.strip().partition(" ")[::2] for part in response.headers["content-security-policy"].split(";"))
    assert policy.pop("style-src").startswith("'sha256-")
    assert policy == {
        "default-src": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert "set-cookie" not in response.headers
    if response.headers.get("content-type", "").startswith("text/html") and response.text:
        check_page(response.text, response.headers["content-security-policy"])


@lru_cache(maxsize=256)  # tests that load a page a hundred times have it judged once
def check_page(page: str, policy: str) -> None:
    """Fail when a page needs a script, loads anything, or can't be used with keyboard and screen reader."""
    outline = Outline(page)
    names = [tag for tag, _ in outline.tags]
    assert not {"script", "iframe", "object", "embed", "img", "link", "base"} & set(names)
    for _, attributes in outline.tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes)
    for link in outline.all("a"):
        assert re.match(r"#|mailto:|https?://[a-z.]+/", link["href"])
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(style[1].encode()).digest()).decode()}'" in policy
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    _check_access(outline, names)


def _check_access(outline: Outline, names: list[str]) -> None:
    assert outline.tags[0] == ("html", {"lang": "en"})
    assert (names.count("title"), names.count("h1"), names.count("main")) == (1, 1, 1)
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {label["for"] for label in outline.all("label")}
    for tag, field in outline.tags:
        if tag in _NEEDS_LABEL and "hidden" not in (field.get("type"), *field):
            assert field["id"] in labelled
    for _, attributes in outline.tags:
        for pointer in ("aria-labelledby", "aria-describedby"):
            assert pointer not in attributes or attributes[pointer] in ids
    levels = [int(name[1]) for name in names if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for form in outline.all("form"):
        assert form["method"] == "post"
        assert "action" not in form  # it answers to its own address, under any path of a proxy
