"""Checkpoints: signed, chained, read back from a system log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.keys.keychain import Keychain
from octy_worker.audit.chain import Checkpoint
from octy_worker.audit.checkpoints import (
    CheckpointSigner,
    InvalidCheckpointError,
    public_keys,
    read_checkpoint,
    read_checkpoints,
)

KEYS = Keychain({"k1": b"1" * 32, "k2": b"2" * 32})
PUBLIC = public_keys(KEYS)


def sign_chain(count: int) -> list[str]:
    lines: list[str] = []
    for number in range(1, count + 1):
        point = Checkpoint(number * 10, f"{number:064x}")
        before = lines[-1] if lines else ""
        lines.append(CheckpointSigner(KEYS).sign(point, installation="a" * 16, at=1_800_000_000, previous=before))
    return lines


LINES = sign_chain(4)


def test_checkpoint_is_read_back_behind_what_a_system_log_adds() -> None:
    read = read_checkpoint(f"Nov 30 04:00:00 host octy[1]: {LINES[0]}\n", PUBLIC)
    assert (read.point, read.installation, read.previous) == (Checkpoint(10, f"{1:064x}"), "a" * 16, "")


def test_all_checkpoints_of_a_log_are_read_in_order() -> None:
    log = ["started", LINES[0], "noise", LINES[1], LINES[1], LINES[2]]
    assert [checkpoint.seq for checkpoint in read_checkpoints(log, PUBLIC)] == [10, 20, 30]
    assert [checkpoint.seq for checkpoint in read_checkpoints(LINES[2:], PUBLIC)] == [30, 40]  # a log that was rotated


def test_missing_checkpoint_is_noticed() -> None:
    with pytest.raises(InvalidCheckpointError, match="missing between entry 10 and entry 30"):
        read_checkpoints([LINES[0], LINES[2]], PUBLIC)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hello", "not a checkpoint"),
        ("octy-checkpoint {} x", "unknown key or lacks a field"),
        ("octy-checkpoint [] x", "malformed"),
        (LINES[0].replace('"seq":10', '"seq":11'), "signature is wrong"),
        (LINES[0].replace('"key":"k2"', '"key":"k1"'), "signature is wrong"),
        (LINES[0].replace('"key":"k2"', '"key":"k3"'), "unknown key"),
        (LINES[0][:-4], "malformed|signature is wrong"),
    ],
)
def test_line_that_is_no_signed_checkpoint_is_refused(line: str, why: str) -> None:
    with pytest.raises(InvalidCheckpointError, match=why):
        read_checkpoint(line, PUBLIC)


@given(place=st.integers(0, len(LINES[0]) - 1), char=st.characters())
def test_changed_lines_are_refused_and_raise_nothing_else(place: int, char: str) -> None:
    changed = LINES[0][:place] + char + LINES[0][place + 1 :]
    if changed.rstrip().partition("octy-checkpoint ")[2] == LINES[0].partition("octy-checkpoint ")[2]:
        return
    with pytest.raises(InvalidCheckpointError):
        read_checkpoint(changed, PUBLIC)
