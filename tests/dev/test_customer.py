"""The demo's customer: finds links and forms, sends what a browser sends, and reports unusable pages."""

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from urllib.parse import parse_qs

import httpx2
import pytest

from octy_worker.dev.certificates import ensure_certificate
from octy_worker.dev.customer import Customer, CustomerError, Keys, find_forms
from octy_worker.dev.inbox import ReceivedMail

NEW, OLD, SECRET = "pk_" + "N" * 28, "pk_" + "O" * 28, "sk_" + "S" * 49
OFFER = """<form method=post><input type=hidden name=form value="t&amp;k">
    <button name=reveal value=once>Show</button></form>"""
CASE = """<form method="GET"><button name="answer" value="not_us"></button></form>
    <form method="post" action="?x=1"><input type="submit" value="" disabled hidden>
    <input type="hidden" name="form" value="token"><input type="checkbox" name="leaked" value="yes">
    <button name="answer" value="it_was_us">Yes</button><button name="answer" value="not_us">No</button></form>"""
REVEALED = f"<p><textarea>{NEW}</textarea><textarea>{SECRET}</textarea><code>{OLD}</code>"


class Site:
    """A web site that shows the given pages, and what was posted to it."""

    def __init__(self, certificate) -> None:
        self.pages: dict[str, tuple[int, str]] = {}
        self.posted: list[tuple[str, dict[str, list[str]], str | None]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(*site.pages.get(f"GET {self.path}", (404, "")))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                site.posted.append((self.path, parse_qs(body), self.headers["Origin"]))
                self.answer(*site.pages.get(f"POST {self.path}", (404, "")))

            def answer(self, status, page):
                self.send_response(status)
                self.send_header("Content-Length", str(len(page)))
                if status == 303:
                    self.send_header("Location", "./again")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = SSLContext(PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.chain, certificate.key)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def certificate(tmp_path):
    return ensure_certificate(tmp_path)


@pytest.fixture
def site(certificate):
    with Site(certificate) as site:
        yield site


@pytest.fixture
def customer(certificate):
    with Customer(create_default_context(cafile=certificate.ca)) as customer:
        yield customer


def a_mail(*links: str, text: str = f"New public key: {NEW}") -> ReceivedMail:
    return ReceivedMail(Path("x"), "b@example.com", "Keys", "<1@x>", text, "", datetime.now(UTC), links)


def test_keys_are_collected_with_the_button_of_the_page(site, customer):
    site.pages = {"GET /keys/1/t": (200, OFFER), "POST /keys/1/t": (200, REVEALED)}
    keys = customer.collect_keys(a_mail(f"{site.url}/help", f"{site.url}/keys/1/t"))
    assert keys == Keys(NEW, SECRET)
    assert SECRET not in repr(keys)
    assert site.posted == [("/keys/1/t", {"form": ["t&k"], "reveal": ["once"]}, site.url)]


@pytest.mark.parametrize(
    ("answer", "leaked", "sent"),
    [
        ("it_was_us", False, {"form": ["token"], "answer": ["it_was_us"]}),
        ("not_us", False, {"form": ["token"], "answer": ["not_us"]}),
        ("not_us", True, {"form": ["token"], "answer": ["not_us"], "leaked": ["yes"]}),
    ],
)
def test_alert_is_answered_with_the_button_of_the_answer(site, customer, answer, leaked, sent):
    site.pages = {
        "GET /alert/1/t": (200, CASE),
        "POST /alert/1/t?x=1": (303, ""),
        "GET /alert/1/again": (200, "recorded"),
    }
    customer.answer_alert(a_mail(f"{site.url}/alert/1/t"), answer, leaked=leaked)
    assert site.posted == [("/alert/1/t?x=1", sent, site.url)]


@pytest.mark.parametrize(
    ("pages", "fault"),
    [
        ({}, "the /keys/ page answered 404"),
        ({"GET /keys/1/t": (200, "<p>Expired")}, "no form with the button reveal=once"),
        ({"GET /keys/1/t": (200, OFFER)}, "the /keys/ page answered 404"),
        ({"GET /keys/1/t": (200, OFFER), "POST /keys/1/t": (410, REVEALED)}, "the /keys/ page answered 410"),
        ({"GET /keys/1/t": (200, OFFER), "POST /keys/1/t": (200, NEW)}, "no secret key"),
        ({"GET /keys/1/t": (200, OFFER), "POST /keys/1/t": (200, SECRET)}, "no public key that the mail also shows"),
        ({"GET /keys/1/t": (200, OFFER), "POST /keys/1/t": (200, OLD + " " + SECRET)}, "that the mail also shows"),
    ],
)
def test_unusable_page_raises_customer_error(site, customer, pages, fault):
    site.pages = pages
    with pytest.raises(CustomerError, match=fault) as caught:
        customer.collect_keys(a_mail(f"{site.url}/keys/1/t"))
    assert "sk_" not in str(caught.value)
    assert "/keys/1/t" not in str(caught.value)


@pytest.mark.parametrize("links", [(), ("https://localhost/alert/1/t",), ("https://l/keys/1", "https://l/keys/2")])
def test_mail_without_exactly_one_link_raises_customer_error(customer, links):
    with pytest.raises(CustomerError, match=r"links to /keys/…, not one"):
        customer.collect_keys(a_mail(*links))


def test_missing_checkbox_raises_customer_error(site, customer):
    site.pages = {"GET /alert/1/t": (200, CASE.replace("leaked", "other"))}
    with pytest.raises(CustomerError, match="no box 'leaked'"):
        customer.answer_alert(a_mail(f"{site.url}/alert/1/t"), "not_us", leaked=True)
    assert site.posted == []


def test_customer_verifies_the_certificate(site, tmp_path):
    other = ensure_certificate(tmp_path / "other")
    with (
        Customer(create_default_context(cafile=other.ca)) as other_customer,
        pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        other_customer.collect_keys(a_mail(f"{site.url}/keys/1/t"))


def test_find_forms_returns_fields_and_buttons():
    first, second = find_forms(CASE)
    assert (first.method, second.method) == ("get", "post")
    assert second.buttons == [("answer", "it_was_us"), ("answer", "not_us")]
    assert find_forms("<button name=a value=b></button><form><p></form><input type=hidden name=x>")[0].hidden == {}
