"""The pages of a log-in: one waits for the code that `octy login --browser` shows, the next for the second factor."""

import json
import logging

from markupsafe import Markup, escape
from sqlmodel import Session
from starlette.responses import Response

from octy_worker.access.browser_logins import BrowserLogin
from octy_worker.access.factor_rows import FactorKind
from octy_worker.access.logins import record_refusal
from octy_worker.access.passkeys import Passkey, assertion_options
from octy_worker.access.roles import Role
from octy_worker.access.sessions import SessionKind
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.staff_api.login_limits import TOLD_AFTER
from octy_worker.staff_api.pages.access import (
    LOGIN_COOKIE,
    SESSION_COOKIE,
    PageTools,
    Visit,
    redirect,
    set_cookie,
)

_CODES = "(code)"
"""In place of a handle where failed codes are counted: it is not known yet who types them."""
_TOO_MANY = "There were too many failed log-ins. Wait a minute."

_log = logging.getLogger(__name__)


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
        office, now = self._tools.office, self._tools.office.clock()
        with office.database.read_session() as session:
            login = self._tools.logins.find(session, visit.cookie, now)
        if login is None:
            return redirect(self._tools, "/login")
        if visit.form is None:
            return self._ask_factor(visit, login)
        with office.limits.attempt(login.member.handle, visit.source, now) as wait:
            if wait:
                return self._ask_factor(visit, login, _TOO_MANY, 429)
            try:
                token = self._open(visit, login)
            except RefusedSignatureError as error:
                fail(self._tools, login.member.handle, visit.source, str(error))
                return self._ask_factor(visit, login, f"Refused: {error}.", 403)
            office.limits.succeed(login.member.handle, visit.source)
        return signed_in(self._tools, token)

    def _open(self, visit: Visit, login: BrowserLogin) -> str:
        assert visit.form is not None
        tools, now = self._tools, self._tools.office.clock()
        answer, code = visit.form.get("answer", ""), visit.form.get("totp", "")
        with tools.office.database.write_session() as session:
            member = tools.members.require_active(session, login.member.handle, Role.VIEWER)
            if answer:
                factor = tools.passkeys.use(session, member, answer, challenge=login.challenge)
            else:
                factor = tools.members.use_totp(session, member, code.replace(" ", ""), now)
            return open_session(tools, session, login, factor, visit.source)

    def _ask_code(self, visit: Visit, problem: str = "") -> Response:
        return self._tools.renderer.page(
            "staff_login.html", 403 if problem else 200, problem=problem, csrf_token=visit.csrf_token,
            command=command_of(self._tools),
        )  # fmt: skip

    def _ask_factor(self, visit: Visit, login: BrowserLogin, problem: str = "", status: int = 200) -> Response:
        tools = self._tools
        with tools.office.database.read_session() as session:
            passkeys = list(tools.passkeys.of(session, login.member.id).values())
            has_totp = bool(tools.members.factors.of(session, login.member.id, FactorKind.TOTP))
        return tools.renderer.page(
            "staff_factor.html", status, handle=login.member.handle, problem=problem, csrf_token=visit.csrf_token,
            options=options_text(tools, login.challenge, passkeys), has_totp=has_totp,
        )  # fmt: skip


def take_code(tools: PageTools, visit: Visit) -> tuple[str, BrowserLogin | None]:
    """Bind the code of a form to this browser; return the log-in, or what is wrong."""
    assert visit.form is not None
    office, now = tools.office, tools.office.clock()
    with office.limits.attempt(_CODES, visit.source, now) as wait:
        if wait:
            return _TOO_MANY, None
        try:
            with office.database.write_session() as session:
                login = tools.logins.redeem(session, visit.form.get("code", ""), visit.cookie, now)
        except RefusedSignatureError as error:
            office.limits.fail(_CODES, visit.source, now)
            _log.warning("staff page: code from %s refused", visit.source)
            return f"Refused: {error}.", None
        office.limits.succeed(_CODES, visit.source)
        return "", login


def open_session(tools: PageTools, session: Session, login: BrowserLogin, factor: str, source: str) -> str:
    """Finish a log-in in the caller's transaction; return the token of its session. Raises RefusedSignatureError."""
    now = tools.office.clock()
    tools.logins.finish(session, login)
    member = tools.members.require_active(session, login.member.handle, Role.VIEWER)
    token, _ = tools.office.sessions.open(
        session, member, login.certificate, factor=factor, source=source, now=now, kind=SessionKind.BROWSER,
        nonce=f"browser:{login.id}",
    )  # fmt: skip
    return token


def signed_in(tools: PageTools, token: str) -> Response:
    """Return the redirect that begins a session."""
    response = redirect(tools, "/")
    set_cookie(response, SESSION_COOKIE, token)
    set_cookie(response, LOGIN_COOKIE, "")
    return response


def log_out(tools: PageTools, visit: Visit) -> Response:
    """End the session."""
    mine = visit.signed_in
    with tools.office.database.write_session() as session:
        tools.office.sessions.end(session, mine.id, by=mine.handle, now=tools.office.clock())
    response = redirect(tools, "/login")
    set_cookie(response, SESSION_COOKIE, "")
    return response


def fail(tools: PageTools, handle: str, source: str, why: str) -> None:
    """Count and record a refused second factor."""
    now = tools.office.clock()
    in_a_row = tools.office.limits.fail(handle, source, now)
    if in_a_row >= TOLD_AFTER:
        tools.office.notices.add(handle, source, in_a_row)
    with tools.office.database.write_session() as session:
        record_refusal(session, handle, source=source, reason=why, now=now)


def command_of(tools: PageTools) -> str:
    """Return the command that shows a code."""
    return f"octy login {tools.office.server} --browser"


def options_text(tools: PageTools, challenge: bytes, passkeys: list[Passkey]) -> Markup | None:
    """Return what the script asks the browser for, as an attribute's value; None without passkeys."""
    if not passkeys:
        return None
    return escape(json.dumps(assertion_options(tools.passkeys.party, challenge=challenge, passkeys=passkeys)))
