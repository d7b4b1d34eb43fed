"""Compares what came of one request with the reference: each function returns a problem, or None."""

from base64 import b64encode
from functools import lru_cache

from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.decision import AuthDecision
from octy_middleware.http.event import AuthEvent
from proofs.conformance import raw_http
from proofs.conformance.response_text import describe
from proofs.fuzz.adapters import Response
from proofs.fuzz.keys import FuzzKeys
from proofs.fuzz.reference import ACCEPTED, INVALID, OPEN, PLAIN, Expected, prefers_problem
from proofs.fuzz.reference_address import ExpectedAddress, counted_source, is_canonical, is_counted_source, network_of
from proofs.fuzz.request import FuzzRequest

_SHORT_SECRET = 12  # characters; a shorter one may stand in a text by accident
_PASSED = "passed"
_PUBLIC_WORDS = {**dict.fromkeys(INVALID, "invalid"), OPEN: _PASSED, ACCEPTED: _PASSED}
_REQUEST_ID = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-")
_EVENT_LIMITS = (200, 200, 16, 64)  # characters of User-Agent, path, method, request id
Problem = str | None


def check_address(found: ClientAddress, expected: ExpectedAddress) -> Problem:
    """A source has one form; only a trusted proxy says where a request comes from, and that it came over TLS."""
    if not is_canonical(found.source):
        return f"the source {found.source!r} is in no canonical form"
    if expected.source not in (None, found.source) or expected.scheme not in (None, found.scheme):
        return f"it is said to come from {found}, expected {expected}"
    return None


def check_pending(found: PendingCredentials, request: FuzzRequest, expected: Expected) -> Problem:
    """What waits for the database is the key pair that was sent, in its one text; its secret is not shown."""
    key, secret = found.credentials.public_key, found.credentials.secret.reveal()
    if (key, secret) != expected.pair:
        return f"the authenticator read {key!r} and a secret; sent was {expected.pair}"
    if b64encode(f"{key}:{secret}".encode()) != request.values[0].strip(b" \t").split(b" ")[-1]:
        return f"{key!r} was read out of another text"
    if len(secret) >= _SHORT_SECRET and secret in f"{found!r} {found}":
        return "credentials show their secret"
    if not expected.outcomes & {*INVALID, PLAIN, ACCEPTED}:
        return f"pending, expected {sorted(expected.outcomes)}"
    if found.plain and PLAIN not in expected.outcomes:
        return "pending over plain HTTP, expected https"
    return None


def check_decision(found: AuthDecision, expected: Expected, keys: FuzzKeys) -> Problem:
    """The outcome is a right one, and an accepted request is of the key pair's own account."""
    outcome = OPEN if found.outcome is None else str(found.outcome)
    if outcome not in expected.outcomes:
        return f"{outcome}, expected {sorted(expected.outcomes)}"
    account = "" if found.principal is None else found.principal.reference
    return _check_account(account, outcome, expected, keys) if found.passes else None


def check_response(found: Response, request: FuzzRequest, expected: Expected, keys: FuzzKeys) -> Problem:
    """A response says what one of the right outcomes says, in the preferred form, and nothing else."""
    if found.status >= 500:
        return f"status {found.status}"
    word, is_problem = _read(found)
    outcome = outcome_of(found, expected)
    if outcome is None:
        return f"the response says {found.status} {word!r}, expected {sorted(map(public_word, expected.outcomes))}"
    if word == _PASSED:
        return None if found.head else _check_account(found.body.decode(), outcome, expected, keys)
    preferred = prefers_problem(request.accept)
    if preferred not in (None, is_problem):
        return f"problem+json: {is_problem}, expected {preferred} of {request.accept!r}"
    return None


def check_event(event: AuthEvent, expected: Expected | None) -> Problem:
    """Texts are safe to show, lengths are bounded, addresses have one form, and what is recorded is what happened.

    `expected`: None where it is not known which request the event is of.
    """
    texts = event.user_agent + event.method + event.path
    bounded = zip((event.user_agent, event.path, event.method, event.request_id), _EVENT_LIMITS, strict=True)
    problems = {
        "what a terminal would act on": not (texts.isascii() and texts.isprintable()),
        "a text that is too long": any(len(text) > limit for text, limit in bounded),
        "an invalid request id": not _REQUEST_ID.issuperset(event.request_id),
        "a source in no canonical form": not is_counted_source(event.source),
        "a network that is not the source's": network_of(event.source) != event.network,
    }
    if any(problems.values()):
        return f"an event holds {next(name for name, found in problems.items() if found)}: {event!r}"
    if expected is None:
        return None
    source = expected.address.source
    if str(event.outcome) not in expected.outcomes or (source and event.source != counted_source(source)):
        return f"recorded was {event!r}, expected {expected}"
    return None


def outcome_of(found: Response, expected: Expected) -> str | None:
    """Return which of the expected outcomes a response means, if any."""
    word, _ = _read(found)
    return next((outcome for outcome in sorted(expected.outcomes) if public_word(outcome) == word), None)


def public_word(outcome: str) -> str:
    """Return what a response may say of an outcome: wrong, unknown and retired look alike."""
    return _PUBLIC_WORDS.get(outcome, outcome)


def _check_account(account: str, outcome: str, expected: Expected, keys: FuzzKeys) -> Problem:
    right = keys.references[expected.pair[0]] if outcome == ACCEPTED and expected.pair else ""
    return None if account == right else f"accepted as {account!r}, expected {right!r}"


@lru_cache(maxsize=1024)
def _read(found: Response) -> tuple[str, bool]:
    """Return what a response says by the conformance suite's texts, and whether it is problem+json."""
    if found.status == 200:
        return _PASSED, False
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found.headers]
    word = describe(raw_http.Response(found.status, headers, found.body, b"", found.head)).split(" ", 1)[1]
    return word.removesuffix(" as problem"), word.endswith(" as problem")
