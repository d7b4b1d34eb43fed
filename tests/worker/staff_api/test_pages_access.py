"""Who may open the staff's pages: sessions, cookies, form tokens, origins, codes and links, without a real browser."""

import json
import re
import time
from typing import Any

import httpx2
import pytest
from support.soft_authenticator import PRESENT
from support.staff_acts import NOTE
from support.staff_browser import StaffBrowser
from support.staff_rig import StaffKeys
from support.staff_site import StaffSite, serving_site
from support.world import World

from octy_worker.access.browser_logins import CODE_TTL, RefusedCodeError
from octy_worker.access.logins import LoginStep
from octy_worker.access.members import StaffState
from octy_worker.access.orders import Order
from octy_worker.access.roles import Action, Role
from octy_worker.access.sessions import IDLE_TIMEOUT
from octy_worker.mail.facts.digest import FailedLoginFacts
from octy_worker.staff.acts import ACTS
from octy_worker.staff_api.attempts import UNKNOWN, RefusedLoginError, judge_person
from octy_worker.staff_api.login_notices import INTERVAL, FailedLoginNotices
from octy_worker.staff_api.pages.access import LOGIN_COOKIE, SESSION_COOKIE

OPEN = {"/login", "/factor", "/enroll/{token}", "/passkeys.js"}
"""The routes that need no session. Every other one is tried without one, also a route that is added later."""


@pytest.fixture
def browser(site: StaffSite) -> StaffBrowser:
    return StaffBrowser(site)


def routes_of(site: StaffSite, *, is_open: bool) -> list[tuple[str, str]]:
    """Return method and path of each route."""
    found = [
        (method, "/staff" + re.sub(r"\{\w+\}", "0199f2c4-9c3b-7d4e-8a1f-ba9876543210", route.path))
        for route in site.pages.routes
        if (route.path in OPEN) == is_open
        for method in sorted(route.methods)
    ]
    assert len({path for _, path in found}) == (4 if is_open else len(site.pages.routes) - 4)
    return found


def test_no_page_but_the_open_ones_is_shown_or_acts_without_a_session(site: StaffSite, browser: StaffBrowser) -> None:
    before = site.world.rows("SELECT COUNT(*) FROM audit_entry")
    csrf = browser.csrf("/staff/login")
    for token in ("", "not-a-token"):
        for method, path in routes_of(site, is_open=False):
            browser.cookies[SESSION_COOKIE] = token
            response = browser.send(method, path, **({"data": {"csrf": csrf}} if method == "POST" else {}))
            refused = (403, None) if method == "POST" else (303, "/staff/login")
            assert (response.status_code, response.headers.get("location")) == refused, (method, path)
    assert site.world.rows("SELECT COUNT(*) FROM audit_entry") == before


def test_every_response_has_the_security_headers(site: StaffSite, browser: StaffBrowser) -> None:
    browser.enrol()
    for method, path in [*routes_of(site, is_open=True), *routes_of(site, is_open=False), ("GET", "/staff/x")]:
        headers = browser.send(method, path).headers
        assert headers["cache-control"] == "no-store", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["x-frame-options"] == "DENY", path
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-"), path
        assert policy.endswith("frame-ancestors 'none'; base-uri 'none'; script-src 'self'"), path
        assert "unsafe" not in policy


def test_pages_have_no_inline_script_and_no_handler_in_an_attribute(site: StaffSite, browser: StaffBrowser) -> None:
    browser.enrol()
    for method, path in [*routes_of(site, is_open=True), *routes_of(site, is_open=False)]:
        if method == "GET" and not path.endswith(".js"):
            page = browser.get(path).text
            assert re.findall(r"<script[^>]*>(?!</script>)", page) == []
            assert re.search(r"<[^>]+\son\w+=", page) is None


def test_cookies_are_for_this_host_alone_and_hidden_from_scripts(site: StaffSite, browser: StaffBrowser) -> None:
    pre_session = browser.get("/staff/login").headers["set-cookie"]
    assert re.fullmatch(LOGIN_COOKIE + r"=[\w-]{43}; HttpOnly; Path=/; SameSite=strict; Secure", pre_session), (
        pre_session
    )
    opened = [line for line in browser.enrol().headers.get_list("set-cookie") if line.startswith(SESSION_COOKIE)]
    assert re.fullmatch(SESSION_COOKIE + r"=[\w-]{43}; HttpOnly; Path=/; SameSite=strict; Secure", opened[0])
    assert browser.login == "", "the cookie of the log-in is deleted"


