"""The on/off measurements: what is replaced behaves alike, and the conclusion follows the intervals."""

import pytest

from proofs.benchmarks import on_off
from proofs.benchmarks.on_off import AGAIN, ON
from proofs.benchmarks.optimizations import PIECES


@pytest.mark.parametrize("piece", PIECES)
def test_every_arm_of_a_piece_records_its_requests_and_has_a_row(piece, capfd):
    assert on_off.main(["--rounds", "1", "--scale", "0.02", "--database", "sqlite", "--piece", piece]) == 0
    text = capfd.readouterr().out
    for kind in PIECES[piece].kinds:
        assert f"## {piece}: {kind.name}, SQLite\n" in text
    for arm in (ON, AGAIN, *PIECES[piece].off):
        assert text.count(f"| {arm} |") == len(PIECES[piece].kinds)
    assert ("Bytes of a cached record" in text) == (piece == "packed key records")


@pytest.mark.parametrize(
    ("ratio", "control", "expected"),
    [
        ([1.2, 1.3], [0.99, 1.01], "gains"),
        ([1.0, 1.02], [0.99, 1.01], "gains no 5 %"),
        ([0.8, 0.9], [0.99, 1.01], "costs"),
        ([0.97, 0.98], [0.99, 1.01], "gains no 5 %"),
        ([1.0, 1.2], [0.99, 1.01], "undecided"),
        ([1.1, 1.3], [0.8, 1.2], "undecided"),
    ],
    ids=["far apart", "equal", "plain code is cheaper", "a bit cheaper", "wide", "the control is as wide"],
)
def test_conclusion_compares_the_intervals_with_the_control(ratio, control, expected):
    assert on_off.conclusion(ratio, control) == expected
