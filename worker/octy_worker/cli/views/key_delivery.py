"""The state of a delivery of new keys, in sentences."""

from octy_worker.cli.output import format_time
from octy_worker.reports.key_delivery import DeliveryStatus, KeyDelivery, PendingDelivery


def joined_lines(account: str, delivery: KeyDelivery) -> list[str]:
    """Return the state of an earlier order that a new one joins, and what can be done about it."""
    joined = f"New keys for {account} were ordered already; this order joins that one."
    match delivery.status:
        case DeliveryStatus.COLLECTED if delivery.collected_at is not None:
            return [f"{joined} The customer collected them at {format_time(delivery.collected_at)}: no mail is sent."]
        case DeliveryStatus.REFUSED:
            refused = f"Their mail was rejected for good ({delivery.mail_error}): the customer did not get it"
            return [f"{joined} {refused}, and this order sends no other.", *_what_to_do(account)]
        case DeliveryStatus.EXPIRED:
            resend = f"For a new link: octy keys resend --account {account} --reason …"
            return [f"{joined} Their link has expired, and this order sends no other.", resend]
        case DeliveryStatus.RETRYING if delivery.mail_error:
            retrying = f"The mail server has not accepted their mail yet ({delivery.mail_error}); it is retried."
            return [f"{joined} {retrying}"]
        case _:
            return [f"New keys for {account} are being sent already; this order joins that one."]


def resent_lines(pending: PendingDelivery, number: int) -> list[str]:
    """Return where a new link is sent to, and what to do if the previous mail was rejected there."""
    link = f"A new link to the new keys of {pending.account} is sent to {pending.address}"
    lines = [f"{link} (mail new_keys-{number}). Older links no longer work."]
    if pending.takes_effect_at is not None:
        lines.append(
            f"From {format_time(pending.takes_effect_at)} on such mails go to {pending.next_address}: repeat this then."
        )
    elif pending.delivery.status is DeliveryStatus.REFUSED:
        lines.append(
            f"The previous mail was rejected for good ({pending.delivery.mail_error}). If the address is wrong: "
            f"octy accounts change {pending.account} --email … --reason …"
        )
    return [*lines, f"To see its progress: octy accounts show {pending.account}"]


def _what_to_do(account: str) -> list[str]:
    """Return what to do when the mail server rejects the customer's mails for good."""
    return [
        f"If the address is wrong: octy accounts change {account} --email … --reason …",
        f"To send a new link: octy keys resend --account {account} --reason …",
    ]
