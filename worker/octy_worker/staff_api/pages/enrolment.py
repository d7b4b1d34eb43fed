"""/enroll: a one-time link, with which a person who has logged in by certificate registers a passkey."""

import json

from markupsafe import escape
from starlette.responses import Response

from octy_worker.access.browser_logins import BrowserLogin
from octy_worker.access.enrolments import Enrolment
from octy_worker.access.logins import LoginStep
from octy_worker.access.passkeys import registration_options, verify_registration
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.staff_api.attempts import fail
from octy_worker.staff_api.pages.access import PageTools, Visit, redirect, refuse
from octy_worker.staff_api.pages.login import finish_login, open_session, take_code


class EnrolmentPages:
    """Registers passkeys."""

    def __init__(self, tools: PageTools) -> None:
        self._tools = tools

    def enrol(self, visit: Visit) -> Response:
        """Show the step that comes next, or take what it asks for: a code, then a passkey."""
        office, now, token = self._tools.office, self._tools.office.clock(), visit.path["token"]
        try:
            with office.database.read_session() as session:
                link = office.staff.enrolments.find(session, token, now)
                login = office.browser_logins.find(session, visit.cookie, now)
        except RefusedSignatureError as error:
            return refuse(self._tools, "This link can't be used", f"{error}.", visit.source, 404)
        if login is not None and login.member.id != link.member.id:
            login = None
        if visit.form is None:
            return self._ask_code(visit) if login is None else self._ask_passkey(visit, login)
        if login is None or "code" in visit.form:
            return self._take_code(visit, link)
        return finish_login(
            self._tools, visit, login, step=LoginStep.ENROLMENT, accept=self._register, ask=self._ask_passkey
        )

    def _take_code(self, visit: Visit, link: Enrolment) -> Response:
        problem, login = take_code(self._tools, visit)
        if login is None:
            return self._ask_code(visit, problem)
        if login.member.id != link.member.id:
            error = RefusedSignatureError("the enrolment link is for another person")
            fail(self._tools.office, login.member.handle, visit.source, error, step=LoginStep.ENROLMENT)
            return self._ask_code(visit, "This link is for another person.")
        return redirect(self._tools, f"/enroll/{visit.path['token']}")

    def _register(self, visit: Visit, login: BrowserLogin, now: float) -> str:
        assert visit.form is not None
        tools, staff = self._tools, self._tools.office.staff
        passkey = verify_registration(tools.passkeys.party, visit.form.get("answer", ""), challenge=login.challenge)
        with tools.office.database.write_session() as session:
            link = staff.enrolments.find(session, visit.path["token"], now)
            if (
                link.member.id != login.member.id
            ):  # pragma: no cover - compared in `enrol`; the link's person never changes
                raise RefusedSignatureError("the enrolment link is for another person")
            staff.enrolments.use(session, link, now)
            factor = tools.passkeys.add(session, link.member, passkey, granted_by=link.granted_by, now=now)
            staff.members.activate(session, link.member, now)
            return open_session(tools, session, login, factor, visit.source)

    def _ask_code(self, visit: Visit, problem: str = "") -> Response:
        return self._tools.renderer.page(
            "staff_enrol_code.html", 403 if problem else 200, problem=problem, csrf_token=visit.csrf_token
        )

    def _ask_passkey(self, visit: Visit, login: BrowserLogin, problem: str = "", status: int = 200) -> Response:
        tools = self._tools
        with tools.office.database.read_session() as session:
            known = list(tools.passkeys.of(session, login.member.id).values())
        options = registration_options(
            tools.passkeys.party, handle=login.member.handle, user_id=login.member.id, challenge=login.challenge,
            known=known,
        )  # fmt: skip
        return tools.renderer.page(
            "staff_enrol_passkey.html", status, problem=problem, csrf_token=visit.csrf_token,
            handle=login.member.handle, options=escape(json.dumps(options)),
        )  # fmt: skip
