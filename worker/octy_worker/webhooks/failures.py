"""Results of an attempt to deliver a webhook: a code for rows, and a description for people.

Codes and descriptions contain no URL and no address, because rows and workflow histories store them.
"""

from dataclasses import dataclass
from enum import StrEnum


class FailureReason(StrEnum):
    """Why an attempt failed."""

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
    FailureReason.BAD_URL: "the webhook_url is invalid; write non-ASCII host names as xn--…",
    FailureReason.NOT_HTTPS: "the webhook_url does not start with https://",
    FailureReason.USER_IN_URL: "the webhook_url contains a user name or password, which is not supported",
    FailureReason.BAD_PORT: "the port is not allowed: use 443, or 1024 and above",
    FailureReason.UNKNOWN_NAME: "the host name can't be resolved",
    FailureReason.REFUSED_ADDRESS: "the host name resolves to a private or special address",
    FailureReason.NO_CONNECTION: "the server accepts no connection",
    FailureReason.UNTRUSTED: "the server's certificate is not trusted, or is for another name",
    FailureReason.TOO_SLOW: "the server did not respond in time",
    FailureReason.BROKEN: "the server closed the connection, or its response is not HTTP",
    FailureReason.REDIRECT: "the server responded with a redirect, which is not followed",
    FailureReason.GONE: "the server responded 410 Gone, which ends delivery",
    FailureReason.STATUS: "the server did not respond with 2xx",
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
"""Reasons for which nothing was sent."""
_WITH_STATUS = (FailureReason.REDIRECT, FailureReason.STATUS)  # told with the status of HTTP


class PostError(Exception):
    """An attempt failed for this reason."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PostResult:
    """The result of one attempt. `reason` None: the server responded 2xx. `status`: of HTTP, 0 without a response."""

    reason: FailureReason | None = None
    status: int = 0

    @property
    def code(self) -> str:
        """The code that rows store; empty on success."""
        if self.reason is None:
            return ""
        return f"{self.reason}-{self.status}" if self.reason in _WITH_STATUS else str(self.reason)

    @property
    def description(self) -> str:
        """The result as text."""
        if self.reason is None:
            return f"the server responded {self.status}"
        description = DESCRIPTIONS[self.reason]
        return f"{description} (status {self.status})" if self.reason in _WITH_STATUS else description