def test_post_of_another_origin_or_without_the_token_of_the_form_is_refused(
    site: StaffSite, browser: StaffBrowser
) -> None:
    browser.enrol()
    session = browser.session
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"origin": ""}):
        response = browser.post("/staff/logout", form="/staff/", headers=headers)
        assert (response.status_code, "not sent by our page" in response.text) == (403, True), headers
    other = StaffBrowser(site)
    other.enrol("kim")
    for token in ("", "x", other.csrf("/staff/")):
        response = browser.send("POST", "/staff/logout", data={"csrf": token})
        assert (response.status_code, "out of date" in response.text) == (403, True), token
    assert browser.get("/staff/").status_code == 200
    assert browser.post("/staff/logout", form="/staff/").headers["location"] == "/staff/login"
    browser.cookies[SESSION_COOKIE] = session
    assert browser.get("/staff/").headers["location"] == "/staff/login", "the session was ended, not only its cookie"


def test_session_of_a_command_is_no_session_of_a_browser(site: StaffSite, browser: StaffBrowser) -> None:
    browser.enrol()
    certificate = site.staff.authorities.verify(site.certificate("ada"), now=site.now)

    def open_session(session: Any) -> str:
        member = site.staff.members.require_active(session, "ada", Role.VIEWER)
        token, _ = site.office.sessions.open(
            session, member, certificate, factor="x", source="", now=site.now, nonce="n"
        )
        return token

    browser.cookies[SESSION_COOKIE] = site.write(open_session)
    assert browser.get("/staff/").headers.get("location") == "/staff/login"


@pytest.mark.parametrize(
    "change", [{"role": Role.VIEWER}, {"state": StaffState.DISABLED}], ids=["other role", "disabled"]
)
def test_session_ends_with_the_role_and_the_person(
    site: StaffSite, browser: StaffBrowser, change: dict[str, Any]
) -> None:
    browser.enrol()
    assert browser.get("/staff/").status_code == 200
    site.change("ada", **change)
    assert browser.get("/staff/").headers["location"] == "/staff/login"


def test_session_ends_after_half_an_hour_without_use_and_after_twelve_hours(
    site: StaffSite, browser: StaffBrowser
) -> None:
    browser.enrol()
    for _ in range(7):  # the certificate is valid for eight hours
        site.now += IDLE_TIMEOUT - 1
        assert browser.get("/staff/").status_code == 200
    site.now += IDLE_TIMEOUT
    assert browser.get("/staff/").headers["location"] == "/staff/login"


def test_code_of_another_browser_or_of_yesterday_is_refused(site: StaffSite, browser: StaffBrowser) -> None:
    StaffBrowser(site).enrol()
    code = site.code()
    assert browser.post("/staff/login", code=code).status_code == 303
    thief = StaffBrowser(site)
    refused = thief.post("/staff/login", code=code)
    assert (refused.status_code, "was used" in refused.text) == (403, True)
    assert thief.get("/staff/factor").headers["location"] == "/staff/login"
    late = site.code()
    site.now += CODE_TTL
    assert thief.post("/staff/login", code=late).status_code == 403


def test_codes_can_not_be_guessed_at_any_rate(site: StaffSite, browser: StaffBrowser) -> None:
    for _ in range(5):
        assert "the code is wrong" in browser.post("/staff/login", code="AAAAA-AAAAA").text
    assert "too many failed log-ins" in browser.post("/staff/login", code=site.code()).text
    site.now += 61
    assert browser.post("/staff/login", code=site.code()).status_code == 303


def test_wrong_codes_are_recorded_and_told_by_source_or_by_whom_they_were_given_to(
    site: StaffSite, browser: StaffBrowser
) -> None:
    told = collect_notices(site)
    for _ in range(6):
        browser.post("/staff/login", code="AAAAA-AAAAA")
    assert site.audited().count(("login.refused", "(unknown)")) == 5, "what is not judged is not recorded"
    assert told == [("(unknown)", 5)]
    site.now += INTERVAL
    late = site.code("kim")
    site.now += CODE_TTL
    other = StaffBrowser(site)
    assert [other.post("/staff/login", code=late).status_code for _ in range(5)] == [403] * 5
    assert site.audited().count(("login.refused", "kim")) == 5
    assert told == [("(unknown)", 5), ("kim", 5)]
    query = "SELECT detail FROM audit_entry WHERE action = 'login.refused' ORDER BY seq"
    steps = [json.loads(detail)["step"] for (detail,) in site.world.rows(query)]
    assert steps == ["code"] * 10
    assert "AAAA" not in str(site.world.rows(query)), "what was typed may be another secret"


