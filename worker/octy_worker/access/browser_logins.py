"""Log-ins in a browser: begun by certificate on the person's machine, finished by a second factor in the browser.

`octy login URL --browser` signs a log-in text and gets a one-time code for it. The person types the code into the page
that waits; from then on the log-in belongs to the cookie of that browser. One challenge is good for one log-in, which
is finished by one conditional UPDATE.
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, insert, update
from sqlmodel import Session, col, select

from octy_middleware.clock import RandomBytes, utc, uuid7
from octy_middleware.db.models import Staff, StaffBrowserLogin
from octy_worker.access.members import Member, Members, StaffState
from octy_worker.access.row_macs import RowCodes, RowMacs
from octy_worker.access.tokens import hash_of
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError, UserCertificate
from octy_worker.crypto.ssh_wire import wire_of

CODE_TTL = 60.0
"""Seconds in which a code can be typed in, once."""
FACTOR_TIMEOUT = 600.0
"""Seconds from the code to the second factor."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's Base32: no letter looks like a digit
_MISREAD = str.maketrans("OIL", "011", " -")
_CHALLENGE_BYTES = 32
_CODE_LENGTH = 10  # characters, 50 random bits
_KEPT = 3600.0  # seconds after the end
_WRONG_CODE = "the code is wrong, was used, or is older than a minute; get a new one"
_USED = "this log-in was used already; begin again"
_SEALED = (
    "id", "staff_id", "certificate", "nonce_hash", "code_hash", "cookie_hash", "challenge", "state", "expires_at",
)  # fmt: skip


class RefusedCodeError(RefusedSignatureError):
    """A code that can't be used. `handle`: whom it was given to; None: this system did not give it to anybody."""

    def __init__(self, text: str, handle: str | None) -> None:
        super().__init__(text)
        self.handle = handle


class _State(StrEnum):
    CODE = "code"  # waits for its code to be typed in
    FACTOR = "factor"  # waits for the second factor
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class BrowserLogin:
    """A log-in that waits for its second factor. The member may still be invited: then only to enrol."""

    id: str
    member: Member
    certificate: UserCertificate
    challenge: bytes


