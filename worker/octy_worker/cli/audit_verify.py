"""`octy audit verify`: the log of the database, or an evidence pack without any database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from octy_middleware.clock import utc
from octy_worker.access.staff_settings import load_authorities
from octy_worker.audit.checkpoints import is_checkpoint, parse_public_keys, public_keys
from octy_worker.audit.log_verification import LogReport
from octy_worker.cli.audit import AUDIT_KEYS_VARIABLE
from octy_worker.cli.context import open_desk
from octy_worker.cli.exit_codes import ExitCode
from octy_worker.cli.files import read_file, read_log, read_text
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.options import AsJson
from octy_worker.cli.output import format_time, print_json, print_lines
from octy_worker.cli.progress import show_progress
from octy_worker.cli.variables import Variables, variables_of
from octy_worker.crypto.ssh_certificates import CertificateAuthorities
from octy_worker.errors import UsageError
from octy_worker.evidence.reader import InvalidPackError
from octy_worker.evidence.verification import EvidenceReport, verify_pack
from octy_worker.identity import keychains_from_environment
from octy_worker.settings import StaffSettings
from octy_worker.staff.audit_queries import AUDIT_KEYS, VERIFY_AUDIT, VerifyAudit
from octy_worker.staff.operations import Nothing

VERIFY_JSON = "ok, entries, erased, proven_up_to, proven_at, checkpoints, problem, problem_seq"
PACK_JSON = (
    "of a pack: ok, problem, file, installation, incident, made_at, made_by, subjects, entries, proven_up_to, "
    "proven_at, shown, orders[id, action, subject, actor, proof, serial, factor, approved_by]"
)

_NO_KEYS = ("no public keys to verify with", f"set {AUDIT_KEYS_VARIABLE}, or give --keys FILE")


@help_page(
    "octy audit verify",
    "octy audit verify evidence.zip --keys audit-keys.txt --ca-keys ca.pub",
    "octy audit verify --checkpoint /var/log/auth.log --keys audit-keys.txt",
    "journalctl -t octy-checkpoint > log; octy audit verify --checkpoint log",
    more="It recomputes the hash of every entry and names the first one that was changed, removed, inserted or moved. "
    "Checkpoints are verified with public keys, and compared: an entry up to the last one can't have been rewritten. "
    "With the lines of the system log (--checkpoint, repeatable) it also finds an end that was cut off. An end that "
    "was cut off after the last checkpoint can't be seen.\n\n"
    "With a file of `octy audit export` it verifies this pack, without a database: manifest, chain and checkpoints, "
    "the details that it shows, and each order of staff: signature and certificate at the time of its receipt, second "
    "factor, role. It needs the audit log's public keys and those of the staff's certificate authorities. Exit code "
    "1: the log or the pack is broken.",
    json=f"{VERIFY_JSON}; {PACK_JSON}",
)
def verify(
    context: typer.Context,
    *,
    evidence: Annotated[
        Path | None,
        typer.Argument(metavar="[EVIDENCE]", help="A pack of `octy audit export`.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="A log with lines of octy-checkpoint.", show_default=False),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="FILE",
            help="Public keys, as `octy audit keys` prints them; else those of OCTY_AUDIT_KEYS.",
            show_default=False,
        ),
    ] = None,
    ca_keys: Annotated[
        Path | None,
        typer.Option(
            "--ca-keys", metavar="FILE", help="The CAs' public keys; else OCTY_STAFF_CA_KEYS.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify the whole log of the database, or a pack."""
    variables = variables_of(context)
    logged = tuple(line for file in checkpoint or () for line in _checkpoints_in(file))
    public = None if keys is None else _public_keys(keys)
    if evidence is not None:
        public = _known_keys(variables) if public is None else public
        _verify_pack(read_file(evidence), public, _authorities(variables, ca_keys), logged, as_json=as_json)
        return
    with open_desk(context) as desk, show_progress("entries") as progress:
        desk.on_progress = lambda done: progress("verified", *done)
        known = public or desk.read(AUDIT_KEYS, Nothing()).keys
        if checkpoint and not known:
            raise UsageError(*_NO_KEYS)
        report = desk.read(VERIFY_AUDIT, VerifyAudit(logged, known))
    if as_json:
        at = None if report.proven_at is None else utc(report.proven_at)
        print_json({"ok": not report.problem, **asdict(report), "proven_at": at})
    else:
        print_lines(*report_lines(report, has_keys=bool(known)))
    raise typer.Exit(ExitCode.FAILED if report.problem else ExitCode.OK)


