"""An incident that staff decided by a really signed order, and the evidence pack about it.

Amy is the first admin, of the bootstrap. She adds Ada by an order, and Ada decides the incident by another.
"""

import json
import time
import zipfile
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from passlib.totp import TOTP

from octy_middleware.clock import uuid7
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import Answer
from octy_worker.access.factor_rows import BOOTSTRAP
from octy_worker.access.members import Members
from octy_worker.access.orders import Order
from octy_worker.access.passkey_factors import PasskeyFactors
from octy_worker.access.passkey_orders import PasskeyEvidence, PasskeyOrders, challenge_of
from octy_worker.access.passkeys import RelyingParty, assertion_options, registration_options, verify_registration
from octy_worker.access.proofs import Evidence, OrderProofs, Proof
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action, Role
from octy_worker.access.row_macs import RowMacs
from octy_worker.access.totp import new_seed
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.checkpoints import AuditSigner, public_keys
from octy_worker.domain.incidents import answer_incident, append_event
from octy_worker.evidence.layout import MANIFEST, SIGNATURE
from octy_worker.evidence.pack import PackOrigin, make_pack, write_pack
from support.cli_rig import open_incident
from support.in_session import in_session
from support.kept_rows import KeptRows, once_for_each_kind
from support.soft_authenticator import ORIGIN, SoftAuthenticator
from support.staff_rig import StaffKeys
from support.world import INSTALLATION, World

ADDRESS = "192.0.2.7"
PARTY = RelyingParty("localhost", ORIGIN, "Octy")
Files = dict[str, bytes]


