"""The staff's pages in a real Chromium with a virtual authenticator: enrol, log in, sign, and be refused."""

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Route
from support.chromium import PROGRAM, Tab, open_tab, renewed
from support.kept_rows import KeptRows
from support.staff_acts import NOTE
from support.staff_site import StaffSite

from octy_worker.access.orders import Order
from octy_worker.access.roles import Role
from octy_worker.access.sessions import IDLE_TIMEOUT
from octy_worker.staff.acts import ACTS
from octy_worker.staff_api.pages.access import SESSION_COOKIE
from octy_worker.staff_api.pages.renderer import SCRIPT, read_file

pytestmark = pytest.mark.needs(PROGRAM)


@pytest.fixture
def database_kind() -> str:
    """One kind is enough here: `test_pages_access` runs on both."""
    return "sqlite"


@pytest.fixture(autouse=True)
def _act(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)


@dataclass
class Enrolment:
    """What one leaves behind: in the database, in the authenticator and in the browser."""

    rows: KeptRows
    credentials: list[dict]
    cookies: list[dict]


@pytest.fixture(scope="module")
def enrolments() -> list[Enrolment]:
    """The enrolment of the module, once there is one."""
    return []


@pytest.fixture
def enrolled(site: StaffSite, tab: Tab, enrolments: list[Enrolment]) -> Tab:
    """A tab in which ada has just registered a passkey: the first by the pages, others as copies of that enrolment."""
    if enrolments:
        for table in ("staff", "audit_entry"):  # who was invited
            site.sql(f"DELETE FROM {table}")
        enrolments[0].rows.put(site.world)
        tab.add_credentials(enrolments[0].credentials)
        tab.page.context.add_cookies(enrolments[0].cookies)
        tab.open("/staff/")
    else:
        enrol(site, tab)
        enrolments.append(Enrolment(KeptRows.of(site.world), tab.credentials(), tab.page.context.cookies()))
    return tab


def enrol(site: StaffSite, tab: Tab, handle: str = "ada") -> None:
    tab.open(site.link(handle))
    enter_code(site, tab, handle)
    tab.page.get_by_role("button", name="Register a passkey").click()
    tab.page.get_by_role("heading", name="Orders to sign").wait_for()


def enter_code(site: StaffSite, tab: Tab, handle: str = "ada") -> None:
    tab.page.get_by_label("Code").fill(site.code(handle))
    tab.page.get_by_role("button", name="Continue").click()


def log_out(tab: Tab) -> None:
    tab.open("/staff/")
    tab.page.get_by_role("button", name="Log out").click()
    tab.page.get_by_role("heading", name="Log in").wait_for()


def pend(site: StaffSite, text: str = "the text") -> Order:
    return site.pend(NOTE.action, "messages", text=text)


def open_order(tab: Tab, order: Order) -> None:
    tab.open(f"/staff/orders/{order.order_id}")


