"""Support staff imports customers with their keys: the whole file, or nothing."""

import base64
import io
from typing import BinaryIO

from sqlmodel import Session

from octy_middleware.domain.key_checks import PEPPERS
from octy_middleware.errors import InvalidInputError
from octy_middleware.keys.secret import KeyHasher
from octy_worker.access.orders import Order
from octy_worker.audit import repository as audit
from octy_worker.errors import UsageError
from octy_worker.identity import check_registered_keys, keychains_from_environment, verify_installation
from octy_worker.imports.planner import Plan, Progress, carry_out, plan_import
from octy_worker.imports.report import error_lines, refusal_texts, report, sentences
from octy_worker.imports.writer import clear_interrupted
from octy_worker.staff.acts import Import
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.outputs import ImportOutput
from octy_worker.staff.queries import CheckImport


def check_import(context: StaffContext, wanted: CheckImport) -> ImportOutput:
    """Return what an import would do. Writes nothing."""
    return _output(_plan(context, _file(context, wanted.content), into_existing=wanted.into_existing), imported=False)


def import_pairs(context: StaffContext, order: Order, fields: Import) -> ImportOutput:
    """Import the file that the order is about; with errors in it nothing is, and the order is refused."""
    removed = clear_interrupted(context.database, context.clock)
    plan = _plan(context, _file(context, fields.content), into_existing=fields.into_existing)
    if plan.digest != fields.rows_sha256:
        raise InvalidInputError("the file is not the one that the order is about → order it again")
    if plan.errors:
        with context.database.write_session() as session:
            context.receipts.refuse(session, order.order_id, "the file has errors", context.clock())
        return _output(plan, imported=False, removed=bool(removed))
    if not plan.sealed:
        raise UsageError(
            "OCTY_PEPPERS is not set", "set it to the same value as in the apps: imported hashes are signed with it"
        )
    verify_installation(context.database, keychains_from_environment(context.variables, PEPPERS), context.clock())
    with context.database.write_session() as session:
        context.use(session, order)
        _append(context, session, "keys.import_begun", order, plan)
    carry_out(context.database, plan, now=context.clock(), progress=_progress(context))
    with context.database.write_session() as session:  # the import writes beside others, in steps of its own
        _append(context, session, "keys.imported", order, plan)
    counts = {"accounts": str(len(plan.accounts)), "pairs": str(len(plan.pairs))}
    facts = {"rows_sha256": plan.digest, **counts}
    record("keys_imported", order.actor, reason=order.reason, into_existing=fields.into_existing, **facts)
    return _output(plan, imported=True, removed=bool(removed))


def _append(context: StaffContext, session: Session, action: str, order: Order, plan: Plan) -> None:
    if not plan.pairs:
        return
    detail = {"reason": order.reason, "pairs": len(plan.pairs), "into_existing": order.fields["into_existing"]}
    audit.append(
        session, action, actor=order.actor, subject=plan.digest, order_id=order.order_id,
        detail={**detail, "rows_sha256": plan.digest}, now=context.clock(),
    )  # fmt: skip


def _plan(context: StaffContext, file: BinaryIO, *, into_existing: bool) -> Plan:
    chains = keychains_from_environment(context.variables, PEPPERS)
    for purpose, chain in chains.items():
        check_registered_keys(context.database, purpose, chain)
    hasher = KeyHasher(chains[PEPPERS]) if chains else None
    return plan_import(
        context.database,
        file,
        hasher=hasher,
        into_existing=into_existing,
        now=context.clock(),
        progress=_progress(context),
    )


def _file(context: StaffContext, content: str) -> BinaryIO:
    """Return the file: the one that a command on this host has opened, else what came with the order."""
    if context.attachment is not None:
        return context.attachment
    try:
        return io.BytesIO(base64.b64decode(content, validate=True))
    except ValueError:
        raise InvalidInputError("the file is not in Base64") from None


def _progress(context: StaffContext) -> Progress:
    return lambda what, done, total: context.on_progress((what, done, total))


def _output(plan: Plan, *, imported: bool, removed: bool = False) -> ImportOutput:
    return ImportOutput(
        report(plan, imported=imported),
        () if plan.errors else tuple(sentences(plan, imported=imported)),
        tuple(error_lines(plan)),
        refusal_texts(plan) if plan.errors else None,
        removed,
    )
