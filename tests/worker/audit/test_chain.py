"""The audit log's chain: what is detected, and what is not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octy_worker.audit.chain import ERASED, GENESIS, ChainError, Checkpoint, Entry, next_entry, verify_chain
from octy_worker.canonical_json import JsonValue


def make_chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(1, length + 1):
        last = Checkpoint(entries[-1].seq, entries[-1].hash) if entries else Checkpoint(0, GENESIS)
        entries.append(
            next_entry(
                last,
                at=1_800_000_000_000_000 + number,
                actor="ada",
                action="incident.decide",
                subject=f"incident-{number}",
                order_id="",
                detail={"reason": f"reason {number}"},
                salt=number.to_bytes(32, "big"),
            )
        )
    return entries


CHAIN = make_chain(50)


def checkpoint(seq: int) -> Checkpoint:
    return Checkpoint(seq, CHAIN[seq - 1].hash)


def test_unbroken_chain_is_proven_up_to_its_last_checkpoint() -> None:
    result = verify_chain(CHAIN, [checkpoint(10), checkpoint(40)])
    assert (result.entries, result.erased, result.proven_up_to) == (50, 0, 40)
    assert result.last == checkpoint(50)
    assert verify_chain([]).entries == 0


EDITS = dict.fromkeys(("actor", "action", "subject", "order_id"), "x") | {"at": 1, "detail": '{"reason":"other"}'}


@pytest.mark.parametrize("name", [*EDITS, "commitment", "hash", "previous_hash", "salt"])
def test_changed_field_is_found_and_named(name: str) -> None:
    chain = list(CHAIN)
    chain[29] = chain[29]._replace(**{name: EDITS.get(name, "0" * 64)})
    with pytest.raises(ChainError) as broken:
        verify_chain(chain)
    assert broken.value.seq == 30


def test_change_with_a_new_hash_is_found_at_the_next_entry() -> None:
    chain = list(CHAIN)
    last = Checkpoint(chain[28].seq, chain[28].hash)
    chain[29] = next_entry(last, at=1, actor="eve", action="x", subject="y", order_id="", detail={}, salt=b"s" * 32)
    with pytest.raises(ChainError) as broken:
        verify_chain(chain)
    assert broken.value.seq == 31


def test_rewritten_end_is_found_by_a_checkpoint_only() -> None:
    """Who can compute hashes can rewrite everything after some entry; a checkpoint outside shows it."""
    rewritten = [*CHAIN[:29], *_again(CHAIN[28], 21)]
    assert verify_chain(rewritten).entries == 50
    with pytest.raises(ChainError, match="a checkpoint has another hash") as broken:
        verify_chain(rewritten, [checkpoint(40)])
    assert broken.value.seq == 40


def _again(before: Entry, count: int) -> list[Entry]:
    entries, last = [], before
    for _ in range(count):
        point = Checkpoint(last.seq, last.hash)
        last = next_entry(point, at=2, actor="eve", action="x", subject="y", order_id="", detail={}, salt=b"s" * 32)
        entries.append(last)
    return entries


def test_deleted_swapped_and_inserted_entries_are_found_and_named() -> None:
    for changed, seq in [
        (CHAIN[:29] + CHAIN[30:], 30),
        ([*CHAIN[:29], CHAIN[30], CHAIN[29], *CHAIN[31:]], 30),
        ([*CHAIN[:29], CHAIN[10], *CHAIN[29:]], 30),
        (CHAIN[1:], 1),
    ]:
        with pytest.raises(ChainError) as broken:
            verify_chain(changed)
        assert broken.value.seq == seq


def test_end_cut_behind_a_checkpoint_is_found_and_after_the_last_is_not() -> None:
    with pytest.raises(ChainError, match="the end is missing") as broken:
        verify_chain(CHAIN[:45], [checkpoint(48)])
    assert broken.value.seq == 46
    assert verify_chain(CHAIN[:45], [checkpoint(40)]).proven_up_to == 40


def test_erased_details_leave_the_chain_whole() -> None:
    chain = [entry._replace(detail=None, salt=None) if entry.seq % 2 else entry for entry in CHAIN]
    result = verify_chain(chain, [checkpoint(50)])
    assert (result.erased, result.proven_up_to) == (25, 50)


texts = st.text(max_size=8)


@given(seed=st.integers(0, 2**32), texts=st.lists(texts, min_size=4, max_size=4))
def test_no_change_of_a_field_is_overlooked(seed: int, texts: list[str]) -> None:
    chooser = random.Random(seed)
    place, name = chooser.randrange(50), chooser.choice(["actor", "action", "subject", "order_id"])
    changed = CHAIN[place]._replace(**{name: texts[0]})
    if changed == CHAIN[place]:
        return
    with pytest.raises(ChainError):
        verify_chain([*CHAIN[:place], changed, *CHAIN[place + 1 :]])


@pytest.mark.parametrize("entries", [None, "9", 9, [True], ["9"], [51], [{}]])
def test_erasure_that_names_no_earlier_entries_accounts_for_nothing(entries: JsonValue) -> None:
    last = Checkpoint(CHAIN[-1].seq, CHAIN[-1].hash)
    forged = next_entry(
        last, at=1, actor="eve", action=ERASED, subject="x", order_id="", detail={"entries": entries, "orders": []},
        salt=b"s" * 32,
    )  # fmt: skip
    for one in (forged, forged._replace(detail=None, salt=None)):
        assert verify_chain([*CHAIN, one]).erasures == 0
