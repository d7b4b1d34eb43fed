"""The values of the columns `state`, `resolution`, `answer`, `kind` and `cause`."""

from enum import StrEnum


class KeyPairState(StrEnum):
    """State of a key pair: pending → active → retiring → retired."""

    PENDING = "pending"  # issued, not yet activated: not accepted
    ACTIVE = "active"
    RETIRING = "retiring"  # still accepted until retire_at; its successor is in use
    RETIRED = "retired"  # not accepted; the row stays, so that later requests are attributed


class IncidentState(StrEnum):
    """State of an incident."""

    OPENING = "opening"
    WAITING = "waiting"
    REGENERATING = "regenerating"
    NEEDS_STAFF = "needs_staff"
    CLOSED = "closed"


class Resolution(StrEnum):
    """How an incident was closed."""

    REGENERATED = "regenerated"
    FALSE_ALARM = "false_alarm"
    UNANSWERED = "unanswered"
    COPIED = "copied"  # open when this database was copied; it continues in the original installation


class Answer(StrEnum):
    """The answer to an incident, by the customer or by staff."""

    IT_WAS_US = "it_was_us"
    NOT_US = "not_us"


class MailState(StrEnum):
    """State of a mail."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"  # rejected permanently
    SKIPPED = "skipped"  # not sent on purpose, for example because of the daily cap


class WebhookState(StrEnum):
    """State of a webhook event."""

    PENDING = "pending"
    SENT = "sent"  # the server answered 2xx
    FAILED = "failed"  # all attempts failed
    SKIPPED = "skipped"  # no URL, or webhooks are switched off


class RegenerationState(StrEnum):
    """State of a regeneration."""

    OPEN = "open"
    SENT = "sent"  # the new key pair is active and its link was sent
    COLLECTED = "collected"
    DONE = "done"
    SUPERSEDED = "superseded"  # replaced by a later regeneration before its keys were collected
    ABANDONED = "abandoned"  # never collected, or failed; the old key pair was retired only if it leaked


class NoticeKind(StrEnum):
    """Kind of a notice."""

    EXPOSED = "exposed"  # a live key pair was sent over plain HTTP
    CONTACT_CHANGED = "contact_changed"
    WEBHOOK_CHANGED = "webhook_changed"
    KEYS_ADDED = "keys_added"  # an import added a key pair to an existing account


class KeyPairCause(StrEnum):
    """Why a key pair was issued."""

    FIRST = "first"
    INCIDENT = "incident"
    STAFF = "staff"
    EXPOSURE = "exposure"  # by the customer, after a notice about plain HTTP
    CUSTOMER = "customer"  # by the customer, after a notice about a changed address or URL
    IMPORT = "import"  # issued by another system
