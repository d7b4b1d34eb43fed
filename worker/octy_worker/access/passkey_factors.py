"""Passkeys of staff in SQL: rows of `staff_factor` with their public keys. A row counts only with a right code."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping

from sqlalchemy import update
from sqlmodel import Session, col, select

from octy_middleware.db.models import StaffFactor
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.factor_rows import FactorRows
from octy_worker.access.members import Member
from octy_worker.access.passkeys import Passkey, RelyingParty, credential_id_of, verify_assertion
from octy_worker.access.row_macs import RowMacs
from octy_worker.canonical_json import canonical_json
from octy_worker.crypto.ssh_certificates import RefusedSignatureError

MAX_PASSKEYS = 10
"""Of one person; a browser is told of each."""


class PasskeyFactors:
    """Adds and uses passkeys of one relying party, in the caller's transaction."""

    def __init__(self, party: RelyingParty, macs: RowMacs) -> None:
        self.party = party
        self._rows = FactorRows(macs)

    def of(self, session: Session, staff_id: str) -> Mapping[str, Passkey]:
        """Return the passkeys of a person by the id of their factor."""
        rows = self._rows.of(session, staff_id, FactorKind.PASSKEY)
        return {row.id: _passkey(row) for row in rows}

    def add(
        self, session: Session, member: Member, passkey: Passkey, *, granted_by: str, now: float, label: str = ""
    ) -> str:
        """Add a passkey as second factor; return its id. Raises RefusedSignatureError when somebody has it already.

        The audit log keeps its public key and what granted it, so that orders signed by it can be verified later.
        """
        known = session.exec(select(StaffFactor).where(StaffFactor.kind == FactorKind.PASSKEY)).all()
        if any(_passkey(row).credential_id == passkey.credential_id for row in known if self._rows.is_right(row)):
            raise RefusedSignatureError("this passkey is registered already")
        if len(self.of(session, member.id)) >= MAX_PASSKEYS:
            raise RefusedSignatureError(f"{member.handle} has {MAX_PASSKEYS} passkeys already; remove one first")
        keys = {
            "credential_id": b64encode(passkey.credential_id).decode(),
            "public_key": b64encode(passkey.public_key).decode(),
        }
        return self._rows.add(
            session, member.id, FactorKind.PASSKEY, canonical_json(keys).decode(), granted_by=granted_by,
            actor=member.handle, now=now, label=label, counter=passkey.counter,
            detail={**keys, "party": self.party.id},
        )  # fmt: skip

    def use(self, session: Session, member: Member, answer: str, *, challenge: bytes) -> str:
        """Accept a signature over the challenge; return the id of its factor. Raises RefusedSignatureError.

        The counter is kept by one conditional UPDATE, so that of two copies of a passkey one is refused.
        """
        credential_id = credential_id_of(answer)
        found = [
            (factor_id, passkey)
            for factor_id, passkey in self.of(session, member.id).items()
            if passkey.credential_id == credential_id
        ]
        if not found:
            raise RefusedSignatureError(f"this is no passkey of {member.handle}")
        factor_id, passkey = found[0]
        counter = verify_assertion(
            self.party, passkey, answer, challenge=challenge, user_id=member.id, last_counter=passkey.counter
        )
        kept = col(StaffFactor.counter)
        used = session.connection().execute(
            update(StaffFactor)
            .where(
                col(StaffFactor.id) == factor_id,
                col(StaffFactor.removed_at).is_(None),
                kept < counter if counter else kept == 0,  # 0: an authenticator without a counter
            )
            .values(counter=counter)
        )
        if used.rowcount != 1:
            raise RefusedSignatureError("another signature of this passkey came in between; sign again")
        return factor_id

    def verify_again(self, session: Session, factor_id: str, staff_id: str, answer: str, *, challenge: bytes) -> None:
        """Verify a signature that was accepted before. Raises RefusedSignatureError, also for a removed passkey."""
        passkey = self.of(session, staff_id).get(factor_id)
        if passkey is None:
            raise RefusedSignatureError("the passkey that signed this was removed")
        verify_assertion(self.party, passkey, answer, challenge=challenge, user_id=staff_id)


def _passkey(row: StaffFactor) -> Passkey:
    keys = json.loads(row.secret)
    return Passkey(b64decode(keys["credential_id"]), b64decode(keys["public_key"]), row.counter)
