"""Makes an evidence pack: a ZIP file of the files about one incident, their hashes in a manifest, and its signature."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from octy_middleware.clock import to_micros
from octy_middleware.db.models import Incident, StaffOrder
from octy_worker.audit import repository
from octy_worker.audit.chain import Entry
from octy_worker.audit.checkpoints import AuditSigner
from octy_worker.canonical_json import canonical_json
from octy_worker.evidence import contents
from octy_worker.evidence.layout import (
    ATTEMPTS,
    CHAIN,
    CHAINED,
    CHECKPOINTS,
    DETAILS,
    FORMAT,
    MAILS,
    MANIFEST,
    ORDER_FIELDS,
    ORDERS,
    PAGE,
    SIGNATURE,
    TIMELINE,
)
from octy_worker.evidence.records import Records, collect_records
from octy_worker.reports.queries import show_incident

_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)  # the same content makes the same file


@dataclass(frozen=True, slots=True)
class PackOrigin:
    """Whose pack it is. `made_by`: a staff handle. `order_id`: of the order to make it."""

    installation: str
    made_by: str
    order_id: str


def make_pack(session: Session, incident_id: str, signer: AuditSigner, origin: PackOrigin, now: float) -> bytes:
    """Return the ZIP file about an existing incident, read in the caller's transaction."""
    incident = session.get_one(Incident, incident_id)
    records = collect_records(session, incident)
    report = show_incident(session, incident_id)
    files = {
        TIMELINE: contents.timeline_json(report),
        PAGE: contents.timeline_html(report, records),
        ATTEMPTS: contents.attempts_csv(session, incident),
        MAILS: contents.mails_json(report),
        ORDERS: _json([order_record(order) for order in records.orders]),
        DETAILS: _json(_details(records)),
        CHAIN: b"".join(_chain_line(entry) for entry in repository.entries(session)),
        CHECKPOINTS: "".join(f"{line}\n" for line in repository.saved_checkpoints(session)).encode(),
    }
    return write_pack(files, incident_id, signer, origin, now, subjects=records.subjects)


def write_pack(
    files: Mapping[str, bytes],
    incident_id: str,
    signer: AuditSigner,
    origin: PackOrigin,
    now: float,
    *,
    subjects: Sequence[str],
) -> bytes:
    """Return a ZIP file of these files, with a signed manifest. `subjects`: the pack shows all entries about them."""
    manifest = canonical_json(
        {
            "format": FORMAT,
            "incident": incident_id,
            "subjects": list(subjects),
            "installation": origin.installation,
            "made_at": int(now),
            "made_by": origin.made_by,
            "order": origin.order_id,
            "key": signer.key_id,
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        }
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        signed = {**files, MANIFEST: manifest, SIGNATURE: signer.sign(manifest).encode()}
        for name, content in signed.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH_OF_ZIP), content, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def order_record(order: StaffOrder) -> dict[str, object]:
    """Return an order as JSON values."""
    ended_at = None if order.ended_at is None else to_micros(order.ended_at.timestamp())
    record = {name: getattr(order, name) for name in ORDER_FIELDS}
    return {**record, "received_at": to_micros(order.received_at.timestamp()), "ended_at": ended_at}


def _details(records: Records) -> list[dict[str, object]]:
    return [
        {"seq": entry.seq, "detail": entry.detail, "salt": entry.salt}
        for entry in records.entries
        if entry.detail is not None
    ]


def _chain_line(entry: Entry) -> bytes:
    return json.dumps(entry[: len(CHAINED)], ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
