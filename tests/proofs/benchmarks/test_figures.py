"""The arithmetic and the pages, on figures with known results. Nothing is timed here."""

import xml.etree.ElementTree as ET
from collections import Counter
from random import Random

import pytest

from proofs.benchmarks import flood, goals, over_http, refusals, spread
from proofs.benchmarks.apps.contenders import BARE, BY_NAME, CONTENDERS, STARLETTE, recording
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
    found = over_http.summary(series)
    assert found[BARE]["throughput_ratio"].median == found[BARE]["cpu_ratio"].median == 1.0
    assert found[STARLETTE]["throughput_ratio"] == Spread.of([0.5, 0.75])
    assert found[STARLETTE]["cpu_ratio"] == Spread.of([0.25, 0.5])


def test_refusals_are_compared_with_the_control_of_the_same_round():
    arm = {"p50_ms": [1.0, 1.0], "p99_ms": [2.0, 2.0], "cpu_us": [50.0, 50.0]}
    series = {
        refusals.UNRECORDED: {**arm, "per_second": [100.0, 400.0]},
        refusals.one_key("sqlite"): {**arm, "per_second": [80.0, 200.0], "cpu_us": [100.0, 200.0]},
    }
    found = refusals.summary(series)[refusals.one_key("sqlite")]
    assert found["ratio"] == Spread.of([0.8, 0.5])
    assert found["cpu_ratio"] == Spread.of([0.5, 0.25])


def test_flood_summary_subtracts_the_control():
    row = {"accepted_p50_ms": [1.0], "accepted_p99_ms": [2.0], "sync_ms": [0.5]}
    series = {
        flood.OURS: {**row, "refused_p50_ms": [3.0], "refused_p99_ms": [9.0], "accepted_p99_ms": [3.0]},
        flood.CONTROL_ARM: {**row, "refused_p50_ms": [1.0], "refused_p99_ms": [4.0]},
        flood.AGAIN: {**row, "refused_p50_ms": [1.0], "refused_p99_ms": [4.0], "accepted_p99_ms": [2.5]},
        flood.OURS + flood.CALM: row,
    }
    found = flood.summary(series)
    medians = {key: value.median for key, value in found.items() if key != "arms"}
    assert medians == {
        "added_p50_ms": 2.0,
        "added_p99_ms": 5.0,
        "added_p50_syncs": 4.0,
        "accepted_p99_ratio": 1.5,
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


BENCHES = {
    "in_process": {"arms": {STARLETTE: {"added_cpu_us": of(5.0)}, recording("sqlite"): {"added_cpu_us": of(2.4)}}},
    "over_http": {
        "servers": {
            UVICORN: {
                STARLETTE: {"throughput_ratio": of(0.93), "cpu_ratio": of(0.85)},
                recording("sqlite"): {"throughput_ratio": of(0.925), "cpu_ratio": of(0.9)},
            }
        }
    },
    "refusals": {
        "arms": {"octy, SQLite, one key": {"ratio": of(0.8)}, "octy, PostgreSQL, one key": {"ratio": of(0.7)}}
    },
    "flood": {"stores": {"sqlite": {"rate": 1500}}},
    "alerts": {"seconds": of(0.15), "p99": 1.2},
    "keys": {"memory": {"1000": {"megabytes": 1.0}, "1000000": {"megabytes": 299.0}}, "stores": {}},
    "tables": {"stores": {"sqlite": {"1000": {}, "10000000": {"p50_ratio": of(1.2), "p99_ratio": of(1.6)}}}},
}


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (0, ["reached", "NOT reached"]),
        (1, ["reached", "NOT reached", "NOT reached", "reached"]),
        (2, ["not measured"]),
        (3, ["reached", "NOT reached"]),
        (4, ["not measured"]),
        (5, ["not measured"]),
        (6, ["reached", "NOT reached"]),
        (7, ["reached"]),
        (8, ["not measured"]),
        (9, ["reached", "NOT reached"]),
    ],
    ids=[goal.text[:50] for goal in goals.GOALS],
)
def test_goals_are_compared_with_medians(goal, expected):
    rows = [row for row in goals.verdicts(BENCHES) if row["goal"] == goals.GOALS[goal].text]
    assert [row["verdict"] for row in rows] == expected


def test_flood_goal_allows_the_noise_of_the_control():
    arms = {flood.CONTROL_ARM: {"accepted_p99_ms": of(2.0)}, flood.OURS: {"accepted_p99_ms": of(2.2)}}
    added = {"added_p50_syncs": of(4.1), "added_p99_ms": of(2.5)}
    for ratio, most, verdict in ((1.1, 1.2, "reached"), (1.3, 1.2, "NOT reached"), (1.0, 0.9, "reached")):
        noise = {"accepted_p99_ratio": of(ratio), "accepted_p99_noise": of(1.0, most=most)}
        found = {"flood": {"stores": {"postgresql": {"rate": 2000, "arms": arms, **added, **noise}}}}
        rows = [row for row in goals.verdicts(found) if row["where"]]
        assert [row["verdict"] for row in rows] == ["NOT reached", "reached", verdict]


def test_goals_without_figures_are_not_measured():
    assert {row["verdict"] for row in goals.verdicts({})} == {"not measured"}


def test_goals_table_names_each_goal_once():
    table = goals.table(goals.verdicts(BENCHES))
    assert [row[0] for row in table.rows if row[0]] == [goal.text for goal in goals.GOALS]
    assert ("", "p99", "≤ 1,000 ms", "1,200 ms", "NOT reached") in table.rows


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
