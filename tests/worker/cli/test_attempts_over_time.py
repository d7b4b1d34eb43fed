"""Attempts over time in SQL, and how `octy incidents show` draws them."""

import io
import time

import pytest
from rich.console import Console
from sqlalchemy import text
from support.cli_rig import fail, octy_for, open_incident
from support.in_session import in_session
from support.world import World

from octy_middleware import Outcome
from octy_middleware.db.models import Incident
from octy_middleware.states import Answer, Resolution
from octy_worker.cli.output import print_parts
from octy_worker.cli.views.incidents import Chart
from octy_worker.domain.histogram import Plot
from octy_worker.domain.incidents import CUSTOMER, answer_incident, close_incident, failures_over_time

START = time.time() // 3_600 * 3_600 - 7_200  # two hours ago or more, on the hour


def plot(world: World, incident_id: str) -> Plot | None:
    with world.database.read_session() as session:
        return failures_over_time(session, session.get_one(Incident, incident_id))


def counts(found: Plot) -> list[tuple[float, int]]:
    return [(each.at.timestamp() - START, each.count) for each in found.bins]


def test_attempts_over_time_of_a_burst_are_drawn_by_the_second(world):
    keys, incident_id = open_incident(world, at=START)
    fail(world, keys, 5, at=START + 3)
    fail(world, keys, 7, at=START + 3, outcome=Outcome.ACCEPTED)
    found = plot(world, incident_id)
    assert found.seconds == 1
    assert counts(found) == [(0, 20), (1, 0), (2, 0), (3, 5)]


def test_attempts_over_time_without_details_are_drawn_by_the_minute(world):
    keys, incident_id = open_incident(world, at=START)
    fail(world, keys, 80, at=START + 61, source="198.51.100.4")  # 60 of them in detail
    found = plot(world, incident_id)
    assert found.seconds == 60
    assert counts(found) == [(0, 20), (60, 80)]


def test_attempts_over_time_span_the_whole_incident(world):
    keys = world.register()
    fail(world, keys, 1, at=START - 300, outcome=Outcome.ACCEPTED)
    fail(world, keys, 4, at=START)
    fail(world, keys, 16, at=START + 600)
    [(incident_id,)] = world.rows("SELECT id FROM incident")
    in_session(
        world.database, answer_incident, incident_id, Answer.IT_WAS_US, leaked=False, by=CUSTOMER, now=START + 800
    )
    with world.database.write_session() as session:
        close_incident(session, incident_id, Resolution.FALSE_ALARM, quiet=0, now=START + 900)
    fail(world, keys, 3, at=START + 1_200)
    found = plot(world, incident_id)
    assert found.seconds == 30
    assert [each for each in counts(found) if each[1]] == [(0, 4), (600, 16)]


def test_attempts_over_time_without_counters_have_no_plot(world):
    _, incident_id = open_incident(world, at=START)
    with world.database.write() as connection:
        connection.execute(text("DELETE FROM incident_count"))
    assert plot(world, incident_id) is None
    octy = octy_for(world)
    assert octy("incidents", "show", incident_id, "--json").must().json["plot"] is None
    assert "over time" not in octy("incidents", "show", incident_id).must().stdout


@pytest.fixture
def chart(world) -> Chart:
    keys, incident_id = open_incident(world, at=START)
    fail(world, keys, 10, at=START + 2)
    return Chart(plot(world, incident_id), "Failures over time")


@pytest.mark.sqlite
def test_incidents_show_draws_attempts_over_time_in_ascii_and_json(world):
    keys, incident_id = open_incident(world, at=START)
    fail(world, keys, 10, at=START + 2)
    octy = octy_for(world)
    shown = octy("incidents", "show", incident_id, FORCE_COLOR="1").must().stdout
    assert "Failures over time, in UTC, one column is 1 second\n20 │██\n" in shown
    assert "\x1b" not in shown
    numbers = octy("incidents", "show", incident_id, "--json").must().json["plot"]
    assert numbers["seconds"] == 1
    assert [each["count"] for each in numbers["bins"]] == [20, 0, 10]


@pytest.mark.sqlite
@pytest.mark.parametrize(("encoding", "block"), [("utf-8", "██"), ("ascii", "##"), ("latin-1", "##")])
def test_incidents_show_draws_attempts_over_time_as_the_terminal_can(chart, encoding, block):
    written = io.BytesIO()
    screen = io.TextIOWrapper(written, encoding=encoding)
    print_parts(Console(file=screen, force_terminal=True, color_system="standard", width=80), [chart])
    screen.flush()
    drawn = written.getvalue().decode(encoding)
    assert f"{block}  {block}" in drawn
    assert "\x1b[31m" in drawn
