"""The arithmetic and the pages, on figures with known results. Nothing is timed here."""

import xml.etree.ElementTree as ET
from collections import Counter
from random import Random

import pytest

from proofs.benchmarks import flood, goals, refusals, spread
from proofs.benchmarks import over_http as http_bench
from proofs.benchmarks.apps.contenders import BARE, BY_NAME, CONTENDERS, STARLETTE, recording
from proofs.benchmarks.generator import Load
from proofs.benchmarks.plot import scale, svg
from proofs.benchmarks.presentation import Bar, Plot, Table, markdown, shown
from proofs.benchmarks.servers import UVICORN
from proofs.benchmarks.spread import Spread, play


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], Spread(3, 3, 3, 3, 3, 1)),
        ([1.0, 3.0], Spread(2, 1.5, 2.5, 1, 3, 2)),
        ([5.0, 1.0, 2.0, 4.0, 3.0], Spread(3, 2, 4, 1, 5, 5)),
        ([1.0, 1.0, 1.0, 1.0, 100.0], Spread(1, 1, 1, 1, 100, 5)),
    ],
    ids=["one round", "two rounds", "any order", "an outlier moves the extremes alone"],
)
def test_spread_has_median_quartiles_and_extremes(values, expected):
    assert Spread.of(values) == expected


def test_spread_of_no_rounds_raises():
    with pytest.raises(ValueError, match="no rounds"):
        Spread.of([])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 3.0], (2.0, 1.0, 3.0)),
        ([float(n) for n in range(101)], (50.0, 40.0, 60.0)),
        ([*[1.0] * 100, 50.0], (1.0, 1.0, 1.0)),
    ],
    ids=["too few rounds", "ranks", "an outlier"],
)
def test_median_interval_comes_from_ranks(values, expected):
    assert spread.median_interval(values) == expected


@pytest.mark.parametrize("compare", [spread.ratios, spread.differences])
def test_comparing_different_numbers_of_rounds_raises(compare):
    with pytest.raises(ValueError, match="zip"):
        compare([1.0, 2.0], [1.0])


def test_play_runs_every_arm_in_every_round_in_changing_order_and_drops_the_warm_up():
    arms, played = ["a", "b", "c", "d"], []
    series = play(arms, 20, Random(1), lambda arm: {"turn": played.append(arm) or len(played)}, warm_up=2)
    rounds = [tuple(played[start : start + 4]) for start in range(0, len(played), 4)]
    assert len(rounds) == 22
    assert all(sorted(order) == arms for order in rounds)
    assert len(set(rounds)) > 5
    assert sorted(turn for arm in arms for turn in series[arm]["turn"]) == list(range(9, 89))


def test_ratios_within_a_round_do_not_depend_on_the_machines_speed():
    """Each round the machine is twice as slow; the slow arm is three times as slow as the base in each of them."""
    played = Counter()

    def measure(arm):
        played[arm] += 1
        return {"us": 2.0 ** played[arm] * (3 if arm == "slow" else 1)}

    series = play(["base", "slow", "base again"], 6, Random(3), measure)
    compared = {arm: Spread.of(spread.ratios(figures["us"], series["base"]["us"])) for arm, figures in series.items()}
    assert compared["slow"] == Spread(3, 3, 3, 3, 3, 6)
    assert compared["base again"] == compared["base"] == Spread(1, 1, 1, 1, 1, 6)


def test_over_http_ratios_are_below_one_for_less_throughput_or_more_cpu():
    series = {
        BARE: {"per_second": [1000.0, 2000.0], "cpu_us": [10.0, 20.0]},
        STARLETTE: {"per_second": [500.0, 1500.0], "cpu_us": [40.0, 40.0]},
    }
    found = http_bench.summary(series, dict.fromkeys(series, BARE))
    assert found[BARE]["throughput_ratio"].median == found[BARE]["cpu_ratio"].median == 1.0
    assert found[STARLETTE]["throughput_ratio"] == Spread.of([0.5, 0.75])
    assert found[STARLETTE]["cpu_ratio"] == Spread.of([0.25, 0.5])


def test_refusals_are_compared_with_the_control_under_the_same_load_in_the_same_round():
    arm = {"p50_ms": [1.0, 1.0], "p99_ms": [2.0, 2.0], "cpu_us": [50.0, 50.0]}
    ours = refusals.one_key("sqlite")
    series = {
        refusals.UNRECORDED: {**arm, "per_second": [100.0, 400.0]},
        ours: {**arm, "per_second": [80.0, 200.0], "cpu_us": [100.0, 200.0]},
        refusals.UNRECORDED + refusals.ONE_CORE: {**arm, "per_second": [50.0, 50.0], "cpu_us": [25.0, 25.0]},
        ours + refusals.ONE_CORE: {**arm, "per_second": [25.0, 25.0]},
        ours + refusals.ONE_CONNECTION: {**arm, "per_second": [1.0, 1.0], "p50_syncs": [3.0, 5.0]},
    }
    found = refusals.summary(series)
    assert (found[ours]["ratio"], found[ours]["cpu_cost"]) == (Spread.of([0.8, 0.5]), Spread.of([2.0, 4.0]))
    one_core = found[ours + refusals.ONE_CORE]
    assert (one_core["ratio"].median, one_core["cpu_cost"].median) == (0.5, 2.0)
    assert "ratio" not in found[ours + refusals.ONE_CONNECTION]
    assert found[ours + refusals.ONE_CONNECTION]["p50_syncs"].median == 4.0


