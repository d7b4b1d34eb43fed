"""PURE. Every end that a try to deliver a webhook can have: a code for rows, and words for people.

Here: names and sentences. No code and no sentence holds a URL or an address: rows and histories keep them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
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


WORDS = {
    Fault.OFF: "OCTY_WEBHOOK_KEYS is not set, so webhooks are off",
    Fault.NO_URL: "the account has no webhook_url",
    Fault.BAD_URL: "the webhook_url is none that a request can be sent to; names beyond ASCII are written as xn--…",
    Fault.NOT_HTTPS: "the webhook_url does not begin with https://",
    Fault.USER_IN_URL: "the webhook_url holds a user name or password, which is not sent",
    Fault.BAD_PORT: "the port is none that webhooks are sent to: 443, or 1024 and above",
    Fault.UNKNOWN_NAME: "the name of the server has no address",
    Fault.REFUSED_ADDRESS: "the name leads to an address inside a private or special network",
    Fault.NO_CONNECTION: "the server takes no connection",
    Fault.UNTRUSTED: "the server's certificate is not trusted, or is for another name",
    Fault.TOO_SLOW: "the server did not answer in time",
    Fault.BROKEN: "the server's answer was broken off, or is no HTTP",
    Fault.REDIRECT: "the server answered with a redirect, which is not followed",
    Fault.GONE: "the server answered 410 Gone: it wants no more",
    Fault.STATUS: "the server did not answer 2xx",
}
REFUSED = frozenset({Fault.BAD_URL, Fault.NOT_HTTPS, Fault.USER_IN_URL, Fault.BAD_PORT, Fault.REFUSED_ADDRESS})
"""What we would not send to: nothing was sent."""


class DeliveryError(Exception):
    """A try came to nothing, for this reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one try: no fault means that the server said 2xx. `status`: its answer, 0 when there was none."""

    fault: Fault | None = None
    status: int = 0

    @property
    def code(self) -> str:
        """Return the fault as rows keep it."""
        if self.fault is None:
            return ""
        return f"{self.fault}-{self.status}" if self.fault in (Fault.REDIRECT, Fault.STATUS) else str(self.fault)

    @property
    def words(self) -> str:
        """Return the fault in a sentence."""
        if self.fault is None:
            return f"the server answered {self.status}"
        told = WORDS[self.fault]
        return f"{told} (it said {self.status})" if self.fault in (Fault.REDIRECT, Fault.STATUS) else told
