"""One run of everything, as small as can be, in a process of its own as `make bench` is: all figures and pages.

Nothing here depends on how long anything took.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from support.paths import TESTS

from proofs.benchmarks import flood, goals, refusals
from proofs.benchmarks.apps.contenders import BARE, CONTENDERS
from proofs.benchmarks.document import BENCHES
from proofs.benchmarks.hot_path import HOT_PATHS
from proofs.benchmarks.lab import NAMES
from proofs.benchmarks.over_http import contenders_on, databases_on
from proofs.benchmarks.servers import COMMANDS
from proofs.benchmarks.sizes import TINY

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "proofs.benchmarks", "--size", "tiny", "--seed", "7"]
    places = ["--report", str(folder / "report.json"), "--write", str(folder)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run([*command, *places], env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "octy: bench is done" in done.stdout
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return json.loads((folder / "report.json").read_text())


def spreads(figures):
    """Yield every spread in a tree of figures."""
    if isinstance(figures, dict) and set(figures) == {"median", "low", "high", "least", "most", "rounds"}:
        yield figures
    elif isinstance(figures, dict):
        for value in figures.values():
            yield from spreads(value)


def test_report_has_every_bench_and_says_how_to_repeat_the_run(report):
    assert list(report["benches"]) == list(BENCHES)
    assert (report["seed"], report["size"]) == (7, "tiny")
    assert report["command"].startswith("python -m proofs.benchmarks --size tiny --seed 7")
    assert {"cores", "python", "uvicorn", "granian", "sqlite"} <= set(report["machine"])


@pytest.mark.parametrize("name", BENCHES)
def test_every_spread_comes_from_rounds(report, name):
    found = list(spreads(report["benches"][name]))
    assert found
    for spread in found:
        assert spread["rounds"] >= 1
        assert spread["least"] <= spread["low"] <= spread["median"] <= spread["high"] <= spread["most"]


def test_in_process_compares_every_contender_with_its_base(report):
    arms = report["benches"]["in_process"]["arms"]
    assert set(arms) == {contender.name for contender in CONTENDERS}
    for arm in arms.values():
        base = arms[arm["base"]]
        assert arm["cpu_ratio"]["rounds"] == base["cpu_us"]["rounds"] == TINY.process_rounds
        assert base["added_cpu_us"]["most"] == base["added_wall_us"]["least"] == 0.0
        assert base["wall_ratio"]["least"] == base["wall_ratio"]["most"] == 1.0


def test_over_http_has_contenders_and_a_control_on_every_server(report):
    servers = report["benches"]["over_http"]["servers"]
    assert set(servers) == set(COMMANDS)
    for server, arms in servers.items():
        assert set(arms) == {each.name for each in contenders_on(server, databases_on(server, tuple(NAMES), TINY))}
        assert any("(A/A)" in name for name in arms)
        for arm in arms.values():
            assert arm["per_second"]["least"] > 0
            assert arm["cpu_us"]["least"] > 0
            assert arms[arm["base"]]["throughput_ratio"]["median"] == arms[arm["base"]]["cpu_ratio"]["median"] == 1.0
    assert BARE in servers["granian (ASGI)"]


def test_hot_paths_have_calls_of_accepted_requests_on_the_running_python(report):
    found = report["benches"]["hot_paths"]
    [paths] = found["pythons"].values()
    assert set(paths) == set(HOT_PATHS)
    assert {name: row["calls"] for name, row in paths.items() if "calls" in row} == found["calls"]
    assert all(calls > 0 for calls in found["calls"].values())


def test_refusals_has_both_databases_and_the_control(report):
    arms = report["benches"]["refusals"]["arms"]
    ours = {
        name(database) for database in NAMES for name in (refusals.one_key, refusals.many_keys, refusals.one_connection)
    }
    one_core = {refusals.one_key(database) + refusals.ONE_CORE for database in NAMES}
    control = {refusals.UNRECORDED, refusals.AGAIN, refusals.UNRECORDED + refusals.ONE_CORE}
    assert set(arms) == {*ours, *one_core, *control}
    assert arms[refusals.UNRECORDED]["ratio"]["median"] == 1.0


def test_flood_has_both_databases_with_and_without_a_flood(report):
    databases = report["benches"]["flood"]["databases"]
    assert set(databases) == set(NAMES)
    for rates in databases.values():
        [(rate, found)] = rates.items()
        assert int(rate) in TINY.rates
        calm = {arm for arm, row in found["arms"].items() if "refused_p50_ms" not in row}
        assert calm == {arm + flood.CALM for arm in (flood.OURS, flood.CONTROL_ARM, flood.FIRST_USE)}
        assert all(row["sync_ms"]["least"] > 0 for row in found["arms"].values())


def test_alerts_keys_and_tables_have_their_sizes(report):
    benches = report["benches"]
    assert len(benches["alerts"]["all_ms"]) == TINY.incidents
    assert set(benches["keys"]["memory"]) == {str(size) for size in TINY.keys}
    for database in NAMES:
        assert set(benches["keys"]["databases"][database]["sizes"]) == {str(size) for size in TINY.keys}
        assert set(benches["tables"]["databases"][database]) == {str(size) for size in TINY.outcomes}


def test_only_goals_of_larger_sizes_and_the_whole_suite_are_not_measured(report):
    missing = goals.not_measured(report["benches"])
    suite = [goal for goal in goals.GOALS if "make test" in goal.goal]  # measured, if it ran on this commit
    sized = [goal for goal in goals.GOALS if "000" in goal.goal]
    assert [goal for goal in missing if goal not in suite] == sized
    assert len(report["goals"]) == len(goals.GOALS) - len(missing)


def test_page_has_every_table_and_plot(report, folder):
    page = (folder / "benchmarks.md").read_text()
    for name, bench in BENCHES.items():
        for table in bench.tables(report["benches"][name]):
            assert f"## {table.title}\n" in page
            assert all(len(row) == len(table.columns) for row in table.rows)
            assert table.rows
        for plot in bench.plots(report["benches"][name]):
            assert f"(bench-{plot.name}.svg)" in page
            assert len(ET.parse(folder / f"bench-{plot.name}.svg").findall(".//{*}rect")) == len(plot.bars) + 1
    assert "## Goals" in page
    assert str(folder) not in page.replace(report["command"], "")
