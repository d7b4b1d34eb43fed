"""PURE. The names of the states that rows are in: what each column of that name may hold.

Here: names. Not here: the ways between states; each table's live in one room (see `models`).
"""

from enum import StrEnum


class KeyPairState(StrEnum):
    """Life of a key pair: pending → active → retiring → retired."""

    PENDING = "pending"  # issued, not yet proven; authenticates nobody
    ACTIVE = "active"
    RETIRING = "retiring"  # still accepted until retire_at; its successor is in use
    RETIRED = "retired"  # a tombstone, so that late hits are attributed


class IncidentState(StrEnum):
    """Where a case stands."""

    OPENING = "opening"
    WAITING = "waiting"
    REGENERATING = "regenerating"
    NEEDS_STAFF = "needs_staff"
    CLOSED = "closed"


class Resolution(StrEnum):
    """How a case ended."""

    REGENERATED = "regenerated"
    FALSE_ALARM = "false_alarm"
    UNANSWERED = "unanswered"
    COPIED = "copied"  # it was open in the installation that this database was copied from, and goes on there


class Answer(StrEnum):
    """What the customer, or staff for the customer, said."""

    IT_WAS_US = "it_was_us"
    NOT_US = "not_us"


class MailState(StrEnum):
    """Life of one mail."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"  # refused for good
    SKIPPED = "skipped"  # withheld on purpose, by the daily cap for one


class WebhookState(StrEnum):
    """Life of one event on its way to the account's own server."""

    PENDING = "pending"
    SENT = "sent"  # the server said 2xx
    FAILED = "failed"  # given up
    SKIPPED = "skipped"  # there was nowhere to send it, or webhooks are off


class RegenerationState(StrEnum):
    """Where the replacement of a pair stands."""

    OPEN = "open"
    SENT = "sent"  # the new pair is active, its link is out
    COLLECTED = "collected"
    DONE = "done"
    SUPERSEDED = "superseded"  # a later one replaces what this one would have delivered
    ABANDONED = "abandoned"  # never collected, or failed; the old pair was not cut unless it leaked


class NoticeKind(StrEnum):
    """What a notice tells."""

    EXPOSED = "exposed"  # a live pair came over plain HTTP
    CONTACT_CHANGED = "contact_changed"
    WEBHOOK_CHANGED = "webhook_changed"
    KEYS_ADDED = "keys_added"  # an import gave an account that was there already a further pair


class KeyPairCause(StrEnum):
    """Why a pair was issued."""

    FIRST = "first"
    INCIDENT = "incident"
    STAFF = "staff"
    EXPOSURE = "exposure"  # the customer, told that the pair came over plain HTTP
    CUSTOMER = "customer"  # the customer, told that the contact address or the webhook URL changed
    IMPORT = "import"  # not issued here: the customer had it already
