"""The pages that only show a message: HTTP status, what happened, what to do.

`NOT_FOUND` is the same whether or not there is such an alert, key pair or notice.
"""

from dataclasses import dataclass
from datetime import datetime

from octy_worker.formatting import format_time


@dataclass(frozen=True, slots=True)
class MessagePage:
    """One message. The page shows the support address after `contact`."""

    status: int
    title: str
    explanation: str
    action: str
    contact: str = "Need help? Write to"


NOT_FOUND = MessagePage(
    404,
    "This page does not exist",
    "The address is wrong or incomplete. Nothing was changed.",
    "Mail programs sometimes break long links. Open the link in our mail again, or copy all of it into the "
    "address bar.",
)
WRONG_METHOD = MessagePage(
    405,
    "This is not how this page works",
    "Your browser sent a request that this page does not accept. Nothing was changed.",
    "Open the link in our mail in a web browser and use the buttons on the page.",
)
BAD_FORM = MessagePage(
    400,
    "The form could not be read",
    "We received something that our page does not send. Nothing was changed.",
    "Go back, load the page again and press the button once more.",
)
TOO_LARGE = MessagePage(
    413,
    "The form was too large",
    "We received much more data than our page sends. Nothing was changed.",
    "Open the link in our mail again and use the buttons on the page.",
)
WRONG_TYPE = MessagePage(
    415,
    "The form could not be read",
    "We received something that is not an HTML form. Nothing was changed.",
    "Open the link in our mail in a web browser and use the buttons on the page.",
)
INTERNAL_ERROR = MessagePage(
    500,
    "Something went wrong on our side",
    "This page failed. We have recorded the error for our engineers.",
    "Try again in a few minutes. It is safe to load the page again.",
    "If it keeps failing, write to",
)
DATABASE_DOWN = MessagePage(
    503,
    "Please try again in a minute",
    "Our database is not available at the moment. Nothing was changed.",
    "Wait a minute, then try again. Your link still works, and an answer counts only once.",
)
LINK_EXPIRED = MessagePage(
    410,
    "This link has expired",
    "For your safety, the link to a new secret key works only for a short time. The secret key was not shown "
    "through this link.",
    "Look for a newer mail from us. If there is none, we will send you a new link.",
    "Ask for a new link at",
)
INCIDENT_CLOSED = MessagePage(
    410,
    "This security alert is closed",
    "We show the page of a closed alert only for a limited time, because others may have its address. "
    "Nothing was changed.",
    "You do not need to do anything. If you are worried about your keys, ask us.",
    "Ask us at",
)
NOTICE_EXPIRED = MessagePage(
    410,
    "This link has expired",
    "For your safety, the link in our mail works only for a limited time. If you ordered new keys with it before, "
    "that order stays. Nothing was changed now.",
    "If you still want new keys, ask us.",
    "Ask for new keys at",
)
ADDRESS_MOVED = MessagePage(
    410,
    "Security mails now go to another address",
    "The contact address was changed, and the time to order new keys with this link is over. New keys would go to "
    "the new address, so you cannot order them here any more. Nothing was changed.",
    "If you did not ask for this change, tell us at once. We will contact the owner of the account in another way.",
    "Tell us at",
)
LINK_REPLACED = MessagePage(
    410,
    "There is a newer link",
    "We sent you another mail with a new link. Since then this older link does not work.",
    "Use the link in our newest mail.",
    "Can't find it? Write to",
)
KEYS_REPLACED = MessagePage(
    410,
    "These keys were replaced",
    "You can no longer collect the key pair of this link. A newer key pair has replaced it, or the replacement was "
    "cancelled.",
    "Look for a newer mail from us and use the link in it.",
    "If there is none, write to",
)


def already_collected(at: datetime) -> MessagePage:
    """Return the page for a link whose secret key was already shown."""
    return MessagePage(
        410,
        "This secret key was already shown",
        f"It was shown on {format_time(at)}. We show a secret key only once, and we do not keep it.",
        "If this was you or a colleague, you do not need to do anything. If you do not know who opened it, or if you "
        "lost the key, tell us at once, and we will replace it.",
        "Tell us at",
    )
