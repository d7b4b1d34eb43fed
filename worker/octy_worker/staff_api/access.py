"""Who a request of the staff API comes from: the client's address and session; and what its endpoints work with."""

import re
import secrets
import time
from dataclasses import dataclass

from starlette.requests import Request

from octy_middleware.clock import Clock, RandomBytes
from octy_middleware.db.database import Database
from octy_middleware.errors import ConfigurationError
from octy_middleware.http.client_address import TrustedProxies
from octy_worker.access.browser_logins import BrowserLogins
from octy_worker.access.login_text import InvalidServerError, normalize_server
from octy_worker.access.logins import Logins
from octy_worker.access.pending_orders import PendingOrders
from octy_worker.access.sessions import ActiveSession, SessionEndedError, SessionKind, Sessions
from octy_worker.access.staff_settings import StaffAccess
from octy_worker.settings import StaffSettings, WorkerSettings
from octy_worker.staff.context import StaffContext
from octy_worker.staff_api.login_limits import LoginLimits
from octy_worker.staff_api.login_notices import FailedLoginNotices, SendMail

_match_bearer = re.compile(r"bearer +([A-Za-z0-9_-]{1,200})", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `session`: None at an open endpoint."""

    source: str
    session: ActiveSession | None = None

    @property
    def signed_in(self) -> ActiveSession:
        """The session, at an endpoint that needs a role."""
        assert self.session is not None
        return self.session


class StaffOffice:
    """What the endpoints of one staff API work with. `send_mail`: tells the admins of failed log-ins.

    Raises ConfigurationError for settings that don't serve one.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        database: Database,
        *,
        installation: str,
        staff: StaffAccess,
        send_mail: SendMail = lambda _facts: True,
        clock: Clock = time.time,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self.database = database
        self.staff = staff
        self.installation = installation
        self.server = server_of(settings)
        self.clock = clock
        self.random_bytes = random_bytes
        self.limits = LoginLimits()
        self.notices = FailedLoginNotices(send_mail, clock)
        self.sessions = Sessions(staff.authorities, staff.members, staff.macs, random_bytes)
        self.logins = Logins(
            self.server, installation, staff.authorities, staff.members, self.sessions, staff.macs, random_bytes
        )
        self.browser_logins = BrowserLogins(staff.authorities, staff.members, staff.macs, random_bytes)
        self.pending = PendingOrders(installation, staff.members, staff.macs, staff.sealer)
        self._variables = settings.to_environment()
        self._proxies = trusted_proxies(settings)

    def context(self) -> StaffContext:
        """Return what the runners of queries and acts work with, for one request."""
        context = StaffContext(self.database, self._variables, clock=self.clock, random_bytes=self.random_bytes)
        # These are the same for all requests.
        context.installation, context.receipts, context.access = self.installation, self.staff.receipts, self.staff
        return context

    def source_of(self, request: Request) -> str:
        """Return the address that a request comes from, by way of trusted proxies."""
        peer = request.client.host if request.client else None
        hops = [value.encode("latin-1") for value in request.headers.getlist("x-forwarded-for")]
        return self._proxies.resolve(peer, request.url.scheme, hops, [], []).source

    def find_session(self, token: str, source: str, kind: SessionKind) -> ActiveSession:
        """Return the session of a bearer token or a cookie, and record its use. Raises SessionEndedError."""
        now = self.clock()
        if not token:
            raise SessionEndedError("there is no session")
        with self.database.read_session() as session:
            found = self.sessions.find(session, token, source=source, now=now)
        if found.kind is not kind:
            raise SessionEndedError("there is no such session")
        if found.is_stale:
            with self.database.write_session() as session:
                self.sessions.touch(session, found.id, now)
        return found


def bearer_token(request: Request) -> str:
    """Return the token of the Authorization header (RFC 6750). Raises SessionEndedError when there is none."""
    match = _match_bearer(request.headers.get("authorization", ""))
    if match is None:
        raise SessionEndedError("a session is needed: `octy login`")
    return match[1]


def server_of(settings: StaffSettings) -> str:
    """Return the staff API's URL in the form that is signed. Raises ConfigurationError."""
    if not settings.staff_url:
        raise ConfigurationError("OCTY_STAFF_URL is not set → set the URL at which staff reach the staff API")
    try:
        return normalize_server(settings.staff_url)
    except InvalidServerError as error:
        raise ConfigurationError(f"OCTY_STAFF_URL: {error}") from None


def trusted_proxies(settings: StaffSettings) -> TrustedProxies:
    """Return the proxies whose X-Forwarded-For is trusted. Raises ConfigurationError."""
    try:
        return TrustedProxies(settings.staff_proxies)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("trusted_proxies", "OCTY_STAFF_PROXIES")) from None