def test_latency_in_fdatasyncs_is_of_that_moment():
    found = refusals.figures_of(Load(([0.002, 0.001, 0.003],), 1.5, 0.3), sync=0.0005)
    assert (found["per_second"], found["p50_ms"], found["p50_syncs"]) == (2.0, 2.0, 4.0)
    assert found["cpu_us"] == pytest.approx(1e5)


def test_flood_summary_subtracts_the_control():
    row = {"accepted_p50_ms": [1.0], "accepted_p99_ms": [2.0], "sync_ms": [0.5]}
    series = {
        flood.OURS: {**row, "refused_p50_ms": [3.0], "refused_p99_ms": [9.0], "accepted_p99_ms": [3.0]},
        flood.CONTROL_ARM: {**row, "refused_p50_ms": [1.0], "refused_p99_ms": [4.0]},
        flood.AGAIN: {**row, "refused_p50_ms": [1.0], "refused_p99_ms": [4.0], "accepted_p99_ms": [2.5]},
        flood.OURS + flood.CALM: {**row, "accepted_p99_ms": [1.5]},
        flood.FIRST_USE: {**row, "accepted_p99_ms": [7.0]},
    }
    found = flood.summary(series)
    medians = {key: value.median for key, value in found.items() if key != "arms"}
    assert medians == {
        "added_p50_ms": 2.0,
        "added_p99_ms": 5.0,
        "added_p50_syncs": 4.0,
        "accepted_p99_ratio": 1.5,
        "accepted_p99_to_calm": 2.0,
        "first_use_p99_ms": 7.0,
        "accepted_p99_noise": 1.25,
    }


def test_highest_takes_the_first_sustained_rate():
    assert flood.highest((2000, 1500, 500), lambda rate: rate < 1600) == 1500
    with pytest.raises(RuntimeError, match="not even 500"):
        flood.highest((2000, 500), lambda _rate: False)


def test_every_base_of_a_contender_is_its_own_base():
    assert len(BY_NAME) == len(CONTENDERS)
    assert all(
        BY_NAME[each.base].base == each.base and BY_NAME[each.base].adapter == each.adapter for each in CONTENDERS
    )


def of(median, **more):
    return {"median": median, "low": median, "high": median, "least": median, "most": median, "rounds": 3, **more}


def report(**benches):
    return {"size": "full", "benches": benches, "goals": goals.results(benches)}


def over_http(**arms):
    ratios = {name: {"throughput_ratio": of(ratio)} for name, ratio in arms.items()}
    return {"over_http": {"servers": {UVICORN: ratios}}}


def refused(arm, **figures):
    return {"refusals": {"arms": {arm: {name: of(value) for name, value in figures.items()}}}}


def sqlite_flood(rate="2000", **figures):
    return {"flood": {"databases": {"sqlite": {rate: {name: of(value) for name, value in figures.items()}}}}}


