"""Verifies an evidence pack without the database: manifest, chain, checkpoints, shown details, orders, timeline."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from octy_middleware.clock import to_micros
from octy_worker.access.order_states import REFUSED
from octy_worker.audit.chain import ERASED, Entry, Erasure
from octy_worker.audit.log_verification import LogReport, verify_log
from octy_worker.audit.repository import json_values
from octy_worker.canonical_json import canonical_json
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError
from octy_worker.evidence.layout import CHAIN, CHECKPOINTS, DETAILS, ORDERS, TIMELINE
from octy_worker.evidence.order_proofs import OrderResult, OrderVerifier
from octy_worker.evidence.reader import InvalidPackError, Manifest, read_chain, read_orders, read_pack, read_timeline

_INCIDENT = "incident."
"""What the actions of entries of a timeline's events begin with."""


@dataclass(frozen=True, slots=True)
class EvidenceReport:
    """What a verified pack proves. `shown`: entries whose detail it shows."""

    manifest: Manifest
    log: LogReport
    shown: int
    orders: tuple[OrderResult, ...]


def verify_pack(
    data: bytes, keys: Mapping[str, str], authorities: CertificateAuthorities, checkpoint_lines: Iterable[str] = ()
) -> EvidenceReport:
    """Verify everything. `keys`: public keys of `octy audit keys`. `checkpoint_lines`: further ones, of system logs.

    Raises InvalidPackError, which names the first file that is wrong, and nothing else.
    """
    pack = read_pack(data, keys)
    manifest, (entries, unknown) = pack.manifest, read_chain(pack)
    lines = [*pack.files[CHECKPOINTS].decode(errors="replace").splitlines(), *checkpoint_lines]
    log = verify_log(entries, lines, keys, installation=manifest.installation, has_details=False)
    if log.problem:
        raise InvalidPackError(CHECKPOINTS if log.problem_seq is None else CHAIN, log.problem)
    if unknown:
        raise InvalidPackError(DETAILS, f"there is no entry {unknown[0]} in the chain")
    records = read_orders(pack)
    check_complete(entries, {record["id"] for record in records}, manifest.subjects)
    verifier = OrderVerifier(manifest.installation, entries, records, authorities)
    try:
        orders = tuple(verifier.verify_all())
    except RefusedSignatureError as error:
        raise InvalidPackError(ORDERS, str(error)) from None
    check_details(entries, {record["id"] for record in records}, manifest.subjects)
    compare_timeline(read_timeline(TIMELINE, pack), entries, manifest.incident)
    return EvidenceReport(manifest, log, sum(entry.detail is not None for entry in entries), orders)


def check_complete(entries: Iterable[Entry], orders: Collection[str], subjects: Collection[str]) -> None:
    """Check that the pack has each order that the audit log names about the subjects; refused ones were not kept."""
    for entry in entries:
        is_kept = entry.subject in subjects and entry.order_id and entry.action != REFUSED
        if is_kept and entry.order_id not in orders:
            raise InvalidPackError(ORDERS, f"the order of entry {entry.seq} of the audit log is missing")


def check_details(entries: Collection[Entry], orders: Collection[str], subjects: Collection[str]) -> None:
    """Check that each entry about the subjects and the orders has its detail, unless a later erasure names it."""
    erased = {seq for entry in entries if entry.action == ERASED for seq in Erasure.of(entry).entries}
    for entry in entries:
        is_shown = entry.subject in subjects or entry.order_id in orders
        if is_shown and entry.detail is None and entry.seq not in erased:
            why = f"the detail of entry {entry.seq} is missing, and no entry of an erasure names it"
            raise InvalidPackError(DETAILS, why)


def compare_timeline(events: list[dict[str, Any]], entries: Iterable[Entry], incident: str) -> None:
    """Check that the timeline has each event of the audit log, unchanged."""
    listed = {_event(event) for event in events}
    for entry in entries:
        if entry.subject != incident or not entry.action.startswith(_INCIDENT) or entry.detail is None:
            continue
        what = entry.action.removeprefix(_INCIDENT)
        if (entry.at, entry.actor, what, entry.detail) not in listed:
            raise InvalidPackError(TIMELINE, f"the event of entry {entry.seq} of the audit log is missing or changed")


def _event(event: Mapping[str, Any]) -> tuple[int, str, str, str]:
    try:
        at = to_micros(datetime.fromisoformat(event["at"]).timestamp())
        detail = canonical_json(json_values(event["detail"])).decode()
        return at, str(event["actor"]), str(event["what"]), detail
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise InvalidPackError(TIMELINE, "one of its events lacks a field") from None
