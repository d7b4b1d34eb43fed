"""Staff exports the evidence about an incident. The export is an entry of the audit log itself, and in the pack."""

import base64
import hashlib

from octy_worker.access.orders import Order
from octy_worker.audit import repository as audit
from octy_worker.audit.checkpoint_writer import CheckpointWriter
from octy_worker.audit.checkpoints import AuditSigner
from octy_worker.errors import RefusedError
from octy_worker.evidence.pack import PackOrigin, make_pack
from octy_worker.reports.queries import incident_of
from octy_worker.settings import StaffSettings
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import NoFields
from octy_worker.staff.outputs import EvidencePack

EXPORTED = "audit.exported"
"""The action of the export's entry; its subject is the incident."""


def export(context: StaffContext, order: Order, _fields: NoFields) -> EvidencePack:
    """Return the pack, up to a checkpoint that is taken now. One order makes one pack: a used one is refused.

    Raises RefusedError without keys that sign it, and InvalidInputError for an unknown incident.
    """
    keys = context.settings(StaffSettings).audit_keys
    if keys is None:
        raise RefusedError(
            "nothing can sign the pack: OCTY_AUDIT_KEYS is not set", "run `octy doctor` with the worker's settings"
        )
    now = context.clock()
    with context.database.write_session() as session:
        incident_of(session, order.subject)
        context.use(session, order)
        audit.append(
            session, EXPORTED, actor=order.actor, subject=order.subject, order_id=order.order_id,
            detail={"reason": order.reason}, now=now,
        )  # fmt: skip
    CheckpointWriter(context.database, keys, context.installation, context.clock).take()
    origin = PackOrigin(context.installation, order.actor, order.order_id)
    with context.database.read_session() as session:
        content = make_pack(session, order.subject, AuditSigner(keys), origin, now)
    record("audit_exported", order.actor, incident=order.subject, order=order.order_id, reason=order.reason)
    return EvidencePack(base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest())
