"""Registration: create an account and order its first key pair, in one transaction.

The first key pair is issued and delivered by the same workflow as a regeneration.
"""

from collections.abc import Mapping

from sqlmodel import Session

from octy_middleware.db.database import Database
from octy_middleware.domain.accounts import checked_reference, create_account, find_account
from octy_middleware.errors import InvalidInputError
from octy_middleware.states import KeyPairCause
from octy_worker.access.orders import Order
from octy_worker.audit import repository as audit
from octy_worker.domain.regenerations import open_regeneration
from octy_worker.reports.key_delivery import DeliveryStatus, newest_delivery
from octy_worker.staff.account_changes import checked_mail_address
from octy_worker.staff.acts import NewAccount
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.outputs import RegistrationResult


def register(
    database: Database, reference: str, contact: Mapping[str, str], *, actor: str, now: float
) -> RegistrationResult:
    """Create the account and order its first key pair. Raises InvalidInputError; then nothing was changed."""
    with database.write_session() as session:
        return _register(session, reference, contact, actor=actor, now=now)


def _register(
    session: Session, reference: str, contact: Mapping[str, str], *, actor: str, now: float
) -> RegistrationResult:
    _refuse_undelivered(session, reference, now)
    account = create_account(session, reference, contact, now)
    opened = open_regeneration(
        session, account.id, KeyPairCause.FIRST, old_pair_id=None, leaked=False, actor=actor, now=now
    )
    return RegistrationResult(account.id, opened.regeneration_id)


def add_account(context: StaffContext, order: Order, fields: NewAccount) -> RegistrationResult:
    """Register an account and audit it. Raises InvalidInputError, also for an address that is no mail address."""
    checked_mail_address(fields.contact_email_address)
    now = context.clock()
    with context.database.write_session() as session:
        context.use(session, order)
        added = _register(session, fields.reference, fields.contact(), actor=order.actor, now=now)
        detail = {"regeneration": added.regeneration_id}
        audit.append(
            session, "account.added", actor=order.actor, subject=added.account_id, order_id=order.order_id,
            detail=detail, now=now,
        )  # fmt: skip
        context.keep(session, order, added)
    record("account_added", order.actor, account=added.account_id, regeneration=added.regeneration_id)
    return added


def _refuse_undelivered(session: Session, reference: str, now: float) -> None:
    """Raise InvalidInputError that says what to do when the account is there and its keys' mail was refused for good.

    Staff who mistyped the address try to open the account again; `create_account` would only say that it is there.
    """
    account = find_account(session, checked_reference(reference))
    delivery = None if account is None else newest_delivery(session, account.id, now)
    if account is None or delivery is None or delivery.status is not DeliveryStatus.REFUSED:
        return
    raise InvalidInputError(
        f"an account with the reference {account.reference!r} exists already, and the mail with its keys was rejected "
        f"for good ({delivery.mail_error}): the customer did not get it → if the address is wrong: "
        f"octy accounts change {account.reference} --email … --reason …; for a new link: "
        f"octy keys resend --account {account.reference} --reason …"
    )