def type_codes(site: StaffSite, addresses: range) -> int:
    """Type a wrong code from each address; return how many are in the audit log."""

    def refuse(_now: float) -> None:
        raise RefusedCodeError("wrong", None)

    for number in addresses:
        with pytest.raises(RefusedLoginError):
            judge_person(site.office, UNKNOWN, f"192.0.2.{number}", refuse, step=LoginStep.CODE)
    return site.audited().count(("login.refused", "(unknown)"))


def test_wrong_codes_from_many_addresses_do_not_fill_the_audit_log(site: StaffSite) -> None:
    assert type_codes(site, range(110)) == 100
    site.now += 3600
    assert type_codes(site, range(110, 220)) == 200


def test_wrong_code_opens_no_transaction_unless_it_is_recorded(site: StaffSite, browser: StaffBrowser) -> None:
    link = site.link()
    type_codes(site, range(100))
    with site.world.database.write_session():  # no other connection can write
        for path in ("/staff/login", link):
            assert "the code is wrong" in browser.post(path, code="AAAAA-AAAAA").text


def test_passkey_of_another_person_or_log_in_is_refused_and_recorded(site: StaffSite, browser: StaffBrowser) -> None:
    browser.enrol()
    other = StaffBrowser(site)
    other.enrol("kim")
    browser.enter_code()
    options = browser.options("/staff/factor")
    refused = browser.post("/staff/factor", answer=other.sign(options))
    assert (refused.status_code, "no passkey of ada" in refused.text) == (403, True)
    unverified = browser.post("/staff/factor", answer=browser.sign(options, flags=PRESENT))
    assert (unverified.status_code, "user was not verified" in unverified.text) == (403, True)
    answer = browser.sign(options)
    assert browser.post("/staff/factor", answer=answer).headers["location"] == "/staff/"
    browser.enter_code()
    replayed = browser.post("/staff/factor", answer=answer)
    assert (replayed.status_code, "challenge" in replayed.text) == (403, True)
    assert site.audited().count(("login.refused", "ada")) == 3


def test_passkeys_of_orders_are_limited_and_told_as_codes_are(
    site: StaffSite, browser: StaffBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)
    told = collect_notices(site)
    browser.enrol()
    path = f"/staff/orders/{site.pend(NOTE.action, 'messages', text='hello').order_id}"
    options = browser.options(path)
    wrong = [browser.post(path, answer=browser.sign(options, flags=PRESENT)) for _ in range(6)]
    assert [response.status_code for response in wrong] == [403] * 5 + [429]
    assert "too many failed log-ins" in wrong[-1].text
    answer = browser.sign(options)
    assert browser.post(path, answer=answer).status_code == 429, "also a right one waits"
    assert site.audited().count(("order.refused", "ada")) == 5, "what is not judged is not recorded"
    assert told == [("ada", 5)]
    browser.enter_code()
    assert browser.post("/staff/factor", answer=browser.sign(browser.options("/staff/factor"))).status_code == 429
    site.now += 60
    assert "Done" in browser.post(path, answer=browser.sign(options)).text


def test_passkeys_of_log_ins_and_enrolments_are_limited(site: StaffSite, browser: StaffBrowser) -> None:
    link = site.link()
    browser.post(link, code=site.code())
    options = browser.options(link)
    statuses = [browser.post(link, answer=browser.register(options, flags=PRESENT)).status_code for _ in range(6)]
    assert statuses == [403] * 5 + [429]
    assert browser.post(link, answer=browser.register(options)).status_code == 429
    site.now += 60
    assert browser.post(link, answer=browser.register(options)).status_code == 303
    browser.enter_code()
    options = browser.options("/staff/factor")
    statuses = [
        browser.post("/staff/factor", answer=browser.sign(options, flags=PRESENT)).status_code for _ in range(6)
    ]
    assert statuses == [403] * 5 + [429]
    assert site.audited().count(("login.refused", "ada")) == 10


def test_one_time_password_opens_a_session_once(site: StaffSite, browser: StaffBrowser) -> None:
    seed = site.add_totp()
    browser.enter_code()
    code = site.totp(seed)
    assert browser.post("/staff/factor", totp=f"{code[:3]} {code[3:]}").headers["location"] == "/staff/"
    assert "octy staff reset ada" in browser.get("/staff/").text, "how to get a passkey"
    second = StaffBrowser(site)
    second.enter_code()
    assert "was used before" in second.post("/staff/factor", totp=code).text
    assert "wrong or too old" in second.post("/staff/factor", totp="000000").text


