"""Staff erases an account whose key pairs have ended, by an order."""

from octy_middleware.db.models import Account
from octy_middleware.errors import InvalidInputError
from octy_worker.access.orders import Order
from octy_worker.domain.account_erasure import erase_account, erasure_obstacle, is_erased
from octy_worker.errors import RefusedError
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.operations import NoFields
from octy_worker.staff.outputs import ErasedAccount


def erase(context: StaffContext, order: Order, _fields: NoFields) -> ErasedAccount:
    """Erase it. Raises RefusedError with what prevents it, and InvalidInputError for an unknown account.

    The audit line is read by `octy db restored`, which erases the account again in a restored backup.
    """
    now = context.clock()
    with context.database.write_session() as session:
        account = session.get(Account, order.subject)
        if account is None:
            raise InvalidInputError("no account has this id → `octy accounts list` lists all")
        if is_erased(account):
            raise RefusedError("the account was erased already")
        obstacle = erasure_obstacle(session, account)
        if obstacle:
            raise RefusedError(f"the account can't be erased: {obstacle}")
        context.use(session, order)
        details = erase_account(
            session, account, actor=order.actor, reason=order.reason, now=now, order_id=order.order_id
        )
        erased = context.keep(session, order, ErasedAccount(order.subject, details))
    record("account_erased", order.actor, account=order.subject, order=order.order_id, reason=order.reason)
    return erased
