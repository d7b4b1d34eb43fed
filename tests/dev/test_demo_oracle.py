"""The figures that the demo expects, for the default data and for small inputs."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from support.paths import EXAMPLES

from octy_worker.dev.demo_input import Row, parse
from octy_worker.dev.demo_oracle import Alert, AnsweredIncident, expected_alerts, expected_figures

DATA = EXAMPLES / "data" / "login-attempts.csv"
HERE, THERE = "192.0.2.1", "198.51.100.1"


def rows(*runs: tuple[str, str, int] | tuple[str, str, int, str]) -> list[Row]:
    """Return rows from (outcome, source, how many[, user])."""
    made: list[Row] = []
    for outcome, source, count, *user in runs:
        for _ in range(count):
            number = len(made) + 1
            at = datetime(2026, 1, 1, tzinfo=UTC)
            made.append(Row(number, at, (user or ["u"])[0], ip_address(source), outcome == "ok"))
    return made


def test_default_data_gives_the_expected_alerts():
    expected = expected_figures(parse(DATA.read_bytes()))
    assert [(alert.user, alert.row) for alert in expected.alerts] == [
        ("root", 145),
        ("elastic_user_0", 201),
        ("admin", 536),
        ("pi", 738),
        ("(empty)", 774),
        ("ubnt", 1024),
    ]
    assert {(alert.length, alert.rule) for alert in expected.alerts} == {(20, "key")}
    assert expected.answers == {"200": 226, "401": 1042}
    assert expected.recorded == {"accepted": 226, "refused": 1042}
    assert expected.mails == {"new_keys": 33, "alert": 6}
    assert expected.cases == (
        AnsweredIncident("root", "not_us", leaked=True, old_pair=401, new_pair=200),
        AnsweredIncident("elastic_user_0", "it_was_us", leaked=False, old_pair=200, new_pair=None),
        AnsweredIncident("admin", "regenerate", leaked=False, old_pair=200, new_pair=200),
    )


@pytest.mark.parametrize(
    ("given", "alerts"),
    [
        (rows(("no", HERE, 19)), []),
        (rows(("no", HERE, 20)), [("u", 20, "key")]),
        (rows(("no", HERE, 60)), [("u", 20, "key")]),
        (rows(("no", HERE, 19), ("ok", HERE, 1), ("no", HERE, 19)), []),
        (rows(("no", HERE, 19), ("ok", "192.0.2.99", 1), ("no", HERE, 19)), []),
        (rows(("no", HERE, 19), ("ok", THERE, 1), ("no", HERE, 1)), [("u", 21, "source")]),
        (rows(("no", HERE, 10), ("no", THERE, 10)), [("u", 20, "key")]),
        (rows(("no", HERE, 10), ("ok", THERE, 1), ("no", THERE, 10), ("no", HERE, 10)), [("u", 31, "key")]),
        (rows(("no", HERE, 19, "a"), ("no", HERE, 19, "b"), ("no", HERE, 1, "a")), [("a", 39, "key")]),
        (rows(("no", "2001:db8::1", 19), ("ok", HERE, 1), ("no", "2001:db8::ffff:1", 1)), [("u", 21, "source")]),
        (rows(("no", "2001:db8::1", 19), ("ok", HERE, 1), ("no", "2001:db8:0:1::1", 1)), []),
        (rows(("no", "::ffff:192.0.2.9", 19), ("ok", THERE, 1), ("no", HERE, 1)), [("u", 21, "source")]),
    ],
)
def test_expected_figures_follow_the_policy(given, alerts):
    assert expected_alerts(given) == tuple(Alert(user, row, 20, rule) for user, row, rule in alerts)


def test_expected_figures_of_few_incidents_and_outcomes():
    expected = expected_figures(rows(("no", HERE, 20)))
    assert expected.answers == {"401": 20}
    assert expected.recorded == {"accepted": 0, "refused": 20}
    assert expected.mails == {"new_keys": 2, "alert": 1}
    assert [case.answer for case in expected.cases] == ["not_us"]
    assert expected_figures(rows(("ok", HERE, 1))).mails == {"new_keys": 1, "alert": 0}
