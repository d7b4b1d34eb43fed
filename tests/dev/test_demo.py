"""`octy demo` on a small file: the figures are as expected, and differences are reported."""

import io
import json
import subprocess
import tempfile
from dataclasses import replace
from uuid import UUID

import pytest
from rich.console import Console
from support.paths import EXAMPLES

from octy_middleware.errors import InvalidInputError
from octy_worker.dev import demo
from octy_worker.dev.demo_input import parse
from octy_worker.dev.demo_oracle import expected_figures
from octy_worker.dev.demo_report import differences
from octy_worker.dev.processes import ProcessError

HEADER = "at,user,source,outcome\n"


def attempts(outcome: str, user: str, source: str, count: int) -> str:
    return f"2017-03-27T13:08:09Z,{user},{source},{outcome}\n" * count


SMALL = HEADER + "".join([
    attempts("accepted", "calm", "192.0.2.1", 2),
    attempts("refused", "zoë", "192.0.2.1", 21),
    attempts("refused", '"a, [b]"', "2001:db8::1", 19),
    attempts("accepted", '"a, [b]"', "192.0.2.1", 1),
    attempts("refused", '"a, [b]"', "2001:db8::2", 1),
    attempts("refused", "third", "192.0.2.1", 10),
    attempts("refused", "third", "198.51.100.1", 10),
    attempts("refused", "fourth", "192.0.2.9", 20),
])  # fmt: skip


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text(SMALL, "utf-8")
    return path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The place for temporary folders, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_demo_of_a_small_file_gives_the_expected_results(data, temporary, tmp_path):
    said = io.StringIO()
    code = demo.run_demo(data, tmp_path / "report.json", console=Console(file=said, width=120), examples=EXAMPLES)
    assert code == 0, said.getvalue()
    report = json.loads((tmp_path / "report.json").read_text())
    seconds = report.pop("seconds")
    assert 0 < seconds < 120
    audit = report.pop("audit")
    assert audit["verified"] is True
    assert audit["entries"] > 20
    [signed] = report.pop("staff")
    order = signed.pop("order")
    assert str(UUID(order)) == order
    assert signed == {
        "user": "third", "actor": "demo.staff", "certificate_serial": 1, "factor": "totp", "verified": True,
    }  # fmt: skip
    assert report == {
        "rows": 84,
        "answers": {"200": 3, "401": 81},
        "recorded": {"accepted": 3, "refused": 81},
        "alerts": [
            {"user": "zoë", "row": 22, "length": 20, "rule": "key"},
            {"user": "a, [b]", "row": 44, "length": 20, "rule": "source"},
            {"user": "third", "row": 64, "length": 20, "rule": "key"},
            {"user": "fourth", "row": 84, "length": 20, "rule": "key"},
        ],
        "mails": {"new_keys": 7, "alert": 4},
        "cases": [
            {"user": "zoë", "answer": "not_us", "leaked": True, "old_pair": 401, "new_pair": 200},
            {"user": "a, [b]", "answer": "it_was_us", "leaked": False, "old_pair": 200, "new_pair": None},
            {"user": "third", "answer": "regenerate", "leaked": False, "old_pair": 200, "new_pair": 200},
        ],
    }
    for line in (
        "accounts opened: 5",
        "support staff (demo.staff) decides: regenerate",
        "incident closed: false alarm",
        "Signed order: demo.staff about third, certificate 1, second factor totp, verified",
        "entries, verified",
    ):
        assert line in said.getvalue()
    assert "sk_" not in said.getvalue()
    assert list(temporary.iterdir()) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(temporary) not in running


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
