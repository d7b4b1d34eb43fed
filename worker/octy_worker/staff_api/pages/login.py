"""The pages of a log-in: one waits for the code that `octy login --browser` shows, the next for the second factor."""

import json
from collections.abc import Callable

from markupsafe import Markup, escape
from sqlmodel import Session
from starlette.responses import Response

from octy_worker.access.browser_logins import BrowserLogin
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.logins import LoginStep
from octy_worker.access.passkeys import Passkey, assertion_options
from octy_worker.access.roles import Role
from octy_worker.access.sessions import SessionKind
from octy_worker.staff_api.attempts import UNKNOWN, RefusedLoginError, judge_person
from octy_worker.staff_api.login_limits import TooManyLoginsError
from octy_worker.staff_api.pages.access import (
    LOGIN_COOKIE,
    SESSION_COOKIE,
    PageTools,
    Visit,
    redirect,
    set_cookie,
)

OpenSession = Callable[[Visit, BrowserLogin, float], str]
"""Accepts what finishes a log-in, at this time, and returns the token of the session. Raises RefusedSignatureError."""
AskAgain = Callable[[Visit, BrowserLogin, str, int], Response]
"""Shows the page again, with what was wrong and an HTTP status."""
TOO_MANY = "There were too many failed log-ins. Wait a minute."


class LoginPages:
    """Opens sessions in browsers."""

    def __init__(self, tools: PageTools) -> None:
        self._tools = tools

    def enter_code(self, visit: Visit) -> Response:
        """Show the page that waits, or take its code."""
        if visit.form is None:
            return self._ask_code(visit)
        problem, _ = take_code(self._tools, visit)
        return self._ask_code(visit, problem) if problem else redirect(self._tools, "/factor")

    def prove(self, visit: Visit) -> Response:
        """Show what proves who this is, or take the passkey's signature or the one-time password."""
        office = self._tools.office
        with office.database.read_session() as session:
            login = office.browser_logins.find(session, visit.cookie, office.clock())
        if login is None:
            return redirect(self._tools, "/login")
        if visit.form is None:
            return self._ask_factor(visit, login)
        return finish_login(self._tools, visit, login, step=LoginStep.FACTOR, accept=self._open, ask=self._ask_factor)

    def log_out(self, visit: Visit) -> Response:
        """End the session."""
        mine, office = visit.signed_in, self._tools.office
        with office.database.write_session() as session:
            office.sessions.end(session, mine.id, by=mine.handle, now=office.clock())
        response = redirect(self._tools, "/login")
        set_cookie(response, SESSION_COOKIE, "")
        return response

    def _open(self, visit: Visit, login: BrowserLogin, now: float) -> str:
        assert visit.form is not None
        tools = self._tools
        answer, code = visit.form.get("answer", ""), visit.form.get("totp", "")
        with tools.office.database.write_session() as session:
            member = tools.office.staff.members.require_active(session, login.member.handle, Role.VIEWER)
            if answer:
                factor = tools.passkeys.use(session, member, answer, challenge=login.challenge)
            else:
                factor = tools.office.staff.members.use_totp(session, member, code.replace(" ", ""), now)
            return open_session(tools, session, login, factor, visit.source)

    def _ask_code(self, visit: Visit, problem: str = "") -> Response:
        return self._tools.renderer.page(
            "staff_login.html", 403 if problem else 200, problem=problem, csrf_token=visit.csrf_token
        )

    def _ask_factor(self, visit: Visit, login: BrowserLogin, problem: str = "", status: int = 200) -> Response:
        tools = self._tools
        with tools.office.database.read_session() as session:
            passkeys = list(tools.passkeys.of(session, login.member.id).values())
            has_totp, has_key = (
                bool(tools.office.staff.members.factors.of(session, login.member.id, kind))
                for kind in (FactorKind.TOTP, FactorKind.HARDWARE_KEY)
            )
        return tools.renderer.page(
            "staff_factor.html", status, handle=login.member.handle, problem=problem, csrf_token=visit.csrf_token,
            options=options_text(tools, login.challenge, passkeys), has_totp=has_totp, has_key=has_key,
        )  # fmt: skip


def take_code(tools: PageTools, visit: Visit) -> tuple[str, BrowserLogin | None]:
    """Bind the code of a form to this browser; return the log-in, or what is wrong."""
    code, office = (visit.form or {}).get("code", ""), tools.office

    def redeem(now: float) -> BrowserLogin:
        with office.database.read_session() as session:  # anybody can send a code: no write before it is right
            office.browser_logins.check_code(session, code, now)
        with office.database.write_session() as session:
            return office.browser_logins.redeem(session, code, visit.cookie, now)

    try:
        return "", judge_person(office, UNKNOWN, visit.source, redeem, step=LoginStep.CODE)
    except TooManyLoginsError:
        return TOO_MANY, None
    except RefusedLoginError as error:
        return f"Refused: {error}.", None


def open_session(tools: PageTools, session: Session, login: BrowserLogin, factor: str, source: str) -> str:
    """Finish a log-in in the caller's transaction; return the token of its session. Raises RefusedSignatureError."""
    now = tools.office.clock()
    tools.office.browser_logins.finish(session, login)
    member = tools.office.staff.members.require_active(session, login.member.handle, Role.VIEWER)
    token, _ = tools.office.sessions.open(
        session, member, login.certificate, factor=factor, source=source, now=now, kind=SessionKind.BROWSER,
        nonce=f"browser:{login.id}",
    )  # fmt: skip
    return token


def finish_login(
    tools: PageTools, visit: Visit, login: BrowserLogin, *, step: LoginStep, accept: OpenSession, ask: AskAgain
) -> Response:
    """Judge what a person has sent to finish a log-in: begin the session, or ask again."""
    try:
        token = judge_person(
            tools.office, login.member.handle, visit.source, lambda now: accept(visit, login, now), step=step
        )
    except TooManyLoginsError:
        return ask(visit, login, TOO_MANY, 429)
    except RefusedLoginError as error:
        return ask(visit, login, f"Refused: {error}.", 403)
    response = redirect(tools, "/")
    set_cookie(response, SESSION_COOKIE, token)
    set_cookie(response, LOGIN_COOKIE, "")
    return response


def options_text(tools: PageTools, challenge: bytes, passkeys: list[Passkey]) -> Markup | None:
    """Return what the script asks the browser for, as an attribute's value; None without passkeys."""
    if not passkeys:
        return None
    return escape(json.dumps(assertion_options(tools.passkeys.party, challenge=challenge, passkeys=passkeys)))
