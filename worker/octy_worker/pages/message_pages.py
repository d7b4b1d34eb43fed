"""PURE. Every page that is only a message, as data.

Here: status and words. Not here: when one is shown, and how it looks (`renderer`). Each says what happened and what
to do; none says whether a case or a key exists.
"""

from dataclasses import dataclass
from datetime import datetime

from octy_worker.formatting import moment


@dataclass(frozen=True, slots=True)
class MessagePage:
    """One message. `contact` leads in the support address, which the page adds."""

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
    "The page was asked in a way that it does not answer. Nothing was changed.",
    "Open the link in our mail in a web browser and use the buttons on the page.",
)
BAD_FORM = MessagePage(
    400,
    "The form could not be read",
    "What arrived is not what our page sends. Nothing was changed.",
    "Go back, load the page again and press the button once more.",
)
TOO_LARGE = MessagePage(
    413,
    "That was too much",
    "What arrived is far longer than anything our page sends. Nothing was changed.",
    "Open the link in our mail again and use the buttons on the page.",
)
WRONG_TYPE = MessagePage(
    415,
    "The form could not be read",
    "What arrived is not an HTML form. Nothing was changed.",
    "Open the link in our mail in a web browser and use the buttons on the page.",
)
INTERNAL_ERROR = MessagePage(
    500,
    "Something went wrong on our side",
    "This page failed. We have kept a record of the fault for our engineers.",
    "Try again in a few minutes: loading the page again is safe.",
    "If it keeps failing, write to",
)
DATABASE_DOWN = MessagePage(
    503,
    "Please try again in a minute",
    "Our store does not answer at the moment. Nothing was changed.",
    "Wait a minute, then try again: your link stays valid, and an answer counts only once.",
)
LINK_EXPIRED = MessagePage(
    410,
    "This link has expired",
    "For your safety the link to a new secret key works for a short time only. The secret key was not shown to "
    "anybody through it.",
    "Look for a newer mail from us. If there is none, we gladly send you a new link.",
    "Ask for a new link at",
)
INCIDENT_CLOSED = MessagePage(
    410,
    "This security alert is closed",
    "Its page is shown for a limited time after the close only, since its address may have been passed on. "
    "Nothing was changed.",
    "There is nothing to do here. If something about your keys worries you, ask us.",
    "Ask us at",
)
NOTICE_EXPIRED = MessagePage(
    410,
    "This link has expired",
    "For your safety the link in our mail works for a limited time only. What was ordered through it before stays "
    "ordered; nothing was changed now.",
    "If you still want new keys, ask us.",
    "Ask for new keys at",
)
ADDRESS_MOVED = MessagePage(
    410,
    "Security mails go to another address by now",
    "The contact address was changed, and the time in which this link could undo it is over: new keys would be sent to "
    "the new address. That is why none can be ordered here any more. Nothing was changed.",
    "If you know nothing of this change, tell us at once: we reach the owner of the account in another way.",
    "Tell us at",
)
LINK_REPLACED = MessagePage(
    410,
    "There is a newer link",
    "We have sent you another mail with a fresh link, and this older one stopped working then.",
    "Use the link in our newest mail.",
    "Can't find it? Write to",
)
KEYS_REPLACED = MessagePage(
    410,
    "These keys were replaced",
    "The key pair that this link led to is no longer handed out: a newer one took its place, or the replacement was "
    "called off.",
    "Look for a newer mail from us and use the link in it.",
    "If there is none, write to",
)


def already_collected(at: datetime) -> MessagePage:
    """Return the message for a link whose secret key was shown already."""
    return MessagePage(
        410,
        "This secret key was already shown",
        f"It was shown on {moment(at)}, and a secret key is shown only once: we do not keep it.",
        "If that was you or a colleague, there is nothing to do. If you don't know who opened it, or the key was "
        "lost, tell us at once and we replace it.",
        "Tell us at",
    )
