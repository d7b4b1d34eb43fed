"""The readers of `audit_queries`."""

from octy_middleware.db.models import AuditEntry
from octy_middleware.domain.installation import read_installation_id
from octy_worker.audit import checkpoints, repository
from octy_worker.audit.log_verification import LogReport, verify_log
from octy_worker.reports.audit_log import AuditFilter, list_audit
from octy_worker.reports.models import AuditLine
from octy_worker.reports.queries import count_rows
from octy_worker.settings import StaffSettings
from octy_worker.staff.audit_queries import AuditKeys, ListAudit, VerifyAudit
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import Listed, Nothing


def list_entries(context: StaffContext, wanted: ListAudit) -> Listed[AuditLine]:
    """Return entries, newest first."""
    which = AuditFilter(wanted.subject, wanted.actor, wanted.action, wanted.since)
    with context.database.read_session() as session:
        found = list_audit(session, which, limit=wanted.limit, offset=wanted.offset)
        return Listed(found, count_rows(session, AuditEntry, *which.conditions()))


def verify(context: StaffContext, wanted: VerifyAudit) -> LogReport:
    """Verify the whole log. `on_progress` of the context gets the numbers of verified and of all entries."""
    keys = public_keys(context, Nothing()).keys if wanted.keys is None else wanted.keys
    with context.database.read_session() as session:
        total = count_rows(session, AuditEntry)
        return verify_log(
            repository.entries(session),
            [*repository.saved_checkpoints(session), *wanted.checkpoints] if keys else (),
            keys,
            installation=read_installation_id(session.connection()),
            on_progress=lambda done: context.on_progress((done, total)),
        )


def public_keys(context: StaffContext, _wanted: Nothing) -> AuditKeys:
    """Return the public keys of OCTY_AUDIT_KEYS."""
    chain = context.settings(StaffSettings).audit_keys
    return AuditKeys({} if chain is None else checkpoints.public_keys(chain))
