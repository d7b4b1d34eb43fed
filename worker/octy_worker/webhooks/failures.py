"""PURE. Every end that a try to deliver a webhook can have: a code for rows, and words for people.

Here: names and sentences. No code and no sentence holds a URL or an address: rows and histories keep them.
"""

from dataclasses import dataclass
from enum import StrEnum


class FailureReason(StrEnum):
    """Why a try came to nothing."""

    OFF = "webhooks-off"
    NO_URL = "no-url"
    BAD_URL = "bad-url"
    NOT_HTTPS = "not-https"
    USER_IN_URL = "user-in-url"
    BAD_PORT = "bad-port"
    UNKNOWN_NAME = "unknown-name"
    REFUSED_ADDRESS = "refused-address"
    NO_CONNECTION = "no-connection"
    UNTRUSTED = "untrusted-certificate"
    TOO_SLOW = "too-slow"
    BROKEN = "broken-answer"
    REDIRECT = "redirect"
    GONE = "gone"
    STATUS = "status"


DESCRIPTIONS = {
    FailureReason.OFF: "OCTY_WEBHOOK_KEYS is not set, so webhooks are off",
    FailureReason.NO_URL: "the account has no webhook_url",
    FailureReason.BAD_URL: "the webhook_url is none that a request can be sent to; names beyond ASCII are written as xn--…",
    FailureReason.NOT_HTTPS: "the webhook_url does not begin with https://",
    FailureReason.USER_IN_URL: "the webhook_url holds a user name or password, which is not sent",
    FailureReason.BAD_PORT: "the port is none that webhooks are sent to: 443, or 1024 and above",
    FailureReason.UNKNOWN_NAME: "the name of the server has no address",
    FailureReason.REFUSED_ADDRESS: "the name leads to an address inside a private or special network",
    FailureReason.NO_CONNECTION: "the server takes no connection",
    FailureReason.UNTRUSTED: "the server's certificate is not trusted, or is for another name",
    FailureReason.TOO_SLOW: "the server did not answer in time",
    FailureReason.BROKEN: "the server's answer was broken off, or is no HTTP",
    FailureReason.REDIRECT: "the server answered with a redirect, which is not followed",
    FailureReason.GONE: "the server answered 410 Gone: it wants no more",
    FailureReason.STATUS: "the server did not answer 2xx",
}
BLOCKED = frozenset(
    {
        FailureReason.BAD_URL,
        FailureReason.NOT_HTTPS,
        FailureReason.USER_IN_URL,
        FailureReason.BAD_PORT,
        FailureReason.REFUSED_ADDRESS,
    }
)
"""What we would not send to: nothing was sent."""


class PostError(Exception):
    """A try came to nothing, for this reason."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PostResult:
    """What became of one try: no fault means that the server said 2xx. `status`: its answer, 0 when there was none."""

    reason: FailureReason | None = None
    status: int = 0

    @property
    def code(self) -> str:
        """Return the fault as rows keep it."""
        if self.reason is None:
            return ""
        return (
            f"{self.reason}-{self.status}"
            if self.reason in (FailureReason.REDIRECT, FailureReason.STATUS)
            else str(self.reason)
        )

    @property
    def description(self) -> str:
        """Return the fault in a sentence."""
        if self.reason is None:
            return f"the server answered {self.status}"
        told = DESCRIPTIONS[self.reason]
        return (
            f"{told} (it said {self.status})" if self.reason in (FailureReason.REDIRECT, FailureReason.STATUS) else told
        )
