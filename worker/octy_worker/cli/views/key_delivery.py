"""How far new keys have come, in sentences."""

from octy_worker.cli.output import format_time
from octy_worker.reports.key_delivery import DeliveryStatus, KeyDelivery, PendingDelivery


def joined_lines(account: str, delivery: KeyDelivery) -> list[str]:
    """Say how far an order that stood before has come, and what can be done about it."""
    joined = f"New keys for {account} were ordered before, and this order joins them."
    match delivery.status:
        case DeliveryStatus.COLLECTED if delivery.collected_at is not None:
            return [f"{joined} The customer collected them at {format_time(delivery.collected_at)}: no mail goes out."]
        case DeliveryStatus.REFUSED:
            refused = f"Their mail was refused for good ({delivery.mail_error}): the customer has not got it"
            return [f"{joined} {refused}, and this order sends no other.", *_what_to_do(account)]
        case DeliveryStatus.EXPIRED:
            fresh = f"For a fresh link: octy keys resend --account {account} --reason …"
            return [f"{joined} Their link has expired, and this order sends no other.", fresh]
        case DeliveryStatus.RETRYING if delivery.mail_error:
            waiting = f"No mail server has accepted their mail yet ({delivery.mail_error}); it is tried again."
            return [f"{joined} {waiting}"]
        case _:
            return [f"New keys for {account} were on their way already; this order joins them."]


def resent_lines(pending: PendingDelivery, number: int) -> list[str]:
    """Say that a fresh link is on its way, where to, and whether the mail before it was refused there."""
    link = f"A fresh link to the new keys of {pending.account} is on its way to {pending.address}"
    told = [f"{link} (mail new_keys-{number}). Older links show nothing now."]
    if pending.settles_at is not None:
        told.append(
            f"From {format_time(pending.settles_at)} on such mails go to {pending.next_address}: repeat this then."
        )
    elif pending.delivery.status is DeliveryStatus.REFUSED:
        told.append(
            f"The mail before this one was refused for good ({pending.delivery.mail_error}). If the address is wrong: "
            f"octy accounts change {pending.account} --email … --reason …"
        )
    return [*told, f"To follow it: octy accounts show {pending.account}"]


def _what_to_do(account: str) -> list[str]:
    """Say what to do when the customer's mail server refuses mails for good."""
    return [
        f"If the address is wrong: octy accounts change {account} --email … --reason …",
        f"To send a fresh link: octy keys resend --account {account} --reason …",
    ]