class BrowserLogins:
    """Begins, finds and finishes log-ins, in the caller's transaction."""

    def __init__(
        self,
        authorities: CertificateAuthorities,
        members: Members,
        macs: RowMacs,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._authorities = authorities
        self._members = members
        self._macs = macs
        self._codes = RowCodes(macs, "staff_browser_login", _SEALED)
        self._random_bytes = random_bytes

    def start(self, session: Session, handle: str, certificate: UserCertificate, *, nonce: str, now: float) -> str:
        """Return the code of somebody whose signature was just verified; `nonce`: of the signed text.

        Raises RefusedSignatureError when it was used before, and for a person who may not log in.
        """
        member, nonce_hash = self._present(session, handle), hash_of(nonce)
        used = select(StaffBrowserLogin.id).where(StaffBrowserLogin.nonce_hash == nonce_hash)
        if session.exec(used).first() is not None:
            raise RefusedSignatureError("this log-in was used before; log in again")
        code = "".join(_ALPHABET[byte % 32] for byte in self._random_bytes(_CODE_LENGTH))
        session.connection().execute(
            delete(StaffBrowserLogin).where(col(StaffBrowserLogin.expires_at) < utc(now - _KEPT))
        )
        row = StaffBrowserLogin(
            id=uuid7(now),
            staff_id=member.id,
            certificate=certificate.text(),
            nonce_hash=nonce_hash,
            code_hash=self._hash_code(code),
            state=_State.CODE,
            expires_at=utc(now + CODE_TTL),
            mac="",
        )
        session.connection().execute(insert(StaffBrowserLogin), {**row.model_dump(), "mac": self._codes.make(row)})
        return f"{code[:5]}-{code[5:]}"

    def check_code(self, session: Session, code: str, now: float) -> tuple[StaffBrowserLogin, str]:
        """Return the log-in that waits for a code, and whose it is, without a write. Raises RefusedCodeError."""
        code_hash = self._hash_code(code.upper().translate(_MISREAD))
        row = self._row(session, col(StaffBrowserLogin.code_hash) == code_hash)
        if row is None:
            raise RefusedCodeError(_WRONG_CODE, None)
        handle = self._handle_of(session, row)
        if row.state != _State.CODE or utc(now) >= row.expires_at:
            raise RefusedCodeError(_WRONG_CODE, handle)
        return row, handle

    def redeem(self, session: Session, code: str, cookie: str, now: float) -> BrowserLogin:
        """Bind the log-in of a code to a browser's cookie, once. Raises RefusedCodeError."""
        row, handle = self.check_code(session, code, now)
        try:
            return self._bind(session, row, cookie, now)
        except RefusedSignatureError as error:
            raise RefusedCodeError(str(error), handle) from None

    def _bind(self, session: Session, row: StaffBrowserLogin, cookie: str, now: float) -> BrowserLogin:
        cookie_hash = hash_of(cookie)
        session.connection().execute(  # one browser has one log-in at a time
            delete(StaffBrowserLogin).where(col(StaffBrowserLogin.cookie_hash) == cookie_hash)
        )
        self._advance(
            session,
            row,
            cookie_hash=cookie_hash,
            challenge=self._random_bytes(_CHALLENGE_BYTES).hex(),
            state=_State.FACTOR,
            expires_at=utc(now + FACTOR_TIMEOUT),
        )
        return self._describe(session, session.get_one(StaffBrowserLogin, row.id, populate_existing=True), now)

    def find(self, session: Session, cookie: str, now: float) -> BrowserLogin | None:
        """Return the log-in that waits for a second factor, by its cookie. Raises RefusedSignatureError."""
        row = self._row(
            session, col(StaffBrowserLogin.cookie_hash) == hash_of(cookie), StaffBrowserLogin.state == _State.FACTOR
        )
        return self._describe(session, row, now) if row is not None and utc(now) < row.expires_at else None

    def finish(self, session: Session, login: BrowserLogin) -> None:
        """Finish a log-in whose second factor was accepted. Raises RefusedSignatureError when that was done before."""
        row = session.get_one(StaffBrowserLogin, login.id, populate_existing=True)
        if row.state != _State.FACTOR:
            raise RefusedSignatureError(_USED)
        self._advance(session, row, state=_State.FINISHED)

    def _row(self, session: Session, *where: ColumnElement[bool] | bool) -> StaffBrowserLogin | None:
        """Return a row that this system wrote; None for one that somebody has changed, too."""
        row = session.exec(select(StaffBrowserLogin).where(*where)).first()
        return row if row is not None and self._codes.is_right(row) else None

    def _present(self, session: Session, handle: str) -> Member:
        member = self._members.find(session, handle)
        if member is None or member.state is StaffState.DISABLED:
            raise RefusedSignatureError(f"there is no active staff member {handle}")
        return member

    def _describe(self, session: Session, row: StaffBrowserLogin, now: float) -> BrowserLogin:
        certificate = self._authorities.verify(wire_of(row.certificate), now=now)
        member = self._present(session, self._handle_of(session, row))
        return BrowserLogin(row.id, member, certificate, bytes.fromhex(row.challenge))

    @staticmethod
    def _handle_of(session: Session, row: StaffBrowserLogin) -> str:
        return session.exec(select(Staff.handle).where(Staff.id == row.staff_id)).one()

    def _advance(self, session: Session, row: StaffBrowserLogin, **values: object) -> None:
        """Change a log-in, unless another request has changed it meanwhile."""
        done = session.connection().execute(
            update(StaffBrowserLogin)
            .where(
                col(StaffBrowserLogin.id) == row.id,
                col(StaffBrowserLogin.state) == row.state,
                col(StaffBrowserLogin.mac) == row.mac,
            )
            .values(**values, mac=self._codes.make_changed(row, values))
        )
        if done.rowcount != 1:
            raise RefusedSignatureError(_USED)

    def _hash_code(self, code: str) -> str:
        return self._macs.make("staff_login_code", {"code": code}).rpartition("$")[2]
