"""Support staff changes an account's contact address, in one transaction.

When security mails follow to the new address, and who is notified, is in `octy_middleware.domain.accounts`.
"""

from sqlmodel import Session, select

from octy_middleware.addresses import normalize_mail_address
from octy_middleware.clock import to_micros
from octy_middleware.db.models import Account, Incident
from octy_middleware.domain.accounts import StaffChange, change_contact, security_addresses
from octy_middleware.errors import InvalidInputError
from octy_worker.access.orders import Order
from octy_worker.domain import incidents
from octy_worker.domain.regenerations import find_uncollected
from octy_worker.errors import RefusedError
from octy_worker.reports.queries import IS_OPEN, account_of
from octy_worker.staff.acts import ContactAddress
from octy_worker.staff.audit import record
from octy_worker.staff.context import StaffContext
from octy_worker.staff.outputs import ContactChangeResult


def change_contact_address(context: StaffContext, order: Order, fields: ContactAddress) -> ContactChangeResult:
    """Change the contact address of an account, and audit it; all addresses get a notice.

    Raises RefusedError when the address is set already; InvalidInputError for an unknown account or an address that no
    mail can be sent to. Then nothing was changed.
    """
    email, now = fields.contact_email_address, context.clock()
    address = checked_mail_address(email.strip())
    with context.database.write_session() as session:
        context.use(session, order)
        account = account_of(session, order.subject)
        if account.contact_email_address == address:
            raise RefusedError(
                f"{account.reference} has this contact address already → `octy accounts show {account.reference}` "
                "shows where security mails go, and until when"
            )
        staff = StaffChange(order.actor, order.reason)
        change_contact(session, account, {"contact_email_address": email}, now, staff=staff)
        _append_to_open_incidents(session, account, staff, now)
        changed = ContactChangeResult(
            account_id=account.id,
            account=account.reference,
            contact_email_address=account.contact_email_address,
            security_address=security_addresses(account, now)[0],
            takes_effect_at=account.contact_takes_effect_at,
            keys_wait=find_uncollected(session, account.id) is not None,
        )
        context.keep(session, order, changed)
    record("contact_changed", order.actor, reason=order.reason, account=changed.account_id)
    return changed


def checked_mail_address(email: str) -> str:
    """Return the address in its normal form. Raises InvalidInputError for one that no mail can be sent to."""
    address = normalize_mail_address(email)
    if address is None:
        raise InvalidInputError(f"{email[:100]!r} is not a valid mail address → use the form name@example.com")
    return address


def _append_to_open_incidents(session: Session, account: Account, staff: StaffChange, now: float) -> None:
    """Append the change to the timeline of each open incident: from when on its mails go elsewhere, and why.

    The addresses stay out of it, as out of the audit line.
    """
    takes_effect_at = account.contact_takes_effect_at
    detail: dict[str, object] = {"reason": staff.reason}
    if takes_effect_at is not None:
        detail["security_mails_follow_at"] = round(takes_effect_at.timestamp())
    for incident_id in session.exec(select(Incident.id).where(Incident.account_id == account.id, IS_OPEN)).all():
        incidents.append_event(
            session,
            incident_id,
            key=f"contact-changed-{to_micros(now)}",
            actor=staff.actor,
            what="contact_changed",
            detail=detail,
            now=now,
        )
