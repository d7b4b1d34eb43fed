"""An installation with staff who have SSH certificates and one-time passwords; what is signed here is really signed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from passlib.totp import TOTP

from octy_middleware.keys.keychain import Keychain
from octy_worker.access.login_text import LoginText
from octy_worker.access.logins import Logins
from octy_worker.access.members import BOOTSTRAP, Members, StaffState
from octy_worker.access.orders import Namespace
from octy_worker.access.proofs import Evidence, OrderProofs
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action, Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.access.sessions import ActiveSession, Sessions
from octy_worker.access.totp import new_seed
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, Revocations
from support.kept_rows import write_or_copy
from support.ssh_keys import SshKey
from support.world import INSTALLATION, World

SERVER = "https://staff.example.com"
ADDRESS = "192.0.2.7"
ROLES: Mapping[str, Role] = {
    "vic": Role.VIEWER,
    "ada": Role.RESPONDER,
    "kim": Role.KEY_ADMIN,
    "amy": Role.ADMIN,
}
"""The staff by handle."""
STAFF_KEYS = Keychain.generate("s1")
"""The keychain of all rigs of a process by default: then the rows of one are right for another."""


@dataclass(frozen=True)
class StaffKeys:
    """An authority, and a certified key for each of the staff; made once for many tests."""

    folder: Path
    authority: SshKey
    keys: Mapping[str, SshKey]

    @classmethod
    def make(cls, folder: Path) -> "StaffKeys":
        authority = SshKey.make(folder / "ca")
        keys = {handle: SshKey.make(folder / handle) for handle in ROLES}
        for serial, (handle, key) in enumerate(keys.items(), 17):
            key.certify(authority, "-z", str(serial), principals=handle)
        return cls(folder, authority, keys)

    def authorities(self, *revoked: str) -> CertificateAuthorities:
        return CertificateAuthorities(
            [self.authority.public], max_lifetime=16 * 3600, revoked=Revocations.parse(revoked)
        )


@dataclass
class StaffRig:
    """Staff in a world's database. `staff_keys`: the keychain of the rows' codes."""

    world: World
    keys: StaffKeys
    now: float
    staff_keys: Keychain = field(default_factory=lambda: STAFF_KEYS)
    seed: str = field(default_factory=lambda: new_seed(lambda count: b"7" * count))

    def __post_init__(self) -> None:
        self.macs = RowMacs(self.staff_keys)
        self.members = Members(self.macs, Sealer(self.staff_keys, os.urandom))
        write_or_copy(self.world, ("active", self.now, self.staff_keys.export(), self.seed), self._add_staff)
        self.accept()

    def _add_staff(self) -> None:
        with self.world.database.write_session() as session:
            for handle, role in ROLES.items():
                member = self.members.add(session, handle, role, granted_by=BOOTSTRAP, now=self.now)
                self.members.add_totp(session, member, self.seed, now=self.now)
                self.members.change(session, handle, granted_by=BOOTSTRAP, now=self.now, state=StaffState.ACTIVE)

    def accept(self, *revoked: str) -> None:
        """Start with other revocations, as a restarted process does."""
        authorities = self.keys.authorities(*revoked)
        self.sessions = Sessions(authorities, self.members, self.macs)
        self.logins = Logins(SERVER, INSTALLATION, authorities, self.members, self.sessions, self.macs)

    def receipts(self, *four_eyes: Action) -> OrderReceipts:
        proofs = OrderProofs(self.keys.authorities(), self.members, self.macs)
        return OrderReceipts(INSTALLATION, proofs, four_eyes=four_eyes)

    def code(self, at: float | None = None) -> str:
        return str(TOTP(key=self.seed).generate(time=self.now if at is None else at).token)

    def login_text(self, handle: str = "ada", **fields: object) -> bytes:
        values = {"server": SERVER, "installation": INSTALLATION, "handle": handle, "issued_at": int(self.now)}
        nonce = self.logins.new_nonce(self.now)
        return LoginText(**{**values, "nonce": nonce, **fields}).to_bytes()  # type: ignore[arg-type]

    def evidence(self, body: bytes, handle: str = "ada", namespace: str = Namespace.LOGIN, **other: object) -> Evidence:
        values = {"code": self.code(), "source": ADDRESS, **other}
        return Evidence(self.keys.keys[handle].sign(body, namespace), **values)  # type: ignore[arg-type]

    def log_in(self, handle: str = "ada") -> tuple[str, ActiveSession]:
        body = self.login_text(handle)
        return self.receive(body, self.evidence(body, handle))

    def receive(self, body: bytes, evidence: Evidence, now: float | None = None) -> tuple[str, ActiveSession]:
        at = self.now if now is None else now
        judged = self.logins.judge_signature(body, evidence, at)
        with self.world.database.write_session() as session:
            return self.logins.open(session, judged, evidence, at)

    def find(self, token: str, *, at: float = 0, source: str = ADDRESS) -> ActiveSession:
        """Use a session `at` seconds from now."""
        with self.world.database.write_session() as session:
            found = self.sessions.find(session, token, source=source, now=self.now + at)
            if found.is_stale:
                self.sessions.touch(session, found.id, self.now + at)
        return found
