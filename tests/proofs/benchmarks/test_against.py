"""Before and after by turns: each side runs the code of its checkout."""

import pytest
from support.paths import ROOT

from proofs.benchmarks import against
from proofs.benchmarks.against import AFTER, AGAIN, BEFORE
from proofs.benchmarks.hot_path import ACCEPTED_ASGI
from proofs.benchmarks.hot_paths import SPREAD_OF_INSTRUCTIONS

pytestmark = pytest.mark.timeout(600)
FLOOD = "refused, sqlite, 2000 a second"
LOADS = (
    against.IN_PROCESS,
    "accepted, sqlite",
    "refused, sqlite, a key each",
    "refused, sqlite, one connection",
    FLOOD,
)


def test_both_checkouts_take_turns_with_every_load(capfd):
    only = [part for load in LOADS for part in ("--only", load)]
    assert against.main([str(ROOT), "--rounds", "1", "--seconds", "0.05", *only]) == 0
    text = capfd.readouterr().out
    for load in LOADS:
        assert f"## {load}\n" in text
    for name in (BEFORE, AFTER, AGAIN):
        assert text.count(f"| {name} |") == len(LOADS)


@pytest.mark.needs("valgrind")
def test_instructions_of_one_code_are_equal(capfd, monkeypatch):
    """Those of an accepted request; those of a refused one take twice as long to count: `test_hot_paths`."""
    monkeypatch.setattr(against, "IN_INSTRUCTIONS", (ACCEPTED_ASGI,))
    assert against.main([str(ROOT), "--only", against.INSTRUCTIONS]) == 0
    text = capfd.readouterr().out
    assert "## Instructions a request\n" in text
    [line] = [line for line in text.splitlines() if line.startswith(f"| {ACCEPTED_ASGI} |")]
    cells = [cell.split("(") for cell in line.split("|") if "(" in cell]
    assert all(int(count.replace(",", "")) > 1000 for count, _ in cells)
    ratios = [float(ratio.rstrip(") ")) for _, ratio in cells]
    assert ratios == pytest.approx([1.0] * 3, abs=SPREAD_OF_INSTRUCTIONS[ACCEPTED_ASGI])


def test_a_side_that_would_run_other_code_is_refused(tmp_path):
    checkout = tmp_path / "checkout"  # without code: that of this environment would be imported
    (checkout / "tests").mkdir(parents=True)
    for name in ("support", "proofs"):
        (checkout / "tests" / name).symlink_to(ROOT / "tests" / name)
    with (
        pytest.raises(RuntimeError, match="was to be played, not"),
        against.side(checkout, tmp_path / "side", ("sqlite",)),
    ):
        pass


def test_a_folder_without_a_checkout_is_refused(tmp_path):
    with (
        pytest.raises(RuntimeError, match="ended with status 1"),
        against.side(tmp_path, tmp_path / "side", ("sqlite",)),
    ):
        pass
