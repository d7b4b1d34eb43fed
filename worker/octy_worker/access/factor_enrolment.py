"""Registers a second factor by a one-time link and a signature by certificate: a one-time password, or a hardware key.

A hardware key is the FIDO token that signs, if it verifies its user: it proves possession and person at once.

Text and signature are kept in the audit log, beside what granted the link: the factor's whole story can be verified
later.
"""

import re
from base64 import b64encode
from dataclasses import dataclass

from sqlmodel import Session

from octy_worker.access import totp
from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.enrolments import Enrolment, Enrolments
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.members import Members
from octy_worker.access.signed_text import judge_text
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError
from octy_worker.crypto.ssh_signatures import CertifiedSignature

_SEED = re.compile(r"[A-Z2-7]{32}")  # 160 bits in Base32


@dataclass(frozen=True, slots=True)
class FactorEnrolment:
    """What a staff member hands in. `body`: canonical bytes of an `EnrolmentText`; `code`: the first one of the app.

    `seed`, `code`: empty for a hardware key.
    """

    body: bytes
    signature: str
    token: str
    seed: str
    code: str
    label: str = ""
    source: str | None = None  # address of the client


@dataclass(frozen=True, slots=True)
class FactorEnrolments:
    """Registers second factors of one installation, in the caller's transaction."""

    installation: str
    authorities: CertificateAuthorities
    members: Members
    enrolments: Enrolments

    def receive(self, session: Session, given: FactorEnrolment, now: float, *, server: str = "") -> tuple[str, str]:
        """Judge everything, add the factor, and let the person act; return handle and the factor's id.

        `server`: the URL of the staff API that it came to; empty: none, on the host.

        Raises RefusedSignatureError; then nothing was changed.
        """
        return self.register(session, given, self.judge_signature(given, now, server=server), now)

    def judge_signature(
        self, given: FactorEnrolment, now: float, *, server: str = ""
    ) -> tuple[EnrolmentText, CertifiedSignature]:
        """Return what was signed, and by whom; it needs no database.

        Raises RefusedSignatureError; UncertifiedError when there is no valid signature by certificate.
        """
        text, signed = judge_text(
            EnrolmentText, given.body, given.signature, source=given.source, authorities=self.authorities,
            server=server, installation=self.installation, now=now,
        )  # fmt: skip
        is_key = text.kind == FactorKind.HARDWARE_KEY
        is_valid = not given.seed if is_key else _SEED.fullmatch(given.seed) is not None
        if not is_valid or not text.is_about(token=given.token, seed=given.seed):
            raise RefusedSignatureError("the enrolment was signed for another link or another secret")
        return text, signed

    def check(
        self, session: Session, given: FactorEnrolment, judged: tuple[EnrolmentText, CertifiedSignature], now: float
    ) -> tuple[Enrolment, int]:
        """Return the link and the counter of the code, without a write; 0 for a key. Raises RefusedSignatureError."""
        text, signed = judged
        link = self.enrolments.find(session, given.token, now)
        if link.member.handle != text.handle:
            raise RefusedSignatureError(f"the enrolment link is not {text.handle}'s")
        if text.kind != FactorKind.HARDWARE_KEY:
            return link, totp.verify_code(given.seed, given.code, last_counter=0, now=now)
        if not signed.user_verified:
            raise RefusedSignatureError(
                "the key that signed did not verify its user: it takes a FIDO token with PIN or fingerprint "
                "(`ssh-keygen -t ed25519-sk -O verify-required`)"
            )
        return link, 0

    def register(
        self, session: Session, given: FactorEnrolment, judged: tuple[EnrolmentText, CertifiedSignature], now: float
    ) -> tuple[str, str]:
        """Add the factor of an enrolment whose signature was just judged, as `receive` does."""
        text, signed = judged
        link, counter = self.check(session, given, judged, now)
        self.enrolments.use(session, link, now)
        detail = {
            "text": given.body.decode(),
            "signature": given.signature,
            "certificate": signed.certificate.serial,
        }
        if text.kind == FactorKind.HARDWARE_KEY:
            public_key = b64encode(signed.certificate.public_key).decode()
            factor_id = self.members.factors.add(
                session, link.member.id, FactorKind.HARDWARE_KEY, public_key, granted_by=link.granted_by,
                actor=link.member.handle, now=now, label=given.label, detail={**detail, "public_key": public_key},
            )  # fmt: skip
        else:
            factor_id = self.members.add_totp(
                session, link.member, given.seed, now=now, label=given.label, granted_by=link.granted_by,
                counter=counter, detail=detail,
            )  # fmt: skip
        self.members.activate(session, link.member, now)
        return text.handle, factor_id
