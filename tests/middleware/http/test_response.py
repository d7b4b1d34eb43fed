"""Error responses: readable by Octy's clients, the same bytes for equal outcomes, and content negotiation."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.errors import ConfigurationError
from octy_middleware.http.outcome import Outcome
from octy_middleware.http.response import build_error_response, check_realm, prefers_problem

REFUSED = [outcome for outcome in Outcome if outcome is not Outcome.ACCEPTED]
SAME = [Outcome.UNKNOWN_KEY, Outcome.WRONG_SECRET, Outcome.RETIRED, Outcome.RETIRED_WRONG]
REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
PROBLEM = b"application/problem+json"


def answer(outcome=Outcome.WRONG_SECRET, *, realm="Octy API", accept=None, retry_after=None):
    return build_error_response(outcome, realm=realm, accept=accept, retry_after=retry_after)


@pytest.mark.parametrize("outcome", REFUSED)
def test_error_body_is_readable_by_octy_clients(outcome):
    """Their decoder wants exactly these types; an empty list of errors would be taken for success."""
    refusal = answer(outcome)
    body = json.loads(refusal.body.decode("utf-8"))
    assert body["request_meta"] == {"request_status": "Failed", "message": outcome.spec.public_text}
    assert set(body["error"]) == {"code", "reason", "errors"}
    assert body["error"]["code"] == refusal.status == outcome.status
    assert body["error"]["reason"] == REASONS[refusal.status]
    assert len(body["error"]["errors"]) >= 1
    for error in body["error"]["errors"]:
        assert set(error) == {"error_message", "extended_help"}
        assert all(isinstance(text, str) for text in error.values())
        assert error["error_message"]
        assert "::" not in error["error_message"]


@pytest.mark.parametrize("outcome", REFUSED)
def test_error_body_is_a_valid_problem_document(outcome):
    """RFC 9457 3.1; the Go decoder matches names in any case, so no member may shadow one of the envelope."""
    body = json.loads(answer(outcome).body)
    assert body["type"] == "about:blank"
    assert body["title"] == REASONS[outcome.status]
    assert body["status"] == outcome.status
    assert body["detail"] == outcome.spec.public_text
    assert len({name.lower() for name in body}) == len(body)
    assert answer(outcome, accept=PROBLEM).body == answer(outcome).body


@pytest.mark.parametrize("outcome", REFUSED)
@pytest.mark.parametrize("accept", [None, PROBLEM], ids=["json", "problem"])
def test_error_response_has_its_headers(outcome, accept):
    refusal = answer(outcome, accept=accept)
    headers = dict(refusal.headers)
    assert len(headers) == len(refusal.headers)
    assert all(name == name.lower() for name in headers)
    assert headers[b"content-type"] == (PROBLEM if accept else b"application/json; charset=utf-8")
    assert headers[b"content-length"] == str(len(refusal.body)).encode()
    assert headers[b"cache-control"] == b"no-store"
    challenge = b'Basic realm="Octy API", charset="UTF-8"' if refusal.status == 401 else None
    assert headers.get(b"www-authenticate") == challenge
    assert (b"retry-after" in headers) == (refusal.status in {429, 503})
    assert b"location" not in headers


@pytest.mark.parametrize(
    ("outcome", "given_s", "sent"),
    [
        (Outcome.RATE_LIMITED, None, b"60"),
        (Outcome.RATE_LIMITED, 17, b"17"),
        (Outcome.RATE_LIMITED, -3, b"0"),
        (Outcome.DATABASE_UNAVAILABLE, None, b"5"),
        (Outcome.DATABASE_UNAVAILABLE, 0, b"0"),
        (Outcome.WRONG_SECRET, 17, None),
        (Outcome.PLAIN_HTTP, 17, None),
    ],
)
def test_retry_after_is_in_whole_seconds(outcome, given_s, sent):
    assert dict(answer(outcome, retry_after=given_s).headers).get(b"retry-after") == sent


@pytest.mark.parametrize("accept", [None, PROBLEM, b"*/*", b"junk"])
def test_unknown_wrong_and_retired_are_the_same_bytes(accept):
    assert len({answer(outcome, accept=accept) for outcome in SAME}) == 1


ACCEPTS = {
    "none": (None, False),
    "empty": (b"", False),
    "anything": (b"*/*", False),
    "json": (b"application/json", False),
    "problem": (PROBLEM, True),
    "problem in upper case": (PROBLEM.upper(), True),
    "both alike": (b"application/json, application/problem+json", False),
    "both alike, problem first": (b"application/problem+json,application/json", False),
    "problem preferred": (b"application/json;q=0.8, application/problem+json", True),
    "json preferred": (b"application/json, application/problem+json;q=0.9", False),
    "problem before anything": (b"application/problem+json, */*;q=0.1", True),
    "problem before any application": (b"application/*;q=0.5, application/problem+json;q=0.501", True),
    "specific beats wide": (b"*/*;q=1, application/problem+json;q=0.2", False),
    "wide beats widest": (b"application/json;q=0.3, application/*;q=0.5, */*;q=0.1", True),
    "named twice": (b"application/problem+json, application/problem+json;q=0, application/json;q=0.5", True),
    "json refused": (b"*/*, application/json;q=0", True),
    "problem refused": (b"application/problem+json;q=0, application/json;q=0", False),
    "any application alone": (b"application/*", False),
    "spaces": (b" application/problem+json ; q=1.0 , application/json ; Q=0.999", True),
    "parameters": (b"application/problem+json;profile=x;q=0.5, application/json;q=0.4", True),
    "browser": (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
    "problem+xml": (b"application/problem+xml", False),
    "longer name": (b"application/problem+jsonx", False),
    "weight over one": (b"application/problem+json;q=1.1", False),
    "weight of four digits": (b"application/problem+json;q=0.1234", False),
    "negative weight": (b"application/problem+json;q=-1, application/json;q=0", False),
    "no number": (b"application/problem+json;q=nan", False),
    "exponent": (b"application/problem+json;q=1e0", False),
    "infinity": (b"application/problem+json;q=inf", False),
    "empty weight": (b"application/problem+json;q=", False),
    "commas only": (b",,,;;;", False),
    "latin-1": (b"\xff/\xfe;q=\xfd, application/problem+json", True),
    "too long to read": (b"application/problem+json," + b"a/b," * 500, False),
}


@pytest.mark.parametrize(("accept", "problem"), ACCEPTS.values(), ids=ACCEPTS)
def test_accept_header_selects_the_content_type(accept, problem):
    assert prefers_problem(accept) is problem


tokens = st.sampled_from(
    [PROBLEM, b"application/json", b"*/*", b"application/*", b";", b",", b"q=", b"0.5", b"1", b"\xff", b" "]
)


@given(st.one_of(st.none(), st.binary(max_size=600), st.lists(tokens, max_size=20).map(b"".join)))
def test_any_accept_header_parses_without_error(accept):
    assert prefers_problem(accept) in {True, False}


@given(st.sampled_from(REFUSED), st.binary(max_size=40), st.one_of(st.none(), st.integers(-10, 10**9)))
def test_error_body_does_not_depend_on_the_request(outcome, accept, retry_after):
    assert answer(outcome, accept=accept, retry_after=retry_after).body == answer(outcome).body


REALMS = {
    "empty": "",
    "quote": 'Octy "API"',
    "backslash": "Octy\\API",
    "CR LF": "Octy\r\nSet-Cookie: a=b",
    "trailing line end": "Octy\n",
    "NUL": "Octy\x00",
    "tab": "Octy\tAPI",
    "DEL": "Octy\x7f",
    "umlaut": "Öcty",
}


@pytest.mark.parametrize("realm", REALMS.values(), ids=REALMS)
@pytest.mark.parametrize("outcome", [Outcome.MISSING, Outcome.PLAIN_HTTP])
def test_invalid_realm_is_named(realm, outcome):
    with pytest.raises(ConfigurationError, match="realm: "):
        check_realm(realm)
    with pytest.raises(ConfigurationError, match="realm: "):
        answer(outcome, realm=realm)


@pytest.mark.parametrize("realm", ["Octy API", "a", "keys of example.com [prod]", "it's ~ours!"])
def test_valid_realm_is_sent_unchanged(realm):
    assert check_realm(realm) == realm
    headers = dict(answer(realm=realm).headers)
    assert headers[b"www-authenticate"] == f'Basic realm="{realm}", charset="UTF-8"'.encode()


def test_accepted_outcome_has_no_error_response():
    with pytest.raises(ValueError, match="no error response"):
        answer(Outcome.ACCEPTED)