@pytest.mark.parametrize(
    ("benches", "expected"),
    [
        ({}, []),
        (over_http(**{recording("sqlite"): 0.879}), [("≥ 0.88", "0.879", False)]),
        (
            over_http(**{recording("sqlite"): 0.88, STARLETTE: 0.84}),
            [("≥ 0.88", "0.88", True), ("≥ 0.89", "0.88", False)],
        ),
        (over_http(**{"FastAPI behind octy, sqlite": 0.95, recording("postgresql"): 0.1}), [("≥ 0.93", "0.95", True)]),
        (
            {"hot_paths": {"calls": {"accepted, ASGI": 14, "accepted, WSGI": 15}}},
            [("≤ 14", "14", True), ("≤ 14", "15", False)],
        ),
        (refused("octy, SQLite, one key", ratio=0.55, cpu_cost=9.9), [("≥ 0.55", "0.55", True)]),
        (refused("octy, SQLite, one key, one core", ratio=0.2, cpu_cost=2.6), [("≤ 2.5 ×", "2.6 ×", False)]),
        (refused("octy, PostgreSQL, a key each", ratio=0.19), [("≥ 0.2", "0.19", False)]),
        (
            refused("octy, SQLite, one key, one connection", p50_syncs=9.0, p50_ms=0.6),
            [("≤ 4 fdatasyncs or ≤ 0.7 ms", "9 fdatasyncs or 0.6 ms", True)],
        ),
        (
            sqlite_flood(
                added_p50_syncs=4.1, added_p50_ms=1.1, added_p99_ms=4.0, accepted_p99_ratio=1.6, first_use_p99_ms=21.0
            ),
            [
                ("≤ 4 fdatasyncs or ≤ 1 ms", "4.1 fdatasyncs or 1.1 ms", False),
                ("≤ 4 ms", "4 ms", True),
                ("≤ 1.5 ×", "1.6 ×", False),
                ("≤ 20 ms", "21 ms", False),
            ],
        ),
        (
            sqlite_flood(accepted_p99_to_calm=1.5, first_use_p99_ms=20.1),
            [("≤ 1.5 ×", "1.5 ×", True), ("≤ 20 ms", "20.1 ms", False)],
        ),
        (sqlite_flood("1500", added_p50_syncs=1.0, added_p50_ms=0.1, added_p99_ms=1.0, accepted_p99_ratio=1.0), []),
        (
            {"alerts": {"milliseconds": of(81.0), "p99_ms": 1200.0}},
            [("≤ 100 ms", "81 ms", True), ("≤ 300 ms", "1,200 ms", False)],
        ),
        (
            {"keys": {"memory": {"1000": {"megabytes": 1.0}, "1000000": {"megabytes": 254.0}}}},
            [("≤ 250 MB", "254 MB", False)],
        ),
        (
            {"keys": {"databases": {"postgresql": {"sizes": {"1000000": {"loaded_ratio": of(1.15)}}}}}},
            [("≤ 1.15 ×", "1.15 ×", True)],
        ),
        ({"keys": {"databases": {"sqlite": {"sizes": {"10000": {"loaded_ratio": of(1.0)}}}}}}, []),
        ({"tables": {"databases": {"sqlite": {"10000000": {"p99_ratio": of(1.21)}}}}}, [("≤ 1.2 ×", "1.21 ×", False)]),
        ({"commands": {"help_cpu_seconds": of(0.2)}}, [("≤ 0.25 s", "0.2 s", True)]),
        ({"commands": {"test_seconds": 361.0}}, [("≤ 360 s", "361 s", False)]),
    ],
    ids=str,
)
def test_goals_are_compared_with_the_medians_that_were_measured(benches, expected):
    rows = goals.results(benches)
    assert [(row["wanted"], row["measured"], row["reached"]) for row in rows] == expected
    assert all(set(row) == {"goal", "where", "wanted", "measured", "reached"} for row in rows)
    assert len(rows) + len(goals.not_measured(benches)) == len(goals.GOALS)


def test_goals_table_names_each_goal_once_and_lists_what_was_not_measured():
    found = report(alerts={"milliseconds": of(81.0), "p99_ms": 301.0})
    table = goals.table(found)
    goal = "20th refusal answered → alert accepted by the SMTP server"
    assert table.rows == [
        (goal, "p50", "≤ 100 ms", "81 ms", "reached"),
        ("", "p99", "≤ 300 ms", "301 ms", "NOT reached"),
    ]
    assert table.note.startswith("not measured: ")
    named = table.note.removeprefix("not measured: ").split("; ")
    assert len(named) == len({each.goal for each in goals.GOALS}) - 1
    assert "memory for 1,000,000 cached keys (resident set)" in named
    assert goal not in table.note


@pytest.mark.parametrize(("size", "marked"), [("full", False), ("quick", True), ("tiny", True)])
def test_goals_table_of_a_smaller_run_is_marked(size, marked):
    assert (size in goals.table({**report(), "size": size}).title) == marked


def test_shown_has_median_and_quartiles():
    assert shown(of(1234.5, low=1000.0, high=2000.25), 1) == "1,234.5 [1,000.0 – 2,000.2]"
    assert shown(of(0.1), 0, scale=1e3) == "100 [100 – 100]"


def test_markdown_of_a_table():
    table = Table("Title", ("who", "µs"), [("a", "1"), ("b", "2")], "A note.")
    assert markdown(table).splitlines() == [
        *("## Title", "", "| who | µs |", "| --- | ---: |", "| a | 1 |", "| b | 2 |", "", "A note."),
    ]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(1.0, (0.2, 1.0)), (0.93, (0.2, 1.0)), (1234.0, (500.0, 1500.0)), (0.0, (1.0, 1.0)), (7.0, (2.0, 8.0))],
)
def test_scale_has_round_steps_and_contains_the_largest_value(largest, expected):
    assert scale(largest) == pytest.approx(expected)


def test_svg_is_well_formed_and_bars_are_in_proportion():
    bars = [
        Bar("a <b> & c", Spread(**of(1.0, low=0.5, high=1.5))),
        Bar("octy", Spread(**of(2.0)), ours=True),
        Bar("below nothing", Spread(**of(-1.0))),
    ]
    root = ET.fromstring(svg(Plot("name", 'A "title"', "µs", bars, mark=1.0)))
    space = "{http://www.w3.org/2000/svg}"
    widths = {rect.get("class"): [] for rect in root.iter(f"{space}rect")}
    for rect in root.iter(f"{space}rect"):
        widths[rect.get("class")].append(float(rect.get("width")))
    assert widths["ours"] == [2 * widths["other"][0]]
    assert widths["other"][1] == 0
    texts = [text.text for text in root.iter(f"{space}text")]
    assert {"a <b> & c", 'A "title"', "µs"} <= set(texts)
    assert any(line.get("class") == "mark" for line in root.iter(f"{space}line"))