def test_person_without_a_factor_is_told_to_enrol(site: StaffSite, browser: StaffBrowser) -> None:
    browser.enter_code()
    told = browser.get("/staff/factor").text
    assert [words in told for words in ("octy staff reset ada", "no second factor yet")] == [True, True]
    refused = browser.post("/staff/factor", totp="123456")
    assert refused.status_code == 403


def test_person_with_a_hardware_key_is_told_what_it_works_for(site: StaffSite, browser: StaffBrowser) -> None:
    site.add_hardware_key()
    browser.enter_code()
    told = browser.get("/staff/factor").text
    words = ("octy staff reset ada", "works for commands", "no second factor")
    assert [each in told for each in words] == [True, True, False]


def test_link_serves_one_person_once(site: StaffSite, browser: StaffBrowser) -> None:
    link = site.link("ada")
    wrong = browser.post(link, code=site.code("kim"))
    assert (wrong.status_code, "for another person" in wrong.text) == (403, True)
    assert "Show who you are" in browser.get(link).text, "kim's log-in opens nothing here"
    assert browser.post(link, code=site.code("ada")).status_code == 303
    answer = browser.register(browser.options(link))
    assert browser.post(link, answer=answer).headers["location"] == "/staff/"
    again = browser.get(link)
    assert (again.status_code, "not valid" in again.text) == (404, True)
    assert ("staff.factor_added", "ada") in site.audited()
    assert site.world.rows("SELECT state FROM staff WHERE handle = 'ada'") == [("active",)]


def test_refused_passkey_uses_up_no_link(site: StaffSite, browser: StaffBrowser) -> None:
    link = site.link()
    browser.post(link, code=site.code())
    options = browser.options(link)
    for changes, why in (({"flags": PRESENT}, "not verified"), ({"origin": "https://evil.example"}, "origin")):
        refused = browser.post(link, answer=browser.register(options, **changes))
        assert (refused.status_code, why in refused.text) == (403, True)
    assert browser.post(link, answer=browser.register(options)).status_code == 303


@pytest.mark.parametrize("link", ["x", "%00", "a" * 5000, "%ed%a0%80"])
def test_any_text_as_link_is_refused(browser: StaffBrowser, link: str) -> None:
    assert browser.get(f"/staff/enroll/{link}").status_code == 404


def test_large_and_strange_bodies_are_refused(browser: StaffBrowser) -> None:
    browser.get("/staff/login")
    assert browser.send("POST", "/staff/login", data={"code": "A" * 20_000}).status_code == 413
    assert browser.send("POST", "/staff/login", content=b"{}").status_code == 415
    assert browser.send("DELETE", "/staff/login").status_code == 405


def test_order_that_needs_four_eyes_waits_for_a_colleague_s_passkey(
    world: World, keys: StaffKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTS, NOTE.action, NOTE)
    with serving_site(world, keys, float(int(time.time())), NOTE.action) as site:
        ada, kim = StaffBrowser(site), StaffBrowser(site)
        ada.enrol("ada")
        kim.enrol("kim")
        order = site.pend(NOTE.action, "messages", text="hello")
        assert "Waits for a second person" in sign(ada, order).text
        own = site.pend(Action.APPROVE, order.order_id, actor="ada", digest=order.digest())
        assert "approved by somebody else than its author" in sign(ada, own).text
        other = site.pend(Action.APPROVE, order.order_id, actor="kim", digest="0" * 64)
        assert "about another order" in kim.get(f"/staff/orders/{other.order_id}").text
        approval = site.pend(Action.APPROVE, order.order_id, actor="kim", digest=order.digest())
        page = kim.get(f"/staff/orders/{approval.order_id}").text
        for text in ("Deliver failed messages again", "hello", "Its reason", "Its by"):
            assert text in page
        assert "Done" in sign(kim, approval).text
        assert site.world.rows("SELECT state FROM staff_order WHERE id = :id", id=order.order_id) == [("used",)]


def collect_notices(site: StaffSite) -> list[tuple[str, int]]:
    """Return the list to which handle and count of each told failure are added."""
    told: list[tuple[str, int]] = []

    def send(facts: FailedLoginFacts) -> bool:
        told.extend((one.handle, one.count) for one in facts.failures)
        return True

    site.office.notices = FailedLoginNotices(send, lambda: site.now, run=lambda task: task())
    return told


def sign(browser: StaffBrowser, order: Order) -> httpx2.Response:
    path = f"/staff/orders/{order.order_id}"
    return browser.post(path, answer=browser.sign(browser.options(path)))