def press_sign(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Sign with a passkey").click()


def received(site: StaffSite) -> list[tuple]:
    return site.world.rows("SELECT id, factor, state FROM staff_order")


def test_invited_person_enrols_a_passkey_and_is_logged_in(site: StaffSite, tab: Tab) -> None:
    enrol(site, tab)
    assert "Signed in as ada (responder)" in tab.page.locator(".top").inner_text()
    assert "1 passkey registered" in tab.page.locator("main").inner_text()
    [credential] = tab.credentials()
    assert (credential["rpId"], credential["userName"]) == ("localhost", "ada")
    [cookie] = tab.page.context.cookies()
    assert {name: cookie[name] for name in ("name", "httpOnly", "secure", "sameSite", "path")} == {
        "name": SESSION_COOKIE, "httpOnly": True, "secure": True, "sameSite": "Strict", "path": "/",
    }  # fmt: skip
    assert tab.page.evaluate("document.cookie") == ""


def test_button_waits_for_the_script_without_which_no_passkey_is_asked_for(site: StaffSite, tab: Tab) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    tab.page.route("**/*.js", hold)
    tab.open(site.link("ada"), wait_until="commit")
    enter_code(site, tab)
    button = tab.page.get_by_role("button", name="Register a passkey")
    button.wait_for()
    assert button.is_disabled()
    held[-1].continue_()
    button.click()
    tab.page.get_by_role("heading", name="Orders to sign").wait_for()


def test_person_logs_in_by_certificate_and_passkey(site: StaffSite, enrolled: Tab) -> None:
    log_out(enrolled)
    enter_code(site, enrolled)
    assert "you are ada" in enrolled.page.locator(".lead").inner_text()
    enrolled.page.get_by_role("button", name="Log in with a passkey").click()
    enrolled.page.get_by_role("heading", name="Orders to sign").wait_for()
    assert site.audited().count(("login", "ada")) == 2


def test_passkey_signs_an_order_which_is_carried_out(site: StaffSite, enrolled: Tab) -> None:
    order = pend(site, "deliver <b>again</b>")
    enrolled.open("/staff/")
    enrolled.page.get_by_role("link", name="Deliver failed messages again").click()
    shown = enrolled.page.locator("main").inner_text()
    for value in ("deliver <b>again</b>", "phoned", "outbox.retry", "ada", order.order_id):
        assert value in shown
    enrolled.page.get_by_text("Exactly what you sign").click()
    assert enrolled.page.locator("details code").inner_text() == order.to_bytes().decode()
    press_sign(enrolled)
    enrolled.page.get_by_text("Done").wait_for()
    assert "deliver <b>again</b>" in enrolled.page.locator("main").inner_text()
    [(order_id, factor, state)] = received(site)
    assert (order_id, state) == (order.order_id, "used")
    assert site.world.rows("SELECT kind FROM staff_factor WHERE id = :id", id=factor) == [("passkey",)]
    open_order(enrolled, order)
    assert enrolled.heading == "This order can't be signed"


def test_authenticator_that_does_not_verify_its_user_neither_enrols_nor_signs(site: StaffSite, tab: Tab) -> None:
    tab.verify_user(False)
    link = site.link()
    tab.open(link)
    enter_code(site, tab)
    tab.page.get_by_role("button", name="Register a passkey").click()
    assert "No passkey was registered" in tab.problem
    tab.verify_user(True)
    tab.page.get_by_role("button", name="Register a passkey").click()
    tab.page.get_by_role("heading", name="Orders to sign").wait_for()
    open_order(tab, pend(site))
    tab.verify_user(False)
    press_sign(tab)
    assert "The order was not signed" in tab.problem
    assert received(site) == []


def test_signature_without_user_verification_is_refused_by_the_server(site: StaffSite, enrolled: Tab) -> None:
    order = pend(site)
    open_order(enrolled, order)
    enrolled.verify_user(False)
    ask_for(enrolled, "options.userVerification = 'discouraged'")  # as a changed page would
    press_sign(enrolled)
    assert "user was not verified" in enrolled.problem
    assert received(site) == []


def ask_for(tab: Tab, change: str) -> None:
    """Change what the page asks the authenticator for."""
    tab.page.evaluate(
        f"""() => {{
            const form = document.querySelector("form[data-options]");
            const options = JSON.parse(form.dataset.options);
            {change};
            form.dataset.options = JSON.stringify(options);
        }}"""
    )


def test_signature_of_another_order_is_refused(site: StaffSite, enrolled: Tab) -> None:
    one, other = pend(site, "one"), pend(site, "other")
    open_order(enrolled, one)
    challenge = enrolled.page.evaluate(
        """() => JSON.parse(document.querySelector("form[data-options]").dataset.options).challenge"""
    )
    open_order(enrolled, other)
    ask_for(enrolled, f"options.challenge = '{challenge}'")
    press_sign(enrolled)
    assert "challenge" in enrolled.problem
    assert received(site) == []


def test_replayed_signature_is_refused(site: StaffSite, enrolled: Tab) -> None:
    one, other = pend(site, "one"), pend(site, "other")
    sent: list[str] = []

    def keep(route: Route) -> None:
        sent.append(route.request.post_data or "")
        route.continue_()

    enrolled.page.route(f"**/orders/{one.order_id}", keep)
    open_order(enrolled, one)
    press_sign(enrolled)
    enrolled.page.get_by_text("Done").wait_for()
    for order_id in (one.order_id, other.order_id):
        status = replay(enrolled, f"/staff/orders/{order_id}", sent[-1])
        assert status in (403, 404)
    assert [row[0] for row in received(site)] == [one.order_id]


def replay(tab: Tab, path: str, body: str) -> int:
    """Send a form again, with the cookies of the tab, as somebody who has seen it would."""
    origin = tab.page.evaluate("location.origin")
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
    return tab.page.context.request.post(f"{origin}{path}", data=body, headers=headers).status


def test_order_that_was_changed_after_it_was_shown_is_refused(site: StaffSite, enrolled: Tab) -> None:
    order = pend(site)
    open_order(enrolled, order)
    site.sql("UPDATE staff_pending_order SET body = replace(body, 'the text', 'a trick')")
    press_sign(enrolled)
    enrolled.page.get_by_role("heading", name="This order can't be signed").wait_for()
    assert received(site) == []


def test_order_is_signed_by_its_author_in_time_and_by_nobody_else(
    site: StaffSite, enrolled: Tab, chromium: Browser
) -> None:
    order = pend(site)
    with open_tab(chromium) as profile, renewed(profile, site.url) as other:
        enrol(site, other, "kim")
        open_order(other, order)
        assert other.heading == "This order can't be signed"
    open_order(enrolled, order)
    site.now += 301
    press_sign(enrolled)
    enrolled.page.get_by_role("heading", name="This order can't be signed").wait_for()
    assert received(site) == []


def test_role_that_became_too_small_signs_nothing(site: StaffSite, enrolled: Tab) -> None:
    open_order(enrolled, pend(site))
    site.change("ada", role=Role.VIEWER)
    press_sign(enrolled)
    enrolled.page.get_by_role("heading", name="You are not logged in").wait_for()
    assert received(site) == []


def test_session_that_has_ended_signs_nothing_and_leads_to_the_log_in(site: StaffSite, enrolled: Tab) -> None:
    order = pend(site)
    open_order(enrolled, order)
    [cookie] = enrolled.page.context.cookies()
    log_out_elsewhere(site, cookie["value"])
    press_sign(enrolled)
    enrolled.page.get_by_role("heading", name="You are not logged in").wait_for()
    assert received(site) == []
    open_order(enrolled, order)
    enrolled.page.get_by_role("heading", name="Log in").wait_for()


def log_out_elsewhere(site: StaffSite, token: str) -> None:
    with site.world.database.write_session() as session:
        found = site.office.sessions.find(session, token, source="127.0.0.1", now=site.now)
        site.office.sessions.end(session, found.id, by="ada", now=site.now)


def test_idle_session_leads_to_the_log_in(site: StaffSite, enrolled: Tab) -> None:
    site.now += IDLE_TIMEOUT
    enrolled.open("/staff/")
    enrolled.page.get_by_role("heading", name="Log in").wait_for()


def test_page_without_its_form_token_signs_nothing(site: StaffSite, enrolled: Tab) -> None:
    open_order(enrolled, pend(site))
    enrolled.page.evaluate("document.querySelectorAll('[name=csrf]').forEach((field) => field.remove())")
    press_sign(enrolled)
    enrolled.page.get_by_role("heading", name="This form is out of date").wait_for()
    assert received(site) == []


def test_page_of_another_origin_gets_no_signature_and_sends_no_order(site: StaffSite, enrolled: Tab) -> None:
    order = pend(site)
    open_order(enrolled, order)
    page = enrolled.page.content()
    evil = f"http://evil.localhost:{site.port}"
    form = f"<form method='post' action='{site.url}/staff/orders/{order.order_id}/discard'><button>Win</button></form>"
    enrolled.page.route(f"{evil}/**", lambda route: route.fulfill(body=form, content_type="text/html"))
    enrolled.page.goto(f"{evil}/")
    enrolled.page.get_by_role("button", name="Win").click()
    enrolled.page.get_by_role("heading", name="This request was not sent by our page").wait_for()
    enrolled.page.unroute(f"{evil}/**")
    script = f"<script>{read_file(SCRIPT)}</script>"
    body = re.sub(r"<script.*?</script>", "", page) + script
    enrolled.page.route(f"{evil}/**", lambda route: route.fulfill(body=body, content_type="text/html"))
    enrolled.page.goto(f"{evil}/")
    press_sign(enrolled)
    assert "SecurityError" in enrolled.problem, "the browser gives no passkey of localhost to another host"
    open_order(enrolled, order)
    assert enrolled.heading == "Deliver failed messages again"


def test_other_address_of_the_same_server_is_another_origin(site: StaffSite, tab: Tab) -> None:
    tab.page.goto(f"http://127.0.0.1:{site.port}{site.link()}")
    enter_code(site, tab)
    tab.page.get_by_role("heading", name="This request was not sent by our page").wait_for()


def test_person_with_a_one_time_password_alone_is_told_to_sign_on_a_terminal(site: StaffSite, tab: Tab) -> None:
    seed = site.add_totp()
    tab.open("/staff/")
    enter_code(site, tab)
    tab.page.get_by_label("One-time password").fill(site.totp(seed))
    tab.page.get_by_role("button", name="Log in").click()
    tab.page.get_by_role("heading", name="Orders to sign").wait_for()
    order = pend(site)
    open_order(tab, order)
    assert f"orders sign {order.order_id}" in tab.page.locator("main").inner_text()
    assert tab.page.get_by_role("button", name="Sign with a passkey").count() == 0


def test_discarded_order_is_gone(site: StaffSite, enrolled: Tab) -> None:
    open_order(enrolled, pend(site))
    enrolled.page.get_by_role("button", name="Discard it").click()
    enrolled.page.get_by_text("Nothing waits for your signature").wait_for()
    assert site.world.rows("SELECT COUNT(*) FROM staff_pending_order") == [(0,)]