@dataclass
class EvidenceRig:
    """One installation. `now` moves on by a minute with each order, as a one-time password is used once."""

    world: World
    keys: StaffKeys
    now: float = field(default_factory=lambda: time.time() - 1800)
    audit_keys: Keychain = field(default_factory=lambda: Keychain.generate("a1"))
    orders: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.macs = RowMacs(Keychain.generate("s1"))
        self.members = Members(self.macs, self.world.sealer)
        passkeys = PasskeyOrders(ORIGIN, self.macs)
        proofs = OrderProofs(self.keys.authorities(), self.members, self.macs, passkeys)
        self.receipts = OrderReceipts(INSTALLATION, proofs)
        self.seed = new_seed(lambda count: b"7" * count)
        self.signer = AuditSigner(self.audit_keys)
        self.public = public_keys(self.audit_keys)
        self.add_member("amy", Role.ADMIN, BOOTSTRAP)
        self.add_member("ada", Role.RESPONDER, self.order("amy", Action.ADD_STAFF, "ada", {"role": "responder"}))
        _, self.incident = open_incident(self.world, at=self.now - 60)
        [(self.account_id,)] = self.world.rows("SELECT account_id FROM incident")
        self.decide()

    def kept(self) -> Callable[[World], "EvidenceRig"]:
        """Return what makes copies of this in fresh worlds of the same kind of database, without a signature."""
        rows, kept, orders = KeptRows.of(self.world), copy(self), dict(self.orders)

        def copied_to(world: World) -> EvidenceRig:
            rows.put(world)
            rig = copy(kept)
            rig.world, rig.orders = world, dict(orders)
            return rig

        return copied_to

    def add_member(self, handle: str, role: Role, granted_by: str) -> None:
        with self.world.database.write_session() as session:
            member = self.members.add(session, handle, role, granted_by=granted_by, now=self.now, by="amy")
            self.members.add_totp(session, member, self.seed, now=self.now, granted_by=granted_by)
            self.members.activate(session, member, self.now)

    def order(
        self, handle: str, action: Action, subject: str, fields: Mapping[str, Any],
        prove: Callable[[Order], Proof] | None = None,
    ) -> str:  # fmt: skip
        """Have an order proven, by default with a certificate, received and used; return its id."""
        self.now += 60
        order = Order(uuid7(self.now), INSTALLATION, action, subject, fields, "by phone", handle, int(self.now))
        with self.world.database.write_session() as session:
            self.receipts.receive(session, order.to_bytes(), (prove or self.sign)(order), self.now)
        with self.world.database.write_session() as session:
            self.receipts.use(session, order.order_id, action, subject, by="test", now=self.now)
        self.orders[str(action)] = order.order_id
        return order.order_id

    def sign(self, order: Order) -> Evidence:
        code = str(TOTP(key=self.seed).generate(time=self.now).token)
        signature = self.keys.keys[order.actor].sign(order.to_bytes(), order.namespace)
        return Evidence(signature, code, ADDRESS)

    def sql(self, statement: str) -> None:
        with self.world.database.write() as connection:
            connection.exec_driver_sql(statement)

    def add_passkey(self, granted_by: str = "") -> Callable[[Order], PasskeyEvidence]:
        """Register a passkey of Ada; return what signs orders by it. `granted_by`: the order, by default hers."""
        authenticator = SoftAuthenticator()
        options = registration_options(PARTY, handle="ada", user_id="x", challenge=b"c" * 32)
        passkey = verify_registration(PARTY, authenticator.register(options), challenge=b"c" * 32)
        with self.world.database.write_session() as session:
            member = self.members.require(session, "ada")
            PasskeyFactors(PARTY, self.macs).add(
                session, member, passkey, granted_by=granted_by or self.orders[str(Action.ADD_STAFF)], now=self.now
            )

        def sign(order: Order) -> PasskeyEvidence:
            asked = assertion_options(PARTY, challenge=challenge_of(order), passkeys=[])
            return PasskeyEvidence(authenticator.sign(asked), ADDRESS)

        return sign

    def decide(self) -> None:
        order_id = self.order("ada", Action.DECIDE, self.incident, {"decision": "regenerate"})
        in_session(
            self.world.database, answer_incident, self.incident, Answer.NOT_US, leaked=False, by="ada", now=self.now
        )
        detail = {"decision": "regenerate", "reason": "by phone", "order": order_id, "share": 0.5}
        in_session(
            self.world.database, append_event, self.incident, key="decided", actor="ada", what="decided",
            detail=detail, now=self.now,
        )  # fmt: skip

    def checkpoint(self) -> str:
        writer = CheckpointWriter(
            self.world.database, self.audit_keys, INSTALLATION, lambda: self.now, write=lambda _line: None
        )
        return writer.take()

    def pack(self) -> bytes:
        """Take a checkpoint and return the pack."""
        self.checkpoint()
        with self.world.database.read_session() as session:
            return make_pack(session, self.incident, self.signer, self.origin, self.now)

    @property
    def origin(self) -> PackOrigin:
        return PackOrigin(INSTALLATION, "amy", "")

    def changed(self, data: bytes, change: Callable[[Files], None], *, signed: bool) -> bytes:
        """Return a pack with changed files; `signed`: by somebody who has the installation's audit key."""
        files = unzip(data)
        change(files)
        if signed:
            inner = {name: content for name, content in files.items() if name not in (MANIFEST, SIGNATURE)}
            subjects = json.loads(files[MANIFEST])["subjects"]
            return write_pack(inner, self.incident, self.signer, self.origin, self.now, subjects=subjects)
        return zipped(files)


def unzip(data: bytes) -> Files:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: Files) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def edit(name: str, change: Callable[[Any], object]) -> Callable[[Files], None]:
    """Return what changes the JSON value of a file."""

    def apply(files: Files) -> None:
        value = json.loads(files[name])
        change(value)
        files[name] = json.dumps(value).encode()

    return apply


def replaced(name: str, old: str, new: str) -> Callable[[Files], None]:
    """Return what replaces a text of a file, which must occur."""

    def apply(files: Files) -> None:
        assert old.encode() in files[name], (name, old)
        files[name] = files[name].replace(old.encode(), new.encode())

    return apply


# Fixtures of the modules that import them


@pytest.fixture(scope="module")
def staff_keys(tmp_path_factory: pytest.TempPathFactory) -> StaffKeys:
    return StaffKeys.make(tmp_path_factory.mktemp("staff"))


@pytest.fixture(scope="module")
def kept_for(
    tmp_path_factory: pytest.TempPathFactory, staff_keys: StaffKeys
) -> Callable[[str], Callable[[World], EvidenceRig]]:
    """Return what makes rigs in fresh worlds, by the kind of their database."""
    return once_for_each_kind(tmp_path_factory.mktemp, lambda world: EvidenceRig(world, staff_keys).kept())


@pytest.fixture
def rig(world: World, kept_for: Callable[[str], Callable[[World], EvidenceRig]]) -> EvidenceRig:
    return kept_for(world.database_kind)(world)
