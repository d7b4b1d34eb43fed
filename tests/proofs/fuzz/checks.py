"""What came back against what must come: each function returns what is wrong, or nothing.

Here: comparing one input. Not here: which way it went (`campaign`), what must be true of all together (`books`).
"""

from base64 import b64encode

from octy_middleware import Authenticator
from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.http import credentials, response
from octy_middleware.http.client_address import ClientAddress
from octy_middleware.http.decision import AuthDecision
from proofs.fuzz.answers import INVALID as LOOKS_INVALID
from proofs.fuzz.answers import PASSED, Answered, read
from proofs.fuzz.inputs import origin_of
from proofs.fuzz.installation import SITES
from proofs.fuzz.lanes import Bare, Input
from proofs.fuzz.origin import Origin, is_canonical
from proofs.fuzz.pairs import Pairs
from proofs.fuzz.reference import ACCEPTED, INVALID, OPEN, PLAIN, RATE_LIMITED, Expected, is_exempt, prefers_problem
from proofs.fuzz.reference import read as read_header

CLAIM = "left to the store"
_LONG = 12  # characters of a secret that stands in a text by no accident
_WORDS = {**dict.fromkeys(INVALID, LOOKS_INVALID), OPEN: PASSED, ACCEPTED: PASSED}
_NOBODY = ClientAddress("unknown", "https")
Fault = str | None


def parsers(given: Input, authenticator: Authenticator) -> tuple[str, Fault]:
    """Ask each reader of a request by itself; return how Authorization was read, and the first fault."""
    around, site = given.around, SITES[given.around.site]
    got = credentials.parse_credentials(given.values, schemeless=site.schemeless, limit=site.limit)
    wanted = read_header(given.values, schemeless=site.schemeless, limit=site.limit)
    accept = next(iter(given.header(b"accept")), None)
    preferred = prefers_problem(accept)
    name = CLAIM if isinstance(got, credentials.Credentials) else str(got)
    if preferred not in (None, response.prefers_problem(accept)):
        return name, f"problem+json: {not preferred}, expected {preferred} of {accept!r}"
    if authenticator._exemptions.cover(around.method, around.path) != is_exempt(around.method, around.path):
        return name, f"exempt: {not is_exempt(around.method, around.path)}"
    return name, _reading(got, wanted, given.values) or client_address(
        authenticator.client_address(Bare(given)), origin_of(given)
    )


def _reading(got: object, wanted: tuple[str, str] | frozenset[str], values: tuple[bytes, ...]) -> Fault:
    """A readable header holds the one canonical text of what was read out of it, and nothing shows the secret."""
    if not isinstance(got, credentials.Credentials):
        return None if isinstance(wanted, frozenset) and got in wanted else f"{got}, expected {wanted}"
    secret = got.secret.reveal()
    if (got.public_key, secret) != wanted:
        return f"{got!r}, expected {wanted}"
    if b64encode(f"{got.public_key}:{secret}".encode()) != values[0].strip(b" \t").split(b" ")[-1]:
        return f"{got!r} was read out of another text"
    return None if _hides(PendingCredentials(got, _NOBODY), secret) else "credentials show their secret"


def _hides(shown: object, secret: str) -> bool:
    """Tell whether a value shows nothing of a secret."""
    return len(secret) < _LONG or secret not in f"{shown!r} {shown}"


def check_pending(found: PendingCredentials, expected: Expected) -> Fault:
    """What is left to the store is the very pair that was sent, and one that needs it."""
    got = found.credentials
    if (got.public_key, got.secret.reveal()) != expected.pair:
        return f"the authenticator read {got.public_key!r} and a secret; sent was {expected.pair}"
    if not expected.outcomes & (INVALID | {PLAIN, ACCEPTED}):
        return f"a claim, expected {sorted(expected.outcomes)}"
    if (PLAIN if found.plain else "") not in (*expected.outcomes, ""):
        return "a claim over plain HTTP, expected https"
    return None


def client_address(found: ClientAddress, wanted: Origin) -> Fault:
    """Sources have one form each; nobody but a trusted proxy says where a request comes from, or that it is safe."""
    if not is_canonical(found.source):
        return f"the source {found.source!r} is in no canonical form"
    if wanted.source not in (None, found.source) or wanted.scheme not in (None, found.scheme):
        return f"it is said to come from {found}, expected {wanted}"
    return None


def decision(
    found: AuthDecision, authenticator: Authenticator, request: Bare, expected: Expected, pairs: Pairs
) -> Fault:
    """The outcome is the right one; who is let in is the pair's own account; who is not gets that outcome's answer."""
    outcome = OPEN if found.outcome is None else str(found.outcome)
    if outcome not in expected.outcomes:
        return f"{outcome}, expected {sorted(expected.outcomes)}"
    if found.passes:
        reference = "" if found.principal is None else found.principal.reference
        return _passed(reference, outcome, expected, pairs)
    sent = authenticator.error_response(found, request)
    told = str(found.public_outcome or found.outcome)
    accept = next(iter(request.header(b"accept")), None)
    return _refused(Answered(sent.status, sent.headers, sent.body), _WORDS.get(told, told), accept)


def answer(found: Answered, given: Input, expected: Expected, pairs: Pairs) -> Fault:
    """An answer says what one of the right outcomes says, and nothing else."""
    if found.status >= 500:
        return f"status {found.status}"
    word = read(found).word
    outcome = outcome_of(found, expected)
    if outcome is None:
        return f"{found.status} {word}, expected {sorted(expected.outcomes)}"
    if word == PASSED:
        return None if found.head else _passed(found.body.decode(), outcome, expected, pairs)
    return _refused(found, word, next(iter(given.header(b"accept")), None))


def outcome_of(found: Answered, expected: Expected) -> str | None:
    """Return which of the expected outcomes an answer tells of, if any."""
    word = read(found).word
    return next((outcome for outcome in expected.outcomes if _WORDS.get(outcome, outcome) == word), None)


def _passed(reference: str, outcome: str, expected: Expected, pairs: Pairs) -> Fault:
    whose = pairs.references[expected.pair[0]] if outcome == ACCEPTED and expected.pair else ""
    return None if reference == whose else f"let in as {reference!r}, expected {whose!r}"


def _refused(found: Answered, word: str, accept: bytes | None) -> Fault:
    said = read(found)
    if said.word != word:
        return f"the answer says {said.word!r}, expected {word!r}"
    preferred = prefers_problem(accept)
    if preferred not in (None, said.problem):
        return f"problem+json: {said.problem}, expected {preferred} of {accept!r}"
    if found.status == 429 and word != RATE_LIMITED:
        return "429 for what is not rate_limited"
    return None
