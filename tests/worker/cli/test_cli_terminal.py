"""Output on terminals: untrusted text sanitized, ids whole, colour where it is supported."""

import io
import re
import sys
import time
from datetime import UTC, datetime

import pytest
from rich.console import Console
from support.cli_rig import Octy, octy_for, open_incident
from support.world import World

from octy_middleware.domain.accounts import find_account
from octy_worker.cli import output, progress
from octy_worker.cli.doctor.check import Check, State, passed
from octy_worker.cli.doctor.command import page
from octy_worker.cli.views.incidents import list_table
from octy_worker.domain import incidents
from octy_worker.errors import CommandError
from octy_worker.reports.queries import list_incidents

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\u2066\u200b\r\nX-Fake: 1 [red]bold[/red] :bomb: \x9b31m"


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


# Untrusted text


def test_untrusted_text_is_sanitized_for_the_terminal(world, octy):
    """A database may hold what today's checks would refuse: imports, older releases."""
    pair, incident_id = open_incident(world, user_agent=HOSTILE)
    with world.database.write_session() as session:
        account = find_account(session, "acme")
        account.reference = HOSTILE
        account.contact_name = HOSTILE
        session.add(account)
        incidents.append_event(
            session,
            incident_id,
            key="x",
            actor="ada",
            what="noted",
            detail={"why": HOSTILE},
            now=time.time(),
        )
    commands = [
        ("accounts", "list"),
        ("accounts", "show", pair.account_id),
        ("incidents", "list"),
        ("incidents", "show", incident_id),
        ("keys", "list"),
        ("keys", "show", pair.public_key),
    ]
    for words in commands:
        for more in ((), ("--json",)):
            said = octy(*words, *more).must().stdout
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", said), words
            assert "[red]bold[/red] :bomb:" in said
            assert "\nX-Fake" not in said


def test_ids_are_printed_whole_without_a_terminal_and_on_narrow_ones(world, octy):
    pair, incident_id = open_incident(world, "a-customer-with-" + ".".join(["a-very-long-reference"] * 8))
    assert incident_id in octy("incidents", "list", COLUMNS="40").must().stdout
    assert pair.public_key in octy("keys", "list", COLUMNS="40", FORCE_COLOR="1").must().stdout
    assert pair.reference in octy("accounts", "list", COLUMNS="40").must().stdout
    with world.database.read_session() as session:
        table = list_table(list_incidents(session))
    for width in (80, 100, 40, 20):
        canvas = Console(width=width, force_terminal=True, no_color=True, record=True, file=io.StringIO())
        output.print_parts(canvas, [table])
        text = canvas.export_text()
        assert all(len(line) <= width for line in text.splitlines())
        cells = [line.split(" ")[0] for line in text.splitlines()]
        assert incident_id in "".join(cells).replace("─", "")
        assert (incident_id in cells) == (width >= 80)


# Colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_used_only_on_terminals_that_support_it(monkeypatch, variables, coloured):
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", **variables}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.print_page(*page([passed("database", "is there"), Check("worker", State.PROBLEM, "none", "start it")]))
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.getvalue())) is coloured
    assert "✗" in terminal.getvalue()


@pytest.mark.parametrize("typed", ["y\n", " YES \n"])
def test_yes_confirms(monkeypatch, typed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert output.confirm("?") is None


@pytest.mark.parametrize("typed", ["n\n", "", "\x1b[A\n", "yes please\n"])
def test_untrusted_answers_to_a_confirmation_count_as_no(monkeypatch, typed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    with pytest.raises(CommandError, match="cancelled, nothing was changed"):
        output.confirm("?")


def test_times_are_printed_in_utc():
    assert output.format_time(datetime(2026, 2, 3, 14, 15, 16, tzinfo=UTC)) == "2026-02-03 14:15:16Z"


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.show_progress("entries") as report:
        report("verified", 1, None)
        report("verified", 2, 2)
    assert "entries verified" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
