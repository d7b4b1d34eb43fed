"""The fuzzer on a small scale: a short run is clean and reaches everything, and planted faults are found."""

import logging
import re
from base64 import b64decode, b64encode

import pytest

from octy_middleware.auth import authenticator
from octy_middleware.http import client_address, credentials
from octy_middleware.http.outcome import Outcome
from octy_middleware.recording.recorder import Recorder
from proofs.fuzz.__main__ import ALL_ENTRY_POINTS, main
from proofs.fuzz.fuzzer import Share, run
from proofs.fuzz.keys import make_keys
from proofs.fuzz.reference import ALL, MALFORMED, OPEN
from proofs.fuzz.report import Report
from proofs.fuzz.request import FuzzRequest, from_text, to_text
from proofs.fuzz.session import MEMORY

SEED = 20


def short(headers=9000, **share):
    """Some thousand requests without servers. 4,000 missed a fault once: examples depend on the environment."""
    return run(Share(SEED, headers, servers=(), **share))


@pytest.mark.timeout(300)
def test_short_run_is_clean_and_reaches_every_outcome_and_entry_point(capsys):
    report = run(Share(SEED, 20_000))
    report.check_coverage(ALL_ENTRY_POINTS)
    report.show(ALL_ENTRY_POINTS)
    assert [str(found) for found in report.findings] == []
    assert report.by_hypothesis == 1000
    assert capsys.readouterr().out.endswith("octy: 20,000 headers, seed 20, 0 findings\n")


def test_same_seed_makes_the_same_requests():
    first, again, other = (run(Share(seed, 300, servers=())).seen for seed in (SEED, SEED, SEED + 1))
    assert first == again != other
    assert make_keys(SEED) == make_keys(SEED) != make_keys(SEED + 1)


def test_shares_of_processes_make_up_the_whole():
    assert sum(Share(SEED, 9501, index, 3).size for index in range(3)) == 9501


def test_what_never_came_up_is_a_finding():
    report = Report(SEED)
    report.check_coverage(ALL_ENTRY_POINTS)
    assert {found.text for found in report.findings} == {f"{name} never came up" for name in (*ALL, *ALL_ENTRY_POINTS)}


def test_report_shows_how_many_there_were(capsys):
    report = Report(SEED, headers=7)
    report.seen.update({(MEMORY, OPEN): 4, (ALL_ENTRY_POINTS[-1], MALFORMED): 3})
    report.show(ALL_ENTRY_POINTS)
    shown = capsys.readouterr().out
    assert re.search(r"│ open +│ +4 │ +0 │.* 4 │\n", shown)
    assert shown.endswith("octy: 7 headers, seed 20, 0 findings\n")


def lenient_base64(patch):
    """What `b64decode` does by itself: other characters are dropped, trailing bits may be anything."""

    parse = authenticator.parse_credentials

    def lenient(values, *args, **options):
        found = parse(values, *args, **options)
        if found is not Outcome.MALFORMED:
            return found
        scheme, _, token = values[0].strip(b" \t").rpartition(b" ")
        try:
            return parse([scheme + b" " + b64encode(b64decode(token))], *args, **options)
        except ValueError:
            return found

    patch.setattr(authenticator, "parse_credentials", lenient)


def raises_on_rare_input(patch):
    resolve = client_address.TrustedProxies.resolve

    def fragile(proxies, peer, peer_scheme, hops, protos, *rest):
        assert all(value[99] for value in protos if b"," in value)
        return resolve(proxies, peer, peer_scheme, hops, protos, *rest)

    patch.setattr(client_address.TrustedProxies, "resolve", fragile)


def counts_malformed_as_wrong(patch):
    """Each malformed header is a failed attempt against a key; the client sees the same as ever."""
    attacked = make_keys(SEED).attacked[0]
    record = Recorder.record

    def blame(recorder, event):
        if event.outcome is Outcome.MALFORMED:
            event = event._replace(outcome=Outcome.WRONG_SECRET, public_key=attacked)
        return record(recorder, event)

    patch.setattr(Recorder, "record", blame)


def forgets_an_outcome(patch):
    record = Recorder.record
    patch.setattr(
        Recorder, "record", lambda recorder, event: event.outcome is Outcome.OVERSIZE or record(recorder, event)
    )


def logs_secrets(patch):
    parse = authenticator.parse_credentials

    def logging_parse(values, **options):
        found = parse(values, **options)
        if isinstance(found, credentials.Credentials):
            logging.getLogger("octy_middleware").warning("read %s", found.secret.reveal())
        return found

    patch.setattr(authenticator, "parse_credentials", logging_parse)


def shows_unknown_keys(patch):
    """A response that differs for keys that were never issued."""
    build = authenticator.build_error_response

    def showing(outcome, **options):
        return build(Outcome.MISSING if outcome is Outcome.UNKNOWN_KEY else outcome, **options)

    patch.setattr(authenticator, "build_error_response", showing)


def replaces(name, replacement):
    """Plant a fault that is one function in the place of another."""
    return lambda patch: patch.setattr(f"octy_middleware.{name}", replacement)


PLANTED = {
    "lenient base64": (lenient_base64, "sent was None"),
    "raises on rare input": (raises_on_rare_input, "IndexError"),
    "accepts any secret": (
        replaces("keys.secret.KeyHasher.verify", lambda self, secret, stored, row: stored is not None),
        "accepted, expected ['wrong_secret']",
    ),
    "counts malformed as wrong": (counts_malformed_as_wrong, "the attacked key failed"),
    "forgets an outcome": (forgets_an_outcome, "recorded {"),
    "logs secrets": (logs_secrets, "a log shows a secret"),
    "shows secrets": (
        replaces("http.credentials.Secret.__repr__", lambda self: f"Secret({self._text})"),
        "credentials show their secret",
    ),
    "follows dots": (replaces("http.exempt_paths._is_ambiguous", lambda path: None), "open, expected"),
    "trusts every peer": (
        replaces("http.client_address.TrustedProxies._look_up", lambda self, source: True),
        "it is said to come from",
    ),
    "records raw text": (
        replaces("http.event._printable", lambda text, limit: text[:limit].encode(errors="replace").decode()),
        "an event holds what a terminal would act on",
    ),
    "records another source": (replaces("http.event.counted_source", lambda source: "192.0.2.1"), "an event holds"),
    "shows unknown keys": (shows_unknown_keys, "the response says 401 'missing', expected ['invalid']"),
    "raises in the adapter": (replaces("wsgi._as_text", lambda headers: headers[9]), "IndexError"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found(monkeypatch, name):
    plant, text = PLANTED[name]
    plant(monkeypatch)
    assert any(text in found.text for found in short().findings)


def test_finding_is_small_and_says_how_to_play_it_again(monkeypatch):
    with monkeypatch.context() as patch:
        lenient_base64(patch)
        found = short(headers=1000).findings[0]
        assert found.request == FuzzRequest(found.request.values)  # the usual surroundings
        assert len(found.request.values) == 1
        seed, text = re.search(r"reproduce: .* --seed (\d+) --request (\S+)$", str(found)).groups()
        assert int(seed) == SEED
        again = short(only=from_text(text)).findings
        assert {one.request for one in again} == {found.request}
    assert short(only=from_text(text)).findings == []


def test_command_plays_one_request(capsys):
    text = to_text(FuzzRequest(values=(b"Basic \xff\x00'",)), MEMORY)
    assert main(["--seed", str(SEED), "--request", text]) == 0
    assert capsys.readouterr().out.endswith("octy: 1 headers, seed 20, 0 findings\n")
