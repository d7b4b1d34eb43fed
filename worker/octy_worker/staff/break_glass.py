"""Tells the admins by mail of an order by break glass. The audit log has it, whether or not this mail arrives."""

import logging

from octy_middleware.clock import utc
from octy_middleware.errors import OctyError
from octy_worker.access.orders import Order
from octy_worker.mail.addresses import Sender
from octy_worker.mail.facts.digest import BreakGlassFacts
from octy_worker.mail.mailer import Mailer, SmtpMailer
from octy_worker.mail.message_builder import OutgoingMail
from octy_worker.mail.renderer import MailRenderer
from octy_worker.mail.smtp_errors import SmtpStatus
from octy_worker.settings import WorkerSettings
from octy_worker.staff.context import StaffContext

_log = logging.getLogger("octy.break_glass")


def tell_admins(context: StaffContext, order: Order, mailer: Mailer | None = None) -> int:
    """Send the mail to all active admins and the digest's address; return how many were accepted. Never raises."""
    try:
        settings = context.settings(WorkerSettings)
        with context.database.read_session() as session:
            addresses = [*context.access.members.admin_addresses(session), settings.support_digest_to]
        facts = BreakGlassFacts(
            order.order_id, str(order.action), order.subject or "–", order.actor, utc(context.clock())
        )
        rendered, sender, sent = MailRenderer(settings).render(facts), mailer or SmtpMailer(settings), 0
        for number, address in enumerate(filter(None, dict.fromkeys(addresses))):
            message_id = f"<break-glass.{order.order_id}.{number}@{Sender.parse(settings.mail_from).domain}>"
            result = sender.send(OutgoingMail(message_id, context.clock(), address, rendered))
            sent += result.status is SmtpStatus.ACCEPTED
    except OctyError as error:
        _log.error("the admins could not be told by mail: %s", str(error).partition("\n")[0])
        return 0
    return sent
