"""An installation whose staff is made by `octy staff`, with a built-in authority and real SSH keys. No tests here."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from passlib.totp import TOTP

from octy_middleware.keys.keychain import Keychain
from octy_worker.access import totp
from octy_worker.access.enrolment_text import EnrolmentText
from octy_worker.access.factor_enrolment import FactorEnrolment
from octy_worker.access.orders import Namespace
from octy_worker.access.staff_settings import StaffAccess, load_staff_access
from octy_worker.settings import StaffSettings
from support.cli_rig import CommandResult, Octy, octy_for
from support.kept_rows import KeptRows
from support.ssh_keys import SshKey
from support.warm_octy import WarmOcty
from support.world import INSTALLATION, World


@dataclass
class StaffCli:
    """`octy` with OCTY_STAFF_AUTH on, as on the host. `keys`, `seeds`: by handle."""

    world: World
    octy: Octy
    keys: dict[str, SshKey] = field(default_factory=dict)
    seeds: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, world: World) -> "StaffCli":
        """Return one whose authority is made and trusted; there is no staff yet."""
        own = {"OCTY_STAFF_AUTH": "on", "OCTY_STAFF_KEYS": Keychain.generate("s1").export()}
        octy = octy_for(world, **own, OCTY_AUDIT_KEYS=Keychain.generate("a1").export())
        octy.variables["OCTY_STAFF_CA_KEYS"] = octy("staff", "ca", "init", "--json").must().json["public_key"]
        return cls(world, octy)

    def kept(self) -> Callable[[World], "StaffCli"]:
        """Return what makes copies of this in fresh worlds of the same kind of database, without a command."""
        rows = KeptRows.of(self.world)
        variables, keys, seeds = dict(self.octy.variables), dict(self.keys), dict(self.seeds)  # they may grow

        def copied_to(world: World) -> StaffCli:
            rows.put(world)
            octy = octy_for(world, **{**variables, "OCTY_DATABASE_URL": world.url})
            return StaffCli(
                world, octy, {handle: key.copied(world.folder) for handle, key in keys.items()}, dict(seeds)
            )

        return copied_to

    @property
    def access(self) -> StaffAccess:
        access = load_staff_access(StaffSettings.from_environment(self.octy.variables), INSTALLATION, os.urandom)
        assert access is not None
        return access

    def bootstrap(self, handle: str = "amy") -> None:
        """Make the first admin, and let them act."""
        self.enroll(handle, self.octy("staff", "bootstrap", handle, "--json").must().json["token"])

    def certify(self, handle: str, *words: str) -> SshKey:
        """Return a key of this person with a certificate."""
        key = self.keys.get(handle) or SshKey.make(self.world.folder / f"key-{handle}")
        self.octy("staff", "certificate", handle, "--key", f"{key.path}.pub", *words).must()
        self.keys[handle] = key
        return key

    def enrolment(self, handle: str, token: str, *, text: dict | None = None, **changes: object) -> FactorEnrolment:
        """Return what a person hands in. `text`, `changes`: other values of its text, and of itself."""
        key, seed, now = self.keys.get(handle) or self.certify(handle), totp.new_seed(os.urandom), time.time()
        values = {
            "server": "",
            "installation": INSTALLATION,
            "handle": handle,
            "token": token,
            "seed": seed,
            "now": now,
        }
        body = EnrolmentText.make(**{**values, **(text or {})}).to_bytes()
        namespace = str(changes.pop("namespace", Namespace.ENROLMENT))
        given = {"signature": key.sign(body, namespace), "token": token, "seed": seed, "code": code_of(seed)}
        return FactorEnrolment(body, **{**given, **changes})

    def enroll(self, handle: str, token: str) -> None:
        given = self.enrolment(handle, token)
        with self.world.database.write_session() as session:
            self.access.factor_enrolments.receive(session, given, time.time())
        self.seeds[handle] = given.seed

    def enroll_by_command(self, warm: WarmOcty, handle: str, token: str, *words: str) -> dict:
        """Run the command as a process of its own, as a terminal's user does: read the secret, type the code."""
        options = ["--sign", str(self.keys[handle].path), "staff", "enroll", "--token", token, "--json", *words]
        with warm.start(self.octy, *options) as (process, typed, output, _):
            shown = json.loads(output.readline())
            typed.write(f"{code_of(shown['secret'])}\n".encode())
            typed.close()
            answer = output.read()
            assert process.wait() == 0
        self.seeds[handle] = shown["secret"]
        return {**shown, **json.loads(answer)}

    def order(self, handle: str, *words: str, reason: str = "asked for") -> CommandResult:
        """Run a command as a signed order of this person. Codes of one window may be used again, for speed."""
        with self.world.database.write() as connection:
            connection.exec_driver_sql("UPDATE staff_factor SET counter = 0")
        code = code_of(self.seeds[handle])
        key = str(self.keys[handle].path)
        return self.octy("--sign", key, *words, "--reason", reason, "--json", OCTY_STAFF_CODE=code)

    def add(self, handle: str, role: str, by: str = "amy") -> None:
        """Have an admin add somebody, who registers a second factor."""
        self.enroll(handle, self.order(by, "staff", "add", handle, "--role", role).must().json["token"])

    def listed(self) -> dict[str, tuple[str, str]]:
        rows = self.octy("staff", "list", "--disabled", "--json").must().json["staff"]
        return {row["handle"]: (row["role"], row["state"]) for row in rows}


def code_of(seed: str, at: float | None = None) -> str:
    return str(TOTP(key=seed).generate(time=time.time() if at is None else at).token)


def public_key_file(folder: Path, line: str) -> str:
    path = folder / "given.pub"
    path.write_text(line)
    return str(path)
