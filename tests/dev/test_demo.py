"""`octy demo`: invalid files, exit status, differences that are reported. `test_whole_stack` runs it on a file."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from support.demo_attempts import HEADER, SMALL
from support.paths import EXAMPLES

from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.errors import InvalidInputError
from octy_worker.dev import demo
from octy_worker.dev.demo_input import parse
from octy_worker.dev.demo_oracle import expected_figures
from octy_worker.dev.demo_report import differences, show_figures
from octy_worker.dev.processes import ProcessError


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(SMALL, "utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "small.csv: line 1: the file is empty"), (HEADER.encode() + b"x,y,::1,refused\n", "line 2, column 1 (at)")],
)
def test_invalid_file_is_reported_before_anything_starts(data, temporary, tmp_path, content, fault):
    data.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        demo.run_demo(data, tmp_path / "report.json", console=Console(file=io.StringIO()), examples=EXAMPLES)
    assert fault in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_missing_file_or_folder_raises_invalid_input(data, tmp_path):
    console = Console(file=io.StringIO())
    with pytest.raises(InvalidInputError, match=r"none\.csv: No such file"):
        demo.run_demo(tmp_path / "none.csv", tmp_path / "report.json", console=console, examples=EXAMPLES)
    with pytest.raises(InvalidInputError, match=r"there is no folder .*nowhere for the report"):
        demo.run_demo(data, tmp_path / "nowhere" / "report.json", console=console, examples=EXAMPLES)


@pytest.mark.sqlite
def test_database_that_is_not_empty_is_refused(data, temporary, tmp_path, world, monkeypatch):
    report, console = tmp_path / "report.json", Console(file=io.StringIO())
    with pytest.raises(InvalidInputError, match=f"already has schema {SCHEMA_VERSION}"):
        demo.run_demo(data, report, console=console, examples=EXAMPLES, database=world.url)
    assert list(temporary.glob("octy-demo-*")) == []
    monkeypatch.setattr(demo, "run_in_stack", lambda *_: [])
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    assert demo.run_demo(data, report, console=console, examples=EXAMPLES, database=empty) == 0


@pytest.mark.parametrize(
    ("end", "code", "kept"),
    [
        (["incident of root: expected closed, found open"], 1, True),
        (ProcessError("worker ended with status 1"), 1, True),
        (TimeoutError("no fitting mail within 60 s"), 1, True),
        (KeyboardInterrupt(), 130, False),
        ([], 0, False),
    ],
)
def test_exit_status_and_kept_folder_follow_the_result(data, temporary, end, code, kept):
    def run(*_arguments):
        if isinstance(end, BaseException):
            raise end
        return end

    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "run_in_stack", run)
        assert (
            demo.run_demo(data, data.with_name("report.json"), console=Console(file=said, width=300), examples=EXAMPLES)
            == code
        )
    assert len(list(temporary.iterdir())) == kept
    for fault in end if isinstance(end, list) else [str(end)]:
        assert fault in said.getvalue()


def test_figures_without_an_incident_have_no_table_of_answers():
    said = io.StringIO()
    show_figures(Console(file=said), expected_figures(parse(f"{HEADER}2026-01-01T00:00:00Z,u,::1,refused\n".encode())))
    assert "Requests: 1, answered 1 × 401" in said.getvalue()
    assert "Answered incidents" not in said.getvalue()


def test_each_changed_figure_is_one_difference():
    promised = expected_figures(parse(SMALL.encode()))
    assert differences(promised, promised) == []
    changes = {
        "rows": 1,
        "answers": {"200": 84},
        "recorded": {"accepted": 3, "refused": 80},
        "alerts": promised.alerts[::-1],
        "mails": {"new_keys": 7, "alert": 5},
        "cases": (replace(promised.cases[0], old_pair=200), *promised.cases[1:]),
    }
    for name, value in changes.items():
        (line,) = differences(replace(promised, **{name: value}), promised)
        assert line.startswith(f"{name}: expected ")
