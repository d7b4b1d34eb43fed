"""What can be called at the staff API. Every endpoint says which role it needs, or that it is open to everybody.

Handlers get plain values and may block; each runs in a thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from octy_middleware._version import __version__
from octy_worker.access.browser_logins import CODE_TTL
from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.factor_enrolment import FactorEnrolment
from octy_worker.access.login_text import NONCE_TTL, LoginText
from octy_worker.access.logins import LoginStep
from octy_worker.access.proofs import Evidence
from octy_worker.access.roles import Role
from octy_worker.access.sessions import ActiveSession
from octy_worker.access.signed_text import InvalidTextError, SignedText
from octy_worker.errors import RefusedError, UsageError
from octy_worker.staff.operations import Query
from octy_worker.staff.queries import QUERIES
from octy_worker.staff_api.access import Caller, StaffOffice
from octy_worker.staff_api.attempts import judge_person
from octy_worker.staff_api.order_endpoints import carry_out_order, list_pending_orders, pend_order, receive_order
from octy_worker.staff_api.wire import (
    BrowserCode,
    Enrolled,
    EnrolmentRequest,
    InstallationInfo,
    LoggedIn,
    LoginRequest,
    Nonce,
    Nothing,
    OrderRequest,
    OrderResult,
    PendingLine,
    PendingList,
    ReceivedOrder,
    SessionId,
    SessionLine,
    SessionList,
    query_path,
)

I = TypeVar("I")  # noqa: E741  # input
O = TypeVar("O")  # noqa: E741  # output
T = TypeVar("T")

SMALL_BODY = 32_768  # bytes: a log-in text and a signature with a certificate
LOGIN_PAGE = "/staff/login"
"""Path of the page that waits for a code (`pages.login`)."""
LARGE_BODY = 4_194_304  # bytes: an order's private fields may hold many rows


@dataclass(frozen=True)
class Endpoint(Generic[I, O]):
    """One operation. `role`: the smallest that may call it; None: everybody, without a session."""

    method: str
    path: str
    summary: str
    input: type[I]
    output: type[O]
    handle: Callable[[StaffOffice, Caller, I], O]
    role: Role | None = Role.VIEWER
    max_body: int = SMALL_BODY


def describe_installation(office: StaffOffice, _caller: Caller, _value: Nothing) -> InstallationInfo:
    """Return what everybody may know."""
    return InstallationInfo(office.installation, office.server, __version__)


def make_nonce(office: StaffOffice, _caller: Caller, _value: Nothing) -> Nonce:
    """Return a nonce; nothing is stored."""
    return Nonce(office.logins.new_nonce(office.clock()), NONCE_TTL)


def log_in(office: StaffOffice, caller: Caller, wanted: LoginRequest) -> LoggedIn:
    """Open a session. Raises RefusedLoginError, recorded, or TooManyLoginsError, which judges and records nothing."""

    def receive(body: bytes, evidence: Evidence, now: float) -> tuple[str, ActiveSession]:
        judged = office.logins.judge_signature(body, evidence, now)  # before the exclusive transaction
        with office.database.write_session() as session:
            return office.logins.open(session, judged, evidence, now)

    token, opened = _judge_login(office, caller, wanted, receive)
    return LoggedIn(token, _line(opened, opened.id))


def start_browser_login(office: StaffOffice, caller: Caller, wanted: LoginRequest) -> BrowserCode:
    """Return a code for the page that waits; the second factor comes in the browser. Raises as `log_in` does."""

    def start(body: bytes, evidence: Evidence, now: float) -> str:
        text, signed = office.logins.judge_signature(body, evidence, now)
        with office.database.write_session() as session:
            return office.browser_logins.start(session, text.handle, signed.certificate, nonce=text.nonce, now=now)

    code = _judge_login(office, caller, wanted, start, proves_factor=False)
    return BrowserCode(code, f"{office.server}{LOGIN_PAGE}", CODE_TTL)


def enroll(office: StaffOffice, caller: Caller, wanted: EnrolmentRequest) -> Enrolled:
    """Register a one-time password by link, certificate and code, or a hardware key by link and certificate.

    Raises as `log_in` does.
    """
    given = FactorEnrolment(
        wanted.text.encode(), wanted.signature, wanted.token, wanted.seed, wanted.code, wanted.label[:100],
        caller.source,
    )  # fmt: skip
    handle = _claimed_handle(EnrolmentText, given.body, "enroll with `octy staff enroll`")

    def receive(now: float) -> tuple[str, str]:
        enrolments = office.staff.factor_enrolments
        judged = enrolments.judge_signature(given, now, server=office.server)
        with office.database.read_session() as session:  # before the exclusive transaction
            enrolments.check(session, given, judged, now)
        with office.database.write_session() as session:
            return enrolments.register(session, given, judged, now)

    return Enrolled(*judge_person(office, handle, caller.source, receive, step=LoginStep.ENROLMENT))


def _judge_login(
    office: StaffOffice,
    caller: Caller,
    wanted: LoginRequest,
    judge: Callable[[bytes, Evidence, float], T],
    *,
    proves_factor: bool = True,
) -> T:
    body = wanted.text.encode()
    handle = _claimed_handle(LoginText, body, "log in with `octy login`")
    evidence = Evidence(wanted.signature, wanted.code, caller.source)
    return judge_person(
        office, handle, caller.source, lambda now: judge(body, evidence, now), proves_factor=proves_factor
    )


def _claimed_handle(kind: type[SignedText], body: bytes, to_do: str) -> str:
    """Return who a text claims to be; nothing is verified. Raises UsageError for bytes that are no such text."""
    try:
        return kind.from_bytes(body).handle
    except InvalidTextError as error:
        raise UsageError(str(error), to_do) from None


def log_out(office: StaffOffice, caller: Caller, _value: Nothing) -> Nothing:
    """End the session of the request."""
    with office.database.write_session() as session:
        office.sessions.end(session, caller.signed_in.id, by=caller.signed_in.handle, now=office.clock())
    return Nothing()


def list_sessions(office: StaffOffice, caller: Caller, _value: Nothing) -> SessionList:
    """Return one's own sessions; an admin gets those of everybody."""
    mine = caller.signed_in
    handle = None if mine.role.includes(Role.ADMIN) else mine.handle
    with office.database.read_session() as session:
        found = office.sessions.active(session, now=office.clock(), handle=handle)
    return SessionList(tuple(_line(one, mine.id) for one in found))


