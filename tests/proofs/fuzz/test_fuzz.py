"""The fuzzer on a small scale: a short run is clean and reaches everything, and faults that are planted are found."""

import json
import logging
from base64 import b64decode

import pytest

from octy_middleware.auth import authenticator
from octy_middleware.http import client_address, credentials, exempt_paths
from octy_middleware.http.outcome import Outcome
from octy_middleware.keys.secret import KeyHasher
from octy_middleware.recording.recorder import Recorder
from proofs.fuzz import campaign, sockets
from proofs.fuzz.__main__ import LANES
from proofs.fuzz.inputs import inputs
from proofs.fuzz.pairs import make_pairs
from proofs.fuzz.process import Share, run
from proofs.fuzz.reference import ALL, MALFORMED, OPEN
from proofs.fuzz.report import Report

SEED = 20


def short(**share):
    """A few thousand inputs without servers: enough for each fault below."""
    return run(Share(SEED, 4000, servers=(), **share))


@pytest.mark.timeout(300)
def test_a_short_run_is_clean_and_reaches_every_outcome_by_every_way(capsys):
    report = run(Share(SEED, 30_000))
    report.check_coverage(LANES)
    report.show(LANES)
    assert [str(found) for found in report.findings] == []
    assert capsys.readouterr().out.endswith("octy: 30,000 headers, seed 20, 0 exceptions\n")


def test_the_same_seed_makes_the_same_inputs():
    pairs = make_pairs(SEED)
    assert list(inputs(SEED, 3, pairs)) == list(inputs(SEED, 3, make_pairs(SEED)))
    assert list(inputs(SEED, 3, pairs)) != list(inputs(SEED, 4, pairs))
    assert make_pairs(SEED) != make_pairs(SEED + 1)


def test_processes_share_the_same_inputs():
    shares = [Share(SEED, 9500, index, 3) for index in range(3)]
    assert sorted(chunk for share in shares for chunk in share.chunks) == list(range(10))


def test_what_never_came_up_is_a_finding():
    report = Report(SEED)
    report.check_coverage(LANES)
    assert {found.text for found in report.findings} == {f"{name} never came up" for name in (*ALL, *LANES)}


def test_figures_are_what_the_table_shows(capsys):
    report = Report(SEED, played=7)
    report.seen[campaign.GATE, OPEN] = 4
    report.seen[sockets.LANES[0], MALFORMED] = 3
    assert json.loads(json.dumps(report.figures()))["seen"] == {
        "authenticator": {"open": 4},
        "uvicorn-h11": {"malformed": 3},
    }
    report.show(LANES)
    assert capsys.readouterr().out.endswith("octy: 7 headers, seed 20, 0 exceptions\n")


def lenient_base64(patch):
    """What `b64decode` does by itself: stray signs are dropped, trailing bits may be anything."""

    def decode(token):
        try:
            return b64decode(token)
        except ValueError:
            return None

    patch.setattr(credentials, "_decode", decode)


def raises_on_seldom_input(patch):
    """A reader that can't take what most requests don't hold."""
    read = client_address._weakest_scheme
    patch.setattr(client_address, "_weakest", lambda protos: protos[99] if b"," in protos else read(protos))


def takes_any_secret(patch):
    patch.setattr(KeyHasher, "verify", lambda self, secret, stored, row: stored is not None)


def counts_garbage(patch):
    """Each malformed header is a failed attempt against whom it looks like; the client is told the same as ever."""
    attacked = make_pairs(SEED).attacked[0]

    note = Recorder.record

    def blame(recorder, event):
        if event.outcome is Outcome.MALFORMED:
            event = event._replace(outcome=Outcome.WRONG_SECRET, public_key=attacked)
        return note(recorder, event)

    patch.setattr(Recorder, "record", blame)


def forgets_an_outcome(patch):
    """One request in many is answered and not recorded."""
    note = Recorder.record

    def forget(recorder, event):
        return event.outcome is Outcome.OVERSIZE or note(recorder, event)

    patch.setattr(Recorder, "record", forget)


def logs_what_it_reads(patch):
    read = authenticator.parse_credentials

    def telling(values, **options):
        got = read(values, **options)
        if isinstance(got, credentials.Credentials):
            logging.getLogger("octy_middleware").warning("read %s", got.secret.reveal())
        return got

    patch.setattr(authenticator, "parse_credentials", telling)


def shows_secrets(patch):
    patch.setattr(credentials.Secret, "__repr__", lambda self: f"Secret({self._text})")


def follows_dots(patch):
    patch.setattr(exempt_paths, "_is_ambiguous", lambda path: None)


def believes_everybody(patch):
    patch.setattr(client_address.TrustedProxies, "_look_up", lambda self, source: True)


def records_raw_words(patch):
    raw = "octy_middleware.http.event._printable"
    patch.setattr(raw, lambda text, limit: text[:limit].encode(errors="replace").decode())


def tells_unknown_keys(patch):
    """A refusal that differs for keys that were never issued."""
    refuse = authenticator.build_error_response

    def telling(outcome, **words):
        return refuse(Outcome.MISSING if outcome is Outcome.UNKNOWN_KEY else outcome, **words)

    patch.setattr(authenticator, "build_error_response", telling)


def crashes_in_the_adapter(patch):
    patch.setattr("octy_middleware.wsgi._as_text", lambda headers: headers[9])


PLANTED = {
    lenient_base64: "expected frozenset({'malformed'})",
    raises_on_seldom_input: "IndexError",
    takes_any_secret: "accepted, expected ['wrong_secret']",
    counts_garbage: "the attacked key failed",
    forgets_an_outcome: "recorded {",
    logs_what_it_reads: "a log shows a secret",
    shows_secrets: "credentials show their secret",
    follows_dots: "exempt: True",
    believes_everybody: "it is said to come from",
    records_raw_words: "an event holds what a terminal would act on",
    tells_unknown_keys: "the answer says 'missing', expected 'invalid'",
    crashes_in_the_adapter: "IndexError",
}


@pytest.mark.parametrize(("plant", "text"), PLANTED.items(), ids=[plant.__name__ for plant in PLANTED])
def test_a_planted_fault_is_found(monkeypatch, plant, text):
    plant(monkeypatch)
    assert any(text in found.text for found in short().findings)


def test_a_finding_says_how_to_make_it_again(monkeypatch):
    with monkeypatch.context() as patch:
        lenient_base64(patch)
        found = short().findings[0]
        assert f"reproduce: PYTHONPATH=tests python -m proofs.fuzz --seed {SEED} --only {found.number}" in str(found)
        assert [(again.number, again.text) for again in short(only=(found.number,)).findings] == [
            (found.number, found.text)
        ]
    assert short(only=(found.number,)).findings == []
