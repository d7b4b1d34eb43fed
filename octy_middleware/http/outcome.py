"""The outcomes of a request, and the table of what each one means: status, texts, whether it counts as a failure."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class OutcomeSpec:
    """What one outcome means. The first three are public; `internal_text` is for staff.

    `public_text` is the `error_message` of Octy's clients, which cut it at `::`, so it contains none.
    """

    status: int
    public_text: str
    help_text: str
    counts: bool
    internal_text: str


class Outcome(StrEnum):
    """How a request ended. The value is stored in the database."""

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
        """The HTTP status of the response."""
        return _SPECS[self].status

    @property
    def counts(self) -> bool:
        """Whether this counts as a failed attempt against the key pair."""
        return _SPECS[self].counts


def _uncounted(status: int, public_text: str, help_text: str, internal_text: str) -> OutcomeSpec:
    return OutcomeSpec(status, public_text, help_text, counts=False, internal_text=internal_text)


# The same public text for four outcomes, so that a client cannot find out which keys exist or once did (ASVS 6.3.8).
_INVALID_KEYS = (
    401,
    "The API keys are not valid.",
    "Check that the public key and the secret key belong together and are still in use.",
)

_SPECS = {
    Outcome.ACCEPTED: _uncounted(200, "The API keys are valid.", "", "a live public key with the right secret"),
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
        "another scheme, not strict base64, or a text that cannot be a key pair",
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
        "Send one public key and one secret key, and nothing else.",
        "an Authorization header longer than the limit",
    ),
    Outcome.UNKNOWN_KEY: _uncounted(*_INVALID_KEYS, "a well-formed public key that was never issued"),
    Outcome.WRONG_SECRET: OutcomeSpec(
        *_INVALID_KEYS, counts=True, internal_text="a live public key with a wrong or empty secret"
    ),
    Outcome.RETIRED: _uncounted(*_INVALID_KEYS, "a retired key pair with the right secret: a forgotten integration"),
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
        "more wrong attempts of one source than its rate limit",
    ),
    Outcome.DATABASE_UNAVAILABLE: _uncounted(
        503,
        "The API keys can't be checked at the moment.",
        "This is no statement about the keys. Send the request again a little later.",
        "the database could not be read, or the outcome could not be recorded",
    ),
}
