"""The staff's pages on a real socket, and staff with certificates who open them."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import uvicorn
from passlib.totp import TOTP
from sqlalchemy import text
from sqlmodel import Session
from starlette.applications import Starlette
from starlette.routing import Mount

from octy_middleware.clock import uuid7
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.factor_kinds import FactorKind
from octy_worker.access.members import BOOTSTRAP, StaffState
from octy_worker.access.orders import Order
from octy_worker.access.pending_orders import PendingOrders
from octy_worker.access.roles import Action
from octy_worker.access.staff_settings import load_staff_access
from octy_worker.access.totp import new_seed
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.pages.app import build_staff_pages
from support.kept_rows import write_or_copy
from support.ssh_keys import wire_of
from support.staff_rig import ROLES, STAFF_KEYS, StaffKeys
from support.until import until
from support.world import INSTALLATION, World

T = TypeVar("T")


@dataclass
class StaffSite:
    """One installation's pages for staff. `now`: its clock. All of `ROLES` are invited: they have no factor yet."""

    world: World
    keys: StaffKeys
    now: float
    port: int
    host: str = "localhost"
    four_eyes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.url = f"http://{self.host}:{self.port}"
        self.settings = self.world.worker_settings(
            staff_auth="on",
            staff_keys=STAFF_KEYS,
            audit_keys=Keychain.generate("a1"),
            staff_ca_keys=(self.keys.authority.public,),
            staff_url=self.url,
            four_eyes=self.four_eyes,
        )
        staff = load_staff_access(self.settings, INSTALLATION, os.urandom)
        assert staff is not None
        self.staff = staff
        self.office = StaffOffice(
            self.settings, self.world.database, installation=INSTALLATION, staff=staff, clock=lambda: self.now
        )
        pages = build_staff_pages(self.settings, self.office)
        assert pages is not None
        self.pages = pages
        self.app = Starlette(routes=[Mount("/staff", pages)])
        write_or_copy(self.world, ("invited", self.now, STAFF_KEYS.export()), lambda: self.write(self._add_staff))

    def _add_staff(self, session: Session) -> None:
        for handle, role in ROLES.items():
            self.staff.members.add(session, handle, role, granted_by=BOOTSTRAP, now=self.now)

    def write(self, call: Callable[[Session], T]) -> T:
        with self.world.database.write_session() as session:
            return call(session)

    def certificate(self, handle: str) -> bytes:
        return wire_of(self.keys.keys[handle].certificate.read_text())

    def code(self, handle: str = "ada") -> str:
        """Return the code that `octy login --browser` shows."""
        certificate = self.staff.authorities.verify(self.certificate(handle), now=self.now)
        start = self.office.browser_logins.start
        return self.write(lambda session: start(session, handle, certificate, nonce=os.urandom(8).hex(), now=self.now))

    def link(self, handle: str = "ada") -> str:
        """Return the path of a new link for enrolment."""

        def create(session: Session) -> str:
            member = self.staff.members.find(session, handle)
            assert member is not None
            return self.staff.enrolments.create(session, member, granted_by="order-1", now=self.now)

        return f"/staff/enroll/{self.write(create)}"

    def add_totp(self, handle: str = "ada") -> str:
        """Give a person a one-time password, and return its seed."""
        seed = new_seed(os.urandom)

        def add(session: Session) -> None:
            member = self.staff.members.find(session, handle)
            assert member is not None
            self.staff.members.add_totp(session, member, seed, now=self.now)
            self.staff.members.change(session, handle, granted_by=BOOTSTRAP, now=self.now, state=StaffState.ACTIVE)

        self.write(add)
        return seed

    def add_hardware_key(self, handle: str = "ada") -> None:
        """Register a FIDO token as a person's second factor."""

        def add(session: Session) -> None:
            member = self.staff.members.require(session, handle)
            self.staff.members.factors.add(
                session, member.id, FactorKind.HARDWARE_KEY, "key", granted_by=BOOTSTRAP, actor=handle, now=self.now
            )
            self.staff.members.change(session, handle, granted_by=BOOTSTRAP, now=self.now, state=StaffState.ACTIVE)

        self.write(add)

    def totp(self, seed: str) -> str:
        return str(TOTP(key=seed).generate(time=self.now).token)

    def change(self, handle: str, **values: object) -> None:
        self.write(
            lambda session: self.staff.members.change(session, handle, granted_by=BOOTSTRAP, now=self.now, **values)
        )

    def pend(self, action: Action, subject: str = "", *, actor: str = "ada", **fields: object) -> Order:
        """Have an order wait for a signature."""
        order = Order(uuid7(self.now), INSTALLATION, action, subject, fields, "phoned", actor, int(self.now))
        pending = PendingOrders(INSTALLATION, self.staff.members, self.staff.macs, self.staff.sealer)
        return self.write(lambda session: pending.add(session, order.to_bytes(), actor=actor, now=self.now))

    def sql(self, statement: str) -> None:
        with self.world.database.write() as connection:
            connection.execute(text(statement))

    def audited(self) -> list[tuple[str, str]]:
        """Return action and actor of each entry of the audit log."""
        return [
            (action, actor) for action, actor in self.world.rows("SELECT action, actor FROM audit_entry ORDER BY seq")
        ]


@contextmanager
def serving_site(world: World, keys: StaffKeys, now: float, *four_eyes: str) -> Iterator[StaffSite]:
    """Serve the pages on a port of localhost."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        site = StaffSite(world, keys, now, listening.getsockname()[1], four_eyes=four_eyes)
        config = uvicorn.Config(site.app, ws="none", lifespan="off", access_log=False, log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            until(lambda: server.started)
            yield site
        finally:
            server.should_exit = True
            thread.join()
