"""`octy staff ca`, `octy staff certificate` and `octy staff revoke`: the built-in certificate authority."""

import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from octy_middleware.clock import utc
from octy_worker.cli.context import now, open_staff
from octy_worker.cli.files import read_text, report_unwritable
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import (
    format_time,
    print_json,
    print_lines,
    print_note,
    print_page,
    print_result,
    report_unwritten,
    table,
)
from octy_worker.crypto.ssh_certificates import RefusedSignatureError
from octy_worker.errors import RefusedError, UsageError
from octy_worker.settings import StaffSettings
from octy_worker.staff.actor import login_name

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

INIT_JSON = "public_key, trusted"
SHOW_JSON = "keys[id, public_key, created_at, trusted]"
CERTIFICATE_JSON = "handle, serial, key_id, expires_at, file, certificate"
REVOKE_JSON = "handle, certificates[serial, key_id, expires_at], setting"


@help_page(
    "octy --env-file octy.env staff ca init >> octy.env",
    more="For those who run neither step-ca, Vault's SSH engine nor Teleport (docs/staff.md has these). The private "
    "key is kept in the database, sealed under OCTY_STAFF_KEYS. It is trusted once OCTY_STAFF_CA_KEYS has the public "
    "key that is printed. Repeated, it makes a further key, which signs from then on: keep the older one in "
    "OCTY_STAFF_CA_KEYS until its certificates have expired.",
    json=INIT_JSON,
)
def init(context: typer.Context, as_json: AsJson = False) -> None:
    """Make it."""
    with open_staff(context) as staff:
        with staff.database.write_session() as session:
            made = staff.access.built_in_authority.add_key(session, by=login_name(), now=now())
        trusted = set(staff.settings(StaffSettings).staff_ca_keys)
    if not as_json:
        print_note("A key of the certificate authority is made. Trust it in the settings of worker and commands:")
    setting = f"OCTY_STAFF_CA_KEYS={shlex.quote(','.join([*sorted(trusted), made.public_key]))}"
    with report_unwritten(f"A key of the certificate authority is made: {setting}."):
        if as_json:
            print_json({"public_key": made.public_key, "trusted": False})
        else:
            print_lines(setting)


@help_page("octy staff ca show", json=SHOW_JSON)
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show one line for each key, newest last; the newest signs."""
    with open_staff(context) as staff:
        with staff.database.read_session() as session:
            keys = staff.access.built_in_authority.keys(session)
        trusted = staff.access.authorities.fingerprints
    if as_json:
        rows = [
            {
                "id": key.id,
                "public_key": key.public_key,
                "created_at": key.created_at,
                "trusted": key.fingerprint in trusted,
            }
            for key in keys
        ]
        print_json({"keys": rows})
    elif not keys:
        print_lines("There is no key. `octy staff ca init` makes one.")
    else:
        cells = ((key.created_at, key.fingerprint in trusted, key.public_key) for key in keys)
        print_page(table(("made", "in OCTY_STAFF_CA_KEYS", "public key"), cells))


@help_page(
    "octy staff certificate ada --for 8h --key ~/.ssh/id_ed25519.pub",
    "octy staff certificate ben --for 4h --key - --out - < ben.pub > ben-cert.pub",
    more="Run it on the worker's host, for a public key that the person hands in: the private key never leaves their "
    "machine or hardware token. The certificate is written beside the public key, as ssh-keygen does: "
    "id_ed25519-cert.pub. It proves who signs; a second factor and a role are needed as well. Its life is at most "
    "OCTY_STAFF_CERTIFICATE_LIFE. Serial numbers ascend, and each certificate is recorded in the audit log.",
    json=CERTIFICATE_JSON,
)
def certificate(
    context: typer.Context,
    *,
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="Whose it is.")],
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="The public key, a .pub file; -: stdin.")],
    lifetime: Annotated[str, typer.Option("--for", metavar="TIME", help="Its life: 8h, 90m, 3600s.")] = "8h",
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Write it there; -: stdout.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Issue it."""
    public_key, seconds = read_text(key, "name a .pub file with --key").strip(), parse_lifetime(lifetime)
    place = out or ("-" if key == "-" or as_json else str(_beside(Path(key))))
    with open_staff(context) as staff:
        longest = staff.settings(StaffSettings).staff_certificate_life
        if seconds > longest:
            raise UsageError(
                f"{lifetime} is longer than OCTY_STAFF_CERTIFICATE_LIFE, {timedelta(seconds=longest)}",
                "give a shorter --for",
            )
        try:
            with staff.database.write_session() as session:
                member = staff.access.members.require(session, handle)
                issued = staff.access.built_in_authority.issue(
                    session, member, public_key, lifetime=seconds, by=login_name(), now=now()
                )
        except RefusedSignatureError as error:
            raise RefusedError(str(error), "`octy staff list` shows all") from None
    if place != "-":
        with report_unwritable(Path(place)):
            Path(place).write_text(f"{issued.line}\n", "utf-8")
    value = {"handle": handle, "serial": issued.serial, "key_id": issued.key_id, "expires_at": issued.expires_at}
    value |= {"file": "" if place == "-" else place, "certificate": issued.line}
    text = f"Certificate {issued.serial} of {handle} is valid until {format_time(issued.expires_at)}"
    if place == "-" and not as_json:
        with report_unwritten(f"{text}."):
            print_lines(issued.line)
        return
    print_result(value, [f"{text}: {place}"], as_json=as_json)


@help_page(
    "octy staff revoke ben",
    more="It changes nothing: it lists the certificates of the built-in authority that are still valid, and prints the "
    "value of OCTY_STAFF_REVOKED that revokes them beside what is revoked already. Set it for workers and commands and "
    "restart the workers; orders and sessions of these certificates are refused from then on. `octy staff disable` "
    "ends a person's rights at once, without a restart. Certificates of another authority are not known here: revoke "
    "them by key id or fingerprint (docs/staff.md).",
    json=REVOKE_JSON,
)
def revoke(
    context: typer.Context,
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="Whose certificates.")],
    as_json: AsJson = False,
) -> None:
    """List and print."""
    with open_staff(context) as staff:
        with staff.database.read_session() as session:
            valid = staff.access.built_in_authority.valid_certificates(session, handle, utc(now()))
        revoked = staff.settings(StaffSettings).staff_revoked
    entries = dict.fromkeys([*revoked, *(f"serial:{each.serial}" for each in valid)])
    setting = f"OCTY_STAFF_REVOKED={','.join(entries)}"
    if as_json:
        print_json({"handle": handle, "certificates": valid, "setting": setting})
    elif not valid:
        print_lines(f"The built-in authority has issued no certificate to {handle} that is valid now.")
    else:
        columns = ("serial", "key id", "valid until")
        print_page(table(columns, [(each.serial, each.key_id, each.expires_at) for each in valid]))
        print_lines("", "To revoke them, set this and restart the workers:", setting)


def parse_lifetime(text: str) -> float:
    """Return `8h`, `90m`, `2d` or seconds as seconds. Raises UsageError."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd]?)", text.strip())
    if found is None:
        raise UsageError(f"{text[:40]!r} is not a time", "give a number with s, m, h or d, as in 8h")
    return int(found[1]) * _UNITS[found[2] or "s"]


def _beside(path: Path) -> Path:
    """Return where ssh looks for the certificate of a public key."""
    path = path.expanduser()
    return path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub")
