"""Checkpoints: signed, chained, read back from system logs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_middleware.keys.keychain import Keychain
from octy_worker.audit.chain import Checkpoint
from octy_worker.audit.checkpoints import (
    AuditSigner,
    InvalidCheckpointError,
    SignedCheckpoint,
    parse_public_keys,
    public_keys,
    read_checkpoint,
    read_checkpoints,
    verify_signature,
)

KEYS = Keychain({"k1": b"1" * 32, "k2": b"2" * 32})
PUBLIC = public_keys(KEYS)
OURS = "a" * 16


def sign(seq: int, previous: SignedCheckpoint | None = None, *, installation: str = OURS) -> str:
    point = Checkpoint(seq, f"{seq:064x}")
    number, signature = (1, "") if previous is None else (previous.number + 1, previous.signature)
    return AuditSigner(KEYS).sign_checkpoint(
        point, installation=installation, at=1_800_000_000, number=number, previous=signature
    )


def sign_chain(count: int) -> list[str]:
    lines = [sign(10)]
    for number in range(2, count + 1):
        lines.append(sign(number * 10, read_checkpoint(lines[-1], PUBLIC)))
    return lines


LINES = sign_chain(4)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "Nov 30 04:00:00 host octy[1]: ",
        "2026-11-30T04:00:00.123456+01:00 host ",
        "Nov 30 04:00:00 host octy: ",
    ],
)
def test_checkpoint_is_read_back_behind_what_a_system_log_adds(head: str) -> None:
    read = read_checkpoint(f"{head}{LINES[0]}\n", PUBLIC)
    assert (read.point, read.installation, read.previous) == (Checkpoint(10, f"{10:064x}"), OURS, "")
    tagged = LINES[0].replace("octy-checkpoint:", "octy-checkpoint[4711]:")  # as journald prints a tag
    assert read_checkpoint(f"{head}{tagged}", PUBLIC) == read


def seqs(lines: list[str]) -> list[int]:
    return [checkpoint.seq for checkpoint in read_checkpoints(lines, PUBLIC, installation=OURS)]


def test_all_checkpoints_of_several_logs_are_merged() -> None:
    assert seqs(["started", LINES[0], "noise", LINES[1], LINES[1], LINES[2]]) == [10, 20, 30]
    assert seqs(LINES[2:]) == [30, 40]  # a log that was rotated
    assert seqs([LINES[1], LINES[3], LINES[0], LINES[2]]) == [10, 20, 30, 40]  # of two workers
    assert seqs([f"10.0.0.9 GET /?{LINES[0]}", f"sshd: invalid user {LINES[0][:60]}"]) == []  # sent by clients


def forked() -> str:
    """A second checkpoint number 3: the database was restored from a backup, and went on."""
    return sign(25, read_checkpoint(LINES[1], PUBLIC))


def unlinked() -> str:
    """Number 5 by its text, but it does not hold the signature of number 4."""
    return sign(50, SignedCheckpoint(OURS, 4, 40, "", 0, "", "x"))


def shrunk() -> str:
    return sign(35, read_checkpoint(LINES[3], PUBLIC))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([LINES[0], LINES[2]], r"missing between number 1 \(entry 10\) and number 3 \(entry 30\)"),
        ([*LINES, forked()], "two different checkpoints number 3"),
        ([*LINES, unlinked()], "number 5 does not continue"),
        ([*LINES, shrunk()], "number 5 does not continue"),
        ([sign(10, installation="b" * 16)], "of another installation"),
    ],
    ids=["missing", "forked", "unlinked", "shrunk", "foreign"],
)
def test_checkpoints_that_do_not_continue_each_other_are_refused(lines: list[str], why: str) -> None:
    with pytest.raises(InvalidCheckpointError, match=why):
        seqs(lines)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hello", "not a checkpoint"),
        ("octy-checkpoint: {} x", "malformed"),
        ("octy-checkpoint: [] x", "malformed"),
        (LINES[0].replace('"seq":10', '"seq":11'), "signature is wrong"),
        (LINES[0].replace('"key":"k2"', '"key":"k1"'), "signature is wrong"),
        (LINES[0].replace('"key":"k2"', '"key":"k3"'), "unknown key"),
        (LINES[0].replace('"key":"k2"', '"key":["k2"]'), "malformed"),
        (LINES[0][:-4], "malformed|signature is wrong"),
    ],
)
def test_line_that_is_no_signed_checkpoint_is_refused(line: str, why: str) -> None:
    with pytest.raises(InvalidCheckpointError, match=why):
        read_checkpoint(line, PUBLIC)


@given(place=st.integers(0, len(LINES[0]) - 1), char=st.characters())
def test_changed_lines_are_refused_and_raise_nothing_else(place: int, char: str) -> None:
    changed = LINES[0][:place] + char + LINES[0][place + 1 :]
    if changed.strip() == LINES[0]:
        return
    with pytest.raises(InvalidCheckpointError):
        read_checkpoint(changed, PUBLIC)


def test_public_keys_are_read_back_from_lines() -> None:
    text = "# of 2026\n\n" + "".join(f"{key_id} {key}\n" for key_id, key in PUBLIC.items())
    assert parse_public_keys(text) == PUBLIC
    for wrong in ("k1", "k1 x", "k1 QUJD", f"k1 {PUBLIC['k1']} more", f"k1 {PUBLIC['k1'][:-2]}é="):
        with pytest.raises(ValueError, match="line 2 is not an id and a public key"):
            parse_public_keys(f"# keys\n{wrong}\n")


def test_signature_is_verified_with_its_own_key_only() -> None:
    signer = AuditSigner(KEYS)
    signature = signer.sign(b"data")
    assert signer.key_id == "k2"
    assert verify_signature(b"data", signature, "k2", PUBLIC)
    for data, made, by in [
        (b"date", signature, "k2"),
        (b"data", signature, "k1"),
        (b"data", signature, "k3"),
        (b"data", signature[:-4], "k2"),
        (b"data", "é", "k2"),
    ]:
        assert not verify_signature(data, made, by, PUBLIC)
