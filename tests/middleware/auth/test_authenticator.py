"""The authenticator: every outcome of a request, what is recorded of it, and that refusals cost the same."""

import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import event
from support.database_choice import on_one_database
from support.imported_key_pairs import have, put
from support.until import until
from support.world import FakeRequest, World, basic, listening, look_into

from octy_middleware import Authenticator, Outcome
from octy_middleware.auth.pending import PendingCredentials
from octy_middleware.http.decision import AuthDecision
from octy_middleware.keys.keychain import Keychain
from octy_middleware.recording.commit_waiter import ThreadWaiter
from octy_middleware.settings import Options

KNOWN_SHAPE = "pk_" + "0" * 28


def decide(authenticator: Authenticator, authorization: str | bytes | None = None, **given: object) -> Outcome | None:
    return authenticator.decide(FakeRequest(authorization, **given)).outcome


@pytest.mark.parametrize(
    ("name", "state", "header", "expected"),
    [
        ("right pair", "active", "right", Outcome.ACCEPTED),
        ("right pair, retiring", "retiring", "right", Outcome.ACCEPTED),
        ("wrong secret", "active", "wrong", Outcome.WRONG_SECRET),
        ("empty secret", "active", "empty", Outcome.WRONG_SECRET),
        ("retired pair, right secret", "retired", "right", Outcome.RETIRED),
        ("retired pair, wrong secret", "retired", "wrong", Outcome.RETIRED_WRONG),
        ("pending pair is unknown", "pending", "right", Outcome.UNKNOWN_KEY),
        ("unknown key", "active", "unknown", Outcome.UNKNOWN_KEY),
        ("nothing", "active", None, Outcome.MISSING),
        ("garbage", "active", "Basic !!!!", Outcome.MALFORMED),
        ("control characters", "active", "Basic \x01", Outcome.AMBIGUOUS),
        ("too long", "active", "Basic " + "A" * 2000, Outcome.OVERSIZE),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_every_outcome_of_a_request(world: World, name: str, state: str, header: str | None, expected: Outcome) -> None:
    keys = world.register()
    world.set_state(keys, state)
    headers = {
        "right": keys.basic(),
        "wrong": keys.basic("sk_wrong"),
        "empty": keys.basic(""),
        "unknown": basic(KNOWN_SHAPE, "x"),
    }
    with world.authenticator() as authenticator:
        assert decide(authenticator, headers.get(header or "", header)) is expected, name
    key = keys.public_key if expected in (Outcome.ACCEPTED, *_COUNTED_BY_KEY) else ""
    assert world.recorded(key) == {str(expected): 1}


_COUNTED_BY_KEY = (Outcome.WRONG_SECRET, Outcome.RETIRED, Outcome.RETIRED_WRONG)


@pytest.fixture
def refused(world: World) -> dict[str, str]:
    """Headers that must cost the same, by what is wrong with each."""
    keys, old = world.register(), world.register("old")
    world.set_state(old, "retired")
    return {
        "wrong": keys.basic("sk_wrong"),
        "wrong again": keys.basic("sk_other"),
        "unknown": basic(KNOWN_SHAPE, "x"),
        "retired": old.basic(),
        "retired, wrong": old.basic("sk_wrong"),
    }


def test_second_request_of_a_key_pair_needs_no_database(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        assert isinstance(authenticator.decide_from_memory(FakeRequest(keys.basic())), PendingCredentials)
        decision = authenticator.decide(FakeRequest(keys.basic()))
        again = authenticator.decide_from_memory(FakeRequest(keys.basic()))
        assert not isinstance(again, PendingCredentials)
        assert again.principal == decision.principal
        assert decision.principal is not None
        assert (decision.principal.identity, decision.principal.display_name) == ("acme", "acme")
        assert decision.principal.is_authenticated


def test_wrong_unknown_and_retired_take_the_same_steps(world: World, refused: dict[str, str]) -> None:
    """None of them is answered from memory: one look-up, one digest, one commit for each."""
    with world.authenticator() as authenticator:
        authenticator.decide(FakeRequest(refused["wrong"]))  # its key record is in memory now
        for header in refused.values():
            pending = authenticator.decide_from_memory(FakeRequest(header))
            assert isinstance(pending, PendingCredentials)
            decision = look_into(authenticator, pending, FakeRequest(header))
            assert isinstance(decision, AuthDecision)
            assert not decision.passes
    assert world.recorded() == {"wrong_secret": 3, "unknown_key": 1, "retired": 1, "retired_wrong": 1}


@pytest.mark.sqlite
def test_wrong_unknown_and_retired_cost_the_database_the_same_work(world: World, refused: dict[str, str]) -> None:
    """Counted in instructions of SQLite's machine: what time over a socket shows, on any day (T7)."""
    steps: list[int] = []

    def count() -> int:
        steps.append(1)
        return 0

    def listen(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(count, 1)

    work: dict[str, int] = {}
    now = time.time()  # stands still: a new minute would begin new counts in between
    with closing(
        Authenticator(world.settings(feed_interval=0.5, attempts_per_minute=5), clock=lambda: now)
    ) as authenticator:
        for _ in range(70):  # beyond the alert, the limit of details, and the last doubling before the count
            for header in refused.values():
                authenticator.decide(FakeRequest(header))
        authenticator.key_cache.stop()
        event.listen(authenticator.database.engine, "checkout", listen)
        authenticator.database.close()  # what is kept open is opened again
        authenticator.decide(FakeRequest(refused["wrong"]))  # SQLite reads the schema in its first statement
        for name, header in refused.items():
            steps.clear()
            authenticator.decide(FakeRequest(header))
            work[name] = len(steps)
        event.remove(authenticator.database.engine, "checkout", listen)
    assert work["wrong"] > 200
    apart = {name: abs(count - work["wrong"]) for name, count in work.items()}
    assert max(apart.values()) <= 9, work  # a row more or less is 12 or more


@pytest.mark.parametrize("rules", [{}, {"window_failures": 30}], ids=["two_rules", "third_rule"])
def test_wrong_unknown_and_retired_cost_the_same_statements(
    world: World, refused: dict[str, str], rules: Options
) -> None:
    """Equal work as a fact that no slow day can change: the database is asked the same things for each of them."""
    asked: dict[str, list[str]] = {}
    now = time.time()  # stands still: a new minute would begin new counts in between
    with world.authenticator(clock=lambda: now, feed_interval=0.5, **rules) as authenticator:
        for _ in range(25):  # up to the alert and beyond
            for header in refused.values():
                authenticator.decide(FakeRequest(header))
        authenticator.key_cache.stop()
        for name, header in refused.items():
            with listening(authenticator.database) as asked[name]:
                authenticator.decide(FakeRequest(header))
    assert len(asked["wrong"]) > 4
    assert asked == dict.fromkeys(refused, asked["wrong"])


@on_one_database  # decided before the database is asked
@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({}, {"scheme": "http"}, Outcome.PLAIN_HTTP),
        ({}, {"scheme": "https"}, Outcome.MISSING),
        ({}, {"scheme": "wss"}, Outcome.MISSING),
        ({}, {"scheme": "ws"}, Outcome.PLAIN_HTTP),
        ({"require_https": False}, {"scheme": "http"}, Outcome.MISSING),
        ({}, {"scheme": "http", "headers": {b"x-forwarded-proto": [b"https"]}}, Outcome.PLAIN_HTTP),
        (
            {"trusted_proxies": ("203.0.113.9",)},
            {"scheme": "http", "headers": {b"x-forwarded-proto": [b"https"]}},
            Outcome.MISSING,
        ),
        (
            {"trusted_proxies": ("203.0.113.9",)},
            {"scheme": "https", "headers": {b"x-forwarded-proto": [b"http"]}},
            Outcome.PLAIN_HTTP,
        ),
    ],
)
def test_plain_http_is_refused_unless_a_trusted_proxy_reports_https(
    world: World, options: dict[str, object], given: dict[str, object], expected: Outcome
) -> None:
    with world.authenticator(**options) as authenticator:
        assert decide(authenticator, **given) is expected


def test_key_pair_sent_over_plain_http_is_not_verified_from_memory(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        assert decide(authenticator, keys.basic("sk_wrong"), scheme="http") is Outcome.PLAIN_HTTP
    assert world.rows("SELECT COUNT(*) FROM streak") == [(0,)]


def test_source_is_taken_from_trusted_proxies_only(world: World) -> None:
    keys, forwarded = world.register(), {b"x-forwarded-for": [b"198.51.100.7"]}
    with world.authenticator() as authenticator:
        decide(authenticator, keys.basic("no"), headers=forwarded)
    with world.authenticator(trusted_proxies=("203.0.113.0/24",)) as authenticator:
        decide(authenticator, keys.basic("no"), headers=forwarded)
    assert world.rows("SELECT source FROM attempt ORDER BY id") == [("203.0.113.9",), ("198.51.100.7",)]
    networks = world.rows("SELECT network, length FROM streak ORDER BY network")
    assert networks == [("", 2), ("198.51.100.0/24", 1), ("203.0.113.0/24", 1)]


def test_recorded_request_fields_are_printable(world: World) -> None:
    hostile = b"\x1b[31mred\r\nSubject: x \xe2\x80\xae<script>" + b"A" * 1000
    headers = {b"user-agent": [hostile], b"x-request-id": [hostile]}
    with world.authenticator() as authenticator:
        decide(authenticator, basic(KNOWN_SHAPE, "x"), headers=headers, path="/\x1b]0;title\x07" + "p" * 500)
    [(user_agent, path, request_id)] = world.rows("SELECT user_agent, path, request_id FROM attempt")
    for text, length in (
        (user_agent, 200),
        (path, 200),
        (request_id, 36),
    ):  # an id of ours takes the place of free text
        assert text.isascii()
        assert text.isprintable()
        assert len(text) == length


@on_one_database  # decided before the database is asked
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("145", True),
        ("01a209b2-d425.x_Y", True),
        ("a" * 65, False),
        ("Reply to us", False),
        ("x@y.example", False),
    ],
)
def test_request_id_is_recorded_only_if_valid(world: World, given: str, kept: bool) -> None:
    with world.authenticator() as authenticator:
        decide(authenticator, basic(KNOWN_SHAPE, "x"), headers={b"x-request-id": [given.encode()]})
    [(request_id,)] = world.rows("SELECT request_id FROM attempt")
    assert (request_id == given) is kept


def test_host_without_the_pepper_answers_503_and_records_no_wrong_secret(world: World) -> None:
    """A rotation that reached the worker first must not alert every customer."""
    keys = world.register()
    with world.authenticator(peppers=Keychain.generate("k2")) as authenticator:
        for header in (keys.basic(), keys.basic("sk_wrong")):
            assert {decide(authenticator, header) for _ in range(25)} == {Outcome.DATABASE_UNAVAILABLE}
    assert world.rows("SELECT COUNT(*) FROM streak") == [(0,)]
    assert world.rows("SELECT COUNT(*) FROM incident") == [(0,)]


@on_one_database  # the digest itself cannot be verified
@pytest.mark.parametrize(
    ("digest", "reason"),
    [
        ("$octy-b2$k2$" + "0" * 64, "OCTY_PEPPERS lacks the key 'k2', or the digest is damaged"),
        ("$octy-b2$k1$0", "OCTY_PEPPERS lacks the key 'k1', or the digest is damaged"),
        ("$2b$31$" + "." * 53, "it is damaged or costs too much"),
    ],
    ids=["no such pepper", "damaged", "imported"],
)
def test_digest_that_this_host_cannot_verify_is_503_and_no_wrong_secret(
    world: World, caplog: pytest.LogCaptureFixture, digest: str, reason: str
) -> None:
    keys = world.register()
    if digest.startswith("$octy"):
        keys = put(world, keys, digest, None, keys.public_key)
    else:
        keys = have(world, keys, digest, "bcrypt")
    with world.authenticator() as authenticator:
        assert decide(authenticator, keys.basic()) is Outcome.DATABASE_UNAVAILABLE
    assert reason in caplog.text
    assert world.recorded() == {"database_unavailable": 1}


@on_one_database  # decided before the database is asked
def test_client_addresses_in_memory_are_bounded(world: World) -> None:
    with world.authenticator() as authenticator:
        first = authenticator.client_address(FakeRequest(peer="203.0.113.9"))
        for number in range(10_001):
            authenticator.client_address(FakeRequest(peer=f"10.0.{number // 256}.{number % 256}"))
        again = authenticator.client_address(FakeRequest(peer="203.0.113.9"))
    assert again == first
    assert again is not first  # it was forgotten meanwhile


@pytest.mark.sqlite
def test_no_secret_and_no_unknown_key_text_is_stored(world: World) -> None:
    keys, secret, typo = world.register(), "sk_" + "canary" * 8, "pk_canarycanarycanary0123456789"
    with world.authenticator() as authenticator:
        decide(authenticator, keys.basic(secret))
        decide(authenticator, basic(typo, secret))
        decide(authenticator, f"Bearer {secret}")
    world.database.close()
    content = b"".join(file.read_bytes() for file in world.folder.glob("octy.db*"))
    for canary in (secret, typo, keys.secret):
        assert canary.encode() not in content
    assert keys.public_key.encode() in content


def test_ten_thousand_failures_do_not_lock_out_the_right_secret(world: World) -> None:
    keys = world.register()
    with world.authenticator() as authenticator:
        request = FakeRequest(keys.basic("sk_wrong"))
        claims = [authenticator.decide_from_memory(request) for _ in range(10_000)]
        waiters = [ThreadWaiter() for _ in claims]
        for pending, waiter in zip(claims, waiters, strict=True):
            assert isinstance(pending, PendingCredentials)
            authenticator.finish(pending, request, waiter)
        assert decide(authenticator, keys.basic()) is Outcome.ACCEPTED
        for waiter in waiters:
            waiter.wait(30)
        assert {waiter.result.outcome for waiter in waiters} == {Outcome.WRONG_SECRET}
        assert decide(authenticator, keys.basic()) is Outcome.ACCEPTED
    assert world.recorded(keys.public_key) == {"wrong_secret": 10_000, "accepted": 2}
    assert world.rows("SELECT COUNT(*) FROM incident") == [(1,)]


@pytest.mark.sqlite
def test_unavailable_database_is_503_but_cached_key_pairs_are_accepted(world: World) -> None:
    keys = world.register()
    with world.authenticator(commit_timeout=0.5, batch_delay=0.05) as authenticator:
        assert decide(authenticator, keys.basic()) is Outcome.ACCEPTED
        aside = world.folder.with_name(world.folder.name + "-aside")
        time.sleep(0.2)
        authenticator.database.close()
        shutil.move(world.folder, aside)
        assert decide(authenticator, keys.basic()) is Outcome.ACCEPTED
        assert decide(authenticator, keys.basic("sk_wrong")) is Outcome.DATABASE_UNAVAILABLE
        assert decide(authenticator, basic(KNOWN_SHAPE, "x")) is Outcome.DATABASE_UNAVAILABLE
        assert decide(authenticator, None) is Outcome.MISSING
        shutil.move(aside, world.folder)
        tried: list[Outcome] = []

        def try_again() -> bool:
            tried.append(decide(authenticator, keys.basic("sk_wrong")))
            return tried[-1] is Outcome.WRONG_SECRET

        until(try_again, interval=0.1)
    assert world.recorded(keys.public_key) == {"accepted": 2, "wrong_secret": 1 + len(tried)}
    assert world.recorded("")["missing"] == 1
