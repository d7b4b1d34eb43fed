"""The staff API of a world, called in process, or served on a real port."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from octy_worker.access.orders import Namespace
from octy_worker.access.staff_settings import load_staff_access
from octy_worker.settings import WorkerSettings
from octy_worker.staff_api.access import StaffOffice
from octy_worker.staff_api.app import build_staff_api
from octy_worker.staff_api.process import staff_server
from octy_worker.web.web_server import serve_until
from support.staff_rig import SERVER, StaffKeys, StaffRig
from support.until import until
from support.world import INSTALLATION, World


@dataclass
class StaffApi:
    """One staff API. `now` of the rig is its clock."""

    rig: StaffRig
    settings: WorkerSettings

    @classmethod
    def of(cls, world: World, keys: StaffKeys, now: float, **settings: object) -> "StaffApi":
        rig = StaffRig(world, keys, now)
        own = {
            "staff_auth": "on",
            "staff_keys": rig.staff_keys,
            "staff_ca_keys": (keys.authority.public,),
            "staff_url": SERVER,
            "sealing_keys": world.sealing_keys,
        }
        api = cls(rig, world.worker_settings(**{**own, **settings}))
        api.restart()
        return api

    def restart(self) -> None:
        """Start with what is in the settings, and without what is kept in memory."""
        staff = load_staff_access(self.settings, INSTALLATION, lambda count: b"r" * count)
        assert staff is not None
        self.office = StaffOffice(
            self.settings, self.rig.world.database, installation=INSTALLATION, staff=staff, clock=lambda: self.rig.now
        )
        self.app = build_staff_api(self.office)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        peer: str = "192.0.2.7",
    ) -> httpx2.Response:
        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=self.app, client=(peer, 5))
            async with httpx2.AsyncClient(transport=transport, base_url=SERVER) as client:
                signed = {"Authorization": f"Bearer {token}"} if token else {}
                content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
                return await client.request(method, path, headers={**signed, **(headers or {})}, **content)

        return asyncio.run(run())

    def post(self, path: str, body: object = None, token: str = "", **options: Any) -> httpx2.Response:
        return self.call("POST", f"/staff/v1{path}", {} if body is None else body, token=token, **options)

    def login_request(self, handle: str = "ada", *, code: str | None = None, **text: object) -> dict[str, str]:
        nonce = self.post("/login/nonce").json()["nonce"]
        body = self.rig.login_text(handle, **{"nonce": nonce, **text})
        evidence = self.rig.evidence(body, handle, Namespace.LOGIN)
        return {
            "text": body.decode(),
            "signature": evidence.signature,
            "code": self.rig.code() if code is None else code,
        }

    def log_in(self, handle: str = "ada") -> str:
        """Return the token of a new session."""
        answer = self.post("/login", self.login_request(handle))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])


@contextmanager
def staff_api_served(office: StaffOffice, settings: WorkerSettings) -> Iterator[int]:
    """Serve a staff API on its port of this machine; yield the port."""
    server = staff_server(settings, office)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve_until(stop, server, "the staff API")))
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield server.port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
