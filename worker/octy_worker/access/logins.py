"""Receives log-ins: judges the signed text and the second factor, and opens a session. Records those that are refused.

A nonce needs no row: it has its own time and a code of ours, and a session keeps the one that opened it.
"""

import secrets
from dataclasses import dataclass
from enum import StrEnum

from sqlmodel import Session

from octy_middleware.clock import RandomBytes
from octy_worker.access.login_text import NONCE_TTL, LoginText
from octy_worker.access.members import Members
from octy_worker.access.proofs import Evidence
from octy_worker.access.roles import Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.access.sessions import ActiveSession, Sessions
from octy_worker.access.signed_text import judge_text
from octy_worker.audit import repository as audit
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError
from octy_worker.crypto.ssh_signatures import CertifiedSignature

REFUSED = "login.refused"
"""The action of the audit entry of a refused log-in."""
_NONCE_BYTES = 16


class LoginStep(StrEnum):
    """Where a log-in was refused; values of `step` in the detail of its audit entry."""

    CLI = "cli"  # `octy login`, and its begin of a log-in in a browser
    CODE = "code"  # the one-time code of a log-in in a browser
    FACTOR = "factor"  # the second factor in a browser
    ENROLMENT = "enrolment"


@dataclass(frozen=True, slots=True)
class Logins:
    """Log-ins at one server. `server`: its URL, as `normalize_server` returns it."""

    server: str
    installation: str
    authorities: CertificateAuthorities
    members: Members
    sessions: Sessions
    macs: RowMacs
    random_bytes: RandomBytes = secrets.token_bytes

    def new_nonce(self, now: float) -> str:
        """Return a nonce that opens one session in the next `NONCE_TTL` seconds."""
        head = f"{int(now)}.{self.random_bytes(_NONCE_BYTES).hex()}"
        return f"{head}.{self._nonce_mac(head)}"

    def open(
        self, session: Session, judged: tuple[LoginText, CertifiedSignature], evidence: Evidence, now: float
    ) -> tuple[str, ActiveSession]:
        """Open the session of a log-in whose signature was just judged; return its token and what it is.

        Raises RefusedSignatureError.
        """
        text, signed = judged
        member = self.members.require_active(session, text.handle, Role.VIEWER)
        return self.sessions.open(
            session,
            member,
            signed.certificate,
            factor=self.members.use_factor(session, member, signed, evidence.code, now),
            source=evidence.source or "",
            now=now,
            nonce=text.nonce,
        )

    def judge_signature(self, body: bytes, evidence: Evidence, now: float) -> tuple[LoginText, CertifiedSignature]:
        """Return what was signed for a log-in, and by whom; it needs no database.

        Raises RefusedSignatureError; UncertifiedError when there is no valid signature by certificate.
        """
        text, signed = judge_text(
            LoginText, body, evidence.signature, source=evidence.source, authorities=self.authorities,
            server=self.server, installation=self.installation, now=now,
        )  # fmt: skip
        self._check_nonce(text.nonce, now)
        return text, signed

    def _check_nonce(self, nonce: str, now: float) -> None:
        issued_at, _, rest = nonce.partition(".")
        random, _, mac = rest.partition(".")
        head = f"{issued_at}.{random}"
        if not self.macs.is_right(mac, "login_nonce", self._nonce_fields(head)):
            raise RefusedSignatureError("the nonce is not one of this server")
        if not 0 <= now - int(issued_at) <= NONCE_TTL:
            raise RefusedSignatureError(f"the nonce is older than {NONCE_TTL:g} s; log in again")

    def _nonce_mac(self, head: str) -> str:
        return self.macs.make("login_nonce", self._nonce_fields(head))

    def _nonce_fields(self, head: str) -> dict[str, str]:
        return {"head": head, "installation": self.installation}


def record_refusal(
    session: Session, handle: str, *, source: str, reason: str, now: float, step: LoginStep = LoginStep.CLI
) -> None:
    """Record a refused log-in in the audit log; the transaction must be an exclusive write of its own."""
    detail = {"source": source, "why": reason, "step": str(step)}
    audit.append(session, REFUSED, actor=handle, subject=handle, detail=detail, now=now)
