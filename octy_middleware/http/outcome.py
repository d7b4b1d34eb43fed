"""Every end that a request can have, named, and the one table that says what each means.

Here: the status, what a stranger reads, whether it counts, what staff reads. Not here: how an answer is
written (`refusal`) and what a counted failure does (`streak`).
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class OutcomeSpec:
    """What one outcome means, to strangers (the first three), to the policy and to staff.

    `public_text` is the `error_message` of Octy's clients, which cut it at `::`, so it holds none.
    """

    status: int
    public_text: str
    help_text: str
    counts: bool
    internal_text: str


class Outcome(StrEnum):
    """How a request ended. The value is what the database keeps."""

    ACCEPTED = "accepted"
    MISSING = "missing"
    MALFORMED = "malformed"
    AMBIGUOUS = "ambiguous"
    OVERSIZE = "oversize"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a name
    RETIRED = "retired"
    RETIRED_WRONG = "retired_wrong"
    PLAIN_HTTP = "plain_http"
    RATE_LIMITED = "rate_limited"
    DATABASE_UNAVAILABLE = "database_unavailable"

    @property
    def spec(self) -> OutcomeSpec:
        """The row of the table."""
        return _SPECS[self]

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return _SPECS[self].status

    @property
    def counts(self) -> bool:
        """Whether this is a failed attempt in the sense of the policy."""
        return _SPECS[self].counts


def _uncounted(status: int, public_text: str, help_text: str, internal_text: str) -> OutcomeSpec:
    return OutcomeSpec(status, public_text, help_text, counts=False, internal_text=internal_text)


# One public face for four outcomes: a stranger can't tell which keys exist or once did (ASVS 6.3.8).
_INVALID_KEYS = (
    401,
    "The API keys are not valid.",
    "Check that the public key and the secret key belong together and are still in use.",
)

_SPECS = {
    Outcome.ACCEPTED: _uncounted(200, "The API keys are valid.", "", "a live public key with its own secret"),
    Outcome.MISSING: _uncounted(
        401,
        "No API keys were sent.",
        "Send the public key and the secret key as the user name and password of HTTP Basic authentication.",
        "no Authorization header, or an empty one",
    ),
    Outcome.MALFORMED: _uncounted(
        401,
        "The Authorization header can't be read.",
        "Send 'Basic', a space, and public_key:secret_key in standard, padded base64.",
        "another scheme, no strict base64, or text that can't be a pair of keys",
    ),
    Outcome.AMBIGUOUS: _uncounted(
        400,
        "The Authorization header is ambiguous.",
        "Send the header once, without commas, and without control characters such as line ends in the keys.",
        "a repeated or comma-joined Authorization header, or control characters",
    ),
    Outcome.OVERSIZE: _uncounted(
        431,
        "The Authorization header is too long.",
        "Send one pair of API keys and nothing else.",
        "an Authorization header over the limit",
    ),
    Outcome.UNKNOWN_KEY: _uncounted(*_INVALID_KEYS, "a well-formed public key that was never issued"),
    Outcome.WRONG_SECRET: OutcomeSpec(
        *_INVALID_KEYS, counts=True, internal_text="a live public key with a wrong or empty secret"
    ),
    Outcome.RETIRED: _uncounted(*_INVALID_KEYS, "a retired pair with its own secret: a forgotten integration"),
    Outcome.RETIRED_WRONG: _uncounted(*_INVALID_KEYS, "a retired public key with a wrong secret"),
    Outcome.PLAIN_HTTP: _uncounted(
        403,
        "HTTPS is required.",
        "Use an https:// address. Replace keys that were sent over plain HTTP: others may have read them.",
        "a request over plain HTTP",
    ),
    Outcome.RATE_LIMITED: _uncounted(
        429,
        "Too many failed attempts.",
        "Wait as long as Retry-After says. Requests with the right keys are not affected.",
        "wrong attempts of one source beyond its rate",
    ),
    Outcome.DATABASE_UNAVAILABLE: _uncounted(
        503,
        "The API keys can't be checked at the moment.",
        "This is no statement about the keys. Send the request again a little later.",
        "the store could not be read, or the outcome could not be recorded",
    ),
}