def end_session(office: StaffOffice, caller: Caller, wanted: SessionId) -> Nothing:
    """End one of one's own sessions; an admin may end everybody's. Raises RefusedError."""
    mine, now = caller.signed_in, office.clock()
    handle = None if mine.role.includes(Role.ADMIN) else mine.handle
    with office.database.write_session() as session:
        known = {one.id for one in office.sessions.active(session, now=now, handle=handle)}
        if wanted.id not in known or not office.sessions.end(session, wanted.id, by=mine.handle, now=now):
            raise RefusedError("there is no such session", "`octy sessions list` shows yours")
    return Nothing()


def _query_endpoint(query: Query[Any, Any]) -> Endpoint[Any, Any]:
    def handle(office: StaffOffice, _caller: Caller, value: Any) -> Any:
        return query.run(office.context(), value)

    summary = f"Read `{query.name}`."
    return Endpoint("POST", query_path(query.name), summary, query.input, query.output, handle, query.role)


def _line(session: ActiveSession, current: str) -> SessionLine:
    return SessionLine(
        id=session.id,
        handle=session.handle,
        role=str(session.role),
        kind=str(session.kind),
        factor=session.factor,
        source=session.source,
        certificate_serial=session.certificate_serial,
        created_at=session.created_at,
        last_used_at=session.last_used_at,
        expires_at=session.expires_at,
        current=session.id == current,
    )


def all_endpoints() -> tuple[Endpoint[Any, Any], ...]:
    """Return all endpoints, those of the queries last."""
    own: tuple[Endpoint[Any, Any], ...] = (
        Endpoint("GET", "/installation", "Which installation this is.", Nothing, InstallationInfo,
                 describe_installation, role=None),
        Endpoint("POST", "/login/nonce", "Get a nonce for one log-in.", Nothing, Nonce, make_nonce, role=None),
        Endpoint("POST", "/login", "Log in: open a session.", LoginRequest, LoggedIn, log_in, role=None),
        Endpoint("POST", "/login/browser", "Log in in a browser: get a code for the page that waits.", LoginRequest,
                 BrowserCode, start_browser_login, role=None),
        Endpoint("POST", "/enroll", "Register a one-time password or a hardware key by an enrolment link.",
                 EnrolmentRequest, Enrolled, enroll, role=None),
        Endpoint("POST", "/logout", "Log out: end this session.", Nothing, Nothing, log_out),
        Endpoint("GET", "/sessions", "List open sessions: yours; an admin sees all.", Nothing, SessionList,
                 list_sessions),
        Endpoint("POST", "/orders", "Receive a signed order and carry it out.", OrderRequest, OrderResult,
                 carry_out_order, max_body=LARGE_BODY),
        Endpoint("POST", "/orders/receive", "Receive a signed order; its workflow gets its id another way.",
                 OrderRequest, ReceivedOrder, receive_order, max_body=LARGE_BODY),
        Endpoint("POST", "/orders/pending", "Have an order wait for your signature, by passkey or on a terminal.",
                 OrderRequest, PendingLine, pend_order, max_body=LARGE_BODY),
        Endpoint("GET", "/orders/pending", "List your orders that wait for your signature.", Nothing, PendingList,
                 list_pending_orders),
        Endpoint("POST", "/sessions/end", "End a session of yours; an admin may end any.", SessionId, Nothing,
                 end_session),
    )  # fmt: skip
    return (*own, *map(_query_endpoint, QUERIES.values()))