def _verify_pack(
    data: bytes, public: Mapping[str, str], authorities: CertificateAuthorities, logged: Sequence[str], *, as_json: bool
) -> None:
    try:
        report = verify_pack(data, public, authorities, logged)
    except InvalidPackError as error:
        if as_json:
            print_json({"ok": False, "problem": str(error), "file": error.file})
        else:
            print_lines(f"The pack is broken: {error}.")
        raise typer.Exit(ExitCode.FAILED) from None
    if as_json:
        print_json(_pack_value(report))
    else:
        print_lines(*pack_lines(report))


def _pack_value(report: EvidenceReport) -> dict[str, object]:
    proven_at = None if report.log.proven_at is None else utc(report.log.proven_at)
    return {
        "ok": True,
        "problem": "",
        "file": "",
        **asdict(report.manifest),
        "made_at": utc(report.manifest.made_at),
        "entries": report.log.entries,
        "proven_up_to": report.log.proven_up_to,
        "proven_at": proven_at,
        "shown": report.shown,
        "orders": report.orders,
    }


def pack_lines(report: EvidenceReport) -> Iterable[str]:
    """Return what a verified pack proves."""
    manifest = report.manifest
    yield f"Incident {manifest.incident} of installation {manifest.installation}."
    yield f"The pack is unchanged since {manifest.made_by} made it at {format_time(utc(manifest.made_at))}."
    yield f"It shows {report.shown:,} of {report.log.entries:,} entries of the audit log, which continue each other."
    yield from proof_lines(report.log, has_keys=True)
    for order in report.orders:
        approved = f"; approved by {order.approved_by}" if order.approved_by else ""
        yield f"order {order.id}: {order.action} by {order.actor}, {_PROOFS[order.proof].format(order=order)}{approved}"


_PROOFS = {
    "certificate": "signed by certificate {order.serial}, verified; second factor {order.factor}",
    "passkey": "signed by passkey {order.factor}, verified",
    "break-glass": "break glass on the host: no signature, only the audit log has it",
    "erased": "what was signed was erased with the account, only the audit log has it",
    "none": "OCTY_STAFF_AUTH was off: no signature, only the audit log has it",
}


def _authorities(variables: Variables, file: Path | None) -> CertificateAuthorities:
    """Return the trusted authorities. What was revoked later does not matter for what was signed before."""
    given = StaffSettings.texts_in(variables)
    chosen = {name: given[name] for name in ("staff_ca_keys", "staff_certificate_life") if name in given}
    if file is not None:
        chosen["staff_ca_keys"] = read_text(file)
    return load_authorities(StaffSettings.build(**chosen))


def _public_keys(file: Path) -> Mapping[str, str]:
    try:
        return parse_public_keys(read_text(file))
    except ValueError as error:
        raise UsageError(f"{file}: {error}", "give what `octy audit keys` prints") from None


def _known_keys(variables: Variables) -> Mapping[str, str]:
    """Return the public keys of OCTY_AUDIT_KEYS. Raises UsageError when it is not set."""
    chains = keychains_from_environment(variables, "audit_keys")
    if not chains:
        raise UsageError(*_NO_KEYS)
    return public_keys(chains["audit_keys"])


def _checkpoints_in(file: Path) -> Sequence[str]:
    """Return the lines of a log that are checkpoints. Raises UsageError when there are none."""
    lines = [line for line in read_log(file) if is_checkpoint(line)]
    if not lines:
        raise UsageError(f"{file} has no line of octy-checkpoint", "name the system log of a worker's host")
    return lines


def report_lines(report: LogReport, *, has_keys: bool) -> Iterable[str]:
    """Return what was found, and what can't be known."""
    if report.problem:
        yield f"The audit log is broken: {report.problem}."
        if report.problem_seq is not None:
            yield f"The first wrong entry is {report.problem_seq:,}; {report.entries:,} before it continue each other."
    else:
        erased = f", the details of {report.erased:,} were erased" if report.erased else ""
        yield f"{report.entries:,} {'entry is' if report.entries == 1 else 'entries are'} unchanged{erased}."
    yield from proof_lines(report, has_keys=has_keys)


def proof_lines(report: LogReport, *, has_keys: bool) -> Iterable[str]:
    """Return what checkpoints prove."""
    if report.proven_at is not None:
        yield (
            f"proven up to seq {report.proven_up_to}, by the checkpoint of {format_time(utc(report.proven_at))}. What "
            "came later can have been rewritten, or cut off, without a trace."
        )
    elif not has_keys:
        yield f"Nothing is proven: {_NO_KEYS[0]} → {_NO_KEYS[1]}."
    elif not report.problem:
        yield "Nothing is proven: there is no checkpoint yet → start `octy worker`."
